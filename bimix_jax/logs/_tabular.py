"""Logs that are tables: W&B's histories and charts, olmix, rows per metric, downloads."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs._columns import Columns
from bimix_jax.logs._history import (
    RUN_KEYS,
    STEP,
    History,
    LogFile,
    assembled,
    find_key,
    find_run_key,
    history_of,
    labels,
    no_steps,
    run_of_file,
    spread,
    step_keys,
)
from bimix_jax.logs._numbers import Numbers, amounts, counted_by, numbers, numbers_of
from bimix_jax.logs._settings import Asked, Reading
from bimix_jax.reading.errors import SweepError

SEPARATOR = " - "
SPREAD = ("__MIN", "__MAX")
"""Suffixes of the columns that a chart adds to each curve."""


def read_wandb(file: LogFile, reading: Reading) -> History:
    """Read an export of W&B: a history with a column per metric, or a chart with a column per run.

    Raises:
        SweepError: if the x axis of a chart counts neither steps nor tokens.
    """
    columns = file.read(reading.asked.run_key)
    others = list(columns)[1:]
    if others and all(SEPARATOR in name for name in others):
        return _of_chart(columns, file, reading)
    return _shaped(columns, file, reading)


def _of_chart(columns: Columns, file: LogFile, reading: Reading) -> History:
    """Return `<run> - <metric>` columns beside steps or tokens as rows of run and step."""
    axis, *others = columns
    counts = _axis(axis, file, reading.asked)
    # From the right: names of runs are free, and those of metrics rarely hold the separator.
    curves = [name.rsplit(SEPARATOR, 1) for name in others if not name.endswith(SPREAD)]
    runs, seen = (list(dict.fromkeys(part)) for part in zip(*curves, strict=True))
    along = amounts(columns[axis])
    nothing = no_steps(len(along.values))
    found = {axis: [along] * len(runs)} if counts == "tokens" else {}
    for metric in reading.keep(seen):
        there = {run: columns[f"{run}{SEPARATOR}{metric}"] for run, m in curves if m == metric}
        found[metric] = [
            numbers_of(metric, there[run]) if run in there else nothing for run in runs
        ]
    step = nothing if counts == "tokens" else along
    return assembled(
        np.repeat(np.array(runs, object), len(along.values)),
        _joined([step] * len(runs)),
        {metric: _joined(parts) for metric, parts in found.items()},
        [*seen, axis],
        None if counts == "tokens" else axis,
    )


def _axis(axis: str, file: LogFile, asked: Asked) -> str:
    """Return the unit of a chart's x axis: "steps" or "tokens"."""
    counts = counted_by(axis)
    if axis == asked.tokens_key or (counts == "tokens" and axis != asked.step_key):
        return "tokens"
    if counts == "steps" or axis == asked.step_key:
        return "steps"
    what = {"time": "time, not steps", "epochs": "epochs, not steps"}.get(str(counts))
    raise SweepError(
        f"{file.path}: the x axis of this chart is {axis!r}"
        f"{f', which counts {what}' if what else ''}; expected steps or tokens. Export the chart "
        f"with Step as its x axis; or, if {axis!r} is a counter, name it with step_key= "
        "(--step-key) or tokens_key= (--tokens-key)."
    )


def _joined(parts: Sequence[Numbers]) -> Numbers:
    """Join the cells of several runs, one run after another."""
    cells, values, text = (
        np.concatenate(each) for each in zip(*(p[:3] for p in parts), strict=True)
    )
    return Numbers(cells, values, text, next((p.written for p in parts if p.written), None))


RATIOS, METRICS = "ratios.csv", "metrics.csv"
LABELS = ("run", "run_id", "name", "index")
"""Columns that are not metrics."""


def read_olmix(file: LogFile, reading: Reading) -> History:
    """Read the metrics.csv of olmix, one row per run; all columns except labels are metrics.

    The folder holds the mixtures of the runs in ratios.csv.
    """
    asked = reading.asked
    columns = file.read(asked.run_key)
    run = asked.run_key or next((c for c in ("run", "run_id") if c in columns), None)
    metrics = {c: column for c, column in columns.items() if c not in LABELS or c == run}
    by_run = dataclasses.replace(reading, asked=dataclasses.replace(asked, run_key=run))
    return history_of(metrics, file, by_run)


