"""The pair of olmix: ratios.csv and metrics.csv in one folder, one row a run in each."""

import pandas as pd

from bimix_jax.logs.columns import read_columns
from bimix_jax.logs.history import History, Keep, Keys, LogFile, history_of
from bimix_jax.tables import read_table

RATIOS, METRICS = "ratios.csv", "metrics.csv"
PATTERN = "{target}"
LABELS = ("run", "run_id", "name", "index")
"""Columns that are no metric and no domain."""


def read(file: LogFile, keys: Keys, keep: Keep) -> History:
    """metrics.csv; all columns but the labels are metrics."""
    columns = read_columns(file.path)
    run = keys.run or next((c for c in ("run", "run_id") if c in columns), None)
    metrics = {c: column for c, column in columns.items() if c not in LABELS or c == run}
    return history_of(metrics, file, Keys(run, keys.step), keep)


def ratios(metrics: LogFile) -> pd.DataFrame:
    """ratios.csv beside a metrics.csv, the labels but the run left out."""
    table = read_table(metrics.path.parent / RATIOS)
    run = next((c for c in ("run", "run_id") if c in table), None)
    return table.drop(columns=[c for c in LABELS if c in table and c != run])
