"""The training mixture of each run, from a table of shares, tokens, counts or weights."""

import dataclasses
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs._domains import Domains, domains_of
from bimix_jax.logs._history import label_of
from bimix_jax.logs._numbers import EXPECTED, amounts_of, are_amounts, checked_amounts
from bimix_jax.logs._run_tables import AMOUNTS, RunTable, note_of_labels, run_column, same_runs
from bimix_jax.logs._settings import Asked
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.metadata import notes_of
from bimix_jax.reading.names import SUM_TOLERANCE, note_of_spelling, spelling, unified
from bimix_jax.reading.tables import listed, names_of
from bimix_jax.reading.written_numbers import span

UNITS = ("tokens", "documents", "samples")
"""Names of amounts that state the unit of the shares."""
FEWEST = 4
"""Number of runs from which a domain of one run alone is examined."""
ALIKE = 0.6
"""Share of letters in order above which two names may belong to one domain."""


class Logged(NamedTuple):
    """The runs and targets of the logs, to be matched with the table."""

    runs: Sequence[str]
    targets: Sequence[str]


class Mixtures(NamedTuple):
    """The mixtures of the runs."""

    shares: pd.DataFrame
    """(runs, domains), indexed by the runs' names in the logs"""
    unit: str | None
    """unit of the shares, if the table states it"""
    rest: pd.DataFrame
    """every other column of the table, one row per run"""
    notes: list[str]
    name: str
    """name of the table in messages"""


def mixtures_of(runs: RunTable, logged: Logged, asked: Asked) -> Mixtures:
    """Return the mixtures of a table that is wide (a row per run), long (a row per run and domain),
    or either of them transposed.

    Amounts that do not sum to 1 or 100 are divided by the sum of their run, with a note.

    Raises:
        SweepError: if no column names the runs, the domains are not clear, a run is there twice, or
            an amount is not a number ≥ 0.
    """
    read = notes_of(runs.table)
    runs, notes = _turned(runs, logged.runs)
    notes = [*read, *notes]
    long = _long_columns(runs.table, logged.targets)
    run = run_column(runs, logged.runs, asked.run_key, set(long or ()))
    table, said = _labelled(runs, run, logged.runs)
    notes += said
    if long is None:
        domains = domains_of(table, run, logged.targets, asked, runs.name)
        wide, said = _wide(table, run, domains.names, runs)
        notes += said + _notes_of_columns(domains)
        unit, used = None, {*domains.names}
    else:
        wide, said = _spread(table, run, *long, runs.name)
        notes += said
        unit, used = long.amount.lower() if long.amount.lower() in UNITS else None, {*long}
    notes += _lonely(wide)
    # A long or sparse table names only the domains that a run has, so the others are 0.
    shares, said = _as_shares(wide.fillna(0.0) if runs.sparse or long else wide, unit, runs.name)
    first = table.drop_duplicates(run).set_index(run)
    rest = first.drop(columns=list(used))
    return Mixtures(shares, unit, rest, [*notes, *said], runs.name)


def _notes_of_columns(domains: Domains) -> list[str]:
    kinds = {
        "of numbers that were not taken for domains": domains.others,
        "that were taken for domains, though they are named like labels": domains.labels,
    }
    return [
        f"Columns {kind}: {listed(columns)} (domains= or --domain lists the domains)."
        for kind, columns in kinds.items()
        if columns
    ]


# ---- runs ----------------------------------------------------------------------------------------


def _turned(runs: RunTable, logged: Sequence[str]) -> tuple[RunTable, list[str]]:
    """Transpose a table with a column per run to one with a row per run."""
    known = _most_known(runs, logged)
    names = next((c for c in names_of(runs.table) if not are_amounts(runs.table[c])), None)
    # A table in which a column names most runs has a row per run already.
    if 2 * known > len(logged) or names is None:
        return runs, []
    if runs.table[names].isna().any() or runs.table[names].duplicated().any():
        return runs, []
    flat = runs.table.set_index(names).T
    # The usual name of an index, which is looked for among the columns that name runs.
    label = "index" if "index" not in flat else "\0index"
    turned = dataclasses.replace(runs, table=flat.reset_index(names=label))
    if _most_known(turned, logged) <= known:
        return runs, []
    return turned, [f"{runs.name} has a column per run; it was read with a row per run."]


