"""Edits of tables as people, spreadsheets and scripts make them."""

import csv
import enum
import io
import itertools
import json
import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

Table = list[list[Any]]
"""header, then rows of cells: text from CSV, any value from JSON lines"""
PLAIN = re.compile(r"\d+(\.\d+)?")
CSV_FORMS = [("utf-8", ",", "\n", csv.QUOTE_MINIMAL)] * 3 + [
    ("utf-8", ",", "\r\n", csv.QUOTE_ALL),
    ("utf-8-sig", ",", "\r\n", csv.QUOTE_MINIMAL),
    ("utf-8", ";", "\r\n", csv.QUOTE_MINIMAL),
    ("utf-16", "\t", "\r\n", csv.QUOTE_MINIMAL),
    ("utf-8", ",", "\r", csv.QUOTE_NONNUMERIC),
    ("utf-8", ",", "\r\r\n", csv.QUOTE_MINIMAL),
    ("utf-8", "|", "\n", csv.QUOTE_MINIMAL),
]
"""Encoding, separator, line end and quotes of a written file."""


class Right(enum.Enum):
    """Right readings of a changed file, for a reader that does not refuse it."""

    SAME = "the content of the sound file, with a note or without"
    SAID = "that content, or another with a note"
    WRITTEN = "what the independent reader finds, or another content with a note"


class Edit(NamedTuple):
    """A change of a table; None where it would change nothing."""

    change: Callable[[Table, random.Random], Table | None]
    right: Right = Right.SAME


def edited(data: bytes, rng: random.Random) -> tuple[bytes, str, Right] | None:
    """The data after an edit, what the edit is called and what is right then.

    None where the data are not a table, or the edit has nothing to change in it.
    """
    table, is_json = _table_of(data)
    name, edit = rng.choice(list(EDITS.items()))
    changed = edit.change(table, rng) if len(table) > 2 else None
    if changed is None:
        return None
    return (_as_json(changed) if is_json else _as_csv(changed, rng)), name, edit.right


def _table_of(data: bytes) -> tuple[Table, bool]:
    try:
        text = data.decode()
        if text.startswith("{"):
            rows = [json.loads(line) for line in text.splitlines()]
            names = list(rows[0])
            same = all(list(row) == names for row in rows)
            return ([names, *(list(row.values()) for row in rows)] if same else []), True
        table = list(csv.reader(io.StringIO(text)))
    except ValueError:
        return [], False
    whole = table and len(table[0]) > 2 and all(len(row) == len(table[0]) for row in table)
    return (table if whole else []), False


def _as_json(table: Table) -> bytes:
    rows = (dict(zip(table[0], row, strict=False)) for row in table[1:])
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _as_csv(table: Table, rng: random.Random) -> bytes:
    encoding, separator, end, quotes = rng.choice(CSV_FORMS)
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quotes).writerows(table)
    return buffer.getvalue().encode(encoding)


# ---- rows and columns ----------------------------------------------------------------------------


def _columns_in_another_order(table: Table, rng: random.Random) -> Table:
    order = rng.sample(range(len(table[0])), len(table[0]))
    return [[row[i] for i in order] for row in table]


def _rows_in_another_order(table: Table, rng: random.Random) -> Table:
    return [table[0], *rng.sample(table[1:], len(table) - 1)]


def _index_column(table: Table, rng: random.Random) -> Table:
    name = rng.choice(["", "Unnamed: 0", "index", "level_0"])
    return [[name, *table[0]], *([str(i), *row] for i, row in enumerate(table[1:]))]


def _empty_column(table: Table, rng: random.Random) -> Table:
    return [[*row, *[""] * (1 + (len(table[0]) % 2))] for row in table]


def _empty_rows(table: Table, rng: random.Random) -> Table:
    blank = [[""] * len(table[0])] * rng.randrange(1, 4)
    at = rng.choice([len(table), rng.randrange(1, len(table))])
    return [*table[:at], *blank, *table[at:]]


def _header_again(table: Table, rng: random.Random) -> Table:
    at = rng.randrange(1, len(table))
    return [*table[:at], table[0], *table[at:]]


def _file_twice(table: Table, rng: random.Random) -> Table:
    return [*table, *table[rng.randrange(2) :]]


def _parts_of_another_order(table: Table, rng: random.Random) -> Table:
    """A file behind another whose columns stand in another order, with its header."""
    at = rng.randrange(1, len(table))
    return [*table[:at], *_columns_in_another_order([table[0], *table[at:]], rng)]


def _summary_row(table: Table, rng: random.Random) -> Table:
    name = rng.choice(["total", "Total", "mean", "average", "Sum", "", "Mittelwert"])
    share = 1 if name in ("total", "Total", "Sum") else 1 / (len(table) - 1)
    row = [
        round(sum(float(row[i]) for row in table[1:]) * share, 6) if _is_plain(table, i) else ""
        for i in range(len(table[0]))
    ]
    return [*table, [name if i == 0 else cell for i, cell in enumerate(row)]]


