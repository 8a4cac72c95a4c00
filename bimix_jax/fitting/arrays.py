"""The pure core: from arrays of points to arrays of coefficients, under jit, vmap and grad."""

import functools
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting._solution import Data, by_problem, settled, solve
from bimix_jax.fitting.coefficients import Code, Coefficients, features_of, one_float_type
from bimix_jax.fitting.problem import Asked, Problem, Settings, default_tolerance
from bimix_jax.fitting.residual import Points, determined
from bimix_jax.fitting.shrinkage import STRONGEST, choose_strength
from bimix_jax.laws.law import Law
from bimix_jax.reading.settings import settings_of
from bimix_jax.xla.compilation import full_precision
from bimix_jax.xla.mapping import over_leading_axis


class ArrayFit(NamedTuple):
    """A fit as arrays; for several targets every entry has a leading axis (targets,)."""

    coefficients: Coefficients
    code: Array
    """() int, see `Code`"""
    sum_of_squares: Array
    """() Σ w ρ² (twice the Huber penalty with `huber`)"""
    points: Array
    """() int, points used"""
    steps: Array
    """() int, evaluations of the objective from the best start"""
    identified: Array
    """(exponents,) bool: True where this exponent is identified"""
    agreement: Array
    """() share of the searches that ended at the best objective"""
    shrinkage: Array
    """() strength of the shrinkage to the law's centre, 0 for none"""
    objective: Array
    """() the minimised value, half the sum of squares plus the shrinkage; of all tied targets"""


@full_precision
def fit_arrays(
    law: Law,
    mixture: ArrayLike,
    budget: ArrayLike,
    loss: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    own: ArrayLike,
    budget_scale: ArrayLike | None = None,
    size: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    shrinkage: ArrayLike | None = None,
    fold: ArrayLike | None = None,
    folds: int = 0,
    **settings: Unpack[Asked],
) -> ArrayFit:
    """Fit a law to one target, or to several at once; pure, so jit, vmap and grad apply.

    Call it within `jax.jit`: outside, every call compiles its loops anew.

    Args:
        law: which law; static under jit.
        mixture: (points, domains) proportions.
        budget: (points,) in any unit, > 0.
        loss: (points,) of one target or (points, targets); nan where it was not measured.
        weight: like `loss` or (points,); ≥ 0, default 1. Resampling is a matter of weights.
        own: int or (targets,) ints, the column of each target's own domain, or −1 for none.
        budget_scale: () that divides budgets, one for fits to be compared; default the largest.
        size: (points,) parameters of the model, for laws with a size.
        starts: (starts, exponents) or (targets, starts, exponents); default of the law.
        shrinkage: () strength ≥ 0 of `Law.shrinkage`; default none, unless folds are given. An
            infinite one becomes the largest finite one where a loss refutes the simpler law.
        fold: (points,) ints in 0 … folds − 1, or −1 for none: then `choose_strength` by them.
        folds: how many folds there are; static under jit.
        settings: how the search goes; static under jit, except for the tolerance.

            - residual: "relative" (ŷ−y)/y (default), "log" ln ŷ − ln y, or "absolute" ŷ−y.
            - huber: residuals beyond this count linearly; default None for plain squares.
            - tied: names of exponents that all targets share; default none.
            - optimizer: any optax transformation; default damped Gauss-Newton.
            - max_steps: largest number of evaluations per start; default 100, 300 where targets
              share exponents, 5000 for an optimizer passed in.
            - tolerance: () on the scaled gradient; default 1e-7 in float64 and 1e-4 in float32.

    Returns:
        An `ArrayFit`; with a leading axis (targets,) when loss has two. Its derivatives follow from
        the implicit function theorem, one-sided at bounds, 0 for exponents left open by the data.

    Raises:
        ValueError: on an unknown residual or tied name, or shapes that do not fit together.
        TypeError: on a setting that does not exist.

    >>> from bimix_jax.laws import BiMix
    >>> share, budget = jnp.array([0.2, 0.5, 0.8] * 4), jnp.repeat(jnp.array([1.0, 2, 4, 8]), 3)
    >>> mixture = jnp.stack([share, 1 - share], axis=1)
    >>> fit = jax.jit(lambda loss: fit_arrays(BiMix(), mixture, budget, loss, own=0))
    >>> print(fit(2.0 * share**-0.1 * (0.5 * budget**-0.5 + 0.5)).coefficients.exponents.round(3))
    [0.1 0.5]
    """
    asked = settings_of(Settings, fit_arrays, settings)
    measured = Measured(mixture, budget, loss, weight, own, budget_scale, size)
    bound = measured.bound(law, asked, starts)
    strength = shrinkage
    if strength is None:
        strength = _chosen_strength(bound.problem, bound.data, fold, folds, bound.refuted)
    strength = jnp.asarray(strength, bound.own.dtype)
    pull = jnp.where(bound.refuted & jnp.isinf(strength), STRONGEST, strength)
    parts, counted = _solved(bound.problem, bound.data.pulled(pull), bound.own)
    fitted = _array_fit(parts, counted, bound.broken, bound.own, bound.scale, pull)
    return jax.tree.map(lambda leaf: leaf[0], fitted) if jnp.ndim(loss) == 1 else fitted


