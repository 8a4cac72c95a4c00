"""Logs as Python objects: DataFrames, or run → DataFrame or rows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.logs.columns import Columns, of_frame, of_records
from bimix_jax.logs.history import LogFile
from bimix_jax.logs.trainer import ENDINGS
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.nested import read_json
from bimix_jax.reading.tables import read_table

Logs = str | Path | pd.DataFrame | Mapping[str, Any] | Sequence[Any]
EXPECTED = (
    "expected files or folders, a DataFrame (or rows as mappings) with a column run, a list of "
    "those, or a mapping of run → DataFrame or rows"
)


def as_files(logs: Logs) -> list[LogFile] | None:
    """Return objects as files that were read already; None for paths.

    Raises:
        SweepError: if they are neither paths nor tables, or do not name their runs.

    >>> [file.run for file in as_files({"a": [{"step": 1, "eval/web/loss": 3.0}]})]
    ['a']
    """
    if isinstance(logs, (str, Path)):
        return as_files(_document(Path(logs))) if is_document(Path(logs)) else None
    if isinstance(logs, Mapping):
        return [
            _file(_columns(table, f"logs of run {run}"), str(run)) for run, table in logs.items()
        ]
    if _is_table(logs) or _is_records(logs):
        return [_file(_columns(logs, "logs"), "")]
    if not isinstance(logs, Iterable) or isinstance(logs, bytes):
        raise SweepError(f"logs is {_called(logs)}; {EXPECTED}.")
    parts = list(logs)
    if all(isinstance(part, (str, Path)) for part in parts):
        return as_files(parts[0]) if len(parts) == 1 else None
    return [_file(_columns(part, f"logs[{i}]"), "") for i, part in enumerate(parts)]


def is_document(path: Path) -> bool:
    """True where a file is JSON of run → rows, or of rows; a trainer's state is another form."""
    return path.suffix.lower() == ".json" and path.is_file() and not path.name.endswith(ENDINGS)


def _document(path: Path) -> Any:
    try:
        return read_json(path, "logs: rows, or run → rows")
    except ValueError as error:
        raise SweepError(str(error)) from error


def _is_table(value: Any) -> bool:
    return isinstance(value, pd.DataFrame) or hasattr(value, "to_pandas")


def _is_records(value: Any) -> bool:
    return (
        isinstance(value, Sequence) and bool(value) and all(isinstance(v, Mapping) for v in value)
    )


def _columns(table: Any, where: str) -> Columns:
    if _is_table(table):
        frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
        return of_frame(read_table(frame))
    if isinstance(table, Mapping) and table and all(map(_is_list, table.values())):
        return of_frame(read_table(pd.DataFrame(dict(table))))
    if isinstance(table, Iterable) and not isinstance(table, (str, bytes, Mapping)):
        rows = list(table)
        if rows and all(isinstance(row, Mapping) for row in rows):
            return of_records(rows)
    raise SweepError(f"{where} is {_called(table)}; {EXPECTED}.")


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray, pd.Series))


def _file(columns: Columns, run: str) -> LogFile:
    return LogFile(Path(run or "logs"), Path(), run, columns)


def _called(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else f'{text[:57]}...'} ({type(value).__name__})"
