"""Budgets in tokens: the column that counts them, and checks that it counts training."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bimix_jax.logs._counters import filled, rows_of_runs, token_columns
from bimix_jax.logs._history import RUN, STEP
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed

Text = Mapping[str, tuple[object, object]]
"""Column → the first run and cell that is not a number."""
STUCK = 3
"""Evaluations in a row at one number of tokens that a restart of training cannot explain."""
WAYS_OUT = (
    "Mend the column, use steps with unit='steps' (--unit steps), or state the tokens per step "
    "with tokens_per_step= (--tokens-per-step)."
)


def tokens_column(rows: pd.DataFrame, given: str | None, text: Text) -> str | None:
    """Return the column that counts tokens; None if none is above 0. A column of text counts, too.

    Raises:
        SweepError: if the one that was named is not there.
    """
    if given is not None:
        if given not in rows:
            raise SweepError(f"tokens_key: the logs have no column {given} (--tokens-key).")
        return given
    there = token_columns(rows.columns)
    return next((c for c in there if c in text or np.nanmax(_finite(rows, c), initial=0) > 0), None)


def _finite(rows: pd.DataFrame, column: str) -> np.ndarray:
    # A counter logged as nan or inf counts nothing, so it is a gap like an empty cell.
    counted = rows[column].to_numpy(float)
    return np.where(np.isfinite(counted), counted, np.nan)


def tokens_of(
    rows: pd.DataFrame, column: str, targets: Sequence[str], text: Text
) -> tuple[np.ndarray, list[str]]:
    """Return (rows,) tokens of the rows with a loss, from a column with gaps; and notes.

    Raises:
        SweepError: if the column holds text, has too many gaps, or does not count training.
    """
    if column in text:
        run, cell = text[column]
        raise SweepError(
            f"tokens: column {column} of run {run} holds {cell!r}; expected numbers of tokens. "
            f"{WAYS_OUT}"
        )
    tokens = _finite(rows, column)
    measured = rows[list(targets)].notna().any(axis=1).to_numpy(bool)
    runs = rows_of_runs(rows[RUN].to_numpy(object))
    step = rows[STEP].to_numpy(float)
    _check_rise(runs, step, tokens, column)
    gone = np.isnan(tokens) & measured
    whole = filled(tokens, step, runs.values()) if gone.any() else tokens
    untold = np.isnan(whole) & measured
    if untold.any():
        raise SweepError(
            f"tokens: column {column} is empty where run {rows[RUN][untold].iloc[0]} has "
            f"losses. {WAYS_OUT}"
        )
    _check_moves(rows, whole, targets, column)
    return whole, [
        f"In {counted(gone.sum(), 'row')} tokens were filled in from the steps and the rows around."
    ] * bool(gone.any())


def _check_rise(
    runs: Mapping[object, np.ndarray], step: np.ndarray, tokens: np.ndarray, column: str
) -> None:
    """Raise SweepError if tokens fall while steps rise: the counter was restarted."""
    falling = {}
    for run, rows in runs.items():
        known = rows[np.isfinite(tokens[rows]) & np.isfinite(step[rows])]
        if np.all(np.diff(tokens[known]) >= 0):
            continue  # the steps may have been restarted, the tokens were not
        # By tokens within a step, so that rows logged twice do not fall.
        known = known[np.lexsort([tokens[known], step[known]])]
        falls = np.flatnonzero(np.diff(tokens[known]) < 0)
        if len(falls):
            falling[run] = known[falls[0] : falls[0] + 2]
    if falling:
        run, (before, after) = next(iter(falling.items()))
        raise SweepError(
            f"tokens: column {column} falls while steps rise in {counted(len(falling), 'run')}: "
            f"{listed(falling)}; in run {run} from {tokens[before]:g} at step {step[before]:g} to "
            f"{tokens[after]:g} at step {step[after]:g}. Expected all tokens since the start, but "
            f"the counter was restarted, or counts per batch. {WAYS_OUT}"
        )


def _check_moves(
    rows: pd.DataFrame, tokens: np.ndarray, targets: Sequence[str], column: str
) -> None:
    """Raise SweepError if tokens stand still while steps rise."""
    # By run, then by step: lexsort sorts by its last key first.
    order = np.lexsort([rows[STEP].to_numpy(float), pd.factorize(rows[RUN])[0]])
    run, step = rows[RUN].to_numpy()[order], rows[STEP].to_numpy(float)[order]
    tokens = tokens[order]
    for target in targets:
        there = rows[target].notna().to_numpy(bool)[order]
        stuck = _stuck(pd.factorize(run[there])[0], step[there], tokens[there])
        if stuck.any():
            runs = pd.unique(run[there][stuck])
            raise SweepError(
                f"tokens: column {column} stands still in {counted(len(runs), 'run')}, "
                f"{listed(runs)}: run "
                f"{runs[0]} has several losses of {target} at {tokens[there][stuck][0]:g} tokens. "
                f"Expected all tokens since the start. {WAYS_OUT}"
            )


def _stuck(run: np.ndarray, step: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return (points,) bool: True where STUCK points of one token count begin, or a whole such
    run."""
    if len(run) < 2:
        return np.zeros(len(run), bool)
    still = (run[1:] == run[:-1]) & (tokens[1:] == tokens[:-1]) & (step[1:] != step[:-1])
    if not still.any():
        return np.zeros(len(run), bool)
    in_a_row = np.append(still, np.zeros(STUCK, bool))
    # STUCK points in a row are STUCK − 1 neighbours that stand still.
    several = np.all([in_a_row[i : i + len(run)] for i in range(STUCK - 1)], axis=0)
    points = np.bincount(run)
    moves = np.bincount(run[1:], ~still & (run[1:] == run[:-1]), len(points))
    return several | (np.append(still, False) & (moves == 0)[run])
