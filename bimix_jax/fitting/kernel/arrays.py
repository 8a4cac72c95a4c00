"""The lean search on the points of one target: `fit_arrays` where that needs no judgement."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.arrays import ArrayFit, usable_points
from bimix_jax.fitting.codes import Code
from bimix_jax.fitting.coefficients import Coefficients, one_float_type
from bimix_jax.fitting.kernel.collapse import Collapsed
from bimix_jax.fitting.kernel.fit import STEPS, LeanFit, lean_fit
from bimix_jax.fitting.problem import Problem, default_tolerance
from bimix_jax.fitting.residual import Points, Residual, needs_full, summary
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import full_precision
from bimix_jax.xla.logarithm import log


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
    levels: int = 0,
) -> tuple[ArrayFit, Array, Array]:
    """The fit of a law to one target, its error, and whether `fit_arrays` finds the same.

    A batch should be the inner of two `vmap`, targets the outer: processors work on neighbours.

    Args as those of `fit_arrays`, where loss and weight are (points,), own () and starts
    (starts, exponents); `steps` () is the most evaluations.

    Returns:
        An `ArrayFit` without leading axes, the mean relative error (), and settled () bool. Where
        that is False the fit is no result, and `fit_arrays` has to be asked.
    """
    shares, budgets, losses, weights, scale, sizes = one_float_type(
        mixture, budget, loss, weight, budget_scale, size
    )
    domains = shares.shape[1]
    membership = jax.nn.one_hot(jnp.asarray(own), domains, dtype=losses.dtype)

    def prepared() -> tuple[Points, Array, Array]:
        points, bad = usable_points(
            law, shares, budgets / scale, sizes, losses, weights, membership, differentiable=False
        )
        return points, bad, log(points.loss) if levels else points.loss

    points, bad, logs = _computed_once(prepared, jnp.asarray(steps) >= 0)
    given = jnp.asarray(law.starts(domains) if starts is None else starts, losses.dtype)
    lower, upper = Problem(law, domains).bounds(losses.dtype)
    flat = tolerance or default_tolerance(losses.dtype)
    collapsed = Collapsed.of(points, logs, levels) if levels else None
    searched, within = collapsed[:2] if collapsed else (points, None)
    found = lean_fit(law, searched, given, lower, upper, residual, huber, flat, steps, within)
    if collapsed:
        said = collapsed.summary(law, found.exponents, found.amplitudes)
    else:
        said = summary(law, points, residual, found.exponents, found.amplitudes)
    if collapsed or not needs_full(residual, huber):
        # More exact than the search's own, which adds up what little the amplitudes changed.
        found = found._replace(value=said.square / 2)
    fitted = _array_fit(law, found, said.points, membership, scale)
    return fitted, said.error, found.settled & ~bad & (said.points > 0)


def _computed_once(function: Callable[[], Any], always: Array) -> Any:
    """What a function gives, where () bool `always` is True but the compiler cannot know.

    Without that condition whatever reads the result would compute it again, logarithms and all.
    """
    shapes = jax.eval_shape(function)
    zeros = functools.partial(jax.tree.map, lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.cond(always, function, zeros)


def _array_fit(law: Law, found: LeanFit, count: Array, own: Array, scale: Array) -> ArrayFit:
    exponents, amplitudes = law.canonical(found.exponents, found.amplitudes, own)
    nothing = jnp.zeros_like(found.value)
    return ArrayFit(
        Coefficients(exponents, amplitudes, own, scale),
        jnp.where(found.at_bound, int(Code.BOUNDARY), int(Code.CONVERGED)),
        2 * found.value, count, found.steps, jnp.ones(exponents.shape, bool), nothing + jnp.nan,
        nothing, found.value,
    )  # fmt: skip


def replaced(old: np.ndarray, places: np.ndarray, new: np.ndarray) -> np.ndarray:
    """A copy with other rows in some places: what the plain loop found where this did not."""
    changed = old.copy()
    changed[places] = new
    return changed
