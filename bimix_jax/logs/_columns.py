"""Logs as columns: files of tables, and tables in memory."""

import gzip
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from pyarrow import types

from bimix_jax.logs._numbers import counted_by
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.frames import as_frame
from bimix_jax.reading.metadata import notes_of
from bimix_jax.reading.nested import check_nesting, decoded, is_row_per_line, parse_json
from bimix_jax.reading.tables import is_name, is_plain, names_of, read_table

HEXADECIMAL = re.compile(rb"(?:^|[,\"\s])[+-]?0x[0-9a-f]+(?:[,\"\s]|$)", re.I)
"""A cell like 0x10."""
EXPECTED = (
    "expected files or folders, a DataFrame (or rows as mappings) with a column run, a list of "
    "those, or a mapping of run → DataFrame or rows"
)
LARGEST_BLOCK = 2**31 - 1
"""Largest block of Arrow, which guesses the types of a file from its first block."""
LARGE = 2**24
"""Bytes from which several threads read one file; smaller files are read in parallel instead."""
BETWEEN = "."
"""Separator between the names of nested objects, as in W&B's exports."""
MOSTLY = 0.5
"""Share of nan in a column above which nan is the mark of an empty cell."""
JSON_LINES = (".jsonl", ".ndjson")

Columns = Mapping[str, np.ndarray]
"""Name → cells: numbers, nan if a cell is empty and inf if nan was logged; or objects, None if a
cell is empty."""


def read_columns(path: Path, run: str | None = None) -> Columns:
    """Read the columns of a .csv, .csv.gz, .jsonl, .ndjson or .parquet file.

    Args:
        path: of the file.
        run: the column that names the runs, where a user named it; 007 is a name there.

    Raises:
        SweepError: if it cannot be read.
    """
    name = path.name.lower()
    if name.endswith(JSON_LINES):
        return _json_lines(path)
    # Arrow is many times faster; what it may have changed is read again by the reader of tables.
    table = _by_arrow(path, run)
    if table is not None and _is_tidy(table):
        return _of_arrow(table)
    return _of_frame(read_table(path, (run,)))


class _NotedColumns(dict[str, np.ndarray]):
    """Columns of a table that was changed while it was read."""

    notes: tuple[str, ...] = ()
    """on separators, decimal commas and the like"""


def _of_frame(frame: pd.DataFrame) -> Columns:
    """Return the columns of a DataFrame, in which nan means missing, and the notes of reading."""
    found = _NotedColumns((name, _of_pandas(frame[name])) for name in names_of(frame))
    found.notes = tuple(notes_of(frame))
    return found


def _of_records(records: Iterable[Mapping[str, Any]]) -> Columns:
    """Return the columns of rows of JSON; a nested entry is named outer.inner.

    >>> _of_records([{"step": 1, "eval": {"web": 3.5}}, {"step": 2}])["eval.web"]
    array([3.5, None], dtype=object)
    """
    rows = [_flat(record) for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = _NotedColumns((name, _objects([row.get(name) for row in rows])) for name in names)
    lists = [name for name in names if any(_is_records(row.get(name)) for row in rows)]
    found.notes = tuple(
        f"Column {name} holds lists of objects, which are not read; write each entry as an entry "
        f"of its own, like {name}.NAME."
        for name in lists
    )
    return found


def _objects(cells: list[Any]) -> np.ndarray:
    found = np.empty(len(cells), object)
    found[:] = cells
    return found


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}{BETWEEN}")
        else:
            flat[f"{before}{name}"] = value
    return flat


