"""Points of runs: steps put in order, aligned and thinned."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs._counters import (
    LOGGER_STEP,
    filled,
    is_global_step,
    rows_of_runs,
    step_columns,
    token_columns,
)
from bimix_jax.logs._history import RUN, STEP, History, spread
from bimix_jax.logs._settings import Asked
from bimix_jax.logs._tokens import Text, tokens_column, tokens_of
from bimix_jax.logs.budgets import BUDGET
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed


class Steps(NamedTuple):
    """The chosen counter of steps of a file, and the counter that it replaced."""

    key: str
    other: str
    example: tuple[object, float, float]
    """a run, and the values of both counters in one of its rows"""
    filled: int
    """rows whose step follows from the rows around them"""


def in_training_steps(history: History, named: bool) -> tuple[History, Steps | None]:
    """Return the history with the counter of training steps, without the other step counters.

    W&B's own counter is used only if no other is logged beside it, or if the user named it.
    """
    names = step_columns(history.metrics)
    if not names:
        return history, None
    kept = _without(history, names)
    if named or history.step_key is None:
        return kept, None
    logged = history.step_key.lower() == LOGGER_STEP
    for name in names:
        # A counter that was logged as nan or inf counts nothing there.
        counter = np.where(np.isfinite(column := _column(history, name)), column, np.nan)
        example = _differ(history, counter)
        # A counter that never differs from the steps adds nothing.
        if example is None or (logged and not _counts(history, name, counter)):
            continue
        if not logged:
            # A counter other than the logger's own stays; the note tells that another one differs.
            return kept, Steps(history.step_key, name, (example[0], *example[:0:-1]), 0)
        step = filled(counter, history.step, rows_of_runs(history.run).values())
        gaps = np.isnan(counter) & np.isfinite(step) & _measured(kept)
        found = Steps(name, history.step_key, example, int(gaps.sum()))
        return kept._replace(step=step, step_key=name), found
    return kept, None


def _without(history: History, names: Sequence[str]) -> History:
    keep = [i for i, name in enumerate(history.metrics) if name not in names]
    metrics = [history.metrics[i] for i in keep]
    return history._replace(metrics=metrics, values=history.values[:, keep])


def _column(history: History, name: str) -> np.ndarray:
    return history.values[:, history.metrics.index(name)]


def _measured(history: History) -> np.ndarray:
    return ~np.isnan(history.values).all(axis=1)


def _differ(history: History, counter: np.ndarray) -> tuple[object, float, float] | None:
    """Return the first run and row at which a counter differs from the steps."""
    apart = np.flatnonzero(
        np.isfinite(counter) & np.isfinite(history.step) & (counter != history.step)
    )
    if not len(apart):
        return None
    row = apart[0]
    return history.run[row], float(counter[row]), float(history.step[row])


def _counts(history: History, name: str, counter: np.ndarray) -> bool:
    """True where a counter changes along every run, and rises unless its name is unmistakable.

    Training that goes back to a checkpoint takes its steps back, too.
    """
    for rows in rows_of_runs(history.run).values():
        known = rows[np.isfinite(counter[rows])]
        # Sorted by the logger's counter, which never goes back.
        along = np.diff(counter[known[np.argsort(history.step[known], kind="stable")]])
        falls = np.any(along < 0) and not is_global_step(name)
        if falls or (len(along) and not along.any()):
            return False
    return True


def step_notes(histories: Sequence[History], found: Sequence[Steps | None]) -> list[str]:
    """Return notes of the counters by which the files were read.

    Raises:
        SweepError: if only W&B's counter is there in some files, and is none of steps in others.
    """
    chosen: dict[tuple[str, str], list[Steps]] = {}
    for steps in found:
        if steps is not None:
            chosen.setdefault((steps.key, steps.other), []).append(steps)
    replaced = [steps for steps in found if steps and steps.other.lower() == LOGGER_STEP]
    lacking = [h.run[0] for h in histories if len(h.run) and _has_only_the_loggers(h)]
    if replaced and lacking:
        raise SweepError(
            f"step_key: {counted(len(lacking), 'file of logs has', 'files of logs have')} only "
            f"{LOGGER_STEP}, which counts differently from {replaced[0].key} in the others: those "
            f"of the runs {listed(lacking)}. "
            f"Export {replaced[0].key} of all runs, or choose with step_key= (--step-key)."
        )
    notes = []
    for (key, other), several in chosen.items():
        run, here, there = several[0].example
        gaps = sum(steps.filled for steps in several)
        notes.append(
            f"Steps are {key}, not {other}, which counts differently: run {run} has {here:g} where "
            f"{other} is {there:g}. Choose with step_key= (--step-key)."
            + f" In {counted(gaps, 'row')} {key} was filled in from the rows around."
            * bool(gaps)
        )
    return notes


def _has_only_the_loggers(history: History) -> bool:
    key = history.step_key
    return key is not None and key.lower() == LOGGER_STEP and not step_columns(history.seen)


APART = 0.02
"""Largest relative difference between two token counts that agree."""


def one_row_a_step(history: History) -> History:
    """Merge rows of one run and step; repeated values get rows after the first.

    Otherwise a log with one line per metric would need as many times the memory as it has metrics.
    """
    if np.all(np.diff(history.step) > 0):  # fast: no step stands twice
        return history
    group = _groups(history)
    if group.max(initial=-1) + 1 == len(group):
        return history
    row, column = np.nonzero(~np.isnan(history.values))
    group_of_row, values = spread(
        group[row], column, history.values[row, column], len(history.metrics)
    )
    first = np.unique(group, return_index=True)[1][group_of_row]
    return history._replace(run=history.run[first], step=history.step[first], values=values)


def _groups(history: History) -> np.ndarray:
    """Return (rows,) int: the group of each row's run and step, in the order of the log.

    Rows without a step that count tokens stay separate; their tokens distinguish them later.
    """
    runs, steps = (
        pd.factorize(keys, use_na_sentinel=False)[0] for keys in (history.run, history.step)
    )
    if token_columns(history.metrics):
        alone = np.isnan(history.step)
        # Numbers beyond all codes, each used once.
        steps[alone] = len(steps) + np.arange(alone.sum())
    return pd.factorize(runs * (steps.max(initial=0) + 1) + steps)[0]


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
        raise SweepError(
            f"Run {rows[RUN].iloc[row]}: {losses[column]} is {values[row, column]:g}, and "
            f"{len(wrong) - 1} more such values; expected losses above 0. Leave the cell of a "
            "diverged run empty; a score, in which more is better, is not a loss."
        )


def with_budgets(
    rows: pd.DataFrame, targets: Sequence[str], asked: Asked, text: Text
) -> tuple[pd.DataFrame, str, list[str]]:
    """Return the rows with a loss, with BUDGET; its unit ("tokens", "steps" or "run"); and notes.

    Raises:
        SweepError: if tokens are requested but unknown, or a step is missing.
    """
    column = tokens_column(rows, asked.tokens_key, text)
    measured = rows[list(targets)].notna().any(axis=1).to_numpy(bool)
    everything, rows = rows, rows[measured].reset_index(drop=True)
    if asked.unit != "steps" and asked.tokens_per_step is not None:
        return _tokens_by_steps(rows, asked.tokens_per_step, column)
    if asked.unit != "steps" and column is not None:
        # Tokens are often logged beside the training loss alone, so all rows are needed.
        budget, notes = tokens_of(everything, column, targets, text)
        return rows.assign(**{BUDGET: budget[measured]}), "tokens", notes
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
