"""Hugging Face `trainer_state.json`: what the Trainer keeps beside every checkpoint."""

import re
from collections.abc import Iterable

import numpy as np

from bimix_jax.checks import SweepError
from bimix_jax.logs.history import Cells, History, Keep, Keys, LogFile, history_of_cells, numbers
from bimix_jax.logs.log_history import LogHistory, log_history

ENDINGS = ("trainer_state.json",)
PATTERN = "eval_{target}_loss"
NUMBER = re.compile(r"checkpoint[-_](\d+)", re.I)


def read(file: LogFile, keys: Keys, keep: Keep) -> History:
    """The `log_history` of a file, one row a step.

    Raises:
        SweepError: if the file is no complete JSON, or holds no log_history.
    """
    log = _log_history(file)
    step = keys.step or "step"
    metrics = [name for name in keep(log.names) if name != step]
    place = {name: i for i, name in enumerate(metrics)} | {step: len(metrics)}
    column = np.array([place.get(name, -1) for name in log.names], int)[log.name]
    is_step, is_metric = column == len(metrics), (column >= 0) & (column < len(metrics))
    steps = np.full(log.entry.max(initial=-1) + 1, np.nan)
    steps[log.entry[is_step]] = numbers(log.value[is_step])[0]
    cells = Cells(steps[log.entry[is_metric]], column[is_metric], log.value[is_metric])
    return history_of_cells(file.run, cells, metrics, log.names)


def _log_history(file: LogFile) -> LogHistory:
    try:
        return log_history(file.path.read_bytes())
    except (ValueError, OSError) as error:
        raise SweepError(
            f"{file.path} is not a complete JSON file ({error}). Copy it again, or leave the run "
            "out."
        ) from error
    except LookupError as error:
        raise SweepError(
            f"{file.path} holds no log_history; expected a trainer_state.json that the Trainer "
            "wrote."
        ) from error


def latest(files: Iterable[LogFile]) -> list[LogFile]:
    """Of each run the file of its last checkpoint, which holds the whole history."""
    of_run: dict[tuple[str, str], LogFile] = {}
    for file in sorted(files, key=_checkpoint):
        of_run[str(file.root), file.run] = file
    return list(of_run.values())


def _checkpoint(file: LogFile) -> float:
    found = NUMBER.fullmatch(file.path.parent.name)
    return float(found[1]) if found else float("inf")  # beside the run itself: its end
