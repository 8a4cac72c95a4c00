"""Points of runs: finite losses of targets at budgets in tokens or steps."""

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from bimix_jax.logs._budgets import BUDGET
from bimix_jax.logs._counters import (
    Text,
    tokens_column,
    tokens_of,
)
from bimix_jax.logs._history import RUN, STEP
from bimix_jax.logs._settings import Asked
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.names import spelling
from bimix_jax.reading.tables import (
    listed,
)

APART = 0.02
"""Largest relative difference between two token counts that agree."""


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


AVERAGE = re.compile(
    r"(macro|micro|weighted)([/._ -]?(avg|average|mean|loss))?|avg|average|mean|overall|all|total"
    r"|aggregated?|combined",
    re.I,
)
"""Last part of the name of an average, unless the target is a domain."""
NESTED = re.compile(r"[/.]")
SAME = 1e-5
"""Largest relative difference from a mean; losses are logged in single precision."""
ROWS = 2
"""Number of rows that must match, so that a match by chance is ruled out."""
FIRST = 100
"""Rows that are compared before all the others."""
Losses = Mapping[str, np.ndarray]
"""Target → its losses, (rows,)."""


def without_averages(
    rows: pd.DataFrame, targets: Sequence[str], domains: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return the targets that are not averages of others, and a note of those that are.

    A target is an average if its name begins those of others (paloma beside paloma/books), if it
    has a usual name of an average, or if it is the mean of others in every row. A domain never is
    one.

    >>> rows = pd.DataFrame({"web": [3.0, 2.5], "code": [2.0, 1.5], "val": [2.5, 2.0]})
    >>> without_averages(rows, ["web", "code", "val"], ["web", "code"])[0]
    ['web', 'code']
    """
    known = {spelling(domain) for domain in domains}
    found = dict[str, str]()
    losses = {target: rows[target].to_numpy(float) for target in targets}
    for target in targets:
        # Without averages found before, two equal averages do not exclude each other.
        others = [t for t in targets if t != target and t not in found]
        why = None if spelling(target) in known else _average_of(losses, target, others)
        if why is not None:
            found[target] = why
    left = [target for target in targets if target not in found]
    # If every target looked like an average, the names would mislead, so all are kept.
    if not found or not left:
        return list(targets), []
    said = "; ".join(f"{target} ({why})" for target, why in found.items())
    what = "an average" if len(found) == 1 else "averages"
    return left, [f"Left out as {what} of other targets: {said}."]


def _average_of(losses: Losses, target: str, others: list[str]) -> str | None:
    """Return why a target is an average, or None."""
    inner = [t for t in others if NESTED.match(t.removeprefix(target)) and t.startswith(target)]
    if inner:
        return f"its name begins those of {listed(inner)}"
    if others and AVERAGE.fullmatch(NESTED.split(target)[-1]):
        return "its name says so"
    beside = [t for t in others if t.startswith(f"{target}_")]
    # A mean of a group begins the names of its parts; a mean of everything may have any name.
    for parts in (beside, others):
        if len(parts) > 1 and _is_mean(losses, target, parts):
            return f"the mean of {listed(parts)}"
    return None


def _is_mean(losses: Losses, target: str, parts: list[str]) -> bool:
    if not _near_mean(losses, target, parts, FIRST).all():  # fast: most targets differ at once
        return False
    near = _near_mean(losses, target, parts)
    return len(near) >= ROWS and bool(near.all())


def _near_mean(
    losses: Losses, target: str, parts: list[str], rows: int | None = None
) -> np.ndarray:
    """Return for each row that holds all parts whether the target is their mean."""
    loss, mean = losses[target][:rows], np.mean([losses[part][:rows] for part in parts], axis=0)
    there = np.isfinite(mean) & np.isfinite(loss)
    return np.abs(loss - mean)[there] <= SAME * np.abs(mean[there])
