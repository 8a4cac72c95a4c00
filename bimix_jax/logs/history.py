"""What every form of log is read into: rows of a run and a step, a column a metric."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax import checks
from bimix_jax.checks import SweepError
from bimix_jax.logs.columns import Column
from bimix_jax.logs.spread import spread
from bimix_jax.tables import listed

RUN, STEP = "\0run", "\0step"
"""Columns of the rows of all files; no log has such names."""
RUN_KEYS = ("run", "run_id", "run_name", "name", "display_name", "id")
STEP_KEYS = ("_step", "step", "steps", "global_step", "trainer/global_step", "iteration")


class LogFile(NamedTuple):
    """A file of logs, and the folder it was found in."""

    path: Path
    root: Path
    """the folder that was given, or the file's own"""
    run: str = ""
    """the name of the run that the place of the file tells"""


class Keys(NamedTuple):
    """Columns that a user named; None where they are to be found."""

    run: str | None = None
    step: str | None = None
    run_elsewhere: bool = False
    """whether the column of runs may be one of the table of mixtures alone"""


Keep = Callable[[list[str]], list[str]]
"""Of the columns of a file those that are wanted, so that the others need no memory."""


class History(NamedTuple):
    """The rows of a file, with the metrics that are wanted."""

    run: np.ndarray
    """(rows,) name of the run; nan where none is told"""
    step: np.ndarray
    """(rows,) nan where none is told"""
    metrics: list[str]
    values: np.ndarray
    """(rows, metrics) nan where nothing was logged"""
    seen: list[str]
    """all columns of the file"""
    text: Mapping[str, tuple[object, object]]
    """metric → the first run and cell that is no number"""


Read = Callable[[LogFile, Keys, Keep], History]
"""How a file of some form is read."""


def history_of(columns: Mapping[str, Column], file: LogFile, keys: Keys, keep: Keep) -> History:
    """The columns of a table of one or several runs.

    Raises:
        SweepError: if a key that was named is no column.
    """
    named = None if keys.run_elsewhere and keys.run not in columns else keys.run
    run = _key(columns, named, RUN_KEYS, "run_key", file.path)
    step = _key(columns, keys.step, STEP_KEYS, "step_key", file.path)
    metrics = [c for c in keep(list(columns)) if c not in (run, step)]
    rows = len(next(iter(columns.values())).to_numpy())
    runs = np.full(rows, file.run, object) if run is None else labels(columns[run].to_numpy())
    steps = np.full(rows, np.nan) if step is None else numbers(columns[step].to_numpy())[0]
    values, text = np.empty((rows, len(metrics))), {}
    for i, metric in enumerate(metrics):
        cells = columns[metric].to_numpy()
        values[:, i], wrong = numbers(cells)
        if wrong is not None:
            text[metric] = (runs[wrong], cells[wrong])
    return History(runs, steps, metrics, values, list(columns), text)


class Cells(NamedTuple):
    """What is logged one by one, in the order of the log."""

    steps: Sequence[Any] | np.ndarray
    columns: Sequence[int] | np.ndarray
    """index of the metric"""
    values: Sequence[Any] | np.ndarray


def history_of_cells(run: str, cells: Cells, metrics: list[str], seen: list[str]) -> History:
    """Cells of a run as one row a step; of what is logged again each has its own."""
    found, wrong = numbers(cells.values)
    group, steps = pd.factorize(numbers(cells.steps)[0], use_na_sentinel=False)
    group_of_row, table = spread(group, np.array(cells.columns, int), found, len(metrics))
    text = {} if wrong is None else {metrics[cells.columns[wrong]]: (run, cells.values[wrong])}
    runs = np.full(len(table), run, object)
    return History(runs, np.asarray(steps)[group_of_row], metrics, table, seen, text)


def numbers(cells: Sequence[Any] | np.ndarray) -> tuple[np.ndarray, int | None]:
    """(cells,) float, nan for what is empty or no number, and where the first of the latter is.

    >>> numbers([1, None, "Infinity", "high"])
    (array([ 1., nan, inf, nan]), 3)
    """
    if not isinstance(cells, np.ndarray):
        cells = np.array(cells, float if set(map(type, cells)) <= {int, float} else object)
    if cells.dtype.kind in "fiu":
        return cells.astype(float), None
    values, text = checks.numbers(pd.Series(cells, dtype=object))
    return values, int(np.argmax(text)) if text.any() else None


def labels(cells: np.ndarray) -> np.ndarray:
    """(cells,) names of runs as text, nan where there is none."""
    codes, unlike = pd.factorize(cells, use_na_sentinel=False)
    return np.array([label_of(value) for value in unlike], object)[codes]


def label_of(value: object) -> str | float:
    """A run's name as text; 3.0 is 3, as a gap turns a column of whole numbers into floats."""
    if value is None or value is pd.NA:
        return np.nan
    if isinstance(value, float):
        return np.nan if np.isnan(value) else str(int(value) if value.is_integer() else value)
    return str(value)


def _key(
    columns: Mapping[str, Column], given: str | None, usual: tuple[str, ...], what: str, path: Path
) -> str | None:
    if given is None:
        return next((c for name in usual for c in columns if c.lower() == name), None)
    if given not in columns:
        raise SweepError(
            f"{what}: {path} has no column {given}; expected one of {listed(columns)}."
        )
    return given
