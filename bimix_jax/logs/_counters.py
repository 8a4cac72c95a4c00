"""Counters of training: the steps and tokens of rows, from columns with gaps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs._gaps import Carried, Gaps, by_steps, carried, gap_notes, gaps_of
from bimix_jax.logs._history import RUN, STEP, History, spread
from bimix_jax.logs._numbers import (
    LOGGER_STEP,
    is_global_step,
    step_columns,
    token_columns,
)
from bimix_jax.logs._settings import Reading
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed


class Steps(NamedTuple):
    """The chosen counter of steps of a file, and the counter that it replaced."""

    key: str
    other: str
    example: tuple[object, float, float]
    """a run, and the values of both counters in one of its rows"""
    gaps: Gaps = Gaps()


def in_training_steps(history: History, reading: Reading) -> tuple[History, Steps | None]:
    """Return the history with the counter of training steps, without the other step counters.

    W&B's own counter is used only if no other is logged beside it, or if the user named it.
    Losses before the first training step are left out, unless the next row has it and the steps
    logged after it are so close that training must have begun.
    """
    names = step_columns(history.metrics)
    if not names:
        return history, None
    kept = _without(history, names)
    if reading.asked.step_key is not None or history.step_key is None:
        return kept, None
    logged = history.step_key.lower() == LOGGER_STEP
    for name in names:
        # A counter that was logged as nan or inf counts nothing there.
        counter = np.where(np.isfinite(column := _column(history, name)), column, np.nan)
        example = _first_difference(history, counter)
        # A counter that never differs from the steps adds nothing.
        if example is None or (logged and not _counts(history, name, counter)):
            continue
        if not logged:
            # A counter other than the logger's own stays; a note names the one that differs.
            return kept, Steps(history.step_key, name, (example[0], *example[:0:-1]))
        step = carried(counter, history.step, _rows_of_runs(history.run).values())
        kept, gaps = _without_lost(kept._replace(step=step.counts, step_key=name), step, reading)
        return kept, Steps(name, history.step_key, example, gaps)
    return kept, None


def _without_lost(history: History, step: Carried, reading: Reading) -> tuple[History, Gaps]:
    """Empty the losses of rows before the first step, and count the rows that lacked a step."""
    losses = [history.metrics.index(name) for name in reading.targets(history.metrics)]
    measured = ~np.isnan(history.values[:, losses]).all(axis=1)
    if reading.asked.unit != "steps" and reading.asked.tokens_per_step is None:
        # A row that counts tokens needs no step.
        names = [*token_columns(history.metrics), reading.asked.tokens_key]
        for name in [name for name in history.metrics if name in names]:
            measured = measured & ~(step.lost & np.isfinite(_column(history, name)))
    values = history.values.copy()
    values[np.ix_(step.lost & measured, losses)] = np.nan
    return history._replace(values=values), gaps_of(step, measured, history.run)


def _without(history: History, names: Sequence[str]) -> History:
    keep = [i for i, name in enumerate(history.metrics) if name not in names]
    metrics = [history.metrics[i] for i in keep]
    return history._replace(metrics=metrics, values=history.values[:, keep])


def _column(history: History, name: str) -> np.ndarray:
    return history.values[:, history.metrics.index(name)]


def _first_difference(history: History, counter: np.ndarray) -> tuple[object, float, float] | None:
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
    for rows in _rows_of_runs(history.run).values():
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
        notes.append(
            f"Steps are {key}, not {other}, which counts differently: run {run} has {here:g} where "
            f"{other} is {there:g}. Choose with step_key= (--step-key)."
        )
        notes += gap_notes(key, [steps.gaps for steps in several])
    return notes


def _has_only_the_loggers(history: History) -> bool:
    key = history.step_key
    return key is not None and key.lower() == LOGGER_STEP and not step_columns(history.seen)


def one_row_a_step(history: History) -> History:
    """Merge rows of one run and step; repeated values get rows after the first.

    Otherwise a log with one line per metric would need as many times the memory as it has metrics.
    """
    if np.all(np.diff(history.step) > 0):  # fast: no step occurs twice
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
    """Return (rows,) tokens from a column with gaps, nan for rows to leave out; and notes.

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
    runs = _rows_of_runs(rows[RUN].to_numpy(object))
    step = rows[STEP].to_numpy(float)
    _check_rise(runs, step, tokens, column)
    if not np.any(np.isnan(tokens) & measured):
        _check_moves(rows, tokens, targets, column)
        return tokens, []
    even = by_steps(tokens, step, runs.values())
    between = np.isnan(tokens) & np.isfinite(even) & measured
    found = carried(tokens, step, runs.values())
    whole = np.where(between, even, found.counts)
    untold = np.isnan(whole) & measured & ~found.lost
    if untold.any():
        raise SweepError(
            f"tokens: column {column} is empty where run {rows[RUN][untold].iloc[0]} has "
            f"losses. {WAYS_OUT}"
        )
    _check_moves(rows, whole, targets, column)
    return whole, [
        *[
            f"In {counted(between.sum(), 'row')} tokens were filled in from the steps and the rows "
            "around."
        ]
        * bool(between.any()),
        *gap_notes(column, [gaps_of(found, measured & ~between, rows[RUN].to_numpy(object))]),
    ]


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
    """Raise SweepError if tokens do not rise while steps do."""
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
                f"tokens: column {column} does not rise in {counted(len(runs), 'run')}, "
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
    # STUCK points in a row are STUCK − 1 neighbours without a rise.
    several = np.all([in_a_row[i : i + len(run)] for i in range(STUCK - 1)], axis=0)
    points = np.bincount(run)
    moves = np.bincount(run[1:], ~still & (run[1:] == run[:-1]), len(points))
    return several | (np.append(still, False) & (moves == 0)[run])


def _rows_of_runs(run: np.ndarray) -> dict[object, np.ndarray]:
    """Map each run to its rows, in the order of the runs."""
    codes, names = pd.factorize(run, use_na_sentinel=False)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])
    return dict(zip(names, parts, strict=True)) if len(names) else {}
