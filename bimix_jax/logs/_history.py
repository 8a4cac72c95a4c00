"""The common shape of all forms of logs: one row per run and step, one column per metric."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs._columns import Columns, read_columns
from bimix_jax.logs._numbers import LOGGER_STEP, Numbers, amounts, numbers, numbers_of, step_columns
from bimix_jax.logs._settings import Reading
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed


def spread(
    group: np.ndarray, column: np.ndarray, value: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells as one row per group; repeated cells get rows after those, in the same order.

    Args:
        group: (cells,) int, which row a cell is of, none left out.
        column: (cells,) int below width.
        value: (cells,) float.
        width: number of columns.

    Returns:
        (rows,) the group of each row, and (rows, width) values, nan where there is none.

    >>> spread(np.array([0, 0, 1, 0]), np.array([0, 1, 1, 0]), np.array([1.0, 2, 3, 4]), 2)
    (array([0, 1, 0]), array([[ 1.,  2.],
           [nan,  3.],
           [ 4., nan]]))
    """
    groups = int(group.max(initial=-1)) + 1
    # Occurrence k of a cell is in layer k. All layers lie in one flat array, in which a layer has
    # groups · width cells, so row % groups is the row's group.
    cell = group * width + column
    layer = _times_before(cell)
    rows = groups * (int(layer.max(initial=0)) + 1)
    table = np.full((rows, width), np.nan)
    table.flat[layer * groups * width + cell] = value
    used = np.flatnonzero(~np.isnan(table).all(axis=1))
    return used % max(groups, 1), table[used]


def _times_before(cell: np.ndarray) -> np.ndarray:
    """Return (cells,) int: the number of earlier cells with the same value.

    >>> _times_before(np.array([3, 1, 3, 3]))
    array([0, 0, 1, 2])
    """
    if not len(cell) or np.bincount(cell).max() == 1:
        return np.zeros(len(cell), int)
    return pd.Series(cell).groupby(cell).cumcount().to_numpy()


RUN, STEP = "\0run", "\0step"
"""Columns of the rows of all files; no log has such names."""
RUN_KEYS = ("run", "run_id", "run_name", "name", "display_name", "id")


class LogFile(NamedTuple):
    """A file of logs, and the folder that it was found in."""

    path: Path
    root: Path
    """the folder that was given, or the file's own"""
    run: str = ""
    """the run's name by the place of the file; empty where there is no file"""
    columns: Columns | None = None
    """the file's content, if it was given instead of a file"""

    def read(self, run: str | None = None) -> Columns:
        """Return the columns of a tabular file; `run` names a column of runs."""
        return read_columns(self.path, run) if self.columns is None else self.columns

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return 0 if self.columns is not None else self.path.stat().st_size


class _Called(NamedTuple):
    """The name and the id of a run."""

    name: object
    known_by: object


class History(NamedTuple):
    """The rows of a file, with the wanted metrics."""

    run: np.ndarray
    """(rows,) name of the run; nan where it is unknown"""
    step: np.ndarray
    """(rows,) nan where it is unknown"""
    metrics: list[str]
    values: np.ndarray
    """(rows, metrics) nan where nothing was logged, inf where the logged value is not finite"""
    seen: list[str]
    """all columns of the file"""
    text: Mapping[str, tuple[object, object]]
    """metric or STEP → the first run and cell that is not a number"""
    written: Mapping[str, tuple[str, float]] = {}
    """counter or STEP → its first cell of text that was read as a number, and the number"""
    step_key: str | None = None
    """the column of steps, or None"""
    called: Mapping[object, _Called] = {}
    """run → its name and its id, where both are needed to tell runs apart"""
    notes: tuple[str, ...] = ()
    """on how the table was read"""


Read = Callable[[LogFile, Reading], History]
"""Reader of a file of some form."""


