"""CSV files as tables, whatever their separator and decimal mark."""

import gzip
import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute as pc
import pyarrow.csv

Mark = Literal[",", "."]
"""The decimal mark; the other character separates thousands."""
# Blanks and no-break spaces are French and SI usage, apostrophes Swiss; RE2 writes code points as
# \x{…}.
SPACES = r"[ \x{a0}\x{202f}'’]"
"""Characters that can only separate thousands."""
# An exponent, then the sign of a percentage or a suffix of a magnitude (1.2B).
END = r"([eE][+-]?\d+)?\s?[%KMBGTkmbgt]?$"
# Thousands in groups of three need 1 to 3 digits before them, so the comma of 1234,567 is decimal.
NUMBER = (
    rf"^[+-]?((\d+|\d{{1,3}}([.,]\d{{3}})+|\d{{1,3}}({SPACES}\d{{3}})+)([.,]\d*)?|[.,]\d+){END}"
)


def _only_by(mark: str, other: str) -> str:
    """Return a pattern of numbers that are valid only if `mark` is the decimal mark."""
    # A group and then the mark (1.234,5), or two groups of the other character (1.234.567): no
    # number has two decimal marks.
    groups = rf"\d{{1,3}}({other}\d{{3}})"
    # A mark that no thousands separator can be, as it stands after no digit, after a leading zero,
    # after four digits or after groups by spaces, or before other than three digits.
    unlike_groups = (
        rf"(0*|0\d+|[1-9]\d{{3,}}|\d+{SPACES}\d{{3}}){mark}\d+|\d*{mark}(\d{{1,2}}|\d{{4,}})"
    )
    # Nobody separates thousands before an exponent.
    scientific = rf"\d+{mark}\d+[eE][+-]?\d+"
    return rf"^[+-]?({groups}+{mark}\d+|{groups}{{2,}}|{unlike_groups}|{scientific}){END}"


ONLY_BY: dict[Mark, str] = {",": _only_by(",", r"\."), ".": _only_by(r"\.", ",")}
# A quick test that most tables fail, so that they are spared the slower patterns.
MARKED = rf"\d?,\d|\d\.\d{{3}}\.|\d{SPACES}\d"
MOSTLY = 0.5
"""Smallest share of the written cells that must be numbers; below it a column stays text."""
NAMED = 4
"""Columns that a note names; wide tables have hundreds."""
KINDS = {
    ",": "decimal commas: {} was read as {}",
    ".": "separated thousands: {} was read as {}",
}


def may_have_marks(cells: pyarrow.Array) -> bool:
    """True where any cell of a column of text looks like a number with decimal commas or groups."""
    return _any(pc.match_substring_regex(cells, MARKED))


def with_decimal_points(
    columns: Mapping[str, pyarrow.Array],
) -> tuple[dict[str, pyarrow.Array], list[str]]:
    """Rewrite columns that hold decimal commas or separated thousands with decimal points.

    A column whose cells can be read in two ways (1,234 is 1.234 or 1234) is read like the others of
    the table, and left as it is if those are ambiguous, too.

    Args:
        columns: name → text, of every column of a table that holds no names.

    Returns:
        The columns that change, and a note of each kind of change, with the first example.

    >>> changed, notes = with_decimal_points({"a": pyarrow.array(["0,25", "1.024,5"])})
    >>> changed["a"].to_pylist(), notes
    (['0.25', '1024.5'], ['Column a holds decimal commas: 0,25 was read as 0.25.'])
    """
    said = {name: _said_by(cells) for name, cells in columns.items()}
    table = set().union(*said.values())
    changed = {}
    kinds: dict[Mark, list[str]] = {}
    examples: dict[Mark, str] = {}
    for name, cells in columns.items():
        marks = said[name] or table
        # Cells that contradict each other, or a table in which all are ambiguous, leave no safe
        # reading.
        if len(marks) != 1:
            continue
        (mark,) = marks
        after = _by(mark, cells)
        where = pc.fill_null(pc.not_equal(after, cells), False)
        if _any(where) and _mostly_numbers(cells):
            changed[name] = after
            first = pc.index(where, True).as_py()
            # A number without a point had separators of thousands alone.
            kind: Mark = mark if "." in after[first].as_py() else "."
            kinds.setdefault(kind, []).append(name)
            examples.setdefault(kind, KINDS[kind].format(cells[first], after[first]))
    return changed, [f"{_holding(names)} {examples[kind]}." for kind, names in kinds.items()]


