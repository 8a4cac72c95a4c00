"""Points of runs: finite losses at budgets in tokens or steps, which the runs share."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.logs._counters import Text, tokens_column, tokens_of
from bimix_jax.logs._gaps import APART
from bimix_jax.logs._history import RUN, STEP
from bimix_jax.logs._settings import Asked
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed
from bimix_jax.sweeps._recognised import with_tokens
from bimix_jax.sweeps.sweep import MOSTLY, common_points

BUDGET = "\0budget"
"""Column of budgets; no log has such a name."""
CANDIDATES = 20
"""Most runs whose budgets are tried as the common ones."""
EARLY = 0.05
"""Share of the common end by which a run that "ends early" falls short of it."""
SAME = 1e-9
"""Relative difference below which budgets are equal."""


def finite_losses(rows: pd.DataFrame, losses: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows with only finite losses kept; a note counts the others.

    Raises:
        SweepError: if a loss is not positive; the message names its run and column.
    """
    values = rows[list(losses)].to_numpy(float)
    _check_positive(values, rows, losses)
    infinite = np.isinf(values)
    finite = pd.DataFrame(np.where(infinite, np.nan, values), rows.index, list(losses))
    lost = int(infinite.sum())
    runs = pd.unique(rows[RUN].to_numpy()[infinite.any(axis=1)])
    note = (
        f"{counted(lost, 'loss that is', 'losses that are')} not finite left out "
        f"({listed(runs)}): look for diverged runs."
    )
    return pd.concat([rows.drop(columns=list(losses)), finite], axis=1), [note] * bool(lost)


def _check_positive(values: np.ndarray, rows: pd.DataFrame, losses: Sequence[str]) -> None:
    wrong = np.argwhere(values <= 0)
    if len(wrong):
        row, column = wrong[0]
        others = counted(len(wrong) - 1, "more such value")
        more = f", and there {'is' if len(wrong) == 2 else 'are'} {others}" * (len(wrong) > 1)
        raise SweepError(
            f"Run {rows[RUN].iloc[row]}: {losses[column]} is {values[row, column]:g}"
            f"{more}; expected losses above 0. Leave the cell of a "
            "diverged run empty; a score, in which more is better, is not a loss."
        )


def with_budgets(
    rows: pd.DataFrame, targets: Sequence[str], asked: Asked, text: Text
) -> tuple[pd.DataFrame, str, list[str]]:
    """Return the rows with a loss, with BUDGET; its unit ("tokens", "steps" or "run"); and notes.

    Raises:
        SweepError: if tokens are requested but unknown, or a step is missing.
    """
    rows, column, scaled = _in_tokens(rows, tokens_column(rows, asked.tokens_key, text), text)
    measured = rows[list(targets)].notna().any(axis=1).to_numpy(bool)
    everything, rows = rows, rows[measured].reset_index(drop=True)
    if asked.unit != "steps" and asked.tokens_per_step is not None:
        rows, unit, notes = _tokens_by_steps(rows, asked.tokens_per_step, column)
        return rows, unit, [*scaled, *notes]
    if asked.unit != "steps" and column is not None:
        # Tokens are often logged beside the training loss alone, so all rows are needed.
        budget, notes = tokens_of(everything, column, targets, text)
        rows = rows.assign(**{BUDGET: budget[measured]})
        return (
            rows[np.isfinite(budget[measured])].reset_index(drop=True),
            "tokens",
            [*scaled, *notes],
        )
    if asked.unit == "tokens":
        raise SweepError(
            "unit is 'tokens', but no column of the logs counts them. State the tokens per step "
            "with tokens_per_step= (--tokens-per-step), or name the column with tokens_key= "
            "(--tokens-key)."
        )
    # One row per run without any counter: a table of final losses.
    if rows[STEP].isna().all() and not rows[RUN].duplicated().any():
        return rows.assign(**{BUDGET: 1.0}), "run", []
    _check_steps(rows, "step_key")
    return rows.assign(**{BUDGET: rows[STEP].astype(float)}), "steps", []


