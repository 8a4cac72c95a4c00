"""A file of logs as columns: by Arrow, which reads several files at a time, where it can."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow
import pyarrow.csv

from bimix_jax.tables import arrow_json_lines, is_plain, names_of, read_table

LARGEST_BLOCK = 2**31 - 1
"""Arrow's largest; it guesses the types of a file from its first block."""


class Column(Protocol):
    """A column of Arrow or of pandas."""

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """Its cells."""


def read_columns(path: Path) -> dict[str, Column]:
    """Name → column of a .csv, .csv.gz, .jsonl, .ndjson or .parquet file.

    Raises:
        SweepError: if it cannot be read.
    """
    table = _by_arrow(path)
    if table is not None:
        return dict(zip(table.column_names, table.columns, strict=True))
    frame = read_table(path)
    return {name: frame[name] for name in names_of(frame)}


def _by_arrow(path: Path) -> pyarrow.Table | None:
    """The table where Arrow takes every cell as it is written, and names need no tidying."""
    name = path.name.lower()
    if name.endswith(".csv"):
        table = _arrow_csv(path)
    elif name.endswith((".jsonl", ".ndjson")):
        table = arrow_json_lines(path)
    else:
        return None
    if table is None:
        return None
    names = table.column_names
    return table if sorted({name.strip() for name in names} - {""}) == sorted(names) else None


def _arrow_csv(path: Path) -> pyarrow.Table | None:
    """None for what is not regular, which pandas reads or tells."""
    try:
        table = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=min(path.stat().st_size + 1, LARGEST_BLOCK)
            ),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(strings_can_be_null=True),
        )
    except (pyarrow.ArrowException, OSError):
        return None
    return table if is_plain(table) else None
