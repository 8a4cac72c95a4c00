"""CSV files as columns of text; the type of a column is chosen later, once its role is clear."""

import gzip
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.csv

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
STATED = re.compile(rb"sep=([,;\t|])\r?\n", re.I)
"""First line in which a spreadsheet states the separator of the cells."""
ENCODINGS = {
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
QUOTE = b'"'


class CsvTable(NamedTuple):
    """A CSV file before any column has a type."""

    columns: list[pyarrow.Array]
    """text, null where there is none"""
    header: list[str]
    rows: np.ndarray
    """(rows,) the place of each row in the file; the first row below the header is 0"""
    notes: list[str]


def read_csv(path: str) -> CsvTable:
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
    begin = re.compile(rb"[\r\n]*").match(text, stated.end() if stated else 0)
    text = text[begin.end() :] if begin and begin.end() else text
    text = text if text.endswith((b"\n", b"\r")) else text + b"\n"
    usual = "\t" if re.search(r"\.tsv(\.gz)?$", path, re.I) else ","
    tried = [stated[1].decode()] if stated else _separators_of(_first_record(text), usual)
    separator, cells, rows = _by_one_of(tried, text)
    notes += _note_of_a_cut(text, separator, cells.num_columns)
    if separator != usual:
        notes.append(f"The cells of the file are separated by {SEPARATORS[separator]}.")
    columns = [_whole(column) for column in cells.columns]
    header = [column[0].as_py() or "" for column in columns]
    return CsvTable([column[1:] for column in columns], header, rows[1:] - 1, notes)


def _note_of_a_cut(text: bytes, separator: str, columns: int) -> list[str]:
    """Return a note if the last row is shorter than the header, which suggests a truncated file."""
    end = len(text)
    while end and text[end - 1] in b"\r\n":
        end -= 1
    last = text[text.rfind(b"\n", 0, end) + 1 : end]
    cells = last.count(separator.encode()) + 1
    if QUOTE in last or cells >= columns or not last.strip():
        return []
    return [
        f"The last row has {cells} of {columns} cells; the others are empty: is the file whole?"
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
        if not row.text.strip(' \t\r\n"' + separator):
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
    missing = row.expected_columns - row.actual_columns
    whole = text.rstrip(b"\r\n")
    if missing <= 0 or row.number == 1 or not whole.endswith(b"\n" + row.text.encode()):
        return None
    return whole + separator.encode() * missing + b"\n"


def _cells(
    text: bytes, separator: str, of_other_length: Callable[..., str] | None = None
) -> pyarrow.Table:
    """Return columns of text. Rows of other lengths are reported from a single block, because
    Arrow numbers no rows of several blocks."""
    most = _first_record(text).count(separator.encode()) + 1
    block = BLOCK if of_other_length is None else LARGEST_BLOCK
    return pyarrow.csv.read_csv(
        pyarrow.BufferReader(text),
        pyarrow.csv.ReadOptions(
            use_threads=False,
            autogenerate_column_names=True,
            block_size=min(len(text) + 1, block),
        ),
        pyarrow.csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=True,
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
