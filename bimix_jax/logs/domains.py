"""Which columns of a wide table of runs are domains: by their names, and by what they sum to."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.checks import SUM_TOLERANCE, SweepError
from bimix_jax.logs.amounts import amounts_of, are_amounts
from bimix_jax.logs.history import RUN_KEYS
from bimix_jax.names import spelling
from bimix_jax.pairs import SEPARATORS, shortened
from bimix_jax.tables import (
    BUDGET_COLUMNS,
    MIXTURE_PREFIX,
    RUN_COLUMNS,
    SIZE_COLUMN,
    listed,
    names_of,
    prefixed,
)

EXACT = 1e-3
"""Shares that sum to a whole this closely (relative) do so by what they are: they are rounded."""
MOST_OTHERS = 12
"""Columns of which every subset is tried as domains that no loss is called like."""
LABELS = {*RUN_COLUMNS, *RUN_KEYS, *BUDGET_COLUMNS, "seed"}
"""Columns of these names are labels unless their values show that they are domains."""
SETTING = re.compile(
    r"_.*|lr|.*learning_?rate|.*batch_?size|.*warm_?up.*|weight_?decay|dropout|.*runtime|duration|"
    r"epochs?|total|sum|.*timestamp|created|.*hours?|.*flops|n?_?layers|d_model|grad_?norm",
    re.I,
)
"""Columns of these names are settings, times or totals unless their values show otherwise."""


class Domains(NamedTuple):
    """The columns that hold mixtures."""

    names: dict[str, str]
    """column → domain"""
    others: tuple[str, ...] = ()
    """columns of numbers that were not taken for domains, of which a reader must know"""


class Asked(NamedTuple):
    """What a user says of the columns of domains."""

    prefix: str | None = None
    names: Sequence[str] | None = None


def domains_of(
    table: pd.DataFrame, run: str, targets: Sequence[str], asked: Asked, name: str
) -> Domains:
    """The columns that are domains.

    Those the user names; else those with the prefix of proportions; else of the columns of numbers
    those that are called like targets, with what makes their amounts sum alike.

    Raises:
        SweepError: if there are none, or several sets of columns could be meant.
    """
    free = [c for c in names_of(table) if c != run]
    if asked.names is not None:
        return Domains(_named(free, asked.names, asked.prefix, name))
    with_prefix = prefixed(table[free], asked.prefix or MIXTURE_PREFIX)
    if with_prefix:
        return Domains(with_prefix)
    if asked.prefix is not None:
        raise SweepError(
            f"{name}: no column begins with {asked.prefix!r}, the mixture_prefix= "
            f"(--mixture-prefix); the columns are {listed(table.columns)}."
        )
    wanted = {spelling(t) for t in targets}
    columns = [c for c in free if spelling(c) in wanted or are_amounts(table[c])]
    if not columns:
        raise SweepError(
            f"{name}: no column holds the amounts of a domain; the columns are "
            f"{listed(table.columns)}. {REMEDY}"
        )
    values = {c: np.nan_to_num(amounts_of(table[c])[0]) for c in columns}
    return _by_values(_Amounts(values), targets, name)


REMEDY = (
    "Name the domains with domains= (--domain, several times), or what their columns begin with "
    "with mixture_prefix= (--mixture-prefix)."
)


def _named(
    columns: list[str], names: Sequence[str], prefix: str | None, name: str
) -> dict[str, str]:
    """The columns that a user lists, with or without the prefix."""
    found, begin = {}, prefix or MIXTURE_PREFIX
    for domain in names:
        column = next((c for c in (domain, begin + domain) if c in columns), None)
        if column is None:
            raise SweepError(
                f"domains (--domain): {name} has no column {domain}; expected some of "
                f"{listed(columns)}."
            )
        found[column] = column.removeprefix(begin)
    return found


# ---- by values -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Way:
    """A way to call the columns: column → domain."""

    names: dict[str, str]
    called: list[str]
    """the columns that are called like targets"""

    @property
    def others(self) -> list[str]:
        return [c for c in self.names if c not in self.called]

    @property
    def plain(self) -> list[str]:
        """The columns but those that have the name of a label or a setting, and are no targets."""
        return [c for c in self.names if c in self.called or not _is_label(self.names[c])]


@dataclasses.dataclass(frozen=True)
class _Amounts:
    """The columns that may be domains."""

    values: dict[str, np.ndarray]
    """column → its amounts, (rows,)"""

    def sums(self, columns: Sequence[str]) -> np.ndarray:
        return np.sum([self.values[c] for c in columns], axis=0)

    def are_whole(self, columns: Sequence[str], tolerance: float = EXACT) -> bool:
        """Whether they sum to 1 or to 100 in every row, though not all are constant."""
        sums = self.sums(columns)
        vary = any(np.ptp(self.values[c]) > 0 for c in columns)
        return vary and any(
            bool(np.all(np.abs(sums / whole - 1) <= tolerance)) for whole in (1.0, 100.0)
        )

    def are_nearly_whole(self, columns: Sequence[str]) -> bool:
        """The same of shares that are rounded to few digits."""
        return self.are_whole(columns, SUM_TOLERANCE)

    def sum_alike(self, columns: Sequence[str]) -> bool:
        """Whether they sum to the same in every row, though each of them varies."""
        sums = self.sums(columns)
        vary = all(np.ptp(self.values[c]) > 0 for c in columns)
        return vary and bool(np.ptp(sums) <= EXACT * np.median(sums))

    def have_total(self, columns: Sequence[str]) -> bool:
        """Whether another column is their sum, in every row."""
        sums, others = self.sums(columns), [c for c in self.values if c not in columns]
        return any(np.allclose(self.values[c], sums, rtol=EXACT, atol=0) for c in others)


def _by_values(amounts: _Amounts, targets: Sequence[str], name: str) -> Domains:
    ways = _ways(list(amounts.values), targets)
    for search, holds in (
        (_usual, amounts.are_whole),
        (_unusual, amounts.are_whole),
        (_without_one, amounts.are_whole),
        (_usual, amounts.sum_alike),
        (_unusual, amounts.sum_alike),
        (_usual, amounts.are_nearly_whole),
        (_usual, amounts.have_total),
        (_without_one, amounts.have_total),
    ):
        for way in ways:
            found = [columns for columns in search(way, amounts) if holds(columns)]
            fewest = max if holds == amounts.are_nearly_whole else min
            least = [columns for columns in found if len(columns) <= fewest(map(len, found))]
            if len(least) == 1:
                return _domains(amounts, way, least[0], of_sums=True)
            if least:
                raise _undecided(amounts, way, name)
    alone = next(way for way in ways if all(c == n for c, n in way.names.items()))
    way = next((way for way in ways if len(way.called) > 1), alone)
    constant = [c for c in way.plain if np.ptp(amounts.values[c]) == 0]
    if len(way.plain) < 2 or ((constant or way.called) and way.plain != way.called):
        raise _undecided(amounts, way, name)
    return _domains(amounts, way, way.plain, of_sums=False)


def _usual(way: _Way, amounts: _Amounts) -> Iterator[list[str]]:
    """The columns that are called like targets, without and with all others that may be domains."""
    sets = [way.called, way.plain] if way.called else [way.plain]
    yield from (s for i, s in enumerate(sets) if len(s) > 1 and s not in sets[:i])


def _unusual(way: _Way, amounts: _Amounts) -> Iterator[list[str]]:
    """The columns that are called like targets, with some of the others."""
    others = [c for c in way.others if amounts.values[c].any()]
    if len(others) > MOST_OTHERS:
        return
    for count in range(len(others) + 1):
        for some in combinations(others, count):
            if len(way.called) + count > 1:
                yield [*way.called, *some]


def _without_one(way: _Way, amounts: _Amounts) -> Iterator[list[str]]:
    yield from ([c for c in way.plain if c != one] for one in way.plain if len(way.plain) > 2)


def _domains(amounts: _Amounts, way: _Way, found: Sequence[str], of_sums: bool) -> Domains:
    """The columns found, in the order of the table, with those that no run has anything of."""
    within = not way.called or any(c != n for c, n in way.names.items())
    empty = [c for c in way.plain if within and not amounts.values[c].any()]
    names = {c: n for c, n in way.names.items() if c in found or c in empty}
    others = [c for c in amounts.values if c not in names]
    told = [c for c in others if not (of_sums and _is_usual_label(c))]
    return Domains(names, tuple(told))


def _undecided(amounts: _Amounts, way: _Way, name: str) -> SweepError:
    sums = amounts.sums(way.plain or list(way.names))
    like = f"{listed(way.called)} are called like targets" if way.called else "none is a target"
    return SweepError(
        f"{name}: which columns are domains is not clear. Of the columns of numbers, "
        f"{listed(amounts.values)}, {like}; together they sum to {sums.min():.4g}-{sums.max():.4g} "
        f"per run, not to 1 or 100. {REMEDY}"
    )


# ---- by names ------------------------------------------------------------------------------------


def _is_usual_label(name: str) -> bool:
    return bool(
        name.lower() in LABELS or SIZE_COLUMN.fullmatch(name) or name.startswith("Unnamed:")
    )


def _is_label(name: str) -> bool:
    """Whether a column of this name usually holds no amounts of a domain."""
    return _is_usual_label(name) or bool(SETTING.fullmatch(name))


def _ways(columns: Sequence[str], targets: Sequence[str]) -> list[_Way]:
    """The ways to call the columns, that which most targets agree with first.

    Names stand alone, or within what all columns of domains share, as web does in mixture/web.
    """
    called: dict[tuple[str, str], set[str]] = {("", ""): set()}
    for short in shortened(targets):
        known = {spelling(n) for n in short}
        for column in columns:
            for front, middle, back in _cuts(column):
                if spelling(middle) in known:
                    called.setdefault((front, back), set()).add(column)
    ways = []
    for (front, back), like in called.items():
        names = {
            c: c[len(front) : len(c) - len(back)]
            for c in columns
            if c.startswith(front) and c.endswith(back) and len(c) > len(front) + len(back)
        }
        ways.append(_Way(names, [c for c in names if c in like]))
    return sorted(ways, key=lambda way: -len(way.called))


def _cuts(column: str) -> Iterator[tuple[str, str, str]]:
    """The column cut at separators in front and behind."""
    marks = [i for i, letter in enumerate(column) if letter in SEPARATORS]
    for begin in (0, *(i + 1 for i in marks)):
        for end in (*(i for i in marks if i > begin), len(column)):
            if begin < end:
                yield column[:begin], column[begin:end], column[end:]
