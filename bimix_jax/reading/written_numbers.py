"""Numbers as people write them in names and cells."""

import contextlib
import re
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute as pc

from bimix_jax.quantities import BLANKS, number_of

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
SIZE = re.compile(r"\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)\s*([KMBGT]?)\s*", re.I)


def number_of_parameters(size: float | str) -> float:
    """Return a model size as a number; "122M" is 1.22e8.

    Raises:
        ValueError: if it is not a size.

    >>> number_of_parameters("1.2B"), number_of_parameters(7e7)
    (1200000000.0, 70000000.0)
    """
    found = SIZE.fullmatch(str(size))
    value = float(found[1]) * UNITS[found[2].upper()] if found else np.nan
    if not 0 < value < np.inf:
        raise ValueError(f"model size is {size!r}; expected parameters, like 1.22e8 or '122M'.")
    return value


def span(values: np.ndarray) -> str:
    """Return the range of numbers for a message, or one number if both ends are written alike.

    >>> span(np.array([1e6, 1e6 + 1])), span(np.array([0.5, 2.0]))
    ('1e+06', '0.5 to 2')
    """
    return " to ".join(dict.fromkeys(f"{end:.5g}" for end in (values.min(), values.max())))


MISSING_WORDS = ("", "nan", "na", "n/a", "none", "null", "-nan")
"""Texts of an empty cell in a column of numbers, in any case."""
# Only ASCII digits, as RE2 has it, and no underscores, which Python's float accepts.
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?((?i)inf|infinity)$"
WHOLE_WITH_EXPONENT = r"^[+-]?\d+[eE]\d+$"
"""Form of 12e45678, which may be a number or a label, like 007."""
# Digits and signs have codes up to that of 9, the letters of exponents larger ones.
PLUS, MINUS, POINT, ZERO, NINE = b"+-.09"
# Cells that are tried first, because a cast of a long column that fails at its end is slow.
SAMPLE = 50
EXACT_INTEGERS = 2**53
"""Smallest size at which floats skip some whole numbers."""