def _holding(names: list[str]) -> str:
    """Return the beginning of a sentence on what columns hold; the first four are named."""
    if len(names) == 1:
        return f"Column {names[0]} holds"
    more = f" and {len(names) - NAMED} more" * (len(names) > NAMED)
    return f"Columns {', '.join(names[:NAMED])}{more} hold"


def _said_by(cells: pyarrow.Array) -> set[Mark]:
    return {mark for mark, form in ONLY_BY.items() if _any(pc.match_substring_regex(cells, form))}


def _any(condition: pyarrow.Array) -> bool:
    return bool(pc.any(condition).as_py())


def _mostly_numbers(cells: pyarrow.Array) -> bool:
    numeric = pc.sum(pc.match_substring_regex(cells, NUMBER)).as_py() or 0
    return numeric >= MOSTLY * (len(cells) - cells.null_count)


def _by(mark: Mark, cells: pyarrow.Array) -> pyarrow.Array:
    """Return the cells; those that are numbers get a decimal point and no thousands separators."""
    other = "." if mark == "," else ","
    plain = pc.replace_substring_regex(cells, SPACES + r"(\d{3})", r"\1")
    plain = pc.replace_substring(pc.replace_substring(plain, other, ""), mark, ".")
    return pc.if_else(pc.match_substring_regex(cells, NUMBER), plain, cells)


SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
STATED = re.compile(rb"sep=([,;\t|])\r?\n", re.I)
"""First line in which a spreadsheet states the separator of the cells."""
ENCODINGS = {
    # UTF-32 is tried first, because its mark begins with the mark of UTF-16.
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}
"""First bytes of a file → its encoding; other files are UTF-8."""
OTHERS = {
    b"PK\x03\x04": "a workbook or archive (xlsx, zip)",
    b"\xd0\xcf\x11\xe0": "a workbook (xls)",
    b"\x1f\x8b": "compressed by gzip (.csv.gz)",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PAR1": "Parquet (.parquet)",
    b'{"': "JSON (.json or .jsonl)",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS, whose file is not downloaded",
}
"""First bytes of files that are not CSV → the kind of the file."""
BLOCK, LARGEST_BLOCK = 2**21, 2**31 - 1
"""Bytes per block that Arrow reads: the quickest number, and the most; Arrow numbers the rows of
a single block only."""
# Arrow's default; other quote characters are part of the cell.
QUOTE = b'"'


class _CsvTable(NamedTuple):
    """A CSV file before any column has a type."""

    columns: list[pyarrow.Array]
    """text, null where there is none"""
    header: list[str]
    rows: np.ndarray
    """(rows,) the place of each row in the file; the first row below the header is 0"""
    notes: list[str]


def read_csv(path: str) -> _CsvTable:
    """Read a file of cells separated by commas, semicolons, tabs or vertical bars, perhaps
    compressed.

    The separator comes from the header, or from a line `sep=;` above it. Where several are
    possible, the one that gives every row as many cells as the header is taken.

    Raises:
        ValueError: if the file is damaged; the message says where and how.
        OSError, EOFError, zlib.error: if it cannot be read or decompressed.
    """
    text, notes = _as_utf8(_content(path))
    if not re.search(rb"\S", text):
        raise ValueError("it is empty")
    stated = STATED.match(text)
    # A blank first line would be taken for the header.
    begin = re.compile(rb"[\r\n]*").match(text, stated.end() if stated else 0)
    text = text[begin.end() :] if begin and begin.end() else text
    # The check of quotes looks at the byte after each closing one.
    text = text if text.endswith((b"\n", b"\r")) else text + b"\n"
    usual = "\t" if re.search(r"\.tsv(\.gz)?$", path, re.I) else ","
    tried = [stated[1].decode()] if stated else _separators_of(_first_record(text), usual)
    separator, cells, rows = _by_one_of(tried, text)
    notes += _note_of_a_cut(text, separator, cells.num_columns)
    if separator != usual:
        notes.append(f"The cells of the file are separated by {SEPARATORS[separator]}.")
    columns = [_whole(column) for column in cells.columns]
    header = [column[0].as_py() or "" for column in columns]
    return _CsvTable([column[1:] for column in columns], header, rows[1:] - 1, notes)


