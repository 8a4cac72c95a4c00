"""Numbers as people write them: 40B tokens, 1,200 steps, a share of 20 %."""

import math
import re
from typing import Any

import numpy as np

# G for giga and B for billion are one power; lower case, as SUFFIX ignores case.
THOUSANDS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
# Groups are complete or absent: 1,200 but not 1,20, which may be a decimal comma. Nobody groups
# digits before an exponent: the comma of 4,586E-01 is a decimal one.
WRITTEN = re.compile(
    r"[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d{1,3}(?:_\d{3})+(?:\.\d*)?"
    r"|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)",
    re.I | re.ASCII,
)
SUFFIXES = {"T": 1e12, "B": 1e9, "M": 1e6, "K": 1e3}
BLANKS = " \t\xa0\u2009\u202f"
"""Characters that may stand around a number; others, U+2028 or control characters, are damage."""
SUFFIX = re.compile(rf"[{BLANKS}]*([kmbgt%]?)", re.I)


def number_of(value: Any, where: str, expected: str = "a number", percent: bool = False) -> float:
    """Return a finite number, given as a number or as text; ambiguous text is refused.

    Thousands may be grouped by commas or underscores, and K, M, B (or G) and T stand for powers of
    1000.

    Args:
        value: the number; True and False are refused.
        where: name of the number, which begins messages: "epochs", or "--lower web".
        expected: the expected value, for messages.
        percent: accept a number in %, and divide it by 100.

    Raises:
        ValueError: if it is not a finite number, or is ambiguous text.

    >>> number_of("1.2B", "tokens"), number_of("1,200", "budget")
    (1200000000.0, 1200.0)
    >>> number_of("20%", "lower: web", percent=True)
    0.2
    >>> number_of("0,3", "web", "a share")
    Traceback (most recent call last):
    ValueError: web is '0,3'; expected a share. Write a decimal point, and commas ...
    """
    found = _parsed(value, percent) if isinstance(value, str) else _plain(value)
    if found is None or not math.isfinite(found):
        raise ValueError(f"{where} is {_shown(value)}; expected {expected}.{_hint(value)}")
    return found


def numbers_of(
    values: Any, where: str, expected: str = "numbers", percent: bool = False
) -> np.ndarray:
    """Return an array of numbers in the shape of `values`; `number_of` refuses other values.

    Numbers that are not finite are returned; the caller can report their rows.

    >>> numbers_of([0.5, "20%"], "mixtures", percent=True)
    array([0.5, 0.2])
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return values.astype(float)
    each = np.array(values, dtype=object)
    found = [
        value if isinstance(value, float) else number_of(value, where, expected, percent)
        for value in each.flat
    ]
    return np.array(found, float).reshape(each.shape)


def quantity_text(value: float) -> str:
    """Return a number with 4 significant digits, with K, M, B or T from 10,000 on.

    >>> [quantity_text(value) for value in (573_440, 2_949_120, 4e11, 1200, 0.05)]
    ['573.4K', '2.949M', '400B', '1200', '0.05']
    """
    # Rounded first, so that 9999.9 is written as the 10K that it looks like.
    rounded = float(f"{value:.4g}")
    for suffix, power in SUFFIXES.items():
        if power <= abs(rounded) < 1000 * power and abs(rounded) >= 1e4:
            return f"{rounded / power:.4g}{suffix}"
    return f"{rounded:.4g}"


def budget_text(value: float, unit: str) -> str:
    """Return a budget with its unit; a column that is only called budget says none.

    >>> budget_text(4e10, "tokens"), budget_text(4e10, "budget")
    ('40B tokens', 'a budget of 40B')
    """
    shown = quantity_text(value)
    return f"a budget of {shown}" if unit == "budget" else f"{shown} {unit}"


def number_text(value: float) -> str:
    """Return a number with 4 significant digits, as a power of ten if very large or small.

    >>> [number_text(value) for value in (3.45219, 28.2378, 0.0783, 0.0, 3.2e9, 1.65e-11)]
    ['3.452', '28.24', '0.07830', '0', '3.200e+09', '1.650e-11']
    """
    size = abs(float(f"{value:.3e}"))
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    if not 1e-4 <= size < 1e5:
        return f"{value:.3e}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(size)))}f}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun; the plural has an s unless `many` says otherwise.

    >>> counted(1, "loss", "losses"), counted(0, "run"), counted(1200, "run")
    ('1 loss', '0 runs', '1200 runs')
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def share_text(share: float) -> str:
    """Return a share with 4 decimals; a smaller share above 0 is too small to be trained on.

    >>> share_text(0.25), share_text(1.65e-11), share_text(0.0)
    ('0.2500', '<0.0001', '0')
    """
    if share == 0:
        return "0"
    return "<0.0001" if 0 < share < 1e-4 else f"{share:.4f}"


def _plain(value: Any) -> float | None:
    # float() would take truth values for 0 and 1, and bytes for their digits.
    truth = isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool"
    if truth or isinstance(value, (bytes, bytearray, complex)) or np.ndim(value):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _parsed(text: str, percent: bool) -> float | None:
    stripped = text.strip(BLANKS + "\r\n")
    written = WRITTEN.match(stripped)
    if written is None:
        return None
    suffix = SUFFIX.fullmatch(stripped, written.end())
    if suffix is None or (suffix[1] == "%" and not percent):
        return None
    plain = written[0].replace(",", "").replace("_", "")
    if written[0].lstrip("+-").startswith("0") and plain != written[0]:
        return None  # 0,200 are no thousands
    return float(plain) / 100 if suffix[1] == "%" else float(plain) * THOUSANDS[suffix[1].lower()]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _hint(value: Any) -> str:
    if isinstance(value, str) and "," in value:
        return " Write a decimal point, and commas only between groups of three digits."
    return ""
