"""The pair of olmix: ratios.csv and metrics.csv in one folder, with one row per run in each."""

import dataclasses

from bimix_jax.logs._history import History, LogFile, history_of
from bimix_jax.logs._settings import Reading

RATIOS, METRICS = "ratios.csv", "metrics.csv"
PATTERN = "{target}"
LABELS = ("run", "run_id", "name", "index")
"""Columns that are not metrics."""


def read(file: LogFile, reading: Reading) -> History:
    """Read metrics.csv; all columns except the labels are metrics."""
    asked = reading.asked
    columns = file.read(asked.run_key)
    run = asked.run_key or next((c for c in ("run", "run_id") if c in columns), None)
    metrics = {c: column for c, column in columns.items() if c not in LABELS or c == run}
    by_run = dataclasses.replace(reading, asked=dataclasses.replace(asked, run_key=run))
    return history_of(metrics, file, by_run)
