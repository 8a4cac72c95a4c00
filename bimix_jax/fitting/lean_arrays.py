"""The lean search on arrays of points: what `fit_arrays` does, where that needs no judgement."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.compilation import full_precision
from bimix_jax.fitting.arrays import ArrayFit, usable_points
from bimix_jax.fitting.codes import Code
from bimix_jax.fitting.coefficients import Coefficients, one_float_type
from bimix_jax.fitting.lean import STEPS, LeanFit, lean_fit
from bimix_jax.fitting.problem import Problem, default_tolerance
from bimix_jax.fitting.residual import Points, Residual, mean_relative_error
from bimix_jax.laws.law import Law


@full_precision
def fit_lean(
    law: Law,
    mixture: ArrayLike,
    budget: ArrayLike,
    loss: ArrayLike,
    weight: ArrayLike,
    *,
    own: ArrayLike,
    budget_scale: ArrayLike,
    residual: Residual = "relative",
    huber: float | None = None,
    starts: ArrayLike | None = None,
    tolerance: float | None = None,
    size: ArrayLike | None = None,
    steps: ArrayLike = STEPS,
) -> tuple[ArrayFit, Array, Array]:
    """Fits of a law to several targets, their errors, and whether `fit_arrays` finds the same.

    Args as those of `fit_arrays`, where loss and weight are (points, targets) and starts
    (starts, exponents) or (targets, starts, exponents); `steps` () is the most evaluations.

    Returns:
        An `ArrayFit` with a leading axis (targets,), mean relative errors (targets,), and settled
        (targets,) bool. Where that is False the fit is no result, and `fit_arrays` has to be asked.
    """
    shares, budgets, losses, weights, scale, sizes = one_float_type(
        mixture, budget, loss, weight, budget_scale, size
    )
    domains, targets = shares.shape[1], losses.shape[1]
    membership = jax.nn.one_hot(jnp.asarray(own), domains, dtype=losses.dtype)
    points, bad = jax.vmap(usable_points, in_axes=(None, None, None, None, 1, 1, 0))(
        law, shares, budgets / scale, sizes, losses, weights, membership
    )
    # Without the barrier whatever reads the features would compute their logarithms again.
    points, bad = jax.lax.optimization_barrier((points, bad))
    given = jnp.asarray(law.starts(domains) if starts is None else starts, losses.dtype)
    each_start = jnp.broadcast_to(given, (targets, *given.shape[-2:]))
    lower, upper = Problem(law, domains).bounds(losses.dtype)
    flat = tolerance or default_tolerance(losses.dtype)

    def one(points: Points, starts: Array) -> LeanFit:
        return lean_fit(law, points, starts, lower, upper, residual, huber, flat, steps)

    found = jax.vmap(one)(points, each_start)
    fitted, settled = _array_fit(law, found, points, bad, membership, scale)
    errors = jax.vmap(functools.partial(mean_relative_error, law))
    return fitted, errors(points, found.exponents, found.amplitudes), settled


def _array_fit(
    law: Law, found: LeanFit, points: Points, bad: Array, own: Array, scale: Array
) -> tuple[ArrayFit, Array]:
    count = jnp.sum(points.weight > 0, axis=1)
    exponents, amplitudes = jax.vmap(law.canonical)(found.exponents, found.amplitudes, own)
    scales = jnp.broadcast_to(scale, count.shape)
    nothing = jnp.zeros_like(found.value)
    fitted = ArrayFit(
        Coefficients(exponents, amplitudes, own, scales),
        jnp.where(found.at_bound, int(Code.BOUNDARY), int(Code.CONVERGED)),
        2 * found.value, count, found.steps, jnp.ones(exponents.shape, bool), nothing + jnp.nan,
        nothing,
    )  # fmt: skip
    return fitted, found.settled & ~bad & (count > 0)


def replaced(old: np.ndarray, places: np.ndarray, new: np.ndarray) -> np.ndarray:
    """A copy with other rows in some places: what the plain loop found where this did not."""
    changed = old.copy()
    changed[places] = new
    return changed
