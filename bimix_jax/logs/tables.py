"""Any table of runs and steps, a column a metric."""

from bimix_jax.logs.columns import read_columns
from bimix_jax.logs.history import History, Keep, Keys, LogFile, history_of
from bimix_jax.tables import READERS

ENDINGS = tuple(READERS)
PATTERN = "loss_{target}"


def read(file: LogFile, keys: Keys, keep: Keep) -> History:
    """A .csv, .csv.gz, .parquet or .jsonl file; without a run column it is of one run."""
    return history_of(read_columns(file.path), file, keys, keep)
