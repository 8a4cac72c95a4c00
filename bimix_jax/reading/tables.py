"""Files and DataFrames as tables with unique column names, and names of columns and sources."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.json
import pyarrow.parquet
from pyarrow import types

from bimix_jax.files import FIT_KIND, TABLE_ENDINGS, check_readable
from bimix_jax.quantities import BLANKS
from bimix_jax.reading._csv_tables import may_have_marks, read_csv, with_decimal_points
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.frames import as_frame
from bimix_jax.reading.metadata import ATTRIBUTES, add_notes, kept_with
from bimix_jax.reading.nested import (
    check_nesting,
    decoded,
    is_row_per_line,
    parse_json,
    read_json,
)
from bimix_jax.reading.written_numbers import COUNTER, dotted, text_of, typed

BUDGET_COLUMNS = ("tokens", "step", "steps", "budget")
RUN_COLUMNS = ("run", "run_id", "run_name", "index")
SIZE_COLUMN = re.compile(r"model_size|n_params.*|num_params.*|params|parameters|model", re.I)
MIXTURE_PREFIX, LOSS_PREFIX, SCORE_PREFIX = "r_", "loss_", "score_"
SHOWN = 20
NAME_COLUMNS = {*RUN_COLUMNS, "name", "display_name", "id", "domain", "target", "sweep"}
"""Columns that hold names, in any case: 007 and nan are names in them."""
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
"""Extensions of spreadsheets."""
UNNAMED = "Unnamed: "

PLAIN = (types.is_floating, types.is_integer, types.is_string, types.is_boolean, types.is_null)
"""Arrow's types for the values of JSON."""

Source = str | Path | pd.DataFrame


def _read_csv(path: str, names: Set[str]) -> pd.DataFrame:
    """Read a CSV file; a column gets a type where this loses nothing, and names stay as written."""
    csv = read_csv(path)
    # Empty names get a number as in pandas, so that both ways of reading agree.
    header = [_called(column, i) for i, column in enumerate(csv.header)]
    _check_once(header, path)
    cells = dict(zip(header, csv.columns, strict=True))
    columns, notes = _typed_columns(cells, names)
    table = pyarrow.table(columns).to_pandas()
    # Blank lines were skipped, so the index keeps the rows' places for messages.
    table.index = pd.Index(csv.rows)
    add_notes(table, [*csv.notes, *notes])
    return table


def _typed_columns(
    cells: Mapping[str, pyarrow.Array], names: Set[str]
) -> tuple[dict[str, pyarrow.Array], list[str]]:
    """Return columns of text as numbers and truth values, except columns of names; and notes."""
    measured = {c: column for c, column in cells.items() if not is_name(c, names)}
    found = {**cells, **{c: typed(column) for c, column in measured.items()}}
    changed, notes = dict[str, pyarrow.Array](), list[str]()
    if any(types.is_string(found[c].type) and may_have_marks(found[c]) for c in measured):
        # All columns decide together, because a column may be ambiguous by itself.
        changed, notes = with_decimal_points(measured)
        found |= {c: typed(column) for c, column in changed.items()}
    counters = {c: column for c, column in measured.items() if c not in changed}
    values, said = _counters(counters)
    return found | values, [*notes, *said]


def _counters(
    columns: Mapping[str, pyarrow.Array],
) -> tuple[dict[str, pyarrow.Array], list[str]]:
    """Return the counters in which dots separate thousands, and notes of those in which they
    may."""
    found = {c: dotted(cells) for c, cells in columns.items() if COUNTER.fullmatch(c)}
    there = {c: each for c, each in found.items() if each is not None}
    values = {
        c: pyarrow.array(each.values, from_pandas=True)
        for c, each in there.items()
        if each.as_thousands
    }
    return values, [f"Column {c} {each.note}." for c, each in there.items()]


def is_name(column: str, names: Set[str | None]) -> bool:
    """True where a column holds names, by its own name or because the user listed it in `names`."""
    return column in names or column.lower() in NAME_COLUMNS


