"""The strength of the shrinkage to the simpler law, chosen by cross-validation."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting._solution import Data, by_problem, settled, solve
from bimix_jax.fitting.problem import Problem
from bimix_jax.fitting.residual import Points, predict
from bimix_jax.fitting.search import DEFAULT_OPTIMIZER
from bimix_jax.laws.law import Law

STRENGTHS = (jnp.inf, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
"""Strengths from the simpler law itself (inf) down to practically no shrinkage."""
STRONGEST = STRENGTHS[1]
"""Largest strength that leaves exponents free; it replaces inf where losses refute that law."""
TOLERANCE, ALONE = 1e-3, 1e-4
"""Tolerances of fits that only choose a strength, by several folds and by a single one: its error,
which no other averages, was off by up to a tenth at 1e-3, more than strengths differ."""
NOTHING = 1e-6
"""Gain of a mean relative error up to which the simpler law stays: it may be rounding in float32,
and no measured loss is that exact."""


@functools.lru_cache(maxsize=256)
def has_shrinkage(law: Law, domains: int) -> bool:
    """True for a law whose further coefficients can shrink to a simpler law."""
    # Only its structure, so that nothing is computed.
    return jax.eval_shape(law.shrinkage, jax.ShapeDtypeStruct((domains,), jnp.float32)) is not None


def choose_strength(problem: Problem, data: Data, fold: Array, folds: int, refuted: Array) -> Array:
    """() strength with the least error on the folds left out, one for all targets.

    Args:
        problem: what is fitted.
        data: of all targets; its pull is that of strength 1. The most shrunk fits, to all folds
            and without each, begin at its first start, each other one at its own end before.
        fold: (points,) int in 0 … folds − 1, or −1 for points that are never left out.
        folds: how many there are.
        refuted: () bool, whether some loss refutes the simpler law, see `Law.refutes_centre`; then
            it is none of the strengths.

    Among the finite strengths it is the largest whose error is within one standard error (over the
    folds) of the least; and the simpler law stays unless that strength gains more than a standard
    error where both have a value. So a few runs cannot move a fit to coefficients that they do not
    identify. A single fold has no standard error; there the least error decides.
    """
    quick = dataclasses.replace(problem, optimizer=DEFAULT_OPTIMIZER, max_steps=None)
    tolerance = TOLERANCE if folds > 1 else ALONE
    data = data._replace(tolerance=jnp.full_like(data.tolerance, tolerance))

    def of_problem(part: Data) -> tuple[Array, Array]:
        return _errors_along_path(quick, part, fold, folds)

    each = by_problem(problem, of_problem)(data)
    everywhere, shared = (jnp.nanmean(errors, axis=0) for errors in each)
    return jnp.asarray(STRENGTHS, data.starts.dtype)[strength_index(everywhere, shared, refuted)]


def strength_index(everywhere: Any, shared: Any, refuted: Any = False) -> Any:
    """() int index into the strengths, from errors (strengths, folds), nan for empty folds.

    All are arrays of JAX, or of NumPy.

    The first strength is that of the simpler law; `shared` are the errors where it has a value.
    Where the simpler law is `refuted` () bool, it is not chosen.
    """
    xp = everywhere.__array_namespace__()
    # Without the simpler law, which is compared below on the points where it has a value.
    mean = mean_where(everywhere[1:], xp.isfinite(everywhere[1:]), 1)
    best = 1 + xp.argmin(xp.where(xp.isfinite(mean), mean, xp.inf))
    loss, spread = _mean_and_standard_error(everywhere - everywhere[best])
    # `argmax` of bools finds the first True; strengths fall, so it is the largest strength.
    strongest = 1 + xp.argmax((loss <= spread)[1:])
    gain, spread = _mean_and_standard_error((shared[0] - shared[strongest])[None])
    return xp.where((gain[0] > xp.maximum(spread[0], NOTHING)) | refuted, strongest, 0)


def _mean_and_standard_error(values: Any) -> tuple[Any, Any]:
    """Means and standard errors (rows,) of the finite ones of values (rows, folds)."""
    xp = values.__array_namespace__()
    if values.shape[1] == 1:
        return values[:, 0], xp.zeros_like(values[:, 0])
    finite = xp.isfinite(values)
    count, mean = finite.sum(axis=1), mean_where(values, finite, 1)
    square = xp.where(finite, (values - mean[:, None]) ** 2, 0.0).sum(axis=1)
    freedom = xp.where(count > 1, count - 1, xp.nan)
    return mean, xp.sqrt(square / freedom / xp.maximum(count, 1))


def _errors_along_path(
    problem: Problem, data: Data, fold: Array, folds: int
) -> tuple[Array, Array]:
    """Mean relative errors (targets, strengths, folds) on each fold of fits without it.

    The first result is of all points, the second of those where the simplest law, that of the first
    strength, has a value.
    """
    simplest = settled(problem, data.pulled(jnp.asarray(STRENGTHS[0])))
    valued = simplest.points.weight > 0
    fold = fold.reshape(valued.shape[1:])

    def leave_out(number: Array, begin: Array, drawn: Data) -> tuple[Array, Array, Array]:
        inside = fold == number
        known = settled(problem, drawn._replace(starts=begin))
        weight = jnp.where(inside, 0.0, known.points.weight)
        params = solve(problem, known._replace(points=known.points._replace(weight=weight))).params
        errors = _errors(problem, data, params)
        counted = inside & (data.points.weight > 0)
        end = problem.unpack(params)[0][:, None]
        axes = tuple(range(1, errors.ndim))
        return end, mean_where(errors, counted, axes), mean_where(errors, counted & valued, axes)

    def next_strength(begin: Array, strength: Array) -> tuple[Array, tuple[Array, Array]]:
        drawn = data.pulled(strength)
        # Never at the end of a fit that saw the fold: of more coefficients than the other runs
        # determine, a fit would stay there, and its errors would be those of a fit to the fold.
        each = jax.vmap(leave_out, in_axes=(0, 0, None))
        end, everywhere, shared = each(jnp.arange(folds), begin, drawn)
        # The simplest law may have no value where another one has, so nothing starts at its end.
        return jnp.where(jnp.isinf(strength), begin, end), (everywhere, shared)

    start = data.starts[:, :1]
    begin = jnp.broadcast_to(start, (folds, *start.shape))
    strengths = jnp.asarray(STRENGTHS, start.dtype)
    everywhere, shared = jax.lax.scan(next_strength, begin, strengths)[1]
    return jnp.moveaxis(everywhere, 2, 0), jnp.moveaxis(shared, 2, 0)


def _errors(problem: Problem, data: Data, params: Array) -> Array:
    """Relative errors (targets, …) of points."""

    def of_target(exponents: Array, amplitudes: Array, points: Points) -> Array:
        predicted = predict(problem.law, exponents, amplitudes, points.features, points.slots)
        return relative_errors(predicted, points.loss)

    return jax.vmap(of_target)(*problem.unpack(params), data.points)


def relative_errors(predicted: Any, measured: Any) -> Any:
    """|ŷ/y − 1|, clipped to 1; 1 where the law has no value. Arrays of JAX, or of NumPy."""
    xp = predicted.__array_namespace__()
    # Capped at 1, so that one wild extrapolation does not decide the mean of a fold.
    error = xp.nan_to_num(xp.abs(predicted / measured - 1), nan=1.0, posinf=1.0)
    return xp.minimum(error, 1.0)


def mean_where(errors: Any, counted: Any, axis: int | tuple[int, ...]) -> Any:
    """Mean along axes of the counted entries, nan without any. Arrays of JAX, or of NumPy."""
    xp = errors.__array_namespace__()
    total, count = xp.where(counted, errors, 0.0).sum(axis=axis), counted.sum(axis=axis)
    return xp.where(count > 0, total / xp.maximum(count, 1), xp.nan)
