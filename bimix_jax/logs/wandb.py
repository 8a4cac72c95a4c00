"""W&B: an exported history (CSV, JSON lines, Parquet), or the CSV of a chart."""

import pandas as pd

from bimix_jax.logs.history import Keep, Keys, LogFile, history_of, of_runs
from bimix_jax.tables import READERS, read_table

ENDINGS = tuple(READERS)
PATTERN = "eval/{target}/loss"
SEPARATOR = " - "
SPREAD = ("__MIN", "__MAX")
"""Ends of the columns that a chart adds to each curve."""


def read(file: LogFile, keys: Keys, keep: Keep) -> pd.DataFrame:
    """A history with a column a metric, or a chart with a column a run and metric."""
    table = read_table(file.path)
    others = table.columns[1:]
    if len(others) and all(SEPARATOR in column for column in others):
        return _of_chart(table, keep)
    return history_of(table, file, keys, keep)


def _of_chart(table: pd.DataFrame, keep: Keep) -> pd.DataFrame:
    """`<run> - <metric>` columns beside one of steps, as rows of run and step."""
    curves = [c for c in table.columns[1:] if not c.endswith(SPREAD)]
    by_run: dict[str, dict[str, str]] = {}
    for column in curves:
        run, metric = column.rsplit(SEPARATOR, 1)
        by_run.setdefault(run, {})[column] = metric
    wanted = set(keep(sorted({m for metrics in by_run.values() for m in metrics.values()})))
    steps = pd.to_numeric(table.iloc[:, 0], errors="coerce")
    return pd.concat(
        [
            of_runs(
                table[[c for c, m in metrics.items() if m in wanted]].rename(columns=metrics),
                run,
                steps,
            )
            for run, metrics in by_run.items()
        ],
        ignore_index=True,
    )