def read_table_of_logs(file: LogFile, reading: Reading) -> History:
    """Read any table of runs and steps; without a column of runs it holds one run."""
    return _shaped(file.read(reading.asked.run_key), file, reading)


def _shaped(columns: Columns, file: LogFile, reading: Reading) -> History:
    """Return the columns as a history, for any kind of row.

    Raises:
        SweepError: if a named key is not a column, or a file does not name its run or metric.
    """
    return _of_shape(columns, file, reading)._replace(notes=getattr(columns, "notes", ()))


def _of_shape(columns: Columns, file: LogFile, reading: Reading) -> History:
    if _is_download(columns):
        return _tag_history(columns, file, reading)
    if _is_long(columns):
        return _long_history(columns, file, reading)
    if _names_metrics(columns, reading):
        return _long_history(
            {METRIC_COLUMNS[0]: columns["name"], **_but_name(columns)}, file, reading
        )
    return history_of(columns, file, reading)


DOWNLOAD = {"wall time", "step", "value"}
RUN_TAG = re.compile(r"run[-_](?P<run>.+?)[-_]tag[-_](?P<tag>.+)", re.I)
"""Names of TensorBoard's downloads; slashes of run and tag became underscores."""
ENDING = re.compile(r"( ?\(\d+\))?\.(csv|tsv)(\.gz)?$", re.I)


def _is_download(columns: Columns) -> bool:
    """True where a table has exactly the columns of a download."""
    return {name.strip().lower() for name in columns} == DOWNLOAD


def _tag_history(columns: Columns, file: LogFile, reading: Reading) -> History:
    """Return the scalars of a file.

    Raises:
        SweepError: if its name and folders do not name the run and the tag.
    """
    run, tag = _run_and_tag(file, reading)
    step, value = (
        next(cells for name, cells in columns.items() if name.strip().lower() == called)
        for called in ("step", "value")
    )
    found = {tag: numbers(value)} if reading.keep([tag]) else {}
    return assembled(np.full(len(step), run, object), amounts(step), found, [tag], "step")


def _run_and_tag(file: LogFile, reading: Reading) -> tuple[str, str]:
    stem = ENDING.sub("", file.path.name)
    named = RUN_TAG.fullmatch(stem)
    if named:
        return named["run"], named["tag"]
    parts = [*file.path.parent.relative_to(file.root).parts, stem]
    # Loggers nest runs above tags, and some the other way; only the loss pattern can tell a tag.
    cuts = [("/".join(parts[:i]), "/".join(parts[i:])) for i in range(1, len(parts))]
    either = [*cuts, *((tag, run) for run, tag in cuts)]
    told = [(run, tag) for run, tag in either if reading.keep([tag])]
    if len(told) == 1:
        return told[0]
    raise SweepError(
        f"{file.path} is a download of TensorBoard (Wall time, Step, Value) of one run and tag, "
        f"but its name and folders {'fit several' if told else 'name neither'}; expected a name "
        "like run-RUN-tag-TAG.csv, or RUN/TAG.csv with a tag that the loss pattern fits. Or give "
        "the event files (events.out.tfevents…) themselves."
    )


# key and value are MLflow's, tag and value TensorBoard's, variable and value those of pandas.melt.
METRIC_COLUMNS = ("key", "metric", "metric_name", "metric_key", "tag", "variable")
VALUE_COLUMNS = ("value", "metric_value", "val", "scalar")
# run_uuid is MLflow's, dir_name that of tbparse.
LONG_RUN_KEYS = (*RUN_KEYS, "run_uuid", "experiment", "dir_name")
NAN = "is_nan"
"""Column of MLflow's database that marks values that are nan; the value itself is 0 there."""


def _is_long(columns: Columns) -> bool:
    """True where each row holds one metric: there are columns of names and of values."""
    metric, value = _first(columns, METRIC_COLUMNS), _first(columns, VALUE_COLUMNS)
    return metric is not None and value is not None and columns[metric].dtype.kind == "O"


