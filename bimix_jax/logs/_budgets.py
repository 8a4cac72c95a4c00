"""Runs logged at different budgets, moved to common budgets."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.logs._history import RUN
from bimix_jax.logs._settings import Asked
from bimix_jax.quantities import quantity_text
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed
from bimix_jax.sweeps.sweep import MOSTLY, common_points

BUDGET = "\0budget"
"""Column of budgets; no log has such a name."""
CANDIDATES = 20
"""Most runs whose budgets are tried as the common ones."""
EARLY = 0.05
"""Share of the common end by which a run that "ends early" falls short of it."""
SAME = 1e-9
"""Relative difference below which budgets are equal."""


def on_common_budgets(points: pd.DataFrame, asked: Asked) -> tuple[pd.DataFrame, list[str]]:
    """Move points (RUN, BUDGET and a column per target) to budgets that runs share; also return
    notes.

    The points are sorted by run and budget, and no run has a budget twice. `read_logs` documents
    the settings `align`, `budgets` and `tolerance`.

    Raises:
        SweepError: if no point lies near a common budget.
    """
    aligned, notes = _aligned(points, asked)
    left = set(pd.unique(aligned[RUN]))
    lost = [run for run in pd.unique(points[RUN]) if run not in left]
    if lost:
        notes.append(
            f"{len(lost)} of {points[RUN].nunique()} runs have no point at a common budget and "
            f"were left out: {listed(lost)}. Widen tolerance= (--tolerance), or keep the budgets "
            "as they were logged with align='none' (--align none)."
        )
    return aligned, [*notes, *_ends(aligned)]


def _ends(points: pd.DataFrame) -> list[str]:
    """Return a note of the runs that end before the budget that most runs reach."""
    ends = points.groupby(RUN, sort=False)[BUDGET].max()
    # Of several commonest ends the latest, because ending early is what the note is about.
    common = ends.mode().max()
    early = ends[ends < common * (1 - EARLY)]
    if not len(early) or (ends >= common * (1 - EARLY)).sum() < MOSTLY * len(ends):
        return []
    said = [f"{run} ({quantity_text(end)})" for run, end in early.items()]
    ending = "ends" if len(early) == 1 else "end"
    return [
        f"{len(early)} of {len(ends)} runs {ending} before the {quantity_text(common)} that the "
        "others reach: "
        f"{listed(said)}."
    ]


def _aligned(points: pd.DataFrame, asked: Asked) -> tuple[pd.DataFrame, list[str]]:
    align, budgets, tolerance = asked.align, asked.budgets, asked.tolerance
    codes, budget = pd.factorize(points[RUN])[0], points[BUDGET].to_numpy(float)
    if align == "none" or (align == "auto" and budgets is None and _agree(codes, budget)):
        return points, []
    grid = np.unique(np.asarray(budgets, float)) if budgets is not None else None
    if grid is None:
        grid = _best_grid(codes, budget, tolerance)
        # Pieces of one evaluation lie at neighbouring steps, of which the grid keeps one.
        grid = _thinned(grid, tolerance) if _in_pieces(points, tolerance) else grid
    if align == "interpolate":
        return _interpolated(points, grid)
    by_default = budgets is None and align == "auto"
    if by_default and np.mean(_nearest(budget, grid, tolerance) >= 0) < MOSTLY:
        return points, [
            f"The runs were logged at budgets more than {100 * tolerance:g} % apart, and stay "
            "there; align='interpolate' (--align interpolate) moves them to common ones."
        ]
    return _moved(points, grid, tolerance)


def _agree(runs: np.ndarray, budget: np.ndarray) -> bool:
    return common_points(runs, budget) >= MOSTLY * len(budget)


def _nearest(budget: np.ndarray, grid: np.ndarray, tolerance: float) -> np.ndarray:
    """Return (points,) int: the nearest point of a sorted grid by ratio, −1 beyond the tolerance.

    >>> print(_nearest(np.array([1.0, 1.02, 5.0]), np.array([1.0, 2.0]), 0.05))
    [ 0  0 -1]
    """
    logs, marks = np.log(budget), np.log(grid)
    # By ratio, the border between two marks is their geometric mean: the middle of their
    # logarithms.
    index = np.searchsorted((marks[1:] + marks[:-1]) / 2, logs)
    near = np.abs(logs - marks[index]) <= np.log1p(tolerance)
    return np.where(near, index, -1)


def _best_grid(runs: np.ndarray, budget: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the budgets of the run that makes most points of the other runs common."""
    grids = [tuple(np.unique(part)) for _, part in pd.Series(budget).groupby(runs)]
    several = [grid for grid, _ in Counter(grids).most_common(CANDIDATES)]

    def merit(grid: tuple[float, ...]) -> tuple[int, int]:
        index = _nearest(budget, np.array(grid), tolerance)
        # Two points of a run at one budget are one point there.
        once = pd.DataFrame({"run": runs, "index": index})[index >= 0].drop_duplicates()
        at = np.array(grid)[once["index"]]
        return common_points(once["run"].to_numpy(), at) if len(once) else 0, -len(grid)

    return np.array(max(several, key=merit))


