"""What a diagnosis is made of: one thing seen, how bad it is, and what to do about it."""

import dataclasses
import enum
from collections.abc import Iterable

SHOWN = 6


class Severity(enum.IntEnum):
    """How bad; the exit code of `bimix check` is that of the worst."""

    NOTE = 0
    """worth knowing"""
    WARNING = 1
    """some results will not be what they seem"""
    ERROR = 2
    """a fit to this sweep means nothing"""


@dataclasses.dataclass(frozen=True)
class Observation:
    """One thing about a sweep."""

    severity: Severity
    what: str
    """what was found, with the numbers"""
    advice: str
    """one line: what to do"""


def some_of(names: Iterable[object]) -> str:
    """The first names of many.

    >>> some_of(range(8))
    '0, 1, 2, 3, 4, 5 and 2 more'
    """
    every = [str(name) for name in names]
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more
