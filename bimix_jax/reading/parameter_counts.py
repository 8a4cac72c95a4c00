"""Model sizes as people write them."""

import re

import numpy as np

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
SIZE = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([KMBGT]?)\s*", re.I)


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
