"""Runs of the logs and runs of the table of mixtures: which are the same."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from decimal import Decimal

from bimix_jax.logs.history import RUN_KEYS
from bimix_jax.logs.run_tables import RunTable
from bimix_jax.names import spelling
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import RUN_COLUMNS, listed
from bimix_jax.sweeps.pairs import shortened

USUAL = tuple(dict.fromkeys((*RUN_COLUMNS, *RUN_KEYS)))
"""What the column that names the runs is usually called."""
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d{1,6})?", re.I)
MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DATE = re.compile(
    rf"\d{{1,2}}-({MONTH})[a-z]*(-\d+)?|({MONTH})[a-z]*-\d+|\d{{1,4}}[/.-]\d{{1,2}}[/.-]\d{{1,4}}"
    r"( \d\d:\d\d(:\d\d)?)?",
    re.I,
)
"""How spreadsheets write dates."""


def same_runs(logged: Iterable[str], labels: Iterable[str]) -> dict[str, str]:
    """Label of the table → run of the logs, for those that are one.

    Labels that are not alike are matched by spelling, as numbers (7 and 007), or without what all
    runs or all labels begin or end with, if each then has one counterpart.

    >>> same_runs(["007", "Web"], ["7", "web", "8"])
    {'web': 'Web', '7': '007'}
    """
    runs, names = list(dict.fromkeys(logged)), list(dict.fromkeys(labels))
    known = set(runs)
    found = {name: name for name in names if name in known}
    for form in (spelling, _as_number):
        there, here = (
            _by_form(form, [name for name in side if name not in found and name not in done])
            for side, done in ((names, ()), (runs, found.values()))
        )
        found |= {
            there[key][0]: here[key][0]
            for key in there
            if len(there[key]) == len(here.get(key, ())) == 1
        }
    return found or _by_what_differs(runs, names)


def _by_form(form: Callable[[str], str | None], names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if (key := form(name)) is not None:
            groups[key].append(name)
    return groups


def _as_number(name: str) -> str | None:
    """The number that a name is, exactly, however it is written."""
    if not NUMBER.fullmatch(name):
        return None
    sign, digits, exponent = Decimal(name).as_tuple()
    written = "".join(map(str, digits))
    plain = written.strip("0")
    zeros = len(written) - len(written.rstrip("0"))
    return f"{'-' * sign}{plain}e{int(exponent) + zeros}" if plain else "0"


def _by_what_differs(runs: list[str], names: list[str]) -> dict[str, str]:
    """Where every run has a label, but for what all runs, or all labels, begin or end with."""
    if len(runs) < 2 or len(names) < 2 or any(map(DATE.fullmatch, names)):
        return {}
    ways = [(short, names) for short in shortened(runs)]
    ways += [(runs, short) for short in shortened(names)]
    for short_runs, short_names in ways:
        run_of = dict(zip(short_runs, runs, strict=True))
        if set(run_of) <= set(short_names):
            pairs = zip(short_names, names, strict=True)
            return {name: run_of[short] for short, name in pairs if short in run_of}
    return {}


def run_column(runs: RunTable, logged: Sequence[str], key: str | None, others: Set[str]) -> str:
    """The column of the table that names the runs: of all but `others` that with most of the logs'.

    Raises:
        SweepError: if there is no column that could.
    """
    lists = {c: labels for c, labels in runs.lists.items() if c not in others}
    if key is not None and key in lists:
        return key
    usual = [c for name in USUAL for c in lists if c.lower() == name]
    known = set(logged)
    exactly = {c: len(known.intersection(labels)) for c, labels in lists.items()}
    whole = len(known) in exactly.values()  # fast: then no other names can be of more runs

    def merit(column: str) -> tuple[int, int, bool, int]:
        labels = [label for label in lists[column] if isinstance(label, str)]
        exact = exactly[column]
        matched = exact if exact or whole else len(same_runs(logged, labels))
        if column not in usual and 2 * matched < len(known):
            exact = matched = 0  # some numbers are like some names
        place = -usual.index(column) if column in usual else -len(lists)
        return exact, matched, len(set(labels)) == len(labels), place

    best = max(lists, key=merit, default=None)
    if best is not None and merit(best)[1] > 0:
        return best
    if not usual:
        raise SweepError(
            f"{runs.name}: no column names the runs of the logs, {listed(logged)}; the columns are "
            f"{listed(lists)}. Name it with run_key= (--run-key), or name the runs alike."
        )
    return usual[0]


def run_lists(runs: RunTable) -> list[frozenset[str]]:
    """What each column of the table would call the runs, columns of usual names first."""
    lists = runs.lists
    usual = [c for name in USUAL for c in lists if c.lower() == name]
    others = [c for c in lists if c not in usual and c.lower() != "domain"]
    return [frozenset(x for x in lists[c] if isinstance(x, str)) for c in (*usual, *others)]


def note_of_labels(same: dict[str, str]) -> list[str]:
    """Which labels were taken for which runs, where they are not written alike."""
    unlike = [f"{name} is {run}" for name, run in same.items() if name != run]
    if not unlike:
        return []
    return [
        f"{len(unlike)} runs are written differently in the table of mixtures and in the logs: "
        f"{listed(unlike)}."
    ]


def hint_of_dates(labels: Sequence[str], logged: Sequence[str]) -> str:
    """What to say of labels that a spreadsheet turned into dates."""
    dates = [label for label in labels if DATE.fullmatch(label)]
    if not dates or 2 * len(dates) < len(labels) or all(DATE.fullmatch(run) for run in logged):
        return ""
    return (
        f" {listed(dates[:3])} look like dates that a spreadsheet made of names like {logged[0]}: "
        "import that column as text, or type the names again."
    )
