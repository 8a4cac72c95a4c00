"""Gaps of a counter of training, which loggers write in other rows than the losses."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np

from bimix_jax.quantities import counted

APART = 0.02
"""Largest relative difference between two counts of training that agree."""

NEXT = 1
"""Largest difference between the logger's counts of two calls in a row."""


class Gaps(NamedTuple):
    """Rows with losses that lack a counter."""

    behind: int = 0
    """rows that took the last count before them"""
    ahead: int = 0
    """rows before the first count that took it from the next row"""
    lost: int = 0
    """other rows before the first count, which are left out"""
    apart: int = 0
    """rows that took a count although the next one is more than APART larger"""
    example: tuple[object, float, float] | None = None
    """a run, the count that one of these rows took, and the next one"""


class Carried(NamedTuple):
    """A counter whose gaps took the last count at or before them, (rows,) each."""

    counts: np.ndarray
    """nan where no count is known"""
    following: np.ndarray
    """the next count after a gap, nan where there is none"""
    behind: np.ndarray
    """True where the count is the last one before the row"""
    ahead: np.ndarray
    """True where the count is the first one, from the next row, and training had begun"""
    lost: np.ndarray
    """True before the first count elsewhere"""


def carried(counter: np.ndarray, beside: np.ndarray, groups: Iterable[np.ndarray]) -> Carried:
    """Give each gap of a counter the last count at or before its row, run by run.

    Loggers write counters with the training loss, in other rows than the evaluations; charts of
    W&B over such a counter place the evaluations so. A slope says nothing about the steps between
    two calls of the logger, so no count is ever made up.

    Args:
        counter: (rows,) nan where it was not logged.
        beside: (rows,) another counter, by which the rows are in order.
        groups: of each run its rows.

    >>> gaps = np.array([np.nan, np.nan, 20.0, np.nan, 30.0, np.nan])
    >>> carried(gaps, np.arange(6.0), [np.arange(6)]).counts
    array([nan, 20., 20., 20., 30., 30.])
    """
    counts, following = counter.copy(), np.full(len(counter), np.nan)
    behind, ahead, lost = np.zeros((3, len(counter)), bool)
    for rows in groups:
        rows = rows[np.isfinite(beside[rows])]
        rows = rows[np.argsort(beside[rows], kind="stable")]
        there = np.isfinite(counter[rows])
        if there.all() or not there.any():
            continue
        at, known, gone = beside[rows], counter[rows[there]], rows[~there]
        # Counts at the same place are of the same call of the logger, in whatever order.
        before = np.searchsorted(at[there], at[~there], side="right")
        passed = before > 0
        counts[gone] = np.where(passed, known[before - 1], np.nan)
        following[gone] = np.append(known, np.nan)[before]
        behind[gone] = passed & (at[there][before - 1] < at[~there])
        # Where the second count is twice the first, the model may have been untrained before.
        trained = np.all(known[known != known[0]][:1] < 2 * known[0])
        ahead[gone] = trained & ~passed & (at[there][0] - at[~there] <= NEXT)
        lost[gone] = ~passed & ~ahead[gone]
        counts[gone[ahead[gone]]] = known[0]
    return Carried(counts, following, behind, ahead, lost)


def by_steps(counter: np.ndarray, step: np.ndarray, groups: Iterable[np.ndarray]) -> np.ndarray:
    """Fill the gaps between two counts in the runs in which all counts are steps times one rate.

    >>> gaps = np.array([np.nan, 20.0, np.nan, 40.0, np.nan])
    >>> by_steps(gaps, np.arange(1.0, 6.0), [np.arange(5)])
    array([nan, 20., 30., 40., nan])
    """
    whole = counter.copy()
    for rows in groups:
        rows = rows[np.isfinite(step[rows])]
        known = rows[np.isfinite(counter[rows])]
        known = known[np.argsort(step[known], kind="stable")]
        if not len(known) or step[known[-1]] <= 0:
            continue
        x, y = step[known], counter[known]
        if np.any(np.abs(y - x * (y[-1] / x[-1])) > APART * y):
            continue
        gone = rows[np.isnan(counter[rows]) & (step[rows] >= x[0]) & (step[rows] <= x[-1])]
        whole[gone] = np.interp(step[gone], x, y)
    return whole


def gaps_of(found: Carried, measured: np.ndarray, run: np.ndarray) -> Gaps:
    """Count the rows with losses that lacked a counter."""
    apart = np.flatnonzero(measured & found.behind & (found.following > (1 + APART) * found.counts))
    first = apart[:1]
    behind, ahead, lost = (
        int(np.sum(rows & measured)) for rows in (found.behind, found.ahead, found.lost)
    )
    example = next(zip(run[first], found.counts[first], found.following[first], strict=True), None)
    return Gaps(behind, ahead, lost, len(apart), example)


def gap_notes(key: str, several: Collection[Gaps]) -> list[str]:
    """Return notes on the rows that lacked a counter in several files."""
    behind, ahead, lost, apart = (
        sum(getattr(gaps, name) for gaps in several)
        for name in ("behind", "ahead", "lost", "apart")
    )
    notes = []
    if behind:
        notes.append(f"{counted(behind, 'row')} with losses took the last {key} logged before.")
    if apart:
        run, taken, following = next(gaps.example for gaps in several if gaps.example is not None)
        notes[-1] += (
            f" In {counted(apart, 'row')} the next one is more than {100 * APART:g} % larger: "
            f"run {run} took {taken:g}, and {following:g} is next. Log {key} beside the losses if "
            "that is wrong."
        )
    if ahead:
        notes.append(
            f"{counted(ahead, 'row')} with losses before the first {key} took it from the next row."
        )
    if lost:
        notes.append(f"{counted(lost, 'row')} with losses before the first {key} left out.")
    return notes