def numbers(
    column: pd.Series, percent: bool = False, suffixes: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return values as float64, nan for empty cells, and a mask of cells that hold anything else.

    Dates, truth values and complex numbers are not numbers here, whatever pandas makes of them,
    and neither is 5_1, which is one to Python.

    Args:
        column: cells of any type.
        percent: accept numbers in %, which are divided by 100. Beside such cells a
            number other than 0 is text, as it may be a share or a percentage.
        suffixes: accept numbers that end in K, M, B, G or T.

    >>> numbers(pd.Series(["3.5", None, "NA", "5_1", "4*"]))
    (array([3.5, nan, nan, nan, nan]), array([False, False, False,  True,  True]))
    >>> numbers(pd.Series(["25 %", "0"]), percent=True)[0].tolist()
    [0.25, 0.0]
    """
    types = pd.api.types
    # pandas counts truth values and complex numbers as numeric, so its broader test is not used.
    if types.is_float_dtype(column) or types.is_integer_dtype(column):
        return column.to_numpy(float, na_value=np.nan), np.zeros(len(column), bool)
    cells = text_of(column)
    values, text = _plain(cells)
    if text.any() and (percent or suffixes):
        return _marked(cells, values, text, percent, suffixes)
    return values, text


def text_of(column: pd.Series) -> pyarrow.Array:
    """Return cells as they are written, without spaces around them; null where a cell is empty."""
    written = column
    if pd.api.types.infer_dtype(column, skipna=True) not in ("string", "empty"):
        # Arrow refuses columns of mixed types, so each cell is written first.
        written = pd.Series([str(cell) for cell in column], dtype=object).where(
            column.notna().to_numpy(), None
        )
    cells = pyarrow.array(written, pyarrow.string(), from_pandas=True)
    # A column that pandas concatenated from several has as many chunks.
    whole = cells.combine_chunks() if isinstance(cells, pyarrow.ChunkedArray) else cells
    return pc.utf8_trim(whole, BLANKS)


def _plain(cells: pyarrow.Array) -> tuple[np.ndarray, np.ndarray]:
    values = _as_floats(cells)
    if values is not None:  # fast: nothing but numbers
        return values, np.zeros(len(cells), bool)
    there = _where(pc.invert(_is_missing(cells)))
    numeric = pc.match_substring_regex(cells, NUMBER)
    values = pc.if_else(numeric, cells, None).cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    return values, there & ~_where(numeric)


def _as_floats(cells: pyarrow.Array) -> np.ndarray | None:
    """Return floats, or None if a cell is not a number; Arrow's nan and inf count as numbers."""
    try:
        cells[:SAMPLE].cast(pyarrow.float64())
        return _own(cells.cast(pyarrow.float64()))
    except pyarrow.ArrowInvalid:
        return None


def _is_missing(cells: pyarrow.Array) -> pyarrow.Array:
    words = pc.is_in(pc.utf8_lower(cells), pyarrow.array(MISSING_WORDS))
    return pc.or_(words, pc.is_null(cells))


def _where(condition: pyarrow.Array) -> np.ndarray:
    return _own(pc.fill_null(condition, False))


def _own(cells: pyarrow.Array | pyarrow.ChunkedArray) -> np.ndarray:
    """Return a writable copy; the arrays that Arrow shares are read-only."""
    return np.array(cells.to_numpy(zero_copy_only=False))


def _marked(
    cells: pyarrow.Array, values: np.ndarray, text: np.ndarray, percent: bool, suffixes: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and mask, where numbers may end in a mark."""
    values, text = values.copy(), text.copy()
    share = _where(pc.match_substring_regex(cells, r"%$"))
    grouped = _where(pc.match_substring_regex(cells, "[,_]"))  # 1,234 may be 1.234 in a table
    for i in np.flatnonzero(text & ~grouped & np.where(share, percent, suffixes)):
        with contextlib.suppress(ValueError):
            values[i] = number_of(cells[int(i)].as_py(), "", percent=percent)
            text[i] = False
    # 0.5 beside 20 % may be a half or half a percent; 0 is 0 either way.
    bare = ~np.isnan(values) & (values != 0) & ~share & np.any(share & ~text)
    return np.where(bare, np.nan, values), text | bare


def typed(cells: pyarrow.Array) -> pyarrow.Array:
    """Return a column of text as integers, floats or truth values if all of its cells are such.

    Text stays where any cell is like a label (007, 12e45678) or would lose digits.

    >>> typed(pyarrow.array(["1", "NA"])).to_pylist(), typed(pyarrow.array(["007"])).to_pylist()
    ([1.0, None], ['007'])
    """
    values, written = _as_floats(cells), cells
    if values is None:
        written = pc.utf8_trim(cells, BLANKS)
        written = pc.if_else(_is_missing(written), None, written)
        values = _as_floats(written)
    if values is None:
        return _truth_values(written, cells)
    there = values[~np.isnan(values)]
    if not len(there) or _any_like_a_label(written, values):
        return cells
    if np.all(there == np.floor(there)) and _are_whole(written):
        return _whole_numbers(written, there, cells)
    return pyarrow.array(values)


def _any_like_a_label(cells: pyarrow.Array, values: np.ndarray) -> bool:
    """True where a cell has a leading zero, or is whole with an exponent; all cells are numbers."""
    codes, begins, ends = _codes(cells)
    # Empty cells begin where the next one does, perhaps at the end, which clipping allows.
    first = codes.take(begins, mode="clip")
    signed = (first == PLUS) | (first == MINUS)
    some = np.flatnonzero(signed | (first == ZERO))
    begins, ends = begins[some] + signed[some], ends[some]
    zero, second = codes.take(begins, mode="clip") == ZERO, codes.take(begins + 1, mode="clip")
    if np.any(zero & (second >= ZERO) & (second <= NINE) & (begins + 1 < ends)):
        return True
    whole = values == np.floor(values)
    if not whole.any() or not np.any(codes > NINE):  # fast: there is no exponent
        return False
    left = cells.filter(pyarrow.array(whole))
    return bool(pc.any(pc.match_substring_regex(left, WHOLE_WITH_EXPONENT)).as_py())


def _codes(cells: pyarrow.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the bytes of all cells, and where each begins and ends; regular expressions are
    slower."""
    # A slice shares the buffers of its whole, so its offset is skipped; offsets are int32 for
    # pyarrow.string().
    _, offsets, content = cells.buffers()
    places = np.frombuffer(offsets, np.int32)[cells.offset :][: len(cells) + 1]
    codes = np.frombuffer(content, np.uint8)[places[0] : places[-1]]
    return codes, places[:-1] - places[0], places[1:] - places[0]


def _truth_values(stripped: pyarrow.Array, cells: pyarrow.Array) -> pyarrow.Array:
    words = pc.utf8_lower(stripped)
    both = pc.all(pc.is_in(words, pyarrow.array(["true", "false"]))).as_py()
    return pc.equal(words, "true") if both and not cells.null_count and len(cells) else cells


def _are_whole(cells: pyarrow.Array) -> bool:
    """True where the cells, all of which are numbers, have neither decimals nor exponents."""
    codes = _codes(cells.drop_null())[0]
    return not np.any((codes == POINT) | (codes > NINE))


def _whole_numbers(
    written: pyarrow.Array, there: np.ndarray, cells: pyarrow.Array
) -> pyarrow.Array:
    """Return integers, or floats if some cells are missing, or text if that loses digits."""
    # int64 ends at 2⁶³ − 1; pandas has floats for columns with gaps, exact up to 2⁵³.
    if not written.null_count and np.abs(there).max() < 2.0**63:
        return pc.utf8_ltrim(written, "+").cast(pyarrow.int64())
    exact = np.abs(there).max() < EXACT_INTEGERS
    return written.cast(pyarrow.float64()) if exact else cells


# ---- counters with a dot before three digits -----------------------------------------------------

COUNTER = re.compile(
    r"(?:.*[/.])?_?(?:(?:global|train|training|num|total|consumed|seen)_)?"
    r"(?:steps?|tokens|iterations?|budget)",
    re.I,
)
"""Names of columns that count training."""
DOTTED = r"^[1-9]\d{0,2}\.\d{3}$"
BELOW_A_THOUSAND = r"^\d{1,3}$"


class Dotted(NamedTuple):
    """The cells of a counter like 1.000, in which the dot may separate thousands."""

    values: np.ndarray
    """(cells,) nan where a cell is empty"""
    example: tuple[str, float]
    """the first such cell, and its value"""
    as_thousands: bool
    """True where the order of the cells shows that the dot separates thousands"""

    @property
    def note(self) -> str:
        """The number that such a cell was read as, for a note."""
        text, value = self.example
        other = "" if self.as_thousands else f", not as {text.replace('.', '')}"
        return f"holds text like {text!r}, which was read as {value:.10g}{other}"


def dotted(cells: pyarrow.Array) -> Dotted | None:
    """Return the cells of a counter if their dots may separate thousands, else None.

    They do where 500 comes before 1.000: numbers with decimals would fall there.

    >>> dotted(pyarrow.array(["500", "1.000", "1.500"])).values
    array([ 500., 1000., 1500.])
    >>> dotted(pyarrow.array(["1.000", "2.000"])).note
    "holds text like '1.000', which was read as 1, not as 1000"
    """
    if not _are_dotted(cells[:SAMPLE]) or not _are_dotted(cells):  # fast: most are not
        return None
    marked = _where(pc.match_substring_regex(cells, DOTTED))
    values = _own(cells.cast(pyarrow.float64()))
    if not marked.any():
        return None
    groups = np.where(marked, np.round(values * 1000), values)
    as_thousands = _rise_as_groups(values, groups, marked)
    # Programs write 1.125 beside 2, but never 1.000.
    if not as_thousands and not np.any(groups[marked] % 10 == 0) and _any_whole(values, marked):
        return None
    first = int(np.argmax(marked))
    values = groups if as_thousands else values
    return Dotted(values, (cells[first].as_py(), float(values[first])), as_thousands)


def _are_dotted(cells: pyarrow.Array) -> bool:
    form = f"{DOTTED}|{BELOW_A_THOUSAND}"
    return bool(pc.all(pc.match_substring_regex(cells, form)).as_py())


def _any_whole(values: np.ndarray, marked: np.ndarray) -> bool:
    return bool(np.any(values[~marked] > 0))


def _rise_as_groups(values: np.ndarray, groups: np.ndarray, marked: np.ndarray) -> bool:
    """True where the cells run one way only, or more so, if the dots separate thousands."""
    if not _any_whole(values, marked):
        return False
    whole = values[~marked & (values > 0)]
    # Steps below 1000 that are written beside larger ones are hundreds.
    smaller = values[marked].max() < whole.min() and whole.max() >= 100
    before, after = _turns(values), _turns(groups)
    if np.any(groups[marked] % 10 == 0):
        return bool(after < before or (smaller and after == before))
    return bool(smaller and after < before and marked.sum() > 1)


def _turns(values: np.ndarray) -> int:
    along = np.diff(values[~np.isnan(values)])
    return int(min(np.sum(along < 0), np.sum(along > 0)))
