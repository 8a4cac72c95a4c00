"""Columns of domains, and targets that are averages of others."""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs._history import RUN_KEYS
from bimix_jax.logs._numbers import amounts_of, are_amounts
from bimix_jax.logs._settings import Asked
from bimix_jax.reading.column_names import SEPARATORS, is_setting, shortened
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.names import SUM_TOLERANCE, spelling
from bimix_jax.reading.tables import (
    BUDGET_COLUMNS,
    MIXTURE_PREFIX,
    RUN_COLUMNS,
    SIZE_COLUMN,
    UNNAMED,
    listed,
    names_of,
    prefixed,
)
from bimix_jax.reading.written_numbers import span
from bimix_jax.sweeps.averages import Losses, mean_of

EXACT = 1e-6
"""Largest relative distance from a whole at which exact amounts sum to it."""
ROUNDED = 1e-3
"""The same for shares that are rounded to three or more digits."""
# 2¹² subsets take a fraction of a second; each more column doubles it.
MOST_OTHERS = 12
"""Most columns without a target's name of which every subset is tried as domains."""
LABELS = {*RUN_COLUMNS, *RUN_KEYS, *BUDGET_COLUMNS, "seed"}
"""Names of columns that are labels unless their values show that they are domains."""
BESIDE = re.compile(
    r"_.*|.*learning_?rate|.*batch_?size|.*warm_?up.*|.*runtime|duration|total|sum|.*timestamp|"
    r"created|.*hours?|.*flops|n?_?layers|d_model",
    re.I,
)
"""Names of columns that are settings, times or totals unless their values show otherwise, beside
those of `is_setting`."""
Holds = Callable[[Sequence[str]], bool]
"""Condition on a set of columns."""


class Domains(NamedTuple):
    """The columns that hold mixtures."""

    names: dict[str, str]
    """column → domain"""
    others: tuple[str, ...] = ()
    """columns of numbers that were not taken for domains, to be named in a note"""
    labels: tuple[str, ...] = ()
    """columns that were taken for domains though they are named like labels, to be named, too"""


def domains_of(
    table: pd.DataFrame, run: str, targets: Sequence[str], asked: Asked, name: str
) -> Domains:
    """Return the columns that are domains.

    These are the columns that the user lists; else those with the prefix of proportions; else the
    columns of numbers that are named like targets, with the others that complete their sums.

    Raises:
        SweepError: if there are none, or several sets of columns could be meant.
    """
    free = [c for c in names_of(table) if c != run]
    if not len(table):
        raise SweepError(f"{name} has no rows; expected one per run.")
    if asked.domain_columns is not None:
        return Domains(_named(free, asked.domain_columns, asked.mixture_prefix, name))
    wanted = {spelling(t) for t in targets}
    called = [c for c in free if spelling(c) in wanted]
    with_prefix = prefixed(table[free], asked.mixture_prefix or MIXTURE_PREFIX)
    are_meant = asked.mixture_prefix is not None or not called
    if with_prefix and (are_meant or {spelling(d) for d in with_prefix.values()} & wanted):
        return Domains(with_prefix)
    if asked.mixture_prefix is not None:
        raise SweepError(
            f"{name}: no column begins with {asked.mixture_prefix!r}, the mixture_prefix= "
            f"(--mixture-prefix); the columns are {listed(table.columns)}."
        )
    columns = [c for c in free if c in called or are_amounts(table[c])]
    if not columns:
        raise SweepError(
            f"{name}: no column holds the amounts of a domain; the columns are "
            f"{listed(table.columns)}.{_hint(table, called)} {REMEDY}"
        )
    values = {c: np.nan_to_num(amounts_of(table[c])[0]) for c in columns}
    return _by_values(_Amounts(values, _hint(table, called)), targets, name)


def _hint(table: pd.DataFrame, called: Sequence[str]) -> str:
    """Return what may keep the domains from being found: text, or lines above the header."""
    if sum(c.startswith(UNNAMED) for c in names_of(table)) > 1:
        return (
            " Several columns have no name, so the header seems not to be in line 1: remove the "
            "lines above it."
        )
    wrong = {c: np.flatnonzero(amounts_of(table[c])[1]) for c in called}
    column = next((c for c, rows in wrong.items() if len(rows)), None)
    if column is None:
        return ""
    row, count = wrong[column][0], sum(map(len, wrong.values()))
    more = f" ({count} cells are so)" if count > 1 else ""
    return (
        f" Row {table.index[row] + 1} holds {column} = {table[column].iloc[row]!r}{more}; expected "
        "a number or a percentage."
    )


REMEDY = (
    "List the domains with domains= (--domain, several times), or give what their columns begin "
    "with as mixture_prefix= (--mixture-prefix)."
)


