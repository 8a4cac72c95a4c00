"""Files and DataFrames as tables whose columns have one name each, and how columns are called."""

import csv
import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.json
from pyarrow import types

from bimix_jax.checks import SweepError

BUDGET_COLUMNS = ("tokens", "step", "steps", "budget")
RUN_COLUMNS = ("run", "run_id", "run_name", "index")
SIZE_COLUMN = re.compile(r"model_size|n_params.*|num_params.*|params|parameters|model", re.I)
MIXTURE_PREFIX, LOSS_PREFIX = "r_", "loss_"
SHOWN = 20
EXACT_FLOATS: dict[str, Any] = (
    {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)
    else {"float_precision": "round_trip"}
)  # fmt: skip
"""Before 3.1 pandas is off in the last digit unless asked, since then it warns of asking."""

PLAIN = (types.is_floating, types.is_integer, types.is_string, types.is_boolean, types.is_null)
"""Arrow's types of what JSON holds."""

Source = str | Path | pd.DataFrame


def _read_csv(path: str) -> pd.DataFrame:
    """A CSV file with the names of its header; pandas would number columns of one name."""
    table = pd.read_csv(path, **EXACT_FLOATS)
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("the rows have more cells than the header")
    opened = gzip.open if path.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        header = next(row for row in csv.reader(lines) if row)
    if len(header) == len(table.columns):
        table.columns = [name or made for name, made in zip(header, table.columns, strict=True)]
    return table


def _read_json_lines(path: str) -> pd.DataFrame:
    table = arrow_json_lines(path)
    return _read_line_by_line(path) if table is None else table.to_pandas()


def arrow_json_lines(path: str | Path) -> pyarrow.Table | None:
    """JSON lines by Arrow, four times as fast as line by line.

    None where it does not take every cell as it is written: NaN, dates, or damage.
    """
    try:
        table = pyarrow.json.read_json(path)
    except pyarrow.ArrowInvalid:
        return None
    return table if is_plain(table) else None


def is_plain(table: pyarrow.Table) -> bool:
    """Whether all cells are numbers, text and truth values; Arrow takes some text for dates."""
    return all(any(is_one(column.type) for is_one in PLAIN) for column in table.columns)


def _read_line_by_line(path: str) -> pd.DataFrame:
    """As pandas does not: it guesses types and rounds numbers."""
    with Path(path).open(encoding="utf-8") as lines:
        rows = [_json_object(line, i) for i, line in enumerate(lines, 1) if line.strip()]
    return pd.DataFrame(rows)


def _json_object(line: str, number: int) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is no JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is no JSON object, but {line.strip()[:40]}")
    return row


READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".parquet": pd.read_parquet,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}


def read_table(source: Source) -> pd.DataFrame:
    """A file (by its extension) or a DataFrame as a table; SweepError if it cannot be read."""
    if isinstance(source, pd.DataFrame):
        return _tidy(source, "The DataFrame")
    path = Path(source)
    if not path.is_file():
        raise SweepError(f"{path} does not exist; expected a table of runs there.")
    reader = next((r for ending, r in READERS.items() if path.name.lower().endswith(ending)), None)
    if reader is None:
        raise SweepError(
            f"{path}: unknown extension; expected one of {', '.join(READERS)}. Rename the file to "
            "what it holds."
        )
    try:
        table = reader(os.fspath(path))
    except (ValueError, OSError, EOFError, zlib.error) as error:
        reason = (str(error).strip() or "it is empty").splitlines()[0].rstrip(".")
        raise SweepError(
            f"{path} cannot be read as {path.suffix[1:]}: {reason}. Check that it is complete."
        ) from error
    return _tidy(table, str(path))


def _tidy(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Every name a string and there once, a named index a column like any other."""
    unnamed = all(level is None for level in table.index.names)
    table = table.reset_index(drop=unnamed, allow_duplicates=True)
    table.columns = [str(column).strip() for column in table.columns]
    if not len(table.columns):
        raise SweepError(f"{name} is empty; expected a table of runs.")
    twice = sorted(set(table.columns[table.columns.duplicated()]))
    if twice:
        raise SweepError(f"{name}: the columns {', '.join(twice)} stand there twice; rename them.")
    return table


def name_of(source: Source) -> str:
    """How messages call a source."""
    return "The DataFrame" if isinstance(source, pd.DataFrame) else str(source)


def prefixed(table: pd.DataFrame, prefix: str) -> dict[str, str]:
    """Column → the rest of its name, of the columns that begin with the prefix."""
    names = [c for c in names_of(table) if c.startswith(prefix) and c != prefix]
    return {c: c.removeprefix(prefix) for c in names}


def names_of(table: pd.DataFrame) -> list[str]:
    """The columns of a table that `read_table` made, all of them strings."""
    return list(table.columns)


def listed(names: Iterable[object]) -> str:
    """Names for a message, the first of many."""
    shown = [str(n) for n in names]
    more = len(shown) - SHOWN
    return ", ".join(shown[:SHOWN]) + (f" and {more} more" if more > 0 else "")
