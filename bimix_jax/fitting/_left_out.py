"""Fits without each of several folds, which begin at the fit to all of them.

A fit without a fold minimises the same sum, less the terms of that fold. Its curvature at the fit
to all is the difference of two matrices, and that of all folds together takes as long as one step
of a search. With it as it is, each fit takes a few damped Gauss-Newton steps with new slopes only,
each accepted where the sum falls, until the slope is as small as in any other search. A fold that
does not get there, because it changes the fit too much, has to be searched anew.

Source: Giordano et al., "A Swiss Army Infinitesimal Jackknife" (2019), whose one step it goes on
from.
"""

from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting._projection import Projection
from bimix_jax.fitting._solution import (
    Data,
    bounded,
    by_problem,
    full_bounds,
    of_all_targets,
    settled,
)
from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.fitting.measured import Measured, of_points
from bimix_jax.fitting.problem import Asked, Problem, Settings
from bimix_jax.fitting.residual import Points, Terms, full_columns, scale_of
from bimix_jax.fitting.search import DEFAULT_OPTIMIZER, Evaluated, default_optimizer, minimize
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import full_precision
from bimix_jax.xla.small_systems import rows_of

STEPS = 10
"""Largest number of evaluations. Of 39 domains and 240 runs no fold needs more, of 5 and 7 domains
some do."""


class End(NamedTuple):
    """The end of a fit to all folds, of all targets."""

    exponents: Any
    """(targets, exponents)"""
    amplitudes: Any
    """(targets, amplitudes)"""
    shrinkage: Any
    """(targets,) strength, the same for all"""


@full_precision
def predict_left_out(
    law: Law, measured: Measured, end: End, places: Array, **settings: Unpack[Asked]
) -> Array:
    """Predict each fold by the fit without it.

    Args:
        law: what was fitted.
        measured: all points, with a budget scale.
        end: of the fit to them.
        places: (folds, most) int, the points of each fold; numbers beyond the last point for none.
        settings: of the search, with the tolerance.

    Returns:
        Losses (folds, most, targets), nan of fits that did not converge.
    """
    bound = measured.bound(law, Settings(**settings), end.exponents[:, None])
    problem, data = bound.problem, bound.data.pulled(end.shrinkage[0])

    def of_problem(data: Data, exponents: Array, amplitudes: Array) -> tuple[Array, Array]:
        unknowns = problem.start_unknowns(exponents[:, None])[0]
        params = jnp.concatenate([unknowns, amplitudes.ravel()])
        found, converged = without_folds(problem, data, params, places)
        each = jnp.where(converged[:, None], found, jnp.nan)
        exponents, amplitudes = jax.vmap(problem.unpack, out_axes=1)(each)
        return exponents, amplitudes

    # Both (targets, folds, …).
    found = by_problem(problem, of_problem)(settled(problem, data), end.exponents, end.amplitudes)

    def predicted(place: Array, exponents: Array, amplitudes: Array) -> Array:
        scales = jnp.broadcast_to(bound.scale, exponents.shape[:1])
        rows: Any = [None if x is None else x[place] for x in points]
        return predict_losses(law, Coefficients(exponents, amplitudes, bound.own, scales), *rows)

    budget, size = jnp.asarray(measured.budget), measured.size
    mixture = of_points(measured.mixture, len(budget))
    points = mixture, budget, None if size is None else jnp.asarray(size)
    return jax.vmap(predicted, in_axes=(0, 1, 1))(places, *found)


class _Sums(NamedTuple):
    """Sums over points, each (targets, …)."""

    products: Array
    """(targets, parameters + 1, parameters + 1) of the derivatives and the residual"""
    value: Array
    power: Array

    @classmethod
    def of(cls, rows: Array, each: Array) -> "_Sums":
        """Sum rows (targets, parameters + 1, points) and values and powers (targets, 2, points)."""
        return cls(jnp.einsum("tkp,tlp->tkl", rows, rows), *jnp.moveaxis(each.sum(axis=2), 1, 0))


def without_folds(
    problem: Problem, data: Data, params: Array, places: Array
) -> tuple[Array, Array]:
    """Fit without each fold.

    Args:
        problem: what was fitted.
        data: of all folds, with the pull and the tolerance of the fits without a fold.
        params: (unknowns + amplitudes,) of the fit to all folds.
        places: (folds, most) int, the points of each fold; numbers beyond the last point for none.

    Returns:
        Parameters (folds, unknowns + amplitudes), and whether they converged, (folds,) bool.
    """
    bounds = full_bounds(problem, data, params)
    rows, each = _rows_of(problem, data.points, params)
    whole = _Sums.of(rows, each)
    optimizer = default_optimizer(problem.full_layout) if problem.tied else DEFAULT_OPTIMIZER

    def without(place: Array) -> tuple[Array, Array]:
        inside = [leaf.at[:, :, place].get(mode="fill", fill_value=0.0) for leaf in (rows, each)]
        known = jax.tree.map(lambda x, y: x - y, whole, _Sums.of(*inside))
        curvature = known.products[:, :-1, :-1]
        weight = _without_places(data.points.weight, place)
        rest = data._replace(points=data.points._replace(weight=weight))

        def evaluated(x: Array, slope: Array, value: Array, power: Array) -> Evaluated:
            terms = _terms(problem, x, curvature, slope, value, power)
            return bounded(problem, rest, *of_all_targets(problem, terms), x, bounds)

        def objective(x: Array) -> Evaluated:
            rows, each = _rows_of(problem, rest.points, x)
            slope = jnp.einsum("tkp,tp->tk", rows[:, :-1], rows[:, -1])
            return evaluated(x, slope, *jnp.moveaxis(each.sum(axis=2), 1, 0))

        begin = evaluated(params, known.products[:, :-1, -1], known.value, known.power)
        end = minimize(objective, params, bounds, optimizer, data.tolerance[0], STEPS, begin)
        return end.params, end.evaluation.measure <= data.tolerance[0]

    return jax.lax.map(without, places)


def _without_places(weight: Array, place: Array) -> Array:
    """Weights (targets, …) of points, 0 at some of them, by their numbers."""
    flat = weight.reshape(len(weight), -1)
    return flat.at[:, place].set(0.0, mode="drop").reshape(weight.shape)


def _rows_of(problem: Problem, points: Points, params: Array) -> tuple[Array, Array]:
    """Derivatives and residuals (targets, parameters + 1, points), and value and power of each
    point (targets, 2, points)."""
    law, residual, huber = problem.law, problem.residual, problem.huber

    def of_target(points: Points, x: Array) -> tuple[Array, Array]:
        columns, penalties = full_columns(law, points, residual, huber, x)
        power = points.weight * (points.loss / scale_of(residual, points.loss)) ** 2
        return rows_of(columns), rows_of([penalties, power])

    return jax.vmap(of_target)(points, jnp.column_stack(problem.unpack(params)))


def _terms(
    problem: Problem, params: Array, curvature: Array, slope: Array, value: Array, power: Array
) -> Terms:
    """Terms of each target (targets, …)."""
    amplitudes = problem.unpack(params)[1]
    all_free = Projection(amplitudes, jnp.ones(amplitudes.shape, bool), power < 0)
    return Terms(value, slope, curvature, jax.vmap(jnp.diag)(curvature), power, all_free)
