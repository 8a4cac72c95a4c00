"""Hugging Face `trainer_state.json`, which the Trainer writes into every checkpoint."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bimix_jax.logs._amounts import amounts
from bimix_jax.logs._history import Cells, History, LogFile, history_of_cells
from bimix_jax.logs._log_history import LogHistory, log_history
from bimix_jax.logs._settings import Reading
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed

ENDINGS = ("trainer_state.json",)
PATTERN = "eval_{target}_loss"
GLOBAL_STEP = re.compile(rb'"global_step"\s*:\s*(\d+)')
BESIDE = 1 << 16
"""Bytes at each end of a file that are searched for its step; a history may have gigabytes."""
NUMBER = re.compile(r"checkpoint[-_](\d+)", re.I)


def read(file: LogFile, reading: Reading) -> History:
    """Read the `log_history` of a file, one row per step.

    Raises:
        SweepError: if the file is not complete JSON, or holds no log_history.
    """
    log = _log_history(file)
    step = reading.asked.step_key or "step"
    metrics = [name for name in reading.keep(log.names) if name != step]
    # The step is one column more, so that all cells are placed at once.
    place = {name: i for i, name in enumerate(metrics)} | {step: len(metrics)}
    column = np.array([place.get(name, -1) for name in log.names], int)[log.name]
    is_step, is_metric = column == len(metrics), (column >= 0) & (column < len(metrics))
    steps = np.full(log.entry.max(initial=-1) + 1, np.nan)
    steps[log.entry[is_step]] = amounts(log.value[is_step]).values
    cells = Cells(steps[log.entry[is_metric]], column[is_metric], log.value[is_metric])
    return history_of_cells(file.run, cells, metrics, log.names)


def _log_history(file: LogFile) -> LogHistory:
    try:
        return log_history(file.path.read_bytes(), str(file.path))
    except (ValueError, OSError) as error:
        raise SweepError(f"{error} Copy it again, or leave the run out.") from error
    except LookupError as error:
        raise SweepError(
            f"{file.path} holds no log_history; expected a trainer_state.json that the Trainer "
            "wrote."
        ) from error


def latest(files: Iterable[LogFile]) -> tuple[list[LogFile], tuple[str, ...]]:
    """Return the state of each run with the most steps, which holds the whole history.

    The state in the run's own folder may be older than its checkpoints; a note reports this.
    """
    of_run: dict[tuple[str, str], list[LogFile]] = {}
    for file in files:
        of_run.setdefault((str(file.root), file.run), []).append(file)
    chosen = [
        max(states, key=_reached) if len(states) > 1 else states[0] for states in of_run.values()
    ]
    stale = [
        f"{own.path} ends before {last.path.parent.name}"
        for last, states in zip(chosen, of_run.values(), strict=True)
        for own in states
        if own is not last and not NUMBER.fullmatch(own.path.parent.name)
    ]
    count = "1 trainer_state.json" if len(stale) == 1 else f"{len(stale)} trainer_state.json"
    note = f"{count} passed over for the state of a checkpoint that got further: {listed(stale)}."
    return chosen, (note,) * bool(stale)


def _reached(file: LogFile) -> tuple[float, bool]:
    """Return the steps of a state, and True where it is in the run's own folder, at the end."""
    checkpoint = NUMBER.fullmatch(file.path.parent.name)
    stated = _global_step(file.path)
    if stated is None:
        # Training saves the state in the run's own folder at its end, so without a step it is last.
        stated = float(checkpoint[1]) if checkpoint else float("inf")
    return stated, checkpoint is None


def _global_step(path: Path) -> float | None:
    """Return the step count of a state, which is written before or after its long history."""
    try:
        with path.open("rb") as file:
            begin = file.read(BESIDE)
            file.seek(max(BESIDE, path.stat().st_size - BESIDE))
            found = GLOBAL_STEP.search(begin) or GLOBAL_STEP.search(file.read())
    except OSError:
        return None
    return float(found[1]) if found else None
