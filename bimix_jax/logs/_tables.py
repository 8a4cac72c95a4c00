"""Any table of runs and steps: one column per metric, or one row per metric."""

from bimix_jax.logs import _long as long
from bimix_jax.logs._columns import Columns
from bimix_jax.logs._history import History, LogFile, history_of
from bimix_jax.logs._settings import Reading
from bimix_jax.reading.tables import READERS

ENDINGS = tuple(READERS)
PATTERN = "loss_{target}"


def read(file: LogFile, reading: Reading) -> History:
    """Read a .csv, .csv.gz, .parquet or .jsonl file; without a run column it holds one run."""
    return shaped(file.read(reading.asked.run_key), file, reading)


def shaped(columns: Columns, file: LogFile, reading: Reading) -> History:
    """Return the columns as a history, for any kind of row.

    Raises:
        SweepError: if a named key is not a column, or a file does not name its run or metric.
    """
    return _shaped(columns, file, reading)._replace(notes=getattr(columns, "notes", ()))


def _shaped(columns: Columns, file: LogFile, reading: Reading) -> History:
    if long.is_download(columns):
        return long.tag_history(columns, file, reading)
    if long.is_long(columns):
        return long.long_history(columns, file, reading)
    return history_of(columns, file, reading)
