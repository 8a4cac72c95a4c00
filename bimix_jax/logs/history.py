"""What every form of log is read into: rows of a run and a step, a column a metric."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.checks import SweepError
from bimix_jax.tables import listed, names_of

RUN, STEP = "\0run", "\0step"
"""Columns that a reader adds; no log has such names."""
RUN_KEYS = ("run", "run_id", "run_name", "name", "display_name", "id")
STEP_KEYS = ("_step", "step", "steps", "global_step", "trainer/global_step", "iteration")
SAYS_NOTHING = re.compile(
    r"(wandb[-_.]?)?(history|trainer_state|metrics|logs?|scalars|output|results|events.*)", re.I
)
"""Names of files that are called the same in every run's folder."""
CHECKPOINT = re.compile(r"checkpoint[-_]\d+|files|logs|tensorboard|runs|wandb", re.I)


class LogFile(NamedTuple):
    """A file of logs, and the folder it was found in."""

    path: Path
    root: Path
    """the folder that was given, or the file's own"""

    @property
    def run(self) -> str:
        """The name of the run that the place of the file tells."""
        stem = self.path.name.split(".")[0]
        if not SAYS_NOTHING.fullmatch(stem):
            return stem
        below = self.path.parent.relative_to(self.root).parts
        telling = [folder for folder in below if not CHECKPOINT.fullmatch(folder)]
        above = reversed(self.path.resolve().parent.parts)
        return "/".join(telling) or next(f for f in above if not CHECKPOINT.fullmatch(f))


class Keys(NamedTuple):
    """Columns that a user named; None where they are to be found."""

    run: str | None = None
    step: str | None = None


Keep = Callable[[list[str]], list[str]]
"""Of the columns of a file those that are wanted, so that the others need no memory."""


def history_of(table: pd.DataFrame, file: LogFile, keys: Keys, keep: Keep) -> pd.DataFrame:
    """A table of one or several runs with RUN and STEP, and the metrics that are wanted.

    Raises:
        SweepError: if a key that was named is no column.
    """
    run = _column(table, keys.run, RUN_KEYS, "run_key", file.path)
    step = _column(table, keys.step, STEP_KEYS, "step_key", file.path)
    wanted = [c for c in keep(list(table.columns)) if c not in (run, step)]
    runs = file.run if run is None else table[run].map(label_of)
    steps = np.nan if step is None else pd.to_numeric(table[step], errors="coerce")
    return of_runs(table[wanted], runs, steps)


def of_runs(table: pd.DataFrame, run: Any, step: Any) -> pd.DataFrame:
    """The table with RUN and STEP, which are one for all rows or one a row."""
    return table.assign(**{RUN: run, STEP: step})


def label_of(value: object) -> str | float:
    """A run's name as text; 3.0 is 3, as a gap turns a column of whole numbers into floats."""
    if isinstance(value, float):
        return np.nan if np.isnan(value) else str(int(value) if value.is_integer() else value)
    return str(value)


def _column(
    table: pd.DataFrame, given: str | None, usual: tuple[str, ...], what: str, path: Path
) -> str | None:
    if given is None:
        return next((c for name in usual for c in names_of(table) if c.lower() == name), None)
    if given not in table:
        raise SweepError(
            f"{what}: {path} has no column {given}; expected one of {listed(table.columns)}."
        )
    return given
