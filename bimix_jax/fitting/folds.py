"""Folds that choose the strength of the shrinkage: runs, or later budgets."""

from typing import Literal, NamedTuple

import numpy as np

from bimix_jax.sweeps.sweep import CURVE, Sweep

Purpose = Literal["mixtures", "budgets"]
"""Purpose of the predictions: mixtures that were never run, or later budgets of those that were."""
PURPOSES: tuple[Purpose, ...] = ("mixtures", "budgets")
MOST, LEAST = 8, 3
"""Largest and least number of folds of mixtures; with fewer nothing can be chosen."""


class Folds(NamedTuple):
    """Folds that are left out one at a time."""

    number: np.ndarray
    """(points,) int, the fold of each point; −1 for points that are always fitted"""
    parts: int


def choose_folds(sweep: Sweep, counted: np.ndarray, purpose: Purpose) -> Folds | None:
    """Choose the folds of the `counted` points (points,) bool; None for too few.

    Folds of later budgets where enough budgets remain, else of runs.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep())
    >>> everything = np.ones(len(sweep.budget), bool)
    >>> choose_folds(sweep, everything, "mixtures").parts
    8
    >>> later = choose_folds(sweep, everything, "budgets")
    >>> later.parts, int(np.sum(later.number == 0))
    (1, 80)
    """
    later = _later_budgets(sweep, counted) if purpose == "budgets" else None
    return later if later is not None else runs(sweep, counted)


def runs(sweep: Sweep, counted: np.ndarray) -> Folds | None:
    """Folds of whole mixtures, at most `MOST`."""
    number = sweep.folds(MOST, counted)
    count = int(number.max()) + 1
    return Folds(number, count) if count >= LEAST else None


def _later_budgets(sweep: Sweep, counted: np.ndarray) -> Folds | None:
    """One fold, the later half of the budgets, of all mixtures."""
    budgets = np.unique(sweep.budget[counted])
    # The early half must still determine the curve, which has `CURVE` coefficients.
    early = len(budgets) - len(budgets) // 2
    if early < CURVE:
        return None
    later = counted & (sweep.budget >= budgets[early])
    return Folds(np.where(later, 0, -1), 1)
