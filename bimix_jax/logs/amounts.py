"""What a table of runs says of a domain: a share, a percentage, a count or a weight."""

import contextlib

import numpy as np
import pandas as pd

from bimix_jax.quantities import number_of
from bimix_jax.reading.errors import SweepError
from bimix_jax.sweeps import checks

EXPECTED = "a share, count or weight ≥ 0 (0 is a value)"


def amounts_of(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Amounts, nan for empty cells, and a mask of cells that hold anything else.

    >>> values, wrong = amounts_of(pd.Series(["25%", "1.2B", "", "much"]))
    >>> values.tolist(), wrong.tolist()
    ([0.25, 1200000000.0, nan, nan], [False, False, False, True])
    """
    values, wrong = checks.numbers(column)
    values, wrong = values.copy(), wrong.copy()
    for i in np.flatnonzero(wrong):
        with contextlib.suppress(ValueError):
            values[i] = number_of(column.iloc[i], "cell", percent=True)
            wrong[i] = False
    return values, wrong


def are_amounts(column: pd.Series) -> bool:
    """Amounts in at least half of what is written, so that a stray word is found as an error."""
    values, wrong = amounts_of(column)
    known = int(np.sum(~np.isnan(values)))
    return known > 0 and known >= int(np.sum(wrong))


def checked_amounts(column: pd.Series, name: str) -> np.ndarray:
    """(runs,) the amounts of a domain; the index names the runs.

    Raises:
        SweepError: on an empty cell, a word, or a number below 0 or beyond range.
    """
    values, wrong = amounts_of(column)
    wrong = wrong | np.isnan(values) | (values < 0) | np.isinf(values)
    if wrong.any():
        first = int(np.argmax(wrong))
        more = f" ({int(wrong.sum())} cells are so)" if wrong.sum() > 1 else ""
        raise SweepError(
            f"{name}: run {column.index[first]} has {column.name} = {column.iloc[first]}{more}; "
            f"expected {EXPECTED}."
        )
    return values
