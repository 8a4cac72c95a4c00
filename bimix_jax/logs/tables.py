"""Any table of runs and steps, a column a metric."""

import pandas as pd

from bimix_jax.logs.history import Keep, Keys, LogFile, history_of
from bimix_jax.tables import READERS, read_table

ENDINGS = tuple(READERS)
PATTERN = "loss_{target}"


def read(file: LogFile, keys: Keys, keep: Keep) -> pd.DataFrame:
    """A .csv, .csv.gz, .parquet or .jsonl file; without a run column it is of one run."""
    return history_of(read_table(file.path), file, keys, keep)