def _title(table: Table, rng: random.Random) -> Table:
    title = rng.choice(["Results of June", "# written by export.py", "sheet1"])
    return [[title, *[""] * (len(table[0]) - 1)], *table]


def _units_below_the_header(table: Table, rng: random.Random) -> Table:
    units = [rng.choice(["", "tokens", "nats", "%", "-"]) for _ in table[0]]
    return [table[0], units, *table[1:]]


def _merged_cells(table: Table, rng: random.Random) -> Table | None:
    """The first of equal cells below each other, and blanks."""
    columns = [i for i in range(len(table[0])) if any(a[i] == b[i] for a, b in _pairs(table))]
    if not columns:
        return None
    i = rng.choice(columns)
    below = {k for k, (a, b) in enumerate(_pairs(table), 2) if a[i] == b[i]}
    return [_with(row, i, "") if k in below else row for k, row in enumerate(table)]


def _pairs(table: Table) -> list[tuple[list[Any], list[Any]]]:
    return list(itertools.pairwise(table[1:]))


# ---- cells ---------------------------------------------------------------------------------------


def _with(row: list[Any], i: int, cell: Any) -> list[Any]:
    return [*row[:i], cell, *row[i + 1 :]]


def _is_plain(table: Table, i: int) -> bool:
    return all(PLAIN.fullmatch(str(row[i])) for row in table[1:])


def _numbers(write: Callable[[str], str]) -> Callable[[Table, random.Random], Table | None]:
    """Some, or all, numbers of one column, or of all, written otherwise."""

    def change(table: Table, rng: random.Random) -> Table | None:
        columns = [i for i in range(len(table[0])) if _is_plain(table, i)]
        columns = columns if rng.random() < 0.3 or not columns else [rng.choice(columns)]
        part = rng.choice([0.05, 0.5, 1.0])
        rows = [
            [
                write(str(cell)) if i in columns and rng.random() < part else cell
                for i, cell in enumerate(row)
            ]
            for row in table[1:]
        ]
        return None if rows == table[1:] else [table[0], *rows]

    return change


def _percent(cell: str) -> str:
    return f"{float(cell) * 100:.8g}%" if "." in cell else cell


def _grouped(mark: str) -> Callable[[str], str]:
    def write(cell: str) -> str:
        whole, point, rest = cell.partition(".")
        return f"{int(whole):,}".replace(",", mark) + point + rest

    return write


def _spreadsheet_exponent(cell: str) -> str:
    digits, exponent = f"{float(cell):.10E}".split("E")
    return f"{digits.rstrip('0').rstrip('.').replace('.', ',')}E{int(exponent):+03d}"


def _suffixed(cell: str) -> str:
    return cell if float(cell) < 1e6 or float(cell) % 1e6 else f"{int(float(cell) / 1e6)}M"


WIDE_DIGITS = {ord("0") + i: chr(0xFF10 + i) for i in range(10)}
ARABIC_DIGITS = {ord("0") + i: chr(0x660 + i) for i in range(10)}


# ---- names ---------------------------------------------------------------------------------------


def _labels(write: Callable[[str, random.Random], str]) -> Callable[..., Table | None]:
    """Some labels of the first column written otherwise."""

    def change(table: Table, rng: random.Random) -> Table | None:
        if _is_plain(table, 0):
            return None
        chosen = rng.sample(range(1, len(table)), rng.randrange(1, len(table)))
        return [
            _with(row, 0, write(str(row[0]), rng)) if k in chosen else row
            for k, row in enumerate(table)
        ]

    return change


def _dates(table: Table, rng: random.Random) -> Table | None:
    if _is_plain(table, 0):
        return None
    form = rng.choice(["2024-03-{:02d}", "{:02d}.03.2024", "{}-Mar", "2024-03-01T10:{:02d}:00"])
    names = {
        name: form.format(i + 1) for i, name in enumerate(dict.fromkeys(r[0] for r in table[1:]))
    }
    return [table[0], *(_with(row, 0, names[row[0]]) for row in table[1:])]


def _header(write: Callable[[str, random.Random], str]) -> Callable[..., Table | None]:
    def change(table: Table, rng: random.Random) -> Table | None:
        chosen = rng.sample(range(len(table[0])), rng.randrange(1, len(table[0]) + 1))
        names = [write(n, rng) if i in chosen else n for i, n in enumerate(table[0])]
        return None if names == table[0] else [names, *table[1:]]

    return change


def _column_twice(table: Table, rng: random.Random) -> Table:
    i = rng.randrange(len(table[0]))
    mark = rng.choice([".1", "_x", " (2)", ""])
    return [[*row, f"{row[i]}{mark}" if k == 0 else row[i]] for k, row in enumerate(table)]