def history_of(columns: Columns, file: LogFile, reading: Reading) -> History:
    """Return a table of one or several runs as a history.

    Raises:
        SweepError: if a key that was named is no column.
    """
    run = find_run_key(columns, file, reading, RUN_KEYS)
    step = find_key(columns, reading.asked.step_key, step_keys(columns), "step_key", file.path)
    # A column that the user named must name the runs by itself.
    known_by = None if reading.asked.run_key is not None else _id_column(columns, run)
    metrics = [c for c in reading.keep(list(columns)) if c not in (run, step, known_by)]
    rows = len(next(iter(columns.values())))
    runs = run_of_file(file, columns, rows) if run is None else labels(columns[run])
    steps = no_steps(rows) if step is None else amounts(columns[step])
    found = {metric: numbers_of(metric, columns[metric]) for metric in metrics}
    history = assembled(runs, steps, found, list(columns), step)
    if known_by is None:
        return history
    runs, called = _by_both(runs, labels(columns[known_by]), steps.values)
    return history._replace(run=runs, called=called)


def run_of_file(file: LogFile, columns: Columns, rows: int) -> np.ndarray:
    """Return (rows,) the run of a file in which no column names the runs.

    Raises:
        SweepError: if there is no file.
    """
    if not file.run:
        raise SweepError(
            f"run_key: no column names the runs, of {listed(columns)}; expected one of "
            f"{', '.join(RUN_KEYS)}. Name it with run_key=, or give a mapping of run → DataFrame."
        )
    return np.full(rows, file.run, object)


def no_steps(rows: int) -> Numbers:
    """Return empty steps, for a file without a column of steps."""
    return Numbers(np.full(rows, None), np.full(rows, np.nan), np.zeros(rows, bool))


def assembled(
    run: np.ndarray,
    step: Numbers,
    found: Mapping[str, Numbers],
    seen: list[str],
    step_key: str | None = None,
) -> History:
    """Assemble the rows of runs from the numbers of each metric."""
    values = np.empty((len(run), len(found)))
    for i, each in enumerate(found.values()):
        values[:, i] = each.values
    measured = ~np.isnan(values).all(axis=1)
    steps = step._replace(text=step.text & measured)  # rows without a metric do not matter
    every = {STEP: steps, **found}
    first = {name: int(np.argmax(n.text)) for name, n in every.items() if n.text.any()}
    text = {name: (run[row], every[name].cells[row]) for name, row in first.items()}
    written = {name: n.written for name, n in every.items() if n.written}
    return History(run, step.values, list(found), values, seen, text, written, step_key)


class Cells(NamedTuple):
    """Values that were logged one by one, in the order of the log."""

    steps: Sequence[Any] | np.ndarray
    columns: Sequence[int] | np.ndarray
    """index of the metric"""
    values: Sequence[Any] | np.ndarray


def history_of_cells(run: str, cells: Cells, metrics: list[str], seen: list[str]) -> History:
    """Return the cells of a run as one row per step; repeated values get rows of their own."""
    found = numbers(cells.values)
    whole = isinstance(found.cells, np.ndarray) and found.cells.dtype.kind == "f"
    # No cell is empty where all are numbers, so nan was logged as a value.
    logged = np.where(np.isnan(found.values), np.inf, found.values) if whole else found.values
    group, steps = pd.factorize(amounts(cells.steps).values, use_na_sentinel=False)
    group_of_row, table = spread(group, np.array(cells.columns, int), logged, len(metrics))
    wrong = np.flatnonzero(found.text)[:1]
    text = {metrics[cells.columns[i]]: (run, cells.values[i]) for i in wrong}
    runs = np.full(len(table), run, object)
    return History(runs, np.asarray(steps)[group_of_row], metrics, table, seen, text)


def labels(cells: np.ndarray) -> np.ndarray:
    """Return (cells,) names of runs as text, nan for empty cells."""
    codes, unlike = pd.factorize(cells, use_na_sentinel=False)
    return np.array([label_of(value) for value in unlike], object)[codes]


def label_of(value: object) -> str | float:
    """Return a run's name as text; 3.0 becomes 3, since a gap turns integers into floats."""
    if value is None or value is pd.NA:
        return np.nan
    if isinstance(value, float):
        return np.nan if np.isnan(value) else str(int(value) if value.is_integer() else value)
    return str(value)