def _of_pandas(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return column.astype(object).where(column.notna(), None).to_numpy()
    return column.to_numpy(float, na_value=np.nan) if column.hasnans else column.to_numpy()


def _is_tidy(table: pyarrow.Table) -> bool:
    """True where every column has its own name, and Arrow kept every cell as it is written.

    A table of one column may be one with another separator than a comma.
    """
    names = table.column_names
    # Blanks around names, repeated and empty names are mended by the reader of tables.
    if len(names) < 2 or sorted({name.strip() for name in names} - {""}) != sorted(names):
        return False
    if is_plain(table):
        return True
    long_text = [c for c in names if types.is_large_string(table.schema.field(c).type)]
    return is_plain(table.drop_columns(long_text))


def _of_arrow(table: pyarrow.Table) -> Columns:
    return {
        name: _cells(column) for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _cells(column: pyarrow.ChunkedArray) -> np.ndarray:
    cells = column.to_numpy()
    if not types.is_floating(column.type):
        return cells
    # Arrow turns both into nan, but counts as null the empty cells alone.
    nan = np.isnan(cells)
    stated = np.count_nonzero(nan) - column.null_count
    if not stated or (not column.null_count and _is_gap(nan)):
        return cells
    return np.where(nan & ~column.is_null().to_numpy(), np.inf, cells)


def _is_gap(nan: np.ndarray) -> bool:
    """True where nan is the file's mark of an empty cell: most cells are nan, some between numbers.

    Runs that diverged end in nan instead.
    """
    return bool(nan.mean() > MOSTLY and np.any(nan[:-1] & ~nan[1:]))


def _by_arrow(path: Path, run: str | None) -> pyarrow.Table | None:
    """Read a file with Arrow; None if it is irregular, so that the reader of tables takes it."""
    name = path.name.lower()
    try:
        if name.endswith((".csv", ".csv.gz")):
            content = path.read_bytes()
            return _arrow_csv(gzip.decompress(content) if name.endswith(".gz") else content, run)
        if name.endswith(".parquet"):
            # Without this, a damaged page is read as other numbers.
            with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
                return _flattened(file.read())
    except (pyarrow.ArrowException, OSError, EOFError, zlib.error, UnicodeError):
        pass
    return None


def _arrow_csv(content: bytes, run: str | None) -> pyarrow.Table | None:
    """Read a CSV file, names as text; it is read again if names were taken for numbers.

    None where a cell is like 0x10, which Arrow takes for 16 and a person for a damaged 1010.
    """
    if b"0x" in content.lower() and HEXADECIMAL.search(content):
        return None
    table = _guessed(content, ())
    names = [
        field.name
        for field in table.schema
        if is_name(field.name, {run}) and not types.is_string(field.type)
    ]
    texts = [*names, *(name for name in table.column_names if _may_be_groups(table, name))]
    return _guessed(content, texts) if texts else table


def _may_be_groups(table: pyarrow.Table, name: str) -> bool:
    """True for a counter of numbers below 1000 with at most three decimals, such as 1.000."""
    # Names that stand twice are refused later.
    fields = table.schema.get_all_field_indices(name)
    if len(fields) > 1 or not types.is_floating(table.schema.field(fields[0]).type):
        return False
    if counted_by(name) not in ("steps", "tokens"):
        return False
    values = table[name].to_numpy()
    thousandths = values * 1000
    # Comparisons with nan, an empty cell, are False.
    return not np.any((values >= 1000) | (np.abs(thousandths - np.round(thousandths)) > 1e-6))


def _guessed(content: bytes, texts: Sequence[str]) -> pyarrow.Table:
    block = min(len(content) + 1, LARGEST_BLOCK)
    return pyarrow.csv.read_csv(
        pyarrow.BufferReader(content),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=block),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(texts, pyarrow.string()),
            strings_can_be_null=True,
            # Only an empty cell is missing: a logged nan must stay different from it.
            null_values=[""],
        ),
    )


def _flattened(table: pyarrow.Table) -> pyarrow.Table:
    # One call flattens one level.
    while any(types.is_struct(column.type) for column in table.columns):
        table = table.flatten()
    return table


def _json_lines(path: Path) -> Columns:
    """Read JSON lines, one object per line, perhaps nested."""
    try:
        text = path.read_bytes()
        # Arrow's reader crashes on text that is nested very deep.
        if not _is_flat(text):
            check_nesting(text, str(path))
        table = _arrow_json(text)
        if table is not None and _is_tidy(table) and is_row_per_line(text, table.num_rows):
            return _of_arrow(table)
        lines = enumerate(StringIO(decoded(text, str(path))), 1)
        rows = [_object(line, f"{path}, line {i}") for i, line in lines if line.strip()]
    except (ValueError, OSError) as error:
        raise SweepError(f"{error} Copy the file again, or leave it out.") from error
    if not rows:
        raise SweepError(f"{path} is empty; expected an object of JSON in every line.")
    return _of_records(rows)


def _is_flat(text: bytes) -> bool:
    """True where every brace opens a line after a line that ends in a brace, so that nothing is
    nested; this is quicker than counting depths."""
    after_another = text.count(b"}\n{") + text.count(b"}\r\n{")
    return b"[" not in text and text.count(b"{") <= after_another + 1


def _arrow_json(text: bytes) -> pyarrow.Table | None:
    """Read JSON lines with Arrow, four times as fast as line by line; None if Arrow refuses
    them."""
    try:
        options = pyarrow.json.ReadOptions(use_threads=len(text) > LARGE)
        table = _flattened(pyarrow.json.read_json(pyarrow.BufferReader(text), options))
        return table if table.column_names else None
    except (pyarrow.ArrowException, UnicodeDecodeError):  # of cells and of names
        return None


def _object(line: str, where: str) -> dict[str, Any]:
    row = parse_json(line, where, unique=True)
    if not isinstance(row, dict):
        raise ValueError(f"{where} is {line.strip()[:40]}; expected an object of JSON.")
    return row


# ---- tables in memory ----------------------------------------------------------------------------


def is_one_table(value: Any) -> bool:
    """True for a DataFrame or the like, or rows as mappings."""
    return _is_table(value) or _is_records(value)


def no_logs(value: Any, where: str) -> SweepError:
    """Return the error about an object that holds no logs."""
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return SweepError(f"{where} is {shown} ({type(value).__name__}); {EXPECTED}.")


def _is_table(value: Any) -> bool:
    return isinstance(as_frame(value), pd.DataFrame)


def _is_records(value: Any) -> bool:
    return (
        isinstance(value, Sequence) and bool(value) and all(isinstance(v, Mapping) for v in value)
    )


def columns_of(table: Any, where: str) -> Columns:
    """Return the columns of a table in memory, or of rows.

    Raises:
        SweepError: if it is neither.
    """
    if _is_table(table):
        return _of_frame(read_table(as_frame(table)))
    if isinstance(table, Mapping) and table and all(map(_is_list, table.values())):
        return _of_frame(read_table(pd.DataFrame(dict(table))))
    if isinstance(table, Iterable) and not isinstance(table, (str, bytes, Mapping)):
        rows = list(table)
        if rows and all(isinstance(row, Mapping) for row in rows):
            return _of_records(rows)
    raise no_logs(table, where)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray, pd.Series))
