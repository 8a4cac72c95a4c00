"""Decimal commas and thousands separators, read where only one reading is possible."""

from collections.abc import Mapping
from typing import Literal

import pyarrow
import pyarrow.compute as pc

Mark = Literal[",", "."]
"""The decimal mark; the other character separates thousands."""
SPACES = r"[ \x{a0}\x{202f}'’]"
"""Characters that can only separate thousands."""
END = r"([eE][+-]?\d+)?\s?[%KMBGTkmbgt]?$"
NUMBER = (
    rf"^[+-]?((\d+|\d{{1,3}}([.,]\d{{3}})+|\d{{1,3}}({SPACES}\d{{3}})+)([.,]\d*)?|[.,]\d+){END}"
)


def _only_by(mark: str, other: str) -> str:
    """Return a pattern of numbers that are valid only if `mark` is the decimal mark."""
    groups = rf"\d{{1,3}}({other}\d{{3}})"
    unlike_groups = (
        rf"(0*|0\d+|[1-9]\d{{3,}}|\d+{SPACES}\d{{3}}){mark}\d+|\d*{mark}(\d{{1,2}}|\d{{4,}})"
    )
    return rf"^[+-]?({groups}+{mark}\d+|{groups}{{2,}}|{unlike_groups}){END}"


ONLY_BY: dict[Mark, str] = {",": _only_by(",", r"\."), ".": _only_by(r"\.", ",")}
MARKED = rf"\d?,\d|\d\.\d{{3}}\.|\d{SPACES}\d"
MOSTLY = 0.5
"""Smallest share of the written cells that must be numbers; below it a column stays text."""
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
        The columns that change, and a note of each.

    >>> changed, notes = with_decimal_points({"a": pyarrow.array(["0,25", "1.024,5"])})
    >>> changed["a"].to_pylist(), notes
    (['0.25', '1024.5'], ['Column a holds decimal commas: 0,25 was read as 0.25.'])
    """
    said = {name: _said_by(cells) for name, cells in columns.items()}
    table = set().union(*said.values())
    changed, notes = {}, []
    for name, cells in columns.items():
        marks = said[name] or table
        if len(marks) != 1:
            continue
        (mark,) = marks
        after = _by(mark, cells)
        where = pc.fill_null(pc.not_equal(after, cells), False)
        if _any(where) and _mostly_numbers(cells):
            changed[name] = after
            first = pc.index(where, True).as_py()
            example = KINDS[mark].format(cells[first], after[first])
            notes.append(f"Column {name} holds {example}.")
    return changed, notes


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
