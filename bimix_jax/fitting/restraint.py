"""How strongly exponents are drawn to the simpler law: chosen by leaving runs out."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting.optimizers import DEFAULT_OPTIMIZER
from bimix_jax.fitting.problem import Problem
from bimix_jax.fitting.residual import predict
from bimix_jax.fitting.solution import Data, by_problem, solve

STRENGTHS = (jnp.inf, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""From the simpler law itself to what is no restraint at all."""
TOLERANCE, MAX_STEPS = 1e-3, 50
"""Of the fits that only choose a strength, whose error matters to a few per cent."""


def choose_strength(problem: Problem, data: Data, fold: Array, folds: int) -> Array:
    """() the strength with the least error on runs left out, one for all targets.

    Args:
        problem: what is fitted.
        data: of all targets; its pull is that of strength 1. The most restrained fit begins at its
            first start, each other one at the end of the one before.
        fold: (points,) int in 0 … folds − 1; the points of a run share one.
        folds: how many there are.

    The strongest restraint stays unless another one gains more than one standard error over the
    folds, so that a few runs cannot talk a fit into coefficients they do not determine.
    """
    quick = dataclasses.replace(
        problem, optimizer=DEFAULT_OPTIMIZER, tolerance=TOLERANCE, max_steps=MAX_STEPS
    )

    def of_problem(part: Data) -> Array:
        return _errors_along_path(quick, part, fold, folds)

    errors = jnp.nanmean(by_problem(problem, of_problem)(data), axis=0)
    return jnp.asarray(STRENGTHS, data.starts.dtype)[strength_index(errors)]


def strength_index(errors: Array) -> Array:
    """() int into the strengths, of errors (strengths, folds), nan where a fold held nothing."""
    mean = jnp.nanmean(errors, axis=1)
    best = jnp.argmin(jnp.where(jnp.isfinite(mean), mean, jnp.inf))
    gain = errors[0] - errors[best]
    count = jnp.sum(jnp.isfinite(gain))
    standard_error = jnp.nanstd(gain, ddof=1) / jnp.sqrt(count)
    return jnp.where(jnp.nanmean(gain) > standard_error, best, 0)


def _errors_along_path(problem: Problem, data: Data, fold: Array, folds: int) -> Array:
    """(targets, strengths, folds) mean relative error on each fold of fits without it."""

    def leave_out(number: Array, begin: Array, drawn: Data) -> tuple[Array, Array]:
        inside = fold == number
        weight = jnp.where(inside, 0.0, data.points.weight)
        points = data.points._replace(weight=weight)
        params = solve(problem, drawn._replace(points=points, starts=begin)).params
        end = problem.unpack(params)[0][:, None]
        # The simpler law may have no value where this one has, so nothing starts at its end.
        end = jnp.where(jnp.any(jnp.isinf(drawn.pull)), begin, end)
        return end, _error_inside(problem, data, params, inside)

    def next_strength(begin: Array, strength: Array) -> tuple[Array, Array]:
        drawn = data.pulled(strength)
        return jax.vmap(leave_out, in_axes=(0, 0, None))(jnp.arange(folds), begin, drawn)

    start = data.starts[:, :1]
    begin = jnp.broadcast_to(start, (folds, *start.shape))
    strengths = jnp.asarray(STRENGTHS, start.dtype)
    return jnp.moveaxis(jax.lax.scan(next_strength, begin, strengths)[1], 2, 0)


def _error_inside(problem: Problem, data: Data, params: Array, inside: Array) -> Array:
    """(targets,) mean |ŷ/y − 1| over the points of a fold, nan without any; a wild ŷ counts 1."""
    points = data.points
    exponents, amplitudes = problem.unpack(params)
    loss = jax.vmap(predict, in_axes=(None, 0, 0, 0))(
        problem.law, exponents, amplitudes, points.features
    )
    error = jnp.nan_to_num(jnp.abs(loss / points.loss - 1), nan=1.0, posinf=1.0)
    counted = inside & (points.weight > 0)
    total = jnp.sum(jnp.where(counted, jnp.minimum(error, 1.0), 0.0), axis=1)
    count = jnp.sum(counted, axis=1)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)
