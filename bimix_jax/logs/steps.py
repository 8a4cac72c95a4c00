"""Choice of the counter of training steps, where a log holds several counters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bimix_jax.logs.counters import LOGGER_STEP, filled, is_global_step, rows_of_runs, step_columns
from bimix_jax.logs.history import History
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
        counter = np.where(np.isfinite(column := _column(history, name)), column, np.nan)
        example = _differ(history, counter)
        if example is None or (logged and not _counts(history, name, counter)):
            continue
        if not logged:
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
            f"step_key: {len(lacking)} files of logs have only {LOGGER_STEP}, which counts "
            f"otherwise than {replaced[0].key} in the others: those of the runs {listed(lacking)}. "
            f"Export {replaced[0].key} of all runs, or choose with step_key= (--step-key)."
        )
    notes = []
    for (key, other), several in chosen.items():
        run, here, there = several[0].example
        gaps = sum(steps.filled for steps in several)
        notes.append(
            f"Steps are {key}, not {other}, which counts otherwise: run {run} has {here:g} where "
            f"{other} is {there:g}. Choose with step_key= (--step-key)."
            + f" The {key} of {gaps} rows follows from those around them."
            * bool(gaps)
        )
    return notes


def _has_only_the_loggers(history: History) -> bool:
    key = history.step_key
    return key is not None and key.lower() == LOGGER_STEP and not step_columns(history.seen)