def _names_metrics(columns: Columns, reading: Reading) -> bool:
    """True where each row holds one metric, and a column name, beside one of runs, names losses."""
    others = _but_name(columns)
    if "name" not in columns or columns["name"].dtype.kind != "O" or METRIC_COLUMNS[0] in columns:
        return False
    if _first(others, VALUE_COLUMNS) is None or _first(others, LONG_RUN_KEYS) is None:
        return False
    names = [name for name in pd.unique(columns["name"]) if isinstance(name, str)]
    return bool(reading.targets(names))


def _but_name(columns: Columns) -> dict[str, np.ndarray]:
    return {c: cells for c, cells in columns.items() if c != "name"}


def _first(columns: Iterable[str], usual: tuple[str, ...]) -> str | None:
    # Reversed, so that of several columns that differ in case alone the first is found.
    called = {c.strip().lower(): c for c in reversed([*columns])}
    return next((called[name] for name in usual if name in called), None)


def _long_history(columns: Columns, file: LogFile, reading: Reading) -> History:
    """Return one row per run and step, one column per metric.

    Raises:
        SweepError: if a key that was named is no column.
    """
    names, value = (str(_first(columns, usual)) for usual in (METRIC_COLUMNS, VALUE_COLUMNS))
    others = {c: cells for c, cells in columns.items() if c not in (names, value)}
    run = find_run_key(others, file, reading, LONG_RUN_KEYS)
    step = find_key(others, reading.asked.step_key, step_keys(others), "step_key", file.path)
    rows = len(columns[names])
    runs = run_of_file(file, others, rows) if run is None else labels(others[run])
    steps = no_steps(rows) if step is None else amounts(others[step])
    group = _groups(runs, steps.values)
    code, metrics = pd.factorize(columns[names])
    place = {name: i for i, name in enumerate(metrics)}
    beside = [c for c in others if c not in (run, step)]
    values = _stated(columns[value], others.get(NAN))
    found = dict[str, _Cells]()
    for name in reading.keep([*(m for m in metrics if m not in beside), *beside]):
        at = _last_of_each(group) if name in others else np.flatnonzero(code == place[name])
        cells = others.get(name, values)[at]
        found[name] = _Cells(at, numbers_of(name, cells))
    group_of_row, table = _spread(group, found)
    first = np.unique(group, return_index=True)[1][group_of_row]
    every = {STEP: _Cells(np.arange(rows), steps), **found}
    return History(
        run=runs[first],
        step=steps.values[first],
        metrics=list(found),
        values=table,
        seen=[*metrics, *beside],
        text={n: cells.first_text(runs) for n, cells in every.items() if cells.numbers.text.any()},
        written={n: c.numbers.written for n, c in every.items() if c.numbers.written},
        step_key=step,
    )


class _Cells(NamedTuple):
    """The cells of a metric, and their rows."""

    rows: np.ndarray
    numbers: Numbers

    def first_text(self, runs: np.ndarray) -> tuple[object, object]:
        """Return the run and the first cell that is not a number."""
        first = int(np.argmax(self.numbers.text))
        return runs[self.rows[first]], self.numbers.cells[first]


def _groups(runs: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return (rows,) int: the group of each row's run and step."""
    run, step = (pd.factorize(keys, use_na_sentinel=False)[0] for keys in (runs, steps))
    return pd.factorize(run * (step.max(initial=0) + 1) + step)[0]


def _last_of_each(group: np.ndarray) -> np.ndarray:
    """Return the last row of each group; a step's counters are the same in all its rows."""
    return np.flatnonzero(~pd.Series(group).duplicated(keep="last").to_numpy())


def _stated(value: np.ndarray, is_nan: np.ndarray | None) -> np.ndarray:
    if is_nan is None:
        return value
    said = [str(cell).strip().lower() in ("true", "1", "1.0", "t") for cell in is_nan]
    return np.where(said, np.inf, value.astype(object)) if any(said) else value


def _spread(group: np.ndarray, found: Mapping[str, _Cells]) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each row, and (rows, metrics) values."""
    empty = np.array([], int)
    rows = np.concatenate([empty, *(cells.rows for cells in found.values())])
    column = np.repeat(np.arange(len(found)), [len(cells.rows) for cells in found.values()])
    values = np.concatenate([empty, *(cells.numbers.values for cells in found.values())])
    there = ~np.isnan(values)
    return spread(group[rows][there], column[there], values[there], len(found))