def _read_parquet(path: str, names: Set[str]) -> pd.DataFrame:
    """Read a Parquet file; its pages are compared with their checksums where it has them."""
    with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        stored = file.read()
    table = stored.to_pandas()
    # The metadata of pandas, which no checksum covers, may name a column differently.
    renamed = [str(name) for name in table.columns if str(name) not in stored.column_names]
    if renamed:
        raise ValueError(f"its metadata name a column {renamed[0]!r} that it does not hold")
    attrs = (stored.schema.metadata or {}).get(b"PANDAS_ATTRS")
    table.attrs = json.loads(attrs) if attrs else {}
    return _with_index(table)


def _read_json_lines(path: str, names: Set[str]) -> pd.DataFrame:
    text = decoded(Path(path).read_bytes(), "it")
    check_nesting(text, "it")
    table = _arrow_json_lines(path)
    if table is None or not is_row_per_line(text, table.num_rows):
        # Slower, but it names the line of the damage and refuses entries named twice.
        return _line_by_line(text)
    return table.to_pandas()


def _arrow_json_lines(path: str | Path) -> pyarrow.Table | None:
    """Read JSON lines with Arrow, four times as fast as line by line.

    None where Arrow does not keep every cell as it is written: NaN, dates, or damage.
    """
    try:
        table = pyarrow.json.read_json(path)
    except pyarrow.ArrowInvalid:
        return None
    return table if is_plain(table) else None


def is_plain(table: pyarrow.Table) -> bool:
    """True where all cells are numbers, text or truth values; Arrow takes some text for dates."""
    return all(any(is_one(column.type) for is_one in PLAIN) for column in table.columns)


def _line_by_line(text: str) -> pd.DataFrame:
    """Parse each line as JSON; `pandas.read_json` would guess types and round numbers."""
    lines = enumerate(StringIO(text), 1)
    return pd.DataFrame([_flat(_json_object(line, i), i) for i, line in lines if line.strip()])


def _flat(row: dict[str, object], number: int, before: str = "") -> dict[str, object]:
    """Return the values of an object, and those inside of objects as outer.inner.

    >>> _flat({"run": "a", "mixture": {"web": 0.4, "code": 0.6}}, 1)
    {'run': 'a', 'mixture.web': 0.4, 'mixture.code': 0.6}
    """
    found = dict[str, object]()
    for name, value in row.items():
        place = f"{before}{name}"
        inner = _flat(value, number, f"{place}.") if isinstance(value, dict) else {place: value}
        twice = sorted(found.keys() & inner)
        if twice:
            raise ValueError(f"line {number} names {twice[0]} twice")
        found |= inner
    return found


def _json_object(line: str, number: int) -> dict[str, object]:
    row = parse_json(line, f"line {number}", unique=True)
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is not a JSON object, but {line.strip()[:40]}")
    return row


READERS: dict[str, Callable[[str, Set[str]], pd.DataFrame]] = {
    **dict.fromkeys(TABLE_ENDINGS, _read_csv),
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}


def read_table(source: Source, names: Iterable[str | None] = ()) -> pd.DataFrame:
    """Read a file (by its extension) or a DataFrame as a table with unique column names.

    Args:
        source: a path, or a DataFrame, which is left as it is, or a table of another library that
            `as_frame` converts.
        names: columns that hold names, beside those called as usual (run, domain, …). Their cells
            stay as they are written: 007, nan.

    Returns:
        The table; its index says where each row stands in the source, counted from 0, as rows
        without any cell are left out. `metadata.notes_of` lists assumptions and omissions.

    Raises:
        SweepError: if it cannot be read; the message names the file, and where and how it is
            damaged.

    >>> read_table(pd.DataFrame({" run": ["nan", None], "seed": [1, None]})).to_dict("list")
    {'run': ['nan'], 'seed': [1.0]}
    """
    known = frozenset(name for name in names if name is not None)
    source = as_frame(source)
    if isinstance(source, pd.DataFrame):
        return _tidy(_with_index(source), name_of(source), known)
    path, reader = _file(source)
    try:
        table = reader(os.fspath(path), known)
    except SweepError:
        raise
    except Exception as error:  # readers of damaged files raise whatever comes
        raise SweepError(
            f"{path} cannot be read as {path.suffix[1:]}: {_reason(error)}. Check that it is "
            "complete."
        ) from error
    return _tidy(table, str(path), known)


