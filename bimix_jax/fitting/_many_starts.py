"""Searches from many starts: all but the most promising are dropped on the way.

A law with starts per domain, as `AdditiveLaw`, has 2m + 2 of them for m domains, of which one in
five to one in fifty reaches the best end. The value at a start, and the value after some steps,
tell most of the others apart. The ends that are left get the steps that this saves: those of such
laws are often slow, and stopped short of their optimum.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bimix_jax.fitting.again import chosen
from bimix_jax.fitting.coefficients import Code

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


def promising(search: Callable[[np.ndarray, float], Any], starts: np.ndarray) -> np.ndarray:
    """Select and advance the starts with the lowest objectives.

    Args:
        search: ends of starts (starts, fits, targets, exponents) to a tolerance, an `ArrayFit` with
            leading axes (starts, fits, targets).
        starts: (starts, fits, targets, exponents).

    Returns:
        At most as many starts of every fit and target as the last screen leaves; the same array if
        there are few.
    """
    for tolerance, kept in screens_of(len(starts)):
        if len(starts) > kept:
            ends = search(starts, tolerance)
            best = np.argsort(reached(ends), axis=0, kind="stable")[:kept, ..., None]
            starts = np.take_along_axis(ends.coefficients.exponents, best, axis=0)
    return starts


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