def _named(
    columns: list[str], names: Sequence[str], prefix: str | None, name: str
) -> dict[str, str]:
    """Return the columns that a user lists, with or without the prefix."""
    if not names:
        raise SweepError(
            "domains (--domain): the list is empty; expected columns that are domains."
        )
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
    """One naming of the columns: column → domain."""

    names: dict[str, str]
    called: list[str]
    """the columns that are named like targets"""

    def pools(self, varying: set[str]) -> list[list[str]]:
        """Return three pools of other columns: plain ones that vary, all plain ones, and all."""
        others = [c for c in self.names if c not in self.called]
        plain = [c for c in others if not _is_label(self.names[c])]
        return [[c for c in plain if c in varying], plain, others]


@dataclasses.dataclass(frozen=True)
class _Amounts:
    """The columns that may be domains."""

    values: dict[str, np.ndarray]
    """column → its amounts, (rows,)"""
    hint: str = ""
    """what may be wrong with the table, for errors"""

    @property
    def varying(self) -> set[str]:
        return {c for c, cells in self.values.items() if np.ptp(cells) > 0}

    def sums(self, columns: Sequence[str]) -> np.ndarray:
        return np.sum([self.values[c] for c in columns], axis=0)

    def are_whole(self, columns: Sequence[str], tolerance: float) -> bool:
        """True where the columns sum to 1, or to 100, in every row."""
        sums = self.sums(columns)
        return any(bool(np.all(np.abs(sums / whole - 1) <= tolerance)) for whole in (1.0, 100.0))

    def sum_alike(self, columns: Sequence[str]) -> bool:
        """True where the columns sum to the same in every row, though each of them varies."""
        sums = self.sums(columns)
        return self.varying >= set(columns) and bool(np.ptp(sums) <= EXACT * np.median(sums))

    def have_total(self, columns: Sequence[str]) -> bool:
        """True where another column is their sum, in every row."""
        sums, others = self.sums(columns), [c for c in self.values if c not in columns]
        # A column like total, beside amounts that differ from run to run.
        return any(np.allclose(self.values[c], sums, rtol=ROUNDED, atol=0) for c in others)


def _by_values(amounts: _Amounts, targets: Sequence[str], name: str) -> Domains:
    ways = _ways(list(amounts.values), targets)
    # Strict conditions come first, because wrong columns meet loose ones more easily.
    for holds, exact in (
        (partial(amounts.are_whole, tolerance=EXACT), True),
        (amounts.sum_alike, True),
        (partial(amounts.are_whole, tolerance=ROUNDED), False),
        (partial(amounts.are_whole, tolerance=SUM_TOLERANCE), False),
        (amounts.have_total, True),
    ):
        for way in ways:
            found = _choice(amounts, way, holds, exact)
            # A guess between several sets could give wrong mixtures without a sign of it.
            if len(found) > 1:
                raise _undecided(amounts, way, name)
            if found:
                return _domains(amounts, way, found[0], of_sums=True)
    # Sums do not show the domains, so names and variation decide: all columns are domains if all
    # are named like targets, and those that vary if none is.
    alone = next(way for way in ways if all(c == n for c, n in way.names.items()))
    way = next((way for way in ways if len(way.called) > 1), alone)
    varying, plain, _ = way.pools(amounts.varying)
    found = [way.called] if way.called and not plain else [plain] if not way.called else []
    if not found or len(found[0]) < 2 or varying != plain:
        raise _undecided(amounts, way, name)
    return _domains(amounts, way, found[0], of_sums=False)


def _choice(amounts: _Amounts, way: _Way, holds: Holds, exact: bool) -> list[list[str]]:
    """Return the sets of columns that fulfil the condition, from the first pool that has any.

    Each set holds the columns named like targets and as few others as possible; where sums are
    rounded, small others cannot be detected. Without such columns, a set is as large as possible.
    """
    # A column of zeros fits into any sum, so it is left out of the search and added afterwards.
    zero = {c for c, cells in amounts.values.items() if not cells.any()}
    for pool in way.pools(amounts.varying):
        sets = _sets(way.called, [c for c in pool if c not in zero])
        found = [columns for columns in sets if len(columns) > 1 and holds(columns)]
        if found:
            size = (min if way.called else max)(map(len, found))
            return [s for s in found if len(s) == size] if exact or not way.called else found
    # One column that is called like a target may be another quantity, such as a total.
    left = [[c for c in way.called if c != one] for one in way.called]
    return [columns for columns in left if len(columns) > 1 and holds(columns)]


def _sets(called: list[str], others: list[str]) -> Iterator[list[str]]:
    """Yield the columns named like targets, joined with some of the others."""
    counts = range(len(others) + 1) if len(others) <= MOST_OTHERS else (0, len(others))
    for count in counts:
        yield from ([*called, *some] for some in combinations(others, count))