def _file(source: str | Path) -> tuple[Path, Callable[[str, Set[str]], pd.DataFrame]]:
    """Return the path of an existing file and the reader for its extension."""
    try:
        path = check_readable(source, "a table of runs")
    except OSError as error:
        raise SweepError(str(error)) from None
    reader = next((r for ending, r in READERS.items() if path.name.lower().endswith(ending)), None)
    if reader is None and _is_fit(path):
        raise SweepError(
            f"{path} is a fit, not a table of runs; give the sweep that it was fitted to."
        )
    if reader is None:
        raise SweepError(unknown_extension(path, READERS))
    return path, reader


def unknown_extension(path: Path, known: Iterable[str]) -> str:
    """Return the error about a file whose extension is none of the known ones."""
    if path.suffix.lower() in WORKBOOKS:
        return f"{path} is a workbook; save its sheet as CSV, and give that file."
    if path.suffix.lower() == ".json":
        return f"{path} is JSON; write its objects one per line to a .jsonl file, and give that."
    return (
        f"{path}: unknown extension; expected one of {', '.join(known)}. Rename the file to what "
        "it holds."
    )


def _is_fit(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    try:
        document = read_json(path, "a fit")
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("kind") == FIT_KIND


def _reason(error: Exception) -> str:
    """Return the message of a reader's error in one line."""
    said = next(iter(str(error).strip().splitlines()), "")
    kind = "" if isinstance(error, (ValueError, OSError, EOFError)) else type(error).__name__
    return ": ".join(part for part in (kind, said.rstrip(".")) if part) or "it is empty"


def _with_index(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose named index became a column."""
    if table.columns.nlevels > 1:
        raise SweepError(
            f"The DataFrame has columns of {table.columns.nlevels} levels, the first "
            f"{table.columns[0]}; expected one name per column. Join the levels to one."
        )
    unnamed = all(level is None for level in table.index.names)
    attrs, table = table.attrs, pd.DataFrame(table)  # pandas copies attrs, of which some cannot be
    table = table.reset_index(drop=unnamed, allow_duplicates=True)
    table.attrs = {ATTRIBUTES: attrs[ATTRIBUTES]} if ATTRIBUTES in attrs else {}
    return table


def _tidy(table: pd.DataFrame, name: str, names: Set[str]) -> pd.DataFrame:
    """Make every column name a unique string, every cell one value, and drop rows without cells."""
    table.columns = [_called(column, i) for i, column in enumerate(table.columns)]
    if not len(table.columns):
        raise SweepError(f"{name} is empty; expected a table of runs.")
    _check_once(list(table.columns), name)
    kept_with(table.attrs, name)  # raises an error if the entry is damaged
    changed, notes = _cells(table, names)
    table = table.assign(**changed) if changed else table
    add_notes(table, notes)
    return _without_blank(table)


def _called(column: object, place: int) -> str:
    return str(column).strip() or f"{UNNAMED}{place}"


def _check_once(columns: Sequence[str], name: str) -> None:
    twice = sorted(column for column, count in Counter(columns).items() if count > 1)
    if twice:
        raise SweepError(f"{name}: the columns {listed(twice)} appear twice; rename them.")


def _cells(table: pd.DataFrame, names: Set[str]) -> tuple[dict[str, pd.Series], list[str]]:
    """Return the columns of text and of objects that change, and notes.

    Blank text becomes missing, lists and mappings become text, decimal commas become points.
    """
    changed, notes = dict[str, pd.Series](), list[str]()
    written_as_text = names_of(table.select_dtypes(["object", "string"]))
    for name in written_as_text:
        kind = pd.api.types.infer_dtype(table[name], skipna=True)
        if kind == "string":
            blank = table[name].str.strip(BLANKS + "\r\n") == ""
            changed |= {name: table[name].mask(blank)} if blank.any() else {}
        elif kind not in ("empty", "boolean", "integer", "floating"):
            changed |= _without_objects(table[name], notes)
    texts = [c for c in written_as_text if not is_name(c, names)]
    written = {c: text_of(changed.get(c, table[c])) for c in texts}
    if any(map(may_have_marks, written.values())):
        marked, said = with_decimal_points(written)
        for column, cells in marked.items():
            changed[column] = pd.Series(cells.to_pandas().to_numpy(), table.index)
        notes += said
    counters, said = _counters({c: cells for c, cells in written.items() if c not in changed})
    changed |= {c: pd.Series(cells.to_numpy(False), table.index) for c, cells in counters.items()}
    return changed, [*notes, *said]


def _without_objects(column: pd.Series, notes: list[str]) -> dict[str, pd.Series]:
    nested = column.map(lambda cell: isinstance(cell, (dict, list, tuple, set, np.ndarray)))
    if not nested.any():
        return {}
    notes.append(
        f"Column {column.name} holds lists or mappings in {nested.sum()} rows; read as text."
    )
    return {str(column.name): column.where(~nested, column[nested].map(str))}


def _without_blank(table: pd.DataFrame) -> pd.DataFrame:
    """Drop rows without any cell, and columns that have neither a name nor a cell."""
    empty = table.isna()
    # A separator at the end of every line makes a column without a name.
    spare = [c for c in names_of(table) if c.startswith(UNNAMED) and empty[c].all()]
    blank = empty.all(axis=1).to_numpy(bool)
    if blank.any() and not blank.all():
        rows = f"{blank.sum()} rows" if blank.sum() > 1 else "1 row"
        add_notes(table, [f"{rows} without any cell left out."])
        table = table[~blank]
    table = table.drop(columns=spare)
    # A column of numbers without a name may hold measurements, so it is not passed over in silence.
    nameless = [
        c for c in names_of(table) if c.startswith(UNNAMED) and _holds_unread_numbers(table[c])
    ]
    if nameless:
        places = listed(_place(c) for c in nameless)
        add_notes(
            table, [f"Columns without a name were not read: the columns {places}; name them."]
        )
    return table


def _holds_unread_numbers(column: pd.Series) -> bool:
    """True where a column holds numbers, unless they are a saved row index."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    if np.isnan(numbers).any() or not len(numbers):
        return False
    # pandas writes the index of a table as a first column without a name, each time it is saved.
    is_an_index = re.fullmatch(rf"{UNNAMED}0(\.\d+)*", str(column.name)) is not None
    return not (is_an_index and np.all(numbers % 1 == 0))


def _place(column: str) -> int | str:
    """Return the number of a column without a name, or the name that another program gave it."""
    place = column.removeprefix(UNNAMED)
    return int(place) + 1 if place.isdecimal() else column


def name_of(source: Source) -> str:
    """Return the name of a source for messages."""
    return "The DataFrame" if isinstance(source, pd.DataFrame) else str(source)


def prefixed(table: pd.DataFrame, prefix: str) -> dict[str, str]:
    """Map columns that begin with the prefix to the rest of their names."""
    names = [c for c in names_of(table) if c.startswith(prefix) and c != prefix]
    return {c: c.removeprefix(prefix) for c in names}


def names_of(table: pd.DataFrame) -> list[str]:
    """Return the columns of a table that `read_table` made, all of them strings."""
    return list(table.columns)


def listed(names: Iterable[object]) -> str:
    """List names for a message: the first few, then a count."""
    shown = [str(n) for n in names]
    more = len(shown) - SHOWN
    return ", ".join(shown[:SHOWN]) + (f" and {more} more" if more > 0 else "")
