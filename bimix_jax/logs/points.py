"""Rows of logs as points: one a run and budget, with numbers where losses are."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bimix_jax.checks import SweepError
from bimix_jax.logs.budgets import BUDGET
from bimix_jax.logs.history import RUN, STEP, History
from bimix_jax.logs.spread import spread
from bimix_jax.tables import listed

TOKENS_KEYS = (
    "tokens", "num_input_tokens_seen", "tokens_seen", "num_tokens", "consumed_tokens",
    "total_tokens", "train/tokens", "train/num_tokens", "train/num_input_tokens_seen",
    "train/tokens_seen", "throughput/total_tokens",
)  # fmt: skip
"""What columns of tokens are called by usual loggers."""


def one_row_a_step(history: History) -> History:
    """Rows of one step and run as one; what says the same thing again has rows after the first.

    A log with a line a metric would need as many times the memory as it has metrics.
    """
    group = _groups(history.run, history.step)
    if group.max(initial=-1) + 1 == len(group):
        return history
    row, column = np.nonzero(~np.isnan(history.values))
    group_of_row, values = spread(
        group[row], column, history.values[row, column], len(history.metrics)
    )
    first = np.unique(group, return_index=True)[1][group_of_row]
    return history._replace(run=history.run[first], step=history.step[first], values=values)


def _groups(run: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(rows,) int: which run and step, in the order in which they come."""
    runs, steps = (pd.factorize(keys, use_na_sentinel=False)[0] for keys in (run, step))
    return pd.factorize(runs * (steps.max(initial=0) + 1) + steps)[0]


def finite_losses(rows: pd.DataFrame, targets: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """The rows with losses in columns called by target; what is not finite is left out, noted."""
    values = rows[list(targets)].to_numpy(float)
    infinite = np.isinf(values)
    losses = pd.DataFrame(
        np.where(infinite, np.nan, values), index=rows.index, columns=list(targets.values())
    )
    lost = int(infinite.sum())
    notes = [f"{lost} losses that are not finite left out: look for diverged runs."] * bool(lost)
    return pd.concat([rows.drop(columns=list(targets)), losses], axis=1), notes


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