class Bound(NamedTuple):
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

    def bound(self, law: Law, asked: Settings, starts: ArrayLike | None) -> Bound:
        """Bind the points to a law, with `starts` as `fit_arrays` takes them."""
        weight = 1.0 if self.weight is None else self.weight
        shares, budgets, losses, weights, scale, sizes = one_float_type(
            self.mixture, self.budget, self.loss, weight, self.budget_scale, self.size
        )
        losses = losses[:, None] if losses.ndim == 1 else losses
        _check_shapes(shares, budgets, losses)
        problem = asked.problem(law, shares.shape[1], losses.shape[1])
        scale = _largest(budgets) if scale is None else scale
        place = jnp.broadcast_to(jnp.asarray(self.own), losses.shape[1:])
        own = jax.nn.one_hot(place, shares.shape[1], dtype=losses.dtype)
        used, broken = jax.vmap(usable_points, in_axes=(None, None, None, None, 1, 1, 0))(
            law, shares, budgets / scale, sizes, losses, _like(weights, losses), own
        )
        data = _data(law, used, own, starts, asked.tolerance)
        return Bound(problem, data, own, scale, broken, _refuted(law, shares, own, used.weight))


def _array_fit(
    parts: "_Parts", points: Points, bad: Array, own: Array, scale: Array, strength: Array
) -> ArrayFit:
    # A broken row makes every other code meaningless.
    count = jnp.sum(points.weight > 0, axis=1)
    code = jnp.where(bad | (count == 0), int(Code.BAD_DATA), parts.code)
    scales, strengths = (jnp.broadcast_to(x, count.shape) for x in (scale, strength))
    coefficients = Coefficients(parts.exponents, parts.amplitudes, own, scales)
    return ArrayFit(
        coefficients,
        code,
        2 * parts.values,
        count,
        parts.steps,
        parts.identified,
        parts.agreement,
        strengths,
        parts.objective,
    )


def _largest(budget: Array) -> Array:
    return jnp.max(jnp.where(jnp.isfinite(budget) & (budget > 0), budget, 0.0), initial=0.0)