def _note_of_a_cut(text: bytes, separator: str, columns: int) -> list[str]:
    """Return a note if the last row is shorter than the header, which suggests a truncated file."""
    end = len(text)
    while end and text[end - 1] in b"\r\n":
        end -= 1
    last = text[text.rfind(b"\n", 0, end) + 1 : end]
    cells = last.count(separator.encode()) + 1
    # Separators within quotes do not end cells, so a row with quotes cannot be counted like this.
    if QUOTE in last or cells >= columns or not last.strip():
        return []
    return [
        f"The last row has {cells} of {columns} cells; the others are empty. The file may be cut "
        "off."
    ]


def _whole(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    """Return the column as one array, without a copy where it already is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _content(path: str) -> bytes:
    opened = gzip.open if path.lower().endswith(".gz") else open
    with opened(path, "rb") as file:
        content = file.read()
    other = next((kind for begin, kind in OTHERS.items() if content.startswith(begin)), None)
    if other is not None:
        raise ValueError(f"it is {other} by its content; save it as CSV, or rename it")
    return content


def _as_utf8(content: bytes) -> tuple[bytes, list[str]]:
    """Return the text as UTF-8 without a byte-order mark, and a note if the encoding was
    another."""
    # Text in UTF-16 without its mark may be ASCII, with a NUL beside every letter.
    if content.isascii() and b"\0" not in content:  # fast: most files are
        return content, []
    encoding = next((e for mark, e in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} holds {content[error.start : error.end]!r}, which is not {error.encoding}"
            "; save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"line {line} holds a NUL byte, so it is damaged or not UTF-8")
    if encoding == "utf-8":
        return content, []
    # UTF-8 with a byte-order mark is the usual encoding, so it needs no note.
    read_as = [f"The file was read as {encoding.upper()}."] * encoding.startswith(
        ("utf-16", "utf-32")
    )
    return text.encode(), read_as


def _first_record(text: bytes) -> bytes:
    """Return the header: the text up to the first line end outside quotes."""
    end = 0
    while end < len(text):
        found = re.compile(rb"[\r\n]").search(text, end)
        end = len(text) if found is None else found.end()
        if text.count(QUOTE, 0, end) % 2 == 0:
            break
    return text[:end]


def _separators_of(header: bytes, usual: str) -> list[str]:
    """Return the separators in the header, the most frequent first, or the usual one."""
    # Names in quotes may hold separators.
    plain = re.sub(rb'"[^"]*"', b"", header).decode()
    there = [s for s in SEPARATORS if s in plain]
    return sorted(there, key=lambda s: (-plain.count(s), s != usual)) or [usual]


def _by_one_of(separators: list[str], text: bytes) -> tuple[str, pyarrow.Table, np.ndarray]:
    """Return the first separator that makes the text a table, the table, and the places of its
    rows."""
    failed = []
    for separator in separators:
        try:
            return separator, *_parsed(text, separator)
        except ValueError as error:
            failed.append(error)
    # The most frequent separator is most likely the one meant, so its error says most.
    raise failed[0]


def _parsed(text: bytes, separator: str) -> tuple[pyarrow.Table, np.ndarray]:
    """Return all records including the header, and the place of each in the file."""
    _check_quotes(text, separator)
    try:
        table = _cells(text, separator)
        return table, np.arange(table.num_rows)
    except pyarrow.ArrowInvalid:  # rows of other lengths, of which some may be blank
        return _regular_rows(text, separator)


def _regular_rows(text: bytes, separator: str) -> tuple[pyarrow.Table, np.ndarray]:
    """Parse without blank lines, and fill up the last row of a truncated file."""
    blank: list[int] = []
    wrong: list[pyarrow.csv.InvalidRow] = []

    def of_other_length(row: pyarrow.csv.InvalidRow) -> str:
        # Spreadsheets write blank rows as separators alone, some with empty quotes.
        if not row.text.strip(' \t\r\n"' + separator):
            # Arrow counts rows from 1.
            blank.append(row.number - 1)
            return "skip"
        wrong.append(row)
        return "error"

    try:
        table = _cells(text, separator, of_other_length)
    except pyarrow.ArrowInvalid:
        if not wrong:
            raise
        filled = _filled_up(text, wrong[0], separator)
        if filled is None:
            raise ValueError(_other_length(wrong[0])) from None
        return _regular_rows(filled, separator)
    return table, np.delete(np.arange(table.num_rows + len(blank)), blank)


def _filled_up(text: bytes, row: pyarrow.csv.InvalidRow, separator: str) -> bytes | None:
    """Return the text with its last row filled up to the header's length, if only that row is
    short."""
    # A log is often copied while its last row is being written.
    missing = row.expected_columns - row.actual_columns
    whole = text.rstrip(b"\r\n")
    if missing <= 0 or row.number == 1 or not whole.endswith(b"\n" + row.text.encode()):
        return None
    return whole + separator.encode() * missing + b"\n"


def _cells(
    text: bytes, separator: str, of_other_length: Callable[..., str] | None = None
) -> pyarrow.Table:
    """Return columns of text; `of_other_length` decides on rows of other lengths than the header.

    Such rows are reported from a single block, because Arrow numbers no rows of several blocks.
    """
    # Separators within quotes make this too large, which is harmless: names without a column are
    # ignored.
    most = _first_record(text).count(separator.encode()) + 1
    block = BLOCK if of_other_length is None else LARGEST_BLOCK
    return pyarrow.csv.read_csv(
        pyarrow.BufferReader(text),
        pyarrow.csv.ReadOptions(
            use_threads=False,
            # The header is read as a row: repeated and empty names then get an error that names
            # them.
            autogenerate_column_names=True,
            block_size=min(len(text) + 1, block),
        ),
        pyarrow.csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=True,
            # Skipped lines would shift the numbers of the rows.
            ignore_empty_lines=False,
            invalid_row_handler=of_other_length,
        ),
        pyarrow.csv.ConvertOptions(
            column_types={f"f{i}": pyarrow.string() for i in range(most)},
            strings_can_be_null=True,
            null_values=[""],
        ),
    )


def _other_length(row: pyarrow.csv.InvalidRow) -> str:
    more = "more" if row.actual_columns > row.expected_columns else "fewer"
    return (
        f"row {row.number - 1} has {row.actual_columns} cells, {more} cells than the header, which "
        f"has {row.expected_columns}"
    )


def _check_quotes(text: bytes, separator: str) -> None:
    """Raise ValueError at a quote inside a cell, or at a quote without an end, which swallows
    rows."""
    if QUOTE not in text:
        return
    codes = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(codes == ord(QUOTE))
    # A doubled quote within a cell closes and opens again, so quotes stand beside quotes.
    beside = np.frombuffer(f'{separator}\r\n"'.encode(), np.uint8)
    opens, closes = quotes[::2], quotes[1::2]
    begun = (opens == 0) | np.isin(codes[opens - 1], beside)
    ended = np.isin(codes[closes + 1], beside)  # the text ends with the end of a line
    wrong = np.sort(np.concatenate([opens[~begun], closes[~ended]]))
    if len(wrong) or len(opens) > len(closes):
        where = int(wrong[0] if len(wrong) else opens[-1])
        what = "has a quote within a cell" if len(wrong) else "opens a quote that never closes"
        line = text.count(b"\n", 0, where) + 1
        raise ValueError(f"line {line} {what}")