def _domains(amounts: _Amounts, way: _Way, found: Sequence[str], of_sums: bool) -> Domains:
    """Return the columns found, in the order of the table, with those that are 0 in every run."""
    within = not way.called or any(c != n for c, n in way.names.items())
    plain = way.pools(amounts.varying)[1]
    empty = [c for c in plain if within and not amounts.values[c].any()]
    names = {c: n for c, n in way.names.items() if c in found or c in empty}
    others = [c for c in amounts.values if c not in names]
    # Labels such as seed need no note where the sums prove the domains.
    told = [c for c in others if not (of_sums and _is_usual_label(c))]
    labels = [c for c in names if c not in way.called and _is_label(c)]
    return Domains(names, tuple(told), tuple(labels))


def _undecided(amounts: _Amounts, way: _Way, name: str) -> SweepError:
    _, plain, others = way.pools(amounts.varying)
    others = plain or others
    told = [f"{listed(way.called)} are named like targets"] if way.called else []
    told += [f"{listed(others)} may be domains{', too' if way.called else ''}"] if others else []
    sums = amounts.sums([*way.called, *others])
    return SweepError(
        f"{name}: it is not clear which columns of numbers are domains. {' and '.join(told)}, but "
        "no choice of them alone sums to 1, to 100 or to the same in every run (all: "
        f"{span(sums)}).{amounts.hint} {REMEDY}"
    )


# ---- by names ------------------------------------------------------------------------------------


def _is_usual_label(name: str) -> bool:
    return bool(
        name.lower() in LABELS or SIZE_COLUMN.fullmatch(name) or name.startswith("Unnamed:")
    )


def _is_label(name: str) -> bool:
    """True where a column of this name usually does not hold amounts of a domain."""
    return _is_usual_label(name) or is_setting(name) or bool(BESIDE.fullmatch(name))


def _ways(columns: Sequence[str], targets: Sequence[str]) -> list[_Way]:
    """Return the namings of the columns, the one that matches most targets first.

    A name stands alone, or inside the parts that all columns of domains share, as web in
    mixture/web.
    """
    # The naming without shared parts is always there, because `_by_values` falls back on it.
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
    """Cut the column's name at separators in front and behind."""
    marks = [i for i, letter in enumerate(column) if letter in SEPARATORS]
    for begin in (0, *(i + 1 for i in marks)):
        for end in (*(i for i in marks if i > begin), len(column)):
            if begin < end:
                yield column[:begin], column[begin:end], column[end:]


# ---- averages of targets -------------------------------------------------------------------------

AVERAGE = re.compile(
    r"(macro|micro|weighted)([/._ -]?(avg|average|mean|loss))?|avg|average|mean|overall|all|total"
    r"|aggregated?|combined",
    re.I,
)
"""Last part of the name of an average, unless the target is a domain."""
NESTED = re.compile(r"[/.]")


def without_averages(
    rows: pd.DataFrame, targets: Sequence[str], domains: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return the targets that are not averages of others, and a note of those that are.

    A target is an average if its name begins those of others (paloma beside paloma/books), if it
    has a usual name of an average, or if it is the mean of some others in every row. A domain never
    is one.

    >>> rows = pd.DataFrame({"web": [3.0, 2.5], "code": [2.0, 1.5], "val": [2.5, 2.0]})
    >>> without_averages(rows, ["web", "code", "val"], ["web", "code"])[0]
    ['web', 'code']
    """
    known = {spelling(domain) for domain in domains}
    found = dict[str, str]()
    losses = {target: rows[target].to_numpy(float) for target in targets}
    for target in targets:
        # Without averages found before, two equal averages do not exclude each other.
        others = [t for t in targets if t != target and t not in found]
        if spelling(target) in known:
            continue
        why = _average_of(losses, target, others, [t for t in others if spelling(t) in known])
        if why is not None:
            found[target] = why
    left = [target for target in targets if target not in found]
    # If every target looked like an average, the names would mislead, so all are kept.
    if not found or not left:
        return list(targets), []
    said = "; ".join(f"{target} ({why})" for target, why in found.items())
    what = "an average" if len(found) == 1 else "averages"
    return left, [f"Left out as {what} of other targets: {said}."]


def _average_of(losses: Losses, target: str, others: list[str], measured: list[str]) -> str | None:
    """Return why a target is an average of others, `measured` domains among them, or None."""
    inner = [t for t in others if NESTED.match(t.removeprefix(target)) and t.startswith(target)]
    if inner:
        return f"its name begins those of {listed(inner)}"
    if others and AVERAGE.fullmatch(NESTED.split(target)[-1]):
        return "its name says so"
    # A mean of a group may begin the names of its parts.
    beside = [t for t in others if t.startswith(f"{target}_")]
    found = (mean_of(losses, target, parts) for parts in (beside, others, measured))
    return next((f"the mean of {listed(parts)}" for parts in found if parts), None)
