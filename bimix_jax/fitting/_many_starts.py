"""Searches from many starts: all but the most promising are dropped on the way.

A law with starts per domain, as `AdditiveLaw`, has 2m + 2 of them for m domains, of which one in
five to one in fifty reaches the best end. The value at a start, and the value after some steps,
tell most of the others apart. The ends that are left get the steps that this saves: those of such
laws are often slow, and stopped short of their optimum.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting._solution import Data, by_problem, settled
from bimix_jax.fitting.again import chosen
from bimix_jax.fitting.coefficients import Code
from bimix_jax.fitting.measured import Measured
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.problem import Problem, Settings
from bimix_jax.fitting.residual import Points, power_of, projected_value
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import OnceCompiled, jit
from bimix_jax.xla.mapping import over_leading_axis, over_rows

SCREENS = ((1.0, 8), (3e-2, 4))
"""Tolerances to which the remaining starts are searched, and how many of them go on: after one
step, as the scaled gradient is a cosine, and after about 20. Of 168 fits of the additive law to
parts of real sweeps, with 12 and 16 starts, all ended as low as from all starts, and 9 lower; of 48
fits to synthetic sweeps of 12 to 39 domains, 90 % did, and 58 % lower, while the others had at most
1.4 % more of the sum of squares."""
MANY, OF_MANY = 32, ((1.0, 6), (1e-1, 3))
"""Number of starts above which fewer go on: with 50 and 80, the screens above take 1.6 times the
steps for ends that are as low, or 2 % lower in the mean."""


def screens_of(starts: int) -> tuple[tuple[float, int], ...]:
    """Tolerances and numbers of the screens of so many starts."""
    return OF_MANY if starts > MANY else SCREENS


def promising(
    search: Callable[[np.ndarray, float], Any],
    starts: np.ndarray,
    values: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Select and advance the starts with the lowest objectives.

    Args:
        search: ends of starts (starts, fits, targets, exponents) to a tolerance, an `ArrayFit` with
            leading axes (starts, fits, targets).
        starts: (starts, fits, targets, exponents).
        values: objectives (starts, fits, targets) at starts, where that takes less time than a
            step of the search, which is the first screen.

    Returns:
        At most as many starts of every fit and target as the last screen leaves; the same array if
        there are few.
    """
    screens = screens_of(len(starts))
    if values is not None and len(starts) > screens[0][1]:
        starts, screens = _best(starts, values(starts), screens[0][1]), screens[1:]
    for tolerance, kept in screens:
        if len(starts) > kept:
            ends = search(starts, tolerance)
            starts = _best(ends.coefficients.exponents, reached(ends), kept)
    return starts


def _best(starts: np.ndarray, objectives: np.ndarray, kept: int) -> np.ndarray:
    """Select starts (starts, fits, targets, exponents) by objectives (starts, fits, targets)."""
    best = np.argsort(objectives, axis=0, kind="stable")[:kept, ..., None]
    return np.take_along_axis(starts, best, axis=0)


@functools.lru_cache(maxsize=64)
def program_of_values(law: Law, options: FitOptions, side_by_side: bool) -> OnceCompiled:
    """Objectives of a law at starts, compiled once for each number of points and domains."""

    def run(
        measured: dict[str, Any], scale: Array, tolerance: Array, rows: Any, used: Array
    ) -> Array:
        @jax.jit
        def one(row: Any) -> Array:
            points = Measured(
                **measured, loss=row.loss, weight=row.weight, own=row.own, budget_scale=scale
            )
            asked: Any = options.settings | {"tolerance": tolerance}
            problem, data, *_ = points.bound(law, Settings(**asked), row.starts)
            shrunk = settled(problem, data.pulled(row.strength))
            return by_problem(problem, functools.partial(start_values, problem))(shrunk)

        return over_rows(one, rows, used, side_by_side)

    return OnceCompiled(jit(run, made_of=(law, options, side_by_side)))


def start_values(problem: Problem, data: Data) -> Array:
    """(targets, starts) objective of `solve` at each start, ∞ where there is none.

    Tied targets have one objective. Residuals that are not linear in the amplitudes count as in
    the first part of a search.
    """

    def of_target(points: Points, exponents: Array) -> Array:
        residual = problem.projected_residual
        return projected_value(problem.law, points, residual, exponents)

    power = jax.vmap(functools.partial(power_of, residual=problem.projected_residual))(data.points)

    def value(unknowns: Array) -> Array:
        exponents = problem.exponents(unknowns)
        shrinkage = jnp.sum(data.pull * power[:, None] * (exponents - data.centre) ** 2) / 2
        return jnp.sum(over_leading_axis(of_target)(data.points, exponents)) + shrinkage

    # One after another, so that their columns fit into the cache.
    values = jax.lax.map(value, problem.start_unknowns(data.starts))
    found = jnp.where(jnp.isfinite(values), values, jnp.inf)
    return jnp.broadcast_to(found, (problem.targets, len(found)))


def reached(ends: Any) -> np.ndarray:
    """Objectives of ends, infinite where there is none."""
    return np.where(np.isfinite(ends.objective), ends.objective, np.inf)


def searched_further(found: Any, search: Callable[[np.ndarray], Any]) -> Any:
    """Continue the fits of a `Solved` that ran out of steps, once more as long.

    `search` is as in `promising`, without a tolerance, and also predicts.
    """
    short = found.code == Code.MAX_STEPS
    if not short.any():
        return found
    # Fits that have converged end at their first step.
    end = jax.tree.map(lambda leaf: leaf[0], search(found.fit.coefficients.exponents[None]))
    steps, agreement = found.fit.steps + end.fit.steps, found.fit.agreement
    fit = end.fit._replace(steps=steps, agreement=agreement)
    return chosen(short & (reached(end) <= reached(found)), found, end._replace(fit=fit))
