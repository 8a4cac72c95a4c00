"""Rows of logs as points: one a run and budget, with numbers where losses are."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bimix_jax import checks
from bimix_jax.checks import SweepError
from bimix_jax.logs.budgets import BUDGET
from bimix_jax.logs.history import RUN, STEP
from bimix_jax.tables import listed

TOKENS_KEYS = (
    "tokens", "num_input_tokens_seen", "tokens_seen", "num_tokens", "consumed_tokens",
    "total_tokens", "train/tokens", "train/num_tokens", "train/num_input_tokens_seen",
    "train/tokens_seen", "throughput/total_tokens",
)  # fmt: skip
"""What columns of tokens are called by usual loggers."""


def one_row_a_step(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one run and step as one, unless they say the same thing twice; empty ones left out.

    A log with a line a metric would need as many times the memory as it has metrics.
    """
    metrics = [c for c in rows if c not in (RUN, STEP)]
    rows = rows[rows[metrics].notna().any(axis=1)]
    if not rows.duplicated([RUN, STEP]).any():
        return rows
    groups = rows.groupby([RUN, STEP], sort=False, dropna=False)
    if (groups[metrics].count() > 1).any(axis=None):
        return rows
    return groups.first().reset_index()


def losses_as_numbers(
    rows: pd.DataFrame, targets: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """The rows with numbers in columns called by target; what is not finite is left out, noted.

    Raises:
        SweepError: if a loss is text.
    """
    numbers = rows.drop(columns=list(targets))
    columns, lost = {}, 0
    for column, target in targets.items():
        values, text = checks.numbers(rows[column])
        if text.any():
            first = int(np.argmax(text))
            raise SweepError(
                f"column {column}: run {rows[RUN].iloc[first]} has {rows[column].iloc[first]!r}; "
                "expected losses, numbers. Take another pattern, or mend the log."
            )
        lost += int(np.isinf(values).sum())
        columns[target] = np.where(np.isfinite(values), values, np.nan)
    losses = pd.DataFrame(columns, index=rows.index)
    notes = [f"{lost} losses that are not finite left out: look for diverged runs."] * bool(lost)
    return pd.concat([numbers, losses], axis=1), notes


def with_budgets(
    rows: pd.DataFrame,
    targets: Sequence[str],
    unit: str | None,
    tokens_per_step: float | None,
    tokens_key: str | None,
) -> tuple[pd.DataFrame, str, list[str]]:
    """The rows that hold a loss, with BUDGET, its unit ("tokens", "steps" or "run"), and notes.

    Raises:
        SweepError: if tokens are asked for and nothing tells them, or a step is missing.
    """
    if unit not in (None, "tokens", "steps"):
        raise SweepError(f"unit is {unit!r}; expected 'tokens' or 'steps'.")
    if tokens_per_step is not None and not 0 < tokens_per_step < np.inf:
        raise SweepError(f"tokens_per_step is {tokens_per_step}; expected a number above 0.")
    column = _tokens_column(rows, tokens_key)
    measured = rows[list(targets)].notna().any(axis=1).to_numpy(bool)
    everything, rows = rows, rows[measured].reset_index(drop=True)
    if unit != "steps" and tokens_per_step is not None:
        _check_steps(rows, "tokens_per_step")
        note = f"Tokens are steps times {tokens_per_step:g}."
        return rows.assign(**{BUDGET: rows[STEP] * tokens_per_step}), "tokens", [note]
    if unit != "steps" and column is not None:
        budget, notes = _tokens(everything, column, measured)
        return rows.assign(**{BUDGET: budget[measured]}), "tokens", notes
    if unit == "tokens":
        raise SweepError(
            "unit: tokens are asked for, but no column of the logs tells them. Say how many a step "
            "takes with tokens_per_step= (--tokens-per-step), or name the column with tokens_key= "
            "(--tokens-key)."
        )
    if rows[STEP].isna().all() and not rows[RUN].duplicated().any():
        return rows.assign(**{BUDGET: 1.0}), "run", []
    _check_steps(rows, "step_key")
    return rows.assign(**{BUDGET: rows[STEP].astype(float)}), "steps", []


def _check_steps(rows: pd.DataFrame, what: str) -> None:
    gone = rows[STEP].isna().to_numpy(bool)
    if gone.any():
        raise SweepError(
            f"{what}: {gone.sum()} rows with losses have no step, the first of run "
            f"{rows[RUN][gone].iloc[0]}; name the column of steps with step_key= (--step-key)."
        )


def _tokens_column(rows: pd.DataFrame, given: str | None) -> str | None:
    if given is not None:
        if given not in rows:
            raise SweepError(f"tokens_key: the logs have no column {given}.")
        return given
    there = (c for key in TOKENS_KEYS for c in rows if c == key)
    return next((c for c in there if pd.to_numeric(rows[c], errors="coerce").max() > 0), None)


def _tokens(rows: pd.DataFrame, column: str, measured: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A column of tokens; its gaps, where a loss is measured, by the line through the others.

    Loggers write tokens with the training loss, at other rows than the evaluations.
    """
    tokens = pd.to_numeric(rows[column], errors="coerce").to_numpy(float)
    gone = np.isnan(tokens) & measured
    if not gone.any():
        return tokens, []
    _check_steps(rows[gone], "tokens_key")
    filled = tokens.copy()
    for where in rows.groupby(RUN, sort=False).indices.values():
        known, wanted = where[~np.isnan(tokens[where])], where[gone[where]]
        if not len(wanted):
            continue
        if len(known) < 2:
            raise SweepError(
                f"tokens: column {column} is empty where run {rows[RUN].iloc[wanted[0]]} has "
                "losses; say tokens_per_step= (--tokens-per-step), or ask for steps (--unit)."
            )
        filled[wanted] = _line(rows[STEP].to_numpy(float), tokens, known, wanted)
    return filled, [f"Tokens of {gone.sum()} rows follow from their steps and those around them."]


def _line(
    step: np.ndarray, tokens: np.ndarray, known: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    known = known[np.argsort(step[known])]
    first, last = known[0], known[-1]
    rate = (tokens[last] - tokens[first]) / (step[last] - step[first])
    inside = np.interp(step[wanted], step[known], tokens[known])
    after = tokens[last] + rate * (step[wanted] - step[last])
    before = tokens[first] - rate * (step[first] - step[wanted])
    return np.where(
        step[wanted] > step[last], after, np.where(step[wanted] < step[first], before, inside)
    )


def without_untrained(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows past step 0: no law holds at no training."""
    trained = (rows[BUDGET] > 0).to_numpy(bool)
    untrained = int(np.sum(~trained))
    notes = [f"{untrained} rows of untrained models (step 0) left out."] * bool(untrained)
    return rows[trained].reset_index(drop=True), notes


def one_row_a_budget(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Rows of one run and budget as one, sorted; of a loss logged twice the last stands, counted.

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
