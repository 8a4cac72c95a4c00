"""The solution of one problem: searched from every start, differentiated where it ends."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.problem import Problem
from bimix_jax.fitting.residual import (
    Points,
    Residual,
    Terms,
    full_terms,
    full_value,
    projected_terms,
)
from bimix_jax.fitting.solve import Evaluation, Minimum, minimize


class Found(NamedTuple):
    """The solution of a `Problem`."""

    params: Array
    """(unknowns + targets·amplitudes,)"""
    values: Array
    """(targets,) objective of each target"""
    measure: Array
    steps: Array
    dead: Array
    """(unknowns,) bool: the objective does not depend on it"""
    singular: Array
    """(targets,) bool: amplitudes are not unique"""


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def solve(problem: Problem, points: Points, starts: Array, fixed: Array) -> Found:
    """The best end over starts (starts, exponents), of points with a leading axis (targets,).

    What is `fixed` (targets, exponents) stays where a start puts it.
    """
    unknowns, held = problem.start_unknowns(starts), problem.fixed_unknowns(fixed)
    ends = jax.vmap(lambda start: _search(problem, points, start, held))(unknowns)
    total = jnp.sum(ends.values, axis=1)
    best = jnp.argmin(jnp.where(jnp.isfinite(total), total, jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], ends)


def _search(problem: Problem, points: Points, start: Array, fixed: Array) -> Found:
    """From one start: the exponents by projection, then all together where that is needed."""
    lower, upper = problem.unknown_bounds(start.dtype)
    lower, upper = jnp.where(fixed, start, lower), jnp.where(fixed, start, upper)
    first = _minimize(problem, lambda x: _projected(problem, points, x), start, lower, upper)
    terms, dead = first.evaluation.extra
    dead &= ~fixed
    amplitudes = terms.projection.amplitudes.ravel()
    params = jnp.concatenate([first.params, amplitudes])
    steps, singular = first.steps, jnp.atleast_1d(terms.projection.singular)
    if not problem.needs_full:
        values, measure = jnp.atleast_1d(terms.value), first.evaluation.measure
        return Found(params, values, measure, steps, dead, singular)
    held = jnp.repeat(singular, len(problem.law.amplitude_names)) & (amplitudes <= 0)
    low = jnp.concatenate([jnp.where(dead, first.params, lower), jnp.zeros_like(amplitudes)])
    high = jnp.concatenate([jnp.where(dead, first.params, upper), jnp.where(held, 0.0, jnp.inf)])
    second = _minimize(problem, lambda x: _full(problem, points, x), params, low, high)
    values = jnp.atleast_1d(second.evaluation.extra[0].value)
    measure = second.evaluation.measure
    return Found(second.params, values, measure, steps + second.steps, dead, singular)


def _minimize(problem: Problem, terms_at: Any, start: Array, lower: Array, upper: Array) -> Minimum:
    tolerance, max_steps = problem.limits(start.dtype)

    def objective(params: Array) -> Evaluation:
        total, each = terms_at(params)
        return _within_bounds(total, each, params, lower, upper, tolerance)

    return minimize(objective, start, lower, upper, problem.optimizer, tolerance, max_steps)


def _within_bounds(
    total: Terms, each: Terms, params: Array, lower: Array, upper: Array, tolerance: float
) -> Evaluation:
    """Hold what bounds hold and what the data do not determine; measure the rest.

    The measure is max |g_i| / √(2·value·H_ii), the cosine between residual and slope; a gradient
    as small as rounding leaves it counts as 0.
    """
    epsilon = jnp.finfo(params.dtype).eps
    diagonal = jnp.diag(total.hessian)
    dead = ~(diagonal > 1000 * epsilon * total.curvature)
    outward = jnp.where(total.gradient > 0, params <= lower, params >= upper)
    held = dead | outward
    gradient = jnp.where(held, 0.0, total.gradient)
    identity = jnp.eye(len(params), dtype=params.dtype)
    hessian = jnp.where(held[:, None] | held, identity, total.hessian)
    rounding = 16 * epsilon * jnp.sqrt(total.curvature * total.power)
    scale = jnp.sqrt(2 * total.value * jnp.where(held, 1.0, diagonal)) + rounding / tolerance
    measure = jnp.max(jnp.where(held, 0.0, jnp.abs(gradient) / scale), initial=0.0)
    return Evaluation(total.value, gradient, hessian, measure, (each, dead))


def _projected(problem: Problem, points: Points, unknowns: Array) -> tuple[Terms, Terms]:
    """Terms in the unknowns, over all targets and of each."""
    law, residual = problem.law, problem.residual
    start: Residual = "relative" if residual == "log" else residual
    if not problem.tied:
        terms = projected_terms(law, _only(points), start, unknowns)
        return terms, terms
    each = jax.vmap(lambda p, x: projected_terms(law, p, start, x))(
        points, problem.exponents(unknowns)
    )
    return _combined(each, jnp.asarray(problem.ties(), unknowns.dtype)), each


def _full(problem: Problem, points: Points, params: Array) -> tuple[Terms, Terms]:
    """Terms in the unknowns and the amplitudes, over all targets and of each."""
    law, residual, huber = problem.law, problem.residual, problem.huber
    if not problem.tied:
        terms = full_terms(law, _only(points), residual, huber, params)
        return terms, terms
    each = jax.vmap(lambda p, x: full_terms(law, p, residual, huber, x))(
        points, jnp.column_stack(problem.unpack(params))
    )
    return _combined(each, jnp.asarray(problem.full_ties(), params.dtype)), each


def _only(points: Points) -> Points:
    return jax.tree.map(lambda leaf: leaf[0], points)


def _combined(each: Terms, ties: Array) -> Terms:
    """Terms of all targets in the unknowns they share."""
    return Terms(
        value=jnp.sum(each.value),
        gradient=jnp.einsum("tpu,tp->u", ties, each.gradient),
        hessian=jnp.einsum("tpu,tpq,tqv->uv", ties, each.hessian, ties),
        curvature=jnp.einsum("tpu,tp->u", ties, each.curvature),
        power=jnp.sum(each.power),
        projection=each.projection,
    )


@solve.defjvp
def _implicit_derivative(problem: Problem, primals: tuple, tangents: tuple) -> tuple[Found, Found]:
    """Implicit function theorem: one Newton step with the full Hessian on the free parameters."""
    points, starts, fixed = primals
    found = solve(problem, points, starts, fixed)
    held = _held(problem, found, fixed)

    def gradient_at(data: Points) -> Array:
        return jax.grad(lambda x: jnp.sum(_values(problem, data, x)))(found.params)

    hessian = jax.hessian(lambda x: jnp.sum(_values(problem, points, x)))(found.params)
    mixed = jax.jvp(gradient_at, (points,), (tangents[0],))[1]
    change = -_masked_solve(hessian, mixed, held)
    values = jax.jvp(lambda data: _values(problem, data, found.params), (points,), (tangents[0],))
    still = jax.tree.map(_zero_tangent, found)
    return found, still._replace(params=change, values=values[1])


def _values(problem: Problem, points: Points, params: Array) -> Array:
    each = jnp.column_stack(problem.unpack(params))
    return jax.vmap(lambda p, x: full_value(problem.law, p, problem.residual, problem.huber, x))(
        points, each
    )


def _held(problem: Problem, found: Found, fixed: Array) -> Array:
    """(unknowns + amplitudes,) bool: fixed, at a bound, or not determined by the data."""
    lower, upper = problem.unknown_bounds(found.params.dtype)
    unknowns = found.params[: len(lower)]
    amplitudes = found.params[len(lower) :]
    at_bound = (unknowns <= lower) | (unknowns >= upper)
    held = problem.fixed_unknowns(fixed) | found.dead | at_bound
    return jnp.concatenate([held, amplitudes <= 0])


def _masked_solve(hessian: Array, right: Array, held: Array) -> Array:
    """Solve on the free parameters, scaled to a unit diagonal; 0 on the held ones.

    By the pseudo-inverse, which leaves a free gauge where it is.
    """
    identity = jnp.eye(len(held), dtype=hessian.dtype)
    free = jnp.where(held[:, None] | held, identity, hessian)
    scale = 1 / jnp.sqrt(jnp.abs(jnp.diag(free)))
    inverse = jnp.linalg.pinv(free * scale[:, None] * scale, hermitian=True)
    solution = inverse @ (jnp.where(held, 0.0, right) * scale)
    return jnp.where(held, 0.0, solution * scale)


def _zero_tangent(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)
