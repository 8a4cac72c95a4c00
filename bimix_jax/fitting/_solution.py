"""The solution of one problem: searched from every start, differentiated at its end."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting._linear import basis_columns
from bimix_jax.fitting.problem import Problem
from bimix_jax.fitting.residual import (
    Points,
    Terms,
    full_terms,
    full_value,
    power_of,
    projected_terms,
)
from bimix_jax.fitting.search import (
    DEFAULT_OPTIMIZER,
    Evaluated,
    Minimum,
    default_optimizer,
    minimize,
)
from bimix_jax.xla import arrow
from bimix_jax.xla.arrow import Arrow, Layout
from bimix_jax.xla.mapping import over_leading_axis

AGREEMENT = 1e-6
"""Relative difference of objectives below which two ends count as one."""


class Data(NamedTuple):
    """Data of a `Problem`; every entry has a leading axis (targets,)."""

    points: Points
    fixed: Array
    """(targets, exponents) bool: True for exponents that keep the value of the start"""
    least: Array
    """(targets, exponents) lower bounds beside those of the law, −∞ for none"""
    centre: Array
    """(targets, exponents) centre of the shrinkage"""
    pull: Array
    """(targets, exponents) ≥ 0, strength of the shrinkage; infinite holds exponents at the
    centre"""
    gauges: Array
    """(targets,) int, number of directions that change no prediction"""
    starts: Array
    """(targets, starts, exponents) starts of the search"""
    tolerance: Array
    """(targets,) on the scaled gradient, the same for targets that are tied"""

    def pulled(self, strength: Array) -> "Data":
        """Multiply every pull by a strength."""
        return self._replace(pull=jnp.where(self.pull > 0, strength * self.pull, 0.0))


class Found(NamedTuple):
    """The solution of a `Problem`."""

    params: Array
    """(unknowns + targets·amplitudes,)"""
    values: Array
    """(targets,) ½ Σ w ρ² of each target"""
    objective: Array
    """() the minimised value: their sum and the shrinkage"""
    measure: Array
    steps: Array
    dead: Array
    """(unknowns,) bool: True where the residuals do not depend on it"""
    deficient: Array
    """() bool: the curvature has more undetermined directions than there are gauges"""
    singular: Array
    """(targets,) bool: amplitudes are not unique"""
    agreement: Array
    """() share of the starts that ended at the best objective"""


def by_problem(problem: Problem, function: Callable[..., Any]) -> Callable[..., Any]:
    """Apply a function of data with axis (targets,) to all together if tied, else one by one."""
    if problem.tied:
        return function

    def one_by_one(*data: Any) -> Any:
        alone = jax.tree.map(lambda leaf: leaf[:, None], data)
        return jax.tree.map(lambda leaf: leaf[:, 0], over_leading_axis(function)(*alone))

    return one_by_one


def settled(problem: Problem, data: Data) -> Data:
    """Fix exponents of infinite pull at the centre, and drop rows without a value there."""
    if not problem.shrunk:
        return data
    still = jnp.isinf(data.pull)
    starts = jnp.where(still[:, None], data.centre[:, None], data.starts)
    finite = jax.vmap(functools.partial(_finite_rows, problem))(data.points, starts[:, 0])
    # Seldom needed, and takes longer than a step.
    points = jax.lax.cond(
        jnp.all(finite), lambda points, _: points, jax.vmap(_harmless), data.points, finite
    )
    pull = jnp.where(still, 0.0, data.pull)
    return data._replace(points=points, fixed=data.fixed | still, pull=pull, starts=starts)


def _finite_rows(problem: Problem, points: Points, exponents: Array) -> Array:
    """bool, of points: the law has a value there."""
    columns = jnp.stack(basis_columns(problem.law, exponents, points.features, points.slots))
    return jnp.all(jnp.isfinite(columns), axis=0)


def _harmless(points: Points, finite: Array) -> Points:
    """Replace the points that are not finite by another one without weight."""
    features = points.features
    if points.slots > 1:
        # By one of the same mixture, as the first slot has the mixture of all others.
        features = jax.vmap(_replaced, in_axes=1, out_axes=1)(features, finite)
        features = jax.vmap(_replaced, in_axes=(0, None))(features, jnp.any(finite, axis=0))
    else:
        features = _replaced(features, finite)
    return points._replace(features=features, weight=jnp.where(finite, points.weight, 0.0))


def _replaced(arrays: Any, finite: Array) -> Any:
    """Arrays (n, …) with the first finite entry in place of those that are not, (n,) bool."""
    one = jnp.argmax(finite)

    def harmless(leaf: Array) -> Array:
        return jnp.where(finite.reshape(finite.shape + (1,) * (leaf.ndim - 1)), leaf, leaf[one])

    return jax.tree.map(harmless, arrays)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def solve(problem: Problem, data: Data) -> Found:
    """Find the best end over the starts."""
    starts = problem.start_unknowns(data.starts)
    if len(starts) == 1:
        return _search(problem, data, starts[0])
    ends = jax.vmap(lambda start: _search(problem, data, start))(starts)
    reached = jnp.where(jnp.isfinite(ends.objective), ends.objective, jnp.inf)
    best = jax.tree.map(lambda leaf: leaf[jnp.argmin(reached)], ends)
    return best._replace(agreement=_agreement(data, reached))


def _agreement(data: Data, reached: Array) -> Array:
    least = jnp.min(reached)
    slack = AGREEMENT * jnp.abs(least) + _rounding(data, reached.dtype)
    return jnp.mean(reached <= least + slack)


def _rounding(data: Data, dtype: Any) -> Array:
    return 16 * jnp.finfo(dtype).eps * jnp.sum(data.points.weight)


def _search(problem: Problem, data: Data, start: Array) -> Found:
    """Search from one start: exponents by projection, then all parameters if needed."""
    lower, upper = problem.unknown_bounds(data.least)
    held = problem.fixed_unknowns(data.fixed)
    lower, upper = jnp.where(held, start, lower), jnp.where(held, start, upper)
    first = _minimize(problem, data, _projected, start, (lower, upper))
    seen = first.evaluation.extra
    dead = seen.dead & ~held
    amplitudes = seen.each.projection.amplitudes.ravel()
    params = jnp.concatenate([first.params, amplitudes])
    singular = jnp.atleast_1d(seen.each.projection.singular)
    if not problem.needs_full:
        return _found(data, params, first, first.steps, dead, singular)
    least = problem.least_amplitudes(amplitudes.dtype)
    gone = jnp.repeat(singular, len(problem.law.amplitude_names)) & (amplitudes <= least)
    # An amplitude that may yet rise from 0 can wake the exponents of its column.
    asleep = dead & ~jnp.any((amplitudes <= least) & ~gone)
    low = jnp.concatenate([jnp.where(asleep, first.params, lower), least])
    high = jnp.concatenate([jnp.where(asleep, first.params, upper), jnp.where(gone, 0.0, jnp.inf)])
    second = _minimize(problem, data, _full, params, (low, high))
    dead &= asleep | second.evaluation.extra.dead[: len(dead)]
    return _found(data, second.params, second, first.steps + second.steps, dead, singular)


def _found(
    data: Data, params: Array, end: Minimum, steps: Array, dead: Array, singular: Array
) -> Found:
    now = end.evaluation
    # Only at the end: elimination takes a tenth of a step.
    small = arrow.pivots_of(now.hessian) <= now.extra.least_pivots
    return Found(
        params,
        jnp.atleast_1d(now.extra.each.value),
        now.value,
        now.measure,
        steps,
        dead,
        jnp.sum(small) > jnp.sum(data.gauges),
        singular,
        jnp.ones_like(now.value),
    )


class _Seen(NamedTuple):
    """Results of a point beside the objective."""

    each: Terms
    dead: Array
    least_pivots: Array
    """(parameters,) pivots of the curvature up to these count as 0"""


def _minimize(
    problem: Problem, data: Data, terms_at: Any, start: Array, bounds: tuple[Array, Array]
) -> Minimum:
    def objective(params: Array) -> Evaluated:
        return _within_bounds(problem, data, terms_at, params, bounds)

    optimizer: Any = problem.optimizer
    if problem.tied and optimizer is DEFAULT_OPTIMIZER:
        optimizer = default_optimizer(problem.layout_of(len(start)))
    return minimize(objective, start, bounds, optimizer, data.tolerance[0], problem.most_steps)


def _within_bounds(
    problem: Problem, data: Data, terms_at: Any, params: Array, bounds: tuple[Array, Array]
) -> Evaluated:
    """Evaluate the terms at parameters, as `bounded` does."""
    terms, each = terms_at(problem, data.points, params)
    return bounded(problem, data, terms, each, params, bounds)


def bounded(
    problem: Problem,
    data: Data,
    terms: Terms,
    each: Terms,
    params: Array,
    bounds: tuple[Array, Array],
) -> Evaluated:
    """Hold parameters at bounds and undetermined ones; measure the gradient of the others.

    The measure is max |g_i| / √(2·value·H_ii), the cosine between residual and slope; a gradient
    as small as rounding leaves it counts as 0.
    """
    lower, upper = bounds
    epsilon = jnp.finfo(params.dtype).eps
    dead = ~(arrow.diagonal(terms.hessian) > 1000 * epsilon * terms.curvature)
    total = _shrunk(problem, data, terms, each, params)
    # After the shrinkage: a coefficient that only the shrinkage determines is dead, but not held.
    diagonal = arrow.diagonal(total.hessian)
    outward = jnp.where(total.gradient > 0, params <= lower, params >= upper)
    held = ~(diagonal > 1000 * epsilon * terms.curvature) | outward
    gradient = jnp.where(held, 0.0, total.gradient)
    # Identity rows leave held parameters at rest.
    hessian = arrow.with_identity_rows(total.hessian, held)
    # Rounding of a sum of n terms grows as the root of n.
    noise = (16 + math.sqrt(data.points.loss.size)) * epsilon
    rounding = noise * jnp.sqrt(terms.curvature * terms.power)
    scale = jnp.sqrt(2 * total.value * jnp.where(held, 1.0, diagonal))
    scale += rounding / data.tolerance[0]
    measure = jnp.max(jnp.where(held, 0.0, jnp.abs(gradient) / scale), initial=0.0)
    least_pivots = 1000 * epsilon * jnp.where(held, 0.0, terms.curvature)
    if problem.optimizer is not DEFAULT_OPTIMIZER:
        hessian = arrow.dense(hessian)
    seen = _Seen(each, dead, least_pivots)
    # Residuals are off by the rounding of the losses, and the value is half their squares' sum.
    of_value = noise * jnp.sqrt(2 * total.value * terms.power)
    return Evaluated(total.value, gradient, hessian, measure, seen, of_value)


def _shrunk(problem: Problem, data: Data, terms: Terms, each: Terms, params: Array) -> Terms:
    """Add the shrinkage to the terms: half its pull times squared distance from its centre."""
    if not problem.shrunk:
        return terms
    count = problem.unknown_count
    distance = problem.exponents(params[:count]) - data.centre
    # In units of the sum of squares, so that a strength means the same for every target.
    pull = data.pull * jnp.atleast_1d(each.power)[:, None]
    slope, curvature = problem.collected(pull * distance), problem.collected(pull)
    rest = (0, len(params) - count)
    return terms._replace(
        value=terms.value + jnp.sum(pull * distance**2) / 2,
        gradient=terms.gradient + jnp.pad(slope, rest),
        hessian=arrow.plus_diagonal(terms.hessian, jnp.pad(curvature, rest)),
    )


def _projected(problem: Problem, points: Points, unknowns: Array) -> tuple[Terms, Terms]:
    """Terms in the unknowns: the sum over all targets, and those of each."""

    def of_target(points: Points, exponents: Array) -> Terms:
        start = problem.projected_residual
        return projected_terms(problem.law, points, start, exponents)

    if not problem.tied:
        terms = of_target(_only(points), unknowns)
        return terms, terms
    each = jax.vmap(of_target)(points, problem.exponents(unknowns))
    return _combined(each, problem.layout), each


def _full(problem: Problem, points: Points, params: Array) -> tuple[Terms, Terms]:
    """Terms in the unknowns and the amplitudes: the sum over all targets, and those of each."""

    def of_target(points: Points, params: Array) -> Terms:
        return full_terms(problem.law, points, problem.residual, problem.huber, params)

    if not problem.tied:
        terms = of_target(_only(points), params)
        return terms, terms
    each = jax.vmap(of_target)(points, jnp.column_stack(problem.unpack(params)))
    return _combined(each, problem.full_layout), each


def _only(points: Points) -> Points:
    return jax.tree.map(lambda leaf: leaf[0], points)


def full_bounds(problem: Problem, data: Data, params: Array) -> tuple[Array, Array]:
    """Bounds (unknowns + amplitudes,), between which fixed exponents stay where they are."""
    lower, upper = problem.unknown_bounds(data.least)
    held, unknowns = problem.fixed_unknowns(data.fixed), params[: len(lower)]
    lower, upper = jnp.where(held, unknowns, lower), jnp.where(held, unknowns, upper)
    least = problem.least_amplitudes(params.dtype)
    return jnp.concatenate([lower, least]), jnp.pad(upper, (0, len(least)), constant_values=jnp.inf)


def of_all_targets(problem: Problem, each: Terms) -> tuple[Terms, Terms]:
    """Terms in all parameters from those of each target (targets, …), and those of each."""
    if problem.tied:
        return _combined(each, problem.full_layout), each
    alone = jax.tree.map(lambda leaf: leaf[0], each)
    return alone, alone


def _combined(each: Terms, layout: Layout) -> Terms:
    """Sum the terms of all targets in the unknowns they share."""
    return Terms(
        value=jnp.sum(each.value),
        gradient=layout.summed(each.gradient),
        hessian=Arrow.summed(each.hessian, layout),
        curvature=layout.summed(each.curvature),
        power=jnp.sum(each.power),
        projection=each.projection,
    )


@solve.defjvp
def _implicit_derivative(problem: Problem, primals: tuple, tangents: tuple) -> tuple[Found, Found]:
    """Differentiate by the implicit function theorem: one Newton step on the free parameters."""
    (data,) = primals
    found = solve(problem, data)
    held = _held(problem, found, data)

    def gradient_at(moved: Data) -> Array:
        return jax.grad(lambda x: _objective(problem, moved, x))(found.params)

    hessian = jax.hessian(lambda x: _objective(problem, data, x))(found.params)
    mixed = jax.jvp(gradient_at, (data,), (tangents[0],))[1]
    # ∇f(x(d), d) = 0 along the solution, so H·dx = −(∂∇f/∂d)·dd on the free parameters.
    change = -_masked_solve(hessian, mixed, held)
    values = jax.jvp(lambda moved: _values(problem, moved, found.params), (data,), (tangents[0],))
    still = jax.tree.map(_zero_tangent, found)
    return found, still._replace(params=change, values=values[1])


def _objective(problem: Problem, data: Data, params: Array) -> Array:
    value = jnp.sum(_values(problem, data, params))
    if not problem.shrunk:
        return value
    distance = problem.exponents(params[: problem.unknown_count]) - data.centre
    power = jax.vmap(lambda points: power_of(points, problem.residual))(data.points)
    return value + jnp.sum(power[:, None] * data.pull * distance**2) / 2


def _values(problem: Problem, data: Data, params: Array) -> Array:
    each = jnp.column_stack(problem.unpack(params))
    return jax.vmap(lambda p, x: full_value(problem.law, p, problem.residual, problem.huber, x))(
        data.points, each
    )


def _held(problem: Problem, found: Found, data: Data) -> Array:
    """(unknowns + amplitudes,) bool: fixed, at a bound, or not determined by the data."""
    lower, upper = problem.unknown_bounds(data.least)
    unknowns = found.params[: len(lower)]
    amplitudes = found.params[len(lower) :]
    at_bound = (unknowns <= lower) | (unknowns >= upper)
    held = problem.fixed_unknowns(data.fixed) | found.dead | at_bound
    return jnp.concatenate([held, amplitudes <= problem.least_amplitudes(amplitudes.dtype)])


def _masked_solve(hessian: Array, right: Array, held: Array) -> Array:
    """Solve on the free parameters, scaled to a unit diagonal; 0 on the held ones.

    The pseudo-inverse leaves a free gauge where it is.
    """
    identity = jnp.eye(len(held), dtype=hessian.dtype)
    free = jnp.where(held[:, None] | held, identity, hessian)
    # A unit diagonal makes the cut-off of the pseudo-inverse independent of units.
    scale = 1 / jnp.sqrt(jnp.abs(jnp.diag(free)))
    inverse = jnp.linalg.pinv(free * scale[:, None] * scale, hermitian=True)
    solution = inverse @ (jnp.where(held, 0.0, right) * scale)
    return jnp.where(held, 0.0, solution * scale)


def _zero_tangent(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)
