"""The pair of olmix: ratios.csv and metrics.csv in one folder, with one row per run in each."""

from bimix_jax.logs._history import History, Keep, Keys, LogFile, history_of

RATIOS, METRICS = "ratios.csv", "metrics.csv"
PATTERN = "{target}"
LABELS = ("run", "run_id", "name", "index")
"""Columns that are not metrics."""


def read(file: LogFile, keys: Keys, keep: Keep) -> History:
    """Read metrics.csv; all columns except the labels are metrics."""
    columns = file.read(keys.run)
    run = keys.run or next((c for c in ("run", "run_id") if c in columns), None)
    metrics = {c: column for c, column in columns.items() if c not in LABELS or c == run}
    return history_of(metrics, file, keys._replace(run=run), keep)