def _in_pieces(points: pd.DataFrame, tolerance: float) -> bool:
    """True where neighbouring points of a run within the tolerance measure different targets.

    Loggers that count each of their calls write one evaluation at several steps.
    """
    codes, logs = pd.factorize(points[RUN])[0], np.log(points[BUDGET].to_numpy(float))
    near = (codes[1:] == codes[:-1]) & (np.diff(logs) <= np.log1p(tolerance))
    there = points.drop(columns=[RUN, BUDGET]).notna().to_numpy()
    both = (there[1:] & there[:-1]).any(axis=1)
    return bool(near.any() and not both[near].any())


def _thinned(grid: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the budgets without those within the tolerance of the one kept before."""
    kept = [grid[0]]
    for budget in grid[1:]:
        if budget > kept[-1] * (1 + tolerance):
            kept.append(budget)
    return np.array(kept)


def _moved(
    points: pd.DataFrame, grid: np.ndarray, tolerance: float
) -> tuple[pd.DataFrame, list[str]]:
    """Move the points within the tolerance of a common budget to it, and leave out the others."""
    budget = points[BUDGET].to_numpy(float)
    index = _nearest(budget, grid, tolerance)
    near = index >= 0
    if not near.any():
        raise SweepError(
            f"budgets: no point lies within {100 * tolerance:g} % of a common budget; the logs "
            f"hold {budget.min():g}-{budget.max():g}. Widen tolerance= (--tolerance), or give "
            "others."
        )
    target = grid[index[near]]
    away = np.abs(np.log(budget[near] / target))
    # Sorted so that the nearest comes last.
    kept = points[near].assign(**{BUDGET: target}).iloc[np.argsort(-away, kind="stable")]
    # The last present value of a group is the nearest one, target by target.
    aligned = kept.groupby([RUN, BUDGET], sort=False).last().reset_index()
    aligned = aligned.sort_values([RUN, BUDGET], kind="stable").reset_index(drop=True)
    moved, lost = int(np.sum(away > SAME)), len(points) - len(aligned)
    if not moved and not lost:
        return aligned, []
    joined = _joined(kept, aligned)
    return aligned, [
        f"{moved} of {len(points)} points were moved to the nearest of {len(grid)} common budgets, "
        f"by up to {100 * np.expm1(away.max()):.2g} %; {lost - joined} points were left out, being "
        f"further than {100 * tolerance:g} % from any or not the nearest."
        + f" {joined} points with other targets were joined to these."
        * bool(joined)
    ]


def _joined(points: pd.DataFrame, aligned: pd.DataFrame) -> int:
    """Return the number of points that joined others, or 0 if a loss was left out."""
    losses = aligned.columns.drop([RUN, BUDGET])
    whole = int(points[losses].count().sum()) == int(aligned[losses].count().sum())
    return len(points) - len(aligned) if whole else 0


def _interpolated(points: pd.DataFrame, grid: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    """Put curves through the points, and return their values at the common budgets."""
    losses = [c for c in points if c not in (RUN, BUDGET)]
    parts = [
        _of_run(str(run), part[BUDGET].to_numpy(float), part[losses], grid)
        for run, part in points.groupby(RUN, sort=False)
    ]
    aligned = pd.concat(parts, ignore_index=True)
    logged = pd.MultiIndex.from_frame(points[[RUN, BUDGET]])
    between = int((~pd.MultiIndex.from_frame(aligned[[RUN, BUDGET]]).isin(logged)).sum())
    return aligned, [
        f"{between} of {len(aligned)} points at {len(grid)} common budgets were interpolated "
        f"linearly in the log budget, from {len(points)} points logged."
    ]


def _of_run(run: str, budget: np.ndarray, losses: pd.DataFrame, grid: np.ndarray) -> pd.DataFrame:
    inside = grid[(grid >= budget[0] * (1 - SAME)) & (grid <= budget[-1] * (1 + SAME))]
    columns: dict[str, Any] = {RUN: run, BUDGET: inside}
    for name in losses:
        values = losses[name].to_numpy(float)
        there = np.isfinite(values)
        columns[str(name)] = _between(inside, budget[there], values[there])
    return pd.DataFrame(columns)


def _between(at: np.ndarray, budget: np.ndarray, loss: np.ndarray) -> np.ndarray:
    if not len(budget):
        return np.full(len(at), np.nan)
    outside = (at < budget[0] * (1 - SAME)) | (at > budget[-1] * (1 + SAME))
    return np.where(outside, np.nan, np.interp(np.log(at), np.log(budget), loss))