def _check_shapes(mixture: Array, budget: Array, losses: Array) -> None:
    if mixture.ndim != 2 or budget.shape != mixture.shape[:1] or losses.shape[:1] != budget.shape:
        raise ValueError(
            f"mixture {mixture.shape}, budget {budget.shape} and loss {losses.shape} do not fit "
            "together: expected (points, domains), (points,) and (points,) or (points, targets)."
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
    placed = jnp.isfinite(budget) & (budget > 0) & jnp.all(jnp.isfinite(mixture), axis=1)
    sound, weighed = placed & jnp.isfinite(loss) & (loss > 0), jnp.isfinite(weight) & (weight >= 0)
    asked = ~jnp.isnan(loss) & (weight != 0)
    expressed = placed & jax.vmap(law.usable, in_axes=(0, None))(mixture, own)
    valued = expressed & sound
    if differentiable:
        # Whatever the losses, so that one computation of the features serves many fits.
        mixture = jnp.where(expressed[:, None], mixture, 1.0 / mixture.shape[1])
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


class _Parts(NamedTuple):
    exponents: Array
    amplitudes: Array
    values: Array
    code: Array
    steps: Array
    identified: Array
    agreement: Array
    objective: Array


def _refuted(law: Law, mixture: Array, own: Array, weight: Array) -> Array:
    """() bool: a loss of some target refutes the law at the centre of the shrinkage."""
    of_targets = jax.vmap(jax.vmap(law.refutes_centre, in_axes=(0, None)), in_axes=(None, 0))
    return jnp.any(of_targets(mixture, own) & (weight > 0))


def _chosen_strength(
    problem: Problem, data: Data, fold: ArrayLike | None, folds: int, refuted: Array
) -> Array:
    """() strength by cross-validation; 0 where there is nothing to choose."""
    if not problem.shrunk or fold is None:
        return jnp.zeros((), data.points.loss.dtype)
    # A choice does not move with the losses.
    return jax.lax.stop_gradient(choose_strength(problem, data, jnp.asarray(fold), folds, refuted))


def _solved(problem: Problem, data: Data, own: Array) -> tuple[_Parts, Points]:
    """Best end of all searches, tied targets together, and the points with their final weights."""

    def fit_together(data: Data, own: Array) -> _Parts:
        return _assemble(problem, data, own)

    known = settled(problem, data)
    return by_problem(problem, fit_together)(known, own), known.points


def _assemble(problem: Problem, data: Data, own: Array) -> _Parts:
    """Coefficients and codes of the targets of one problem, each with axis (targets,)."""
    found, dtype = solve(problem, data), own.dtype
    exponents, amplitudes = problem.unpack(found.params)
    dead = problem.exponents(found.dead.astype(dtype)) > 0
    at_bound = _at_bound(problem, exponents, dead | data.fixed)
    at_zero = jnp.any((amplitudes <= 0) & ~problem.law.is_signed, axis=1)
    named = len(problem.law.exponent_names)
    blind = _blind(problem, data.points, exponents, amplitudes, dead[:, :named])
    unidentified = found.singular | jnp.any(blind, axis=1) | found.deficient
    verdicts = [
        (~jnp.isfinite(found.values), Code.NONFINITE),
        (unidentified, Code.UNIDENTIFIED),
        (~(found.measure <= data.tolerance), Code.MAX_STEPS),
        (at_bound | at_zero, Code.BOUNDARY),
    ]
    code = jnp.full(found.values.shape, int(Code.CONVERGED))
    # Reversed, so that the first condition that holds has the last word.
    for condition, verdict in reversed(verdicts):
        code = jnp.where(condition, int(verdict), code)
    steps, agreement, objective = (
        jnp.broadcast_to(x, code.shape) for x in (found.steps, found.agreement, found.objective)
    )
    exponents, amplitudes = jax.vmap(problem.law.canonical)(exponents, amplitudes, own)
    return _Parts(exponents, amplitudes, found.values, code, steps, ~dead, agreement, objective)


def _blind(
    problem: Problem, points: Points, exponents: Array, amplitudes: Array, dead: Array
) -> Array:
    """(targets, named exponents) bool: dead, and not only because an amplitude is 0.

    An exponent that the loss would depend on if no amplitude were 0 is at a boundary, not a gap.
    """
    each = over_leading_axis(functools.partial(determined, problem.law))

    def without_effect() -> Array:
        present = jnp.where(jnp.abs(amplitudes) > 0, amplitudes, 1.0)
        return dead & ~each(points, exponents, present)[:, : dead.shape[1]]

    # Seldom needed, and as much work as a step of the search.
    return jax.lax.cond(jnp.any(dead), without_effect, lambda: dead)


def _at_bound(problem: Problem, exponents: Array, aside: Array) -> Array:
    """(targets,) bool: a named exponent lies on a bound; exponents per domain may lie there."""
    named = len(problem.law.exponent_names)
    lower, upper = problem.bounds(exponents.dtype)
    on_bound = ~aside & ((exponents <= lower) | (exponents >= upper))
    return jnp.any(on_bound[:, :named], axis=1)