def _most_known(runs: RunTable, logged: Sequence[str]) -> int:
    """Return the largest number of runs of the logs that one column names."""
    lists = [[cell for cell in cells if isinstance(cell, str)] for cells in runs.lists.values()]
    exact = max((len(set(logged).intersection(cells)) for cells in lists), default=0)
    if exact == len(set(logged)):
        return exact
    return max((len(same_runs(logged, cells)) for cells in lists), default=0)


def _labelled(runs: RunTable, run: str, logged: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the runs' names of the logs."""
    labels = runs.table[run].map(label_of)
    gone = labels.isna() | (labels == "")
    if gone.any():
        raise SweepError(
            f"{runs.name}: column {run} does not name a run in {_rows(runs.table.index[gone])}. "
            "Name the run in every row, or remove the row."
        )
    same = same_runs(logged, map(str, labels))
    return runs.table.assign(**{run: labels.map(lambda n: same.get(n, n))}), note_of_labels(same)


def _rows(index: pd.Index) -> str:
    """Return row numbers for a message; the first row below the header is 1."""
    return f"row{'s' if len(index) > 1 else ''} {listed(i + 1 for i in index)}"


# ---- wide and long -------------------------------------------------------------------------------


class _Long(NamedTuple):
    """The columns of a table with a row per run and domain."""

    domain: str
    amount: str


def _long_columns(table: pd.DataFrame, targets: Sequence[str]) -> _Long | None:
    """Return the columns of a table with a column "domain", or with targets as cells."""
    by_name = {c.lower(): c for c in reversed(names_of(table))}
    wanted = {spelling(t) for t in targets}
    if wanted & {spelling(c) for c in names_of(table)}:
        return None
    like = [c for c in names_of(table) if len(_unlike(table[c]) & wanted) > 1]
    domain = by_name.get("domain", like[0] if len(like) == 1 else None)
    amount = next((by_name[a] for a in AMOUNTS if a in by_name), None)
    return None if domain is None or amount is None else _Long(domain, amount)


def _unlike(column: pd.Series) -> set[str]:
    return {spelling(cell) for cell in column.unique() if isinstance(cell, str)}


def _spread(
    table: pd.DataFrame, run: str, domain: str, amount: str, name: str
) -> tuple[pd.DataFrame, list[str]]:
    """Turn a long table into a wide one; a domain that a run does not name counts 0."""
    gone = table[domain].isna()
    if gone.any():
        raise SweepError(
            f"{name}: column {domain} does not name a domain in {_rows(table.index[gone])}. Name "
            "the domain in every row."
        )
    names = table[domain].astype(str)
    # The commonest spelling comes first, because it is the one that is kept.
    often = names.map(names.value_counts()).sort_values(ascending=False, kind="stable").index
    renamed = unified(names[often].tolist(), table[run][often].tolist())
    table = table.assign(**{domain: names.map(lambda n: renamed.get(n, n))})
    twice = table.duplicated([run, domain], keep=False)
    if twice.any():
        row = table[twice].iloc[0]
        again = table.index[(table[run] == row[run]) & (table[domain] == row[domain])]
        raise SweepError(
            f"{name}: run {row[run]} has domain {row[domain]} twice, in {_rows(again)}; expected "
            "one row each."
        )
    empty = table[amount].isna()
    if empty.any():
        raise SweepError(
            f"{name}: column {amount} is empty in {_rows(table.index[empty])}; 0 is a value."
        )
    wide = table.pivot(index=run, columns=domain, values=amount)
    order = table[domain].unique()
    return wide[order].loc[table[run].unique()], list(note_of_spelling(renamed))


def _wide(
    table: pd.DataFrame, run: str, domains: dict[str, str], runs: RunTable
) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per run; two spellings of a domain, one per run, become one column."""
    empty = [(row, c) for row, c in sorted(runs.nulls) if c in domains and row in table.index]
    if empty:
        raise SweepError(
            f"{runs.name}: run {table[run][empty[0][0]]} has {empty[0][1]} = null; expected "
            f"{EXPECTED}."
        )
    wide = table.set_index(run)[list(domains)].rename(columns=domains)
    wide, notes = _once(wide, table.index, runs.name)
    # Two spellings are one domain only if no run has a share of both.
    there = [(c, r) for c in names_of(wide) for r in wide.index[wide[c].notna() & (wide[c] != 0)]]
    renamed = unified([c for c, _ in there], [r for _, r in there])
    for name, kept in renamed.items():
        wide[kept] = wide[kept].where(wide[kept].notna() & (wide[kept] != 0), wide[name])
    return wide.drop(columns=list(renamed)), notes + list(note_of_spelling(renamed))


def _once(wide: pd.DataFrame, rows: pd.Index, name: str) -> tuple[pd.DataFrame, list[str]]:
    """Drop rows that repeat another row, with a note of their number."""
    twice = wide.index.duplicated(keep=False)
    if not twice.any():
        return wide, []
    first = wide.index[twice][0]
    if len(wide[twice].reset_index().drop_duplicates()) > wide.index[twice].nunique():
        # A run whose rows differ is named; others may only be repeated.
        differ = wide[twice].reset_index().drop_duplicates().iloc[:, 0]
        first = differ[differ.duplicated()].iloc[0]
        raise SweepError(
            f"{name}: run {first} appears more than once, with different mixtures, in "
            f"{_rows(rows[wide.index == first])}; expected one row per run."
        )
    again = int(wide.index.duplicated().sum())
    kept = wide[~wide.index.duplicated()]
    counted = f"{again} rows" if again > 1 else "1 row"
    return kept, [f"{name}: {counted} left out that repeated the mixture of a run."]


def _lonely(wide: pd.DataFrame) -> list[str]:
    """Return a warning of pairs of domains of which every run has exactly one.

    Such a pair may be one domain with two names. It is reported if the names are nearly the same,
    or if a single run has one of them and other runs do not name it.
    """
    there = pd.DataFrame({d: np.nan_to_num(amounts_of(wide[d])[0]) != 0 for d in names_of(wide)})
    if len(wide) < FEWEST or there.to_numpy().all():
        return []
    counts, unnamed = there.sum(), wide.isna().any()
    pairs = [
        (d, o)
        for d in names_of(there.loc[:, (counts > 0) & (2 * counts <= len(wide))])
        for o in names_of(there.loc[:, counts == len(wide) - counts[d]])
        if not (there[d] & there[o]).any()
        # A domain of one run alone is doubtful if the others leave it out instead of stating 0.
        and ((counts[d] == 1 and unnamed[d]) or SequenceMatcher(None, d, o).ratio() > ALIKE)
    ]
    return [
        f"{_alone(wide.index[there[domain]])} the domain {domain}, and only there {other} is "
        f"missing; if both are one domain, call it {other} in the table of mixtures."
        for domain, other in pairs
    ]


def _alone(runs: pd.Index) -> str:
    return f"Run {runs[0]} alone has" if len(runs) == 1 else f"Runs {listed(runs)} alone have"


def _as_shares(wide: pd.DataFrame, unit: str | None, name: str) -> tuple[pd.DataFrame, list[str]]:
    """Divide amounts by the sum of their run, unless they are shares or percentages already."""
    values = np.column_stack([checked_amounts(wide[column], name) for column in wide])
    total = values.sum(axis=1)
    shares = pd.DataFrame(values, index=wide.index, columns=[str(c) for c in wide.columns])
    for whole in (1.0, 100.0):
        # The median decides, so that a single wrong run is reported and not rescaled.
        if abs(np.median(total) / whole - 1) <= SUM_TOLERANCE:
            _check_sums(wide.index, total, whole, name)
            return shares, []  # read_sweep normalises them
    empty = wide.index[total == 0]
    if len(empty):
        raise SweepError(f"{name}: the amounts of {listed(empty)} are all 0; fill them in.")
    note = (
        f"Mixtures given as {unit or 'weights'} that sum to {span(total)} per "
        "run were divided by their sums."
    )
    return shares.div(total, axis=0), [note]


def _check_sums(runs: pd.Index, total: np.ndarray, whole: float, name: str) -> None:
    wrong = np.abs(total / whole - 1) > SUM_TOLERANCE
    if wrong.any():
        found = [f"{run} {sum_:.4g}" for run, sum_ in zip(runs[wrong], total[wrong], strict=True)]
        raise SweepError(
            f"{name}: the proportions of {len(found)} of {len(runs)} runs do not sum to {whole:g} "
            f"({listed(found)}). Check for a missing domain, or divide each row by its sum."
        )