def step_keys(columns: Iterable[str]) -> tuple[str, ...]:
    """Return possible columns of steps, in lower case; W&B's own, which every row has, comes
    first."""
    return (LOGGER_STEP, *map(str.lower, step_columns(columns)))


def find_run_key(
    columns: Columns, file: LogFile, reading: Reading, usual: tuple[str, ...]
) -> str | None:
    """Return the column that names the runs, preferably by the names in the table of mixtures.

    None if there is no such column, or if only the place of the file names a run of the table.

    Raises:
        SweepError: if the one that was named is neither there nor in the table of mixtures.
    """
    named = reading.asked.run_key
    if named is not None and (named in columns or not reading.run_elsewhere):
        return find_key(columns, named, usual, "run_key", file.path)
    usually = [c for c in columns if c.lower() in usual]
    there = sorted(usually, key=lambda c: usual.index(c.lower()))
    # The first cell suffices: a column that names runs does so in every row.
    known = [c for c in there if reading.labels & set(labels(columns[c][:1]))]
    if known or file.run in reading.labels:
        return next(iter(known), None)
    return next(iter(there), None)


def find_key(
    columns: Iterable[str], given: str | None, usual: tuple[str, ...], what: str, path: Path
) -> str | None:
    """Return the column that was named, or else the first one with a usual name, in any case.

    Raises:
        SweepError: if the one that was named is not there.
    """
    if given is None:
        # Reversed, so that of several columns that differ in case alone the first is found.
        called = {c.lower(): c for c in reversed([*columns])}
        return next((called[n] for name in usual if (n := name.lower()) in called), None)
    if given not in columns:
        raise SweepError(
            f"{what}: {path} has no column {given}; expected one of {listed(columns)}."
        )
    return given


NAME_COLUMNS = ("run", "run_name", "name", "display_name")
# W&B and MLflow allow several runs of one name; their ids are unique.
ID_COLUMNS = ("run_id", "id", "run_uuid")
"""Columns of ids, unique where a run's name may not be."""


def _id_column(columns: Iterable[str], run: str | None) -> str | None:
    """Return the column of ids beside a column of names, or None."""
    if run is None or run.lower() not in NAME_COLUMNS:
        return None
    return next((c for key in ID_COLUMNS for c in columns if c.lower() == key), None)


def _by_both(
    names: np.ndarray, ids: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, dict[object, _Called]]:
    """Return (rows,) the runs by name and id, and the name and id of each; by name if ids are
    per row."""
    rows = pd.DataFrame({"name": names, "id": ids, "step": steps})
    # Ids that differ in every row number the rows, unless a name has a step twice, as two runs do.
    each_row = len(rows) > 1 and rows["id"].is_unique
    if rows["id"].isna().any() or (each_row and not rows.duplicated(["name", "step"]).any()):
        return names, {}
    codes, pairs = pd.factorize(pd.MultiIndex.from_arrays([names, ids]))
    called: dict[object, _Called] = {
        f"{name} ({known_by})": _Called(name, known_by) for name, known_by in pairs
    }
    return np.array(list(called), object)[codes], called


def by_one(run: np.ndarray, called: Mapping[object, _Called]) -> tuple[np.ndarray, list[str]]:
    """Return (rows,) the runs by name, or by id with a note where two runs share a name."""
    if not called:
        return run, []
    pairs = set(called.values())
    shared = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    # An id with several names does not stand for a run.
    several = max(Counter(known_by for _, known_by in pairs).values(), default=0) > 1
    if not shared or several:
        names = {key: each.name for key, each in called.items()}
        return np.array([names.get(each, each) for each in run], object), []
    ids = [known_by for name, known_by in pairs if name == shared[0]]
    found = {key: each.known_by for key, each in called.items()}
    return np.array([found.get(each, each) for each in run], object), [
        f"Runs are named by their ids, because {len(ids)} of them "
        f"({listed(sorted(map(str, ids)))}) share the name {shared[0]}."
    ]