def _in_tokens(
    rows: pd.DataFrame, column: str | None, text: Text
) -> tuple[pd.DataFrame, str | None, tuple[str, ...]]:
    """Convert a column of tokens whose name says billions or the like; its name then, and a note.

    Raises:
        SweepError: if the numbers are too large for the unit that the name says.
    """
    if column is None or column in text:
        return rows, column, ()
    scaled, notes = with_tokens(rows, column)
    return scaled, "tokens" if notes else column, notes


def _tokens_by_steps(
    rows: pd.DataFrame, rate: float, column: str | None
) -> tuple[pd.DataFrame, str, list[str]]:
    """Set budgets to steps times the rate; note a difference from a column that counts tokens.

    Raises:
        SweepError: if a row has no step.
    """
    if rows[STEP].isna().all() and column is not None:
        raise SweepError(
            f"tokens_per_step: the logs have no steps, but tokens ({column}). Leave out "
            "tokens_per_step= (--tokens-per-step)."
        )
    _check_steps(rows, "tokens_per_step")
    tokens = rows[STEP].to_numpy(float) * rate
    notes = [f"Tokens are steps times {rate:,.10g} tokens per step."]
    stated = rows[column].to_numpy(float) if column is not None else np.full(len(rows), np.nan)
    apart = np.flatnonzero(np.isfinite(stated) & (abs(stated - tokens) > APART * tokens))
    if len(apart):
        row = apart[0]
        notes.append(
            f"Column {column} differs in {counted(len(apart), 'row')}: run "
            f"{rows[RUN].iloc[row]} has "
            f"{stated[row]:g} tokens at step {rows[STEP].iloc[row]:g}, not {tokens[row]:g}. Leave "
            "out tokens_per_step= (--tokens-per-step) to go by it."
        )
    return rows.assign(**{BUDGET: tokens}), "tokens", notes


def _check_steps(rows: pd.DataFrame, what: str) -> None:
    gone = ~np.isfinite(rows[STEP].to_numpy(float))
    if gone.any():
        raise SweepError(
            f"{what}: {counted(gone.sum(), 'row')} with losses "
            f"{'has' if gone.sum() == 1 else 'have'} no step, the first of "
            "run "
            f"{rows[RUN][gone].iloc[0]}; name the column of steps with step_key= (--step-key)."
        )


def without_untrained(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows after step 0, because a law does not hold for an untrained model."""
    # Laws have powers of the budget, which are infinite at 0.
    trained = (rows[BUDGET] > 0).to_numpy(bool)
    untrained = int(np.sum(~trained))
    notes = [f"{counted(untrained, 'row')} of untrained models (step 0) left out."] * bool(
        untrained
    )
    return rows[trained].reset_index(drop=True), notes


def one_row_a_budget(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Merge rows of one run and budget, sorted; the last of repeated losses is kept, with a note.

    Several rows are normal: loggers write each evaluation on its own.
    """
    rows = rows.sort_values([RUN, BUDGET], kind="stable")
    several = rows.duplicated([RUN, BUDGET], keep=False).to_numpy(bool)
    if not several.any():
        return rows.reset_index(drop=True), []
    losses = [c for c in rows if c not in (RUN, BUDGET)]
    groups = rows[several].groupby([RUN, BUDGET], sort=False)
    counts = groups[losses].count()
    again = (counts > 1).any(axis=1)
    merged = pd.concat([rows[~several], groups.last().reset_index()])
    notes = []
    if again.any():
        runs = counts.index.get_level_values(0)[again].unique()
        notes = [
            f"Logged more than once: {counted(again.sum(), 'step')} of "
            f"{counted(len(runs), 'run')} ({listed(runs)}). The last value was kept."
        ]
    return merged.sort_values([RUN, BUDGET], kind="stable").reset_index(drop=True), notes


# ---- common budgets ------------------------------------------------------------------------------


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
