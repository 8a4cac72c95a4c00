"""W&B: an exported history (CSV, JSON lines, Parquet), or the CSV of a chart."""

from collections.abc import Mapping

import numpy as np

from bimix_jax.logs.columns import Column, read_columns
from bimix_jax.logs.history import History, Keep, Keys, LogFile, history_of, numbers
from bimix_jax.tables import READERS

ENDINGS = tuple(READERS)
PATTERN = "eval/{target}/loss"
SEPARATOR = " - "
SPREAD = ("__MIN", "__MAX")
"""Ends of the columns that a chart adds to each curve."""


def read(file: LogFile, keys: Keys, keep: Keep) -> History:
    """A history with a column a metric, or a chart with a column a run and metric."""
    columns = read_columns(file.path)
    others = list(columns)[1:]
    if others and all(SEPARATOR in name for name in others):
        return _of_chart(columns, keep)
    return history_of(columns, file, keys, keep)


def _of_chart(columns: Mapping[str, Column], keep: Keep) -> History:
    """`<run> - <metric>` columns beside one of steps, as rows of run and step."""
    step, *others = columns
    curves = [name.rsplit(SEPARATOR, 1) for name in others if not name.endswith(SPREAD)]
    steps = numbers(columns[step].to_numpy())[0]
    runs, seen = (list(dict.fromkeys(part)) for part in zip(*curves, strict=True))
    metrics = keep(seen)
    values, text = np.full((len(runs), len(steps), len(metrics)), np.nan), {}
    for run, metric in curves:
        if metric in metrics:
            cells = columns[f"{run}{SEPARATOR}{metric}"].to_numpy()
            found, wrong = numbers(cells)
            values[runs.index(run), :, metrics.index(metric)] = found
            if wrong is not None:
                text[metric] = (run, cells[wrong])
    return History(
        np.repeat(np.array(runs, object), len(steps)), np.tile(steps, len(runs)), metrics,
        values.reshape(-1, len(metrics)), seen, text,
    )  # fmt: skip
