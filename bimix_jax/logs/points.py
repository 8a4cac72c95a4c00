"""Rows of logs as points, one per run and budget, with losses as numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs.budgets import BUDGET
from bimix_jax.logs.counters import token_columns
from bimix_jax.logs.history import RUN, STEP, History
from bimix_jax.logs.spread import spread
from bimix_jax.logs.tokens import Text, tokens_column, tokens_of
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed

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
    note = f"{lost} losses that are not finite left out ({listed(runs)}): look for diverged runs."
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


class Budgets(NamedTuple):
    """The user's choices about budgets."""

    unit: str | None = None
    tokens_per_step: float | None = None
    tokens_key: str | None = None


def with_budgets(
    rows: pd.DataFrame, targets: Sequence[str], asked: Budgets, text: Text
) -> tuple[pd.DataFrame, str, list[str]]:
    """Return the rows with a loss, with BUDGET; its unit ("tokens", "steps" or "run"); and notes.

    Raises:
        SweepError: if tokens are requested but unknown, or a step is missing.
    """
    _check(asked)
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
            "unit: tokens are asked for, but no column of the logs tells them. Say how many a step "
            "takes with tokens_per_step= (--tokens-per-step), or name the column with tokens_key= "
            "(--tokens-key)."
        )
    if rows[STEP].isna().all() and not rows[RUN].duplicated().any():
        return rows.assign(**{BUDGET: 1.0}), "run", []
    _check_steps(rows, "step_key")
    return rows.assign(**{BUDGET: rows[STEP].astype(float)}), "steps", []


def _check(asked: Budgets) -> None:
    if asked.unit not in (None, "tokens", "steps"):
        raise SweepError(f"unit is {asked.unit!r}; expected 'tokens' or 'steps' (--unit).")
    if asked.tokens_per_step is not None and not 0 < asked.tokens_per_step < np.inf:
        raise SweepError(
            f"tokens_per_step is {asked.tokens_per_step}; expected a number above 0 "
            "(--tokens-per-step)."
        )


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
    notes = [f"Tokens are steps times {rate:g}."]
    stated = rows[column].to_numpy(float) if column is not None else np.full(len(rows), np.nan)
    apart = np.flatnonzero(np.isfinite(stated) & (abs(stated - tokens) > APART * tokens))
    if len(apart):
        row = apart[0]
        notes.append(
            f"Column {column} says otherwise in {len(apart)} rows: run {rows[RUN].iloc[row]} has "
            f"{stated[row]:g} tokens at step {rows[STEP].iloc[row]:g}, not {tokens[row]:g}. Leave "
            "out tokens_per_step= (--tokens-per-step) to go by it."
        )
    return rows.assign(**{BUDGET: tokens}), "tokens", notes


def _check_steps(rows: pd.DataFrame, what: str) -> None:
    gone = ~np.isfinite(rows[STEP].to_numpy(float))
    if gone.any():
        raise SweepError(
            f"{what}: {gone.sum()} rows with losses have no step, the first of run "
            f"{rows[RUN][gone].iloc[0]}; name the column of steps with step_key= (--step-key)."
        )


def without_untrained(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows after step 0, because a law does not hold for an untrained model."""
    trained = (rows[BUDGET] > 0).to_numpy(bool)
    untrained = int(np.sum(~trained))
    notes = [f"{untrained} rows of untrained models (step 0) left out."] * bool(untrained)
    return rows[trained].reset_index(drop=True), notes


def one_row_a_budget(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Merge rows of one run and budget, sorted; of a repeated loss the last stays, with a note.

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
            f"{again.sum()} steps of {len(runs)} runs were logged more than once, of which the "
            f"last stands: {listed(runs)}."
        ]
    return merged.sort_values([RUN, BUDGET], kind="stable").reset_index(drop=True), notes