def _without_a_column(table: Table, rng: random.Random) -> Table:
    i = rng.randrange(len(table[0]))
    return [[*row[:i], *row[i + 1 :]] for row in table]


def _swapped_header(table: Table, rng: random.Random) -> Table:
    i, k = rng.sample(range(len(table[0])), 2)
    names = list(table[0])
    names[i], names[k] = names[k], names[i]
    return [names, *table[1:]]


EDITS = {
    "columns in another order": Edit(_columns_in_another_order),
    "rows in another order": Edit(_rows_in_another_order),
    "as it is": Edit(lambda table, rng: table),
    "index column": Edit(_index_column),
    "empty columns": Edit(_empty_column),
    "empty rows": Edit(_empty_rows),
    "header again": Edit(_header_again, Right.SAID),
    "file twice": Edit(_file_twice, Right.SAID),
    "parts of another order": Edit(_parts_of_another_order, Right.SAID),
    "summary row": Edit(_summary_row, Right.SAID),
    "title": Edit(_title),
    "units below the header": Edit(_units_below_the_header, Right.SAID),
    "merged cells": Edit(_merged_cells),
    "percent": Edit(_numbers(_percent)),
    "percent without sign": Edit(_numbers(lambda cell: _percent(cell).rstrip("%")), Right.SAID),
    "thousands by comma": Edit(_numbers(_grouped(","))),
    "thousands by space": Edit(_numbers(_grouped(" "))),
    "thousands by narrow space": Edit(_numbers(_grouped("\u202f"))),
    "thousands by underscore": Edit(_numbers(_grouped("_"))),
    "thousands by apostrophe": Edit(_numbers(_grouped("'"))),
    "decimal comma": Edit(_numbers(lambda cell: cell.replace(".", ","))),
    "exponent with comma": Edit(_numbers(_spreadsheet_exponent)),
    "exponent": Edit(_numbers(lambda cell: f"{float(cell):.10e}")),
    "suffix": Edit(_numbers(_suffixed)),
    "apostrophe": Edit(_numbers(lambda cell: f"'{cell}")),
    "unit": Edit(_numbers(lambda cell: f"{cell} nats")),
    "unit of tokens": Edit(_numbers(lambda cell: f"{cell} tokens")),
    "spread": Edit(_numbers(lambda cell: f"{cell} ± 0.01")),
    "spread in parentheses": Edit(_numbers(lambda cell: f"{cell} (0.01)")),
    "star": Edit(_numbers(lambda cell: f"{cell}*")),
    "bold": Edit(_numbers(lambda cell: f"**{cell}**")),
    "about": Edit(_numbers(lambda cell: f"~{cell}")),
    "formula": Edit(_numbers(lambda cell: f'="{cell}"')),
    "blanks": Edit(_numbers(lambda cell: f" {cell}\u00a0")),
    "zero-width space": Edit(_numbers(lambda cell: f"\u200b{cell}")),
    "wide digits": Edit(_numbers(lambda cell: cell.translate(WIDE_DIGITS))),
    "arabic digits": Edit(_numbers(lambda cell: cell.translate(ARABIC_DIGITS))),
    "letter O": Edit(_numbers(lambda cell: cell.replace("0", "O"))),
    "dashes": Edit(_numbers(lambda cell: "-"), Right.WRITTEN),
    "spreadsheet errors": Edit(_numbers(lambda cell: "#DIV/0!"), Right.WRITTEN),
    "zeros": Edit(_numbers(lambda cell: "0"), Right.WRITTEN),
    "words": Edit(_numbers(lambda cell: "diverged"), Right.WRITTEN),
    "blanks behind labels": Edit(_labels(lambda cell, rng: cell + rng.choice(" \u00a0"))),
    "labels in capitals": Edit(_labels(lambda cell, rng: cell.upper()), Right.WRITTEN),
    "labels with apostrophe": Edit(_labels(lambda cell, rng: f"'{cell}"), Right.WRITTEN),
    "dates for labels": Edit(_dates, Right.WRITTEN),
    "header in capitals": Edit(_header(lambda name, rng: name.upper()), Right.SAID),
    "header with blanks": Edit(_header(lambda name, rng: f" {name} "), Right.SAID),
    "header with units": Edit(
        _header(lambda name, rng: name + rng.choice([" (nats)", " [%]"])), Right.SAID
    ),
    "header with spaces": Edit(_header(lambda name, rng: name.replace("_", " ")), Right.SAID),
    "column twice": Edit(_column_twice, Right.SAID),
    "without a column": Edit(_without_a_column, Right.WRITTEN),
    "swapped header": Edit(_swapped_header, Right.WRITTEN),
}
"""What people do to tables, by name."""
