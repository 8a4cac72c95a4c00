"""W&B: an exported history (CSV, JSON lines, Parquet), or the CSV of a chart."""

from collections.abc import Sequence

import numpy as np

from bimix_jax.logs import _tables as tables
from bimix_jax.logs._amounts import Numbers, amounts, numbers_of
from bimix_jax.logs._columns import Columns
from bimix_jax.logs._counters import counted_by
from bimix_jax.logs._history import History, LogFile, assembled, no_steps
from bimix_jax.logs._settings import Asked, Reading
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import READERS

ENDINGS = tuple(READERS)
PATTERN = "eval/{target}/loss"
SEPARATOR = " - "
SPREAD = ("__MIN", "__MAX")
"""Suffixes of the columns that a chart adds to each curve."""


def read(file: LogFile, reading: Reading) -> History:
    """Read a history with one column per metric, or a chart with one column per run and metric.

    Raises:
        SweepError: if the x axis of a chart counts neither steps nor tokens.
    """
    columns = file.read(reading.asked.run_key)
    others = list(columns)[1:]
    if others and all(SEPARATOR in name for name in others):
        return _of_chart(columns, file, reading)
    return tables.shaped(columns, file, reading)


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
