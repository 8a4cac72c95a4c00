"""Parts that a fit leaves out to choose the strength of its shrinkage: runs, or later budgets."""

from typing import Literal, NamedTuple

import numpy as np

from bimix_jax.sweeps.sweep import CURVE, Sweep

Purpose = Literal["mixtures", "budgets"]
"""What predictions are wanted for: mixtures nobody ran, or later budgets of those that were run."""
PURPOSES: tuple[Purpose, ...] = ("mixtures", "budgets")
MOST, LEAST = 8, 3
"""Parts that mixtures are dealt to; with fewer than that nothing can be chosen."""


class Folds(NamedTuple):
    """Parts that are left out one at a time."""

    number: np.ndarray
    """(points,) int, the part of each point; −1 for those that are always fitted"""
    parts: int


def choose_folds(sweep: Sweep, counted: np.ndarray, purpose: Purpose) -> Folds | None:
    """What to leave out of the points that are `counted` (points,) bool; None for too few.

    Later budgets are left out where enough of them are left, else runs.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep())
    >>> everything = np.ones(len(sweep.budget), bool)
    >>> choose_folds(sweep, everything, "mixtures").parts
    8
    >>> later = choose_folds(sweep, everything, "budgets")
    >>> later.parts, int(np.sum(later.number == 0))
    (1, 80)
    """
    later = later_budgets(sweep, counted) if purpose == "budgets" else None
    return later if later is not None else runs(sweep, counted)


def runs(sweep: Sweep, counted: np.ndarray) -> Folds | None:
    """Whole mixtures, dealt to `MOST` parts at most."""
    number = sweep.folds(MOST, counted)
    count = int(number.max()) + 1
    return Folds(number, count) if count >= LEAST else None


def later_budgets(sweep: Sweep, counted: np.ndarray) -> Folds | None:
    """One part, the later half of the budgets, of all mixtures."""
    budgets = np.unique(sweep.budget[counted])
    early = len(budgets) - len(budgets) // 2
    if early < CURVE:
        return None
    later = counted & (sweep.budget >= budgets[early])
    return Folds(np.where(later, 0, -1), 1)
