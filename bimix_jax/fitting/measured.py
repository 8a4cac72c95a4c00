"""Measured points, bound to a law: the border between arrays as they come and a `Problem`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting._linear import on_grid
from bimix_jax.fitting._solution import Data
from bimix_jax.fitting.coefficients import features_of, of_points, one_float_type
from bimix_jax.fitting.problem import Problem, Settings, default_tolerance
from bimix_jax.fitting.residual import Points
from bimix_jax.laws.law import Law


class _Bound(NamedTuple):
    """Measured points bound to a law."""

    problem: Problem
    data: Data
    """of the points that can be used, at shrinkage of strength 1"""
    own: Array
    """(targets, domains) 1 at the own domain of each target"""
    scale: Array
    """() that divides budgets"""
    broken: Array
    """(targets,) bool: some row that counts is not a measurement"""
    refuted: Array
    """() bool, see `Law.refutes_centre`"""


class Measured(NamedTuple):
    """Measured points as `fit_arrays` takes them."""

    mixture: ArrayLike
    budget: ArrayLike
    loss: ArrayLike
    weight: ArrayLike | None
    own: ArrayLike
    budget_scale: ArrayLike | None
    size: ArrayLike | None

    def bound(self, law: Law, asked: Settings, starts: ArrayLike | None) -> _Bound:
        """Bind the points to a law, with `starts` as `fit_arrays` takes them."""
        weight = 1.0 if self.weight is None else self.weight
        shares, budgets, losses, weights, scale, sizes = one_float_type(
            self.mixture, self.budget, self.loss, weight, self.budget_scale, self.size
        )
        losses = losses[:, None] if losses.ndim == 1 else losses
        _check_shapes(shares, budgets, losses)
        problem = asked.problem(law, shares.shape[1], losses.shape[1])
        slots = len(budgets) // len(shares)
        shares = of_points(shares, len(budgets))
        scale = _largest(budgets) if scale is None else scale
        place = jnp.broadcast_to(jnp.asarray(self.own), losses.shape[1:])
        own = jax.nn.one_hot(place, shares.shape[1], dtype=losses.dtype)
        used, broken = jax.vmap(usable_points, in_axes=(None, None, None, None, 1, 1, 0))(
            law, shares, budgets / scale, sizes, losses, _like(weights, losses), own
        )
        refuted = _refuted(law, shares, own, used.weight)
        if law.has_log_worth:
            used = jax.vmap(lambda points: on_grid(points, slots))(used)
        data = _data(law, used, own, starts, asked.tolerance)
        return _Bound(problem, data, own, scale, broken, refuted)


def _largest(budget: Array) -> Array:
    return jnp.max(jnp.where(jnp.isfinite(budget) & (budget > 0), budget, 0.0), initial=0.0)


def _check_shapes(mixture: Array, budget: Array, losses: Array) -> None:
    fits = mixture.ndim == 2 and budget.ndim == 1 and losses.shape[:1] == budget.shape
    if not fits or not len(mixture) or not len(budget) or len(budget) % len(mixture):
        raise ValueError(
            f"mixture {mixture.shape}, budget {budget.shape} and loss {losses.shape} do not fit "
            "together: expected (points, domains), (points,) and (points,) or (points, targets), "
            "of one point or more; or (mixtures, domains), which the points have in turn, all of "
            "them equally often."
        )


def _like(weight: Array, losses: Array) -> Array:
    return jnp.broadcast_to(weight[:, None] if weight.ndim == 1 else weight, losses.shape)


def usable_points(
    law: Law,
    mixture: Array,
    budget: Array,
    size: Array | None,
    loss: Array,
    weight: Array,
    own: Array,
    differentiable: bool = True,
) -> tuple[Points, Array]:
    """Select the usable rows, with harmless values in the others, and flag broken ones.

    Features do not depend on weights, so that fits of many weights share them. Where derivatives
    are needed, rows without values must be replaced before the features, which takes more passes.
    """
    whole = jnp.all(jnp.isfinite(mixture), axis=1)
    placed = jnp.isfinite(budget) & (budget > 0) & whole
    sound, weighed = placed & jnp.isfinite(loss) & (loss > 0), jnp.isfinite(weight) & (weight >= 0)
    asked = ~jnp.isnan(loss) & (weight != 0)
    usable = whole & jax.vmap(law.usable, in_axes=(0, None))(mixture, own)
    expressed = placed & usable
    valued = expressed & sound
    if differentiable:
        # Whatever the losses, so that one computation of the features serves many fits.
        # A mixture whatever the budget, so that it stays that of other points.
        mixture = jnp.where(usable[:, None], mixture, 1.0 / mixture.shape[1])
        budget = jnp.where(expressed, budget, 1.0)
    features = features_of(law, mixture, own, budget, size)
    # A target that is not a domain may have infinite features even at the harmless mixture.
    finite = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0), features)
    return (
        Points(finite, jnp.where(valued, loss, 1.0), jnp.where(valued & weighed, weight, 0.0)),
        jnp.any(asked & ~(sound & weighed)),
    )


def _data(
    law: Law, points: Points, own: Array, starts: ArrayLike | None, tolerance: ArrayLike | None
) -> Data:
    """Data of targets with `own` (targets, domains), at the shrinkage of strength 1."""
    (targets, domains), dtype = own.shape, own.dtype
    given = jnp.asarray(law.starts(domains) if starts is None else starts, dtype)
    each_start = jnp.broadcast_to(given, (targets, *given.shape[-2:]))
    asked = default_tolerance(dtype) if tolerance is None else tolerance
    flat = jnp.broadcast_to(jnp.asarray(asked, dtype), (targets,))
    fixed, gauges = jax.vmap(law.fixed)(own), jax.vmap(law.gauges)(own)
    centre = weight = jnp.zeros(fixed.shape, own.dtype)
    if law.shrinkage(own[0]) is not None:
        centre, weight = jax.vmap(law.shrinkage)(own)  # type: ignore[misc]
    centre, weight = centre.astype(own.dtype), weight.astype(own.dtype)
    least = jax.vmap(law.least)(own).astype(dtype)
    return Data(points, fixed, least, centre, weight, gauges, each_start, flat)


def _refuted(law: Law, mixture: Array, own: Array, weight: Array) -> Array:
    """() bool: a loss of some target refutes the law at the centre of the shrinkage."""
    of_targets = jax.vmap(jax.vmap(law.refutes_centre, in_axes=(0, None)), in_axes=(None, 0))
    return jnp.any(of_targets(mixture, own) & (weight > 0))
