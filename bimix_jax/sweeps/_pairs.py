"""Proportions in one table, losses in another: joined on a key, with names matched."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.quantities import counted
from bimix_jax.reading.column_names import (
    SEPARATORS,
    is_setting,
    keep_scores_named,
    match_names,
    shared_beginning,
)
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.names import SUM_TOLERANCE, note_of_spelling, respelled, without_blanks
from bimix_jax.reading.tables import (
    BUDGET_COLUMNS,
    LOSS_PREFIX,
    MIXTURE_PREFIX,
    RUN_COLUMNS,
    SIZE_COLUMN,
    UNNAMED,
    listed,
    names_of,
    prefixed,
)
from bimix_jax.reading.written_numbers import numbers, text_of
from bimix_jax.sweeps import _checks as checks

MARKED = r"[~<>=≈]?\s*[+-]?(\d+[.,]?\d*|[.,]\d+)\s?([*%†‡^!?#+]{1,3}|[kKmMbBgGtT])?"
"""A number with a mark, of a footnote or a percentage."""
MIXTURE_ROW, LOSS_ROW = "\0row of the mixtures", "\0row of the losses"
"""Temporary columns with the row that each value came from; no file has such names."""
COPY = " (mixtures)"
"""Suffix of a column of the mixtures whose name the losses have too."""


class Pair(NamedTuple):
    """Two tables as one, with one row per row of losses."""

    table: pd.DataFrame
    domains: dict[str, str]
    """column → domain"""
    targets: dict[str, str]
    """column → target"""
    file_rows: tuple[np.ndarray, np.ndarray]
    """(points,) row of the mixtures, row of the losses; the first row below the header is 1"""
    key: str


def join(
    mixtures: pd.DataFrame,
    losses: pd.DataFrame,
    key: str | None,
    prefixes: tuple[str | None, str | None],
    given: set[str],
    notes: list[str],
) -> Pair:
    """Join the pair to one wide table; columns in `given` have another role and are not
    measurements.

    Raises:
        SweepError: if the key is missing, ambiguous or there twice, or joins nothing.
    """
    key = _join_key(mixtures, losses, key)
    mixtures, losses = _same_type(mixtures, losses, key)
    mixtures, losses = (runs_without_blanks(table, key, notes) for table in (mixtures, losses))
    losses = _labelled_as(mixtures, losses, key, notes)
    known = {key, *given}
    domains = _measurements(mixtures, known, prefixes[0], (), notes)
    targets = _measurements(losses, known, prefixes[1], domains.values(), notes)
    targets = keep_scores_named(targets, prefixes[1] or "")
    domains, targets = match_names(domains, targets)
    mixtures, losses, targets = _told_apart(mixtures, losses, key, domains, targets)
    # A repeated key in the losses is normal: a run has a row per budget.
    _check_key(mixtures, losses, key)
    mixtures = mixtures.assign(**{MIXTURE_ROW: mixtures.index.to_numpy() + 1})
    losses = losses.assign(**{LOSS_ROW: losses.index.to_numpy() + 1})
    # An inner join: runs in one table alone are named in a warning.
    table = mixtures.merge(losses, on=key, how="inner")
    _note_unmatched(mixtures, losses, key, notes)
    file_rows = table.pop(MIXTURE_ROW).to_numpy(), table.pop(LOSS_ROW).to_numpy()
    return Pair(_without_copies(table, losses, notes), domains, targets, file_rows, key)


def _join_key(mixtures: pd.DataFrame, losses: pd.DataFrame, key: str | None) -> str:
    shared = [c for c in names_of(mixtures) if c in losses]
    # Tables of one experiment also share other columns, such as seeds.
    if key is None and len(shared) > 1:
        shared = [c for c in shared if c in RUN_COLUMNS] or shared
    chosen = [key] if key is not None else shared
    if len(chosen) != 1 or chosen[0] not in mixtures or chosen[0] not in losses:
        found = f"share the columns {listed(shared)}" if shared else "share no column"
        if not shared:
            found += f" ({listed(names_of(mixtures))}; {listed(names_of(losses))})"
        raise SweepError(
            f"key: the two tables {found}{'' if key is None else f', not {key}'}; expected one "
            "that names the run in both. Name it with key= (--key); it must have the same name in "
            "both."
        )
    return chosen[0]


def _same_type(
    mixtures: pd.DataFrame, losses: pd.DataFrame, key: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables with comparable keys: as text where only one table has numbers."""
    tables = mixtures, losses
    if len({pd.api.types.is_numeric_dtype(table[key]) for table in tables}) == 1:
        return tables
    as_text = [t.assign(**{key: t[key].astype("string").astype(object)}) for t in tables]
    return as_text[0], as_text[1]


def runs_without_blanks(table: pd.DataFrame, key: str, notes: list[str]) -> pd.DataFrame:
    """Strip blanks from run labels: a reader of the table cannot tell "run1 " from "run1"."""
    renamed, said = without_blanks(table[key].unique())
    notes += said
    return table.assign(**{key: table[key].replace(renamed)}) if renamed else table


def _labelled_as(
    mixtures: pd.DataFrame, losses: pd.DataFrame, key: str, notes: list[str]
) -> pd.DataFrame:
    """Return the losses with labels spelled as in the mixtures: case and inner blanks do not
    count."""
    labels = [label for label in losses[key].unique() if isinstance(label, str)]
    try:
        renamed = respelled(f"key {key}", labels, mixtures[key].dropna().astype(str))
    except ValueError as error:
        raise SweepError(str(error)) from error
    notes += note_of_spelling(renamed)
    return losses.assign(**{key: losses[key].replace(renamed)}) if renamed else losses


def _check_key(mixtures: pd.DataFrame, losses: pd.DataFrame, key: str) -> None:
    for what, table in (("mixtures", mixtures), ("losses", losses)):
        gone = table[key].isna().to_numpy(bool)
        if gone.any():
            raise SweepError(
                f"key {key}: missing in the table of {what}, row "
                f"{listed(table.index[gone] + 1)}. Name the run in every row."
            )
    twice = mixtures[key].duplicated().to_numpy(bool)
    measured = prefixed(mixtures, LOSS_PREFIX)
    if twice.any() and measured:
        raise SweepError(
            f"losses: the first table holds losses itself ({listed(measured)}) and rows of several "
            "budgets: it is a sweep without the second table; leave that out (--losses)."
        )
    if twice.any():
        raise SweepError(
            f"key {key}: {listed(mixtures.loc[twice, key].unique())} appears more than once in the "
            f"table of mixtures, row {listed(mixtures.index[twice] + 1)}; expected one row per "
            "run. Remove the others, or name another column with key= (--key)."
        )


def _measurements(
    table: pd.DataFrame,
    known: set[str],
    prefix: str | None,
    others: Collection[str],
    notes: list[str],
) -> dict[str, str]:
    """Return the columns of proportions or losses: those with the prefix, else all numbers but
    settings of training.

    `others` are the domains, for losses; for proportions there are none yet.
    """
    what, default = ("losses", LOSS_PREFIX) if others else ("proportions", MIXTURE_PREFIX)
    named = prefixed(table, prefix or default)
    if prefix is None and not named:
        # Without a prefix every number counts, so usual labels and counters are excluded by name.
        known = {*known, "seed", *BUDGET_COLUMNS, *RUN_COLUMNS}
        free = [
            c
            for c in names_of(table)
            if c not in known and not SIZE_COLUMN.fullmatch(c) and not c.startswith(UNNAMED)
        ]
        named = {c: c for c in _without_settings(table, _measured(table[free]), others, notes)}
    if not named:
        raise SweepError(
            f"The table of {what} has the columns {listed(table.columns)}; expected numbers in "
            f"columns that begin with {prefix or default!r}. Name another prefix with "
            "mixture_prefix= (--mixture-prefix) or loss_prefix= (--loss-prefix)."
        )
    return named


def _without_settings(
    table: pd.DataFrame, columns: list[str], others: Collection[str], notes: list[str]
) -> list[str]:
    """Columns of numbers without those that are named like settings of training, with a note.

    One of `others`, of the other table, is what its name says there. Proportions that do not sum
    to 1 without such columns, but do with them, are domains of these names.
    """
    named = [c for c in columns if is_setting(c) and c not in others]
    kept = [c for c in columns if c not in named]
    if not named or (_sum_to_one(table[columns]) and not _sum_to_one(table[kept])):
        return columns
    notes.append(
        f"Columns named like settings of training are not measurements: {listed(named)}. Rename "
        "one that is a domain or a target, or give all of these a prefix."
    )
    return kept


def _sum_to_one(table: pd.DataFrame) -> bool:
    """True where every row sums to 1, or to 100, within the tolerance for proportions."""
    shares = [numbers(table[c], percent=True)[0] for c in names_of(table)]
    total = np.sum(shares, axis=0)
    off = [np.abs(total / unit - 1) <= SUM_TOLERANCE for unit in (1.0, 100.0)]
    return bool(shares) and any(bool(rows.all()) for rows in off)


def _measured(table: pd.DataFrame) -> list[str]:
    """Return columns of numbers, and columns of text that are placed or named like them.

    Such columns of text raise errors of their cells later. Without them, the shares would be wrong.
    """
    columns = names_of(table)
    numeric = [c for c in columns if _holds_numbers(table[c])]
    if not numeric:
        return []
    shared = shared_beginning(numeric) if len(numeric) > 1 else ""
    # A beginning ends at a separator: code and cpp do not share a prefix c.
    beginning = shared[: max(shared.rfind(mark) for mark in SEPARATORS) + 1]
    first, last = columns.index(numeric[0]), columns.index(numeric[-1])
    among = {c for c in columns[first:last] if table[c].notna().any()}
    alike = {c for c in columns if beginning and c.startswith(beginning)}
    return [c for c in columns if c in {*numeric, *among, *alike}]


def _holds_numbers(column: pd.Series) -> bool:
    """True where at least half of the written cells are numbers, with or without marks behind them.

    A stray word is then reported as an error, and so are losses like 4.4*.
    """
    values, text = checks.numbers(column)
    marked = text_of(column[text]).to_pandas().str.fullmatch(MARKED).sum() if text.any() else 0
    known = np.sum(~np.isnan(values)) + marked
    return bool(known >= max(1, np.sum(text) - marked))


def _told_apart(
    mixtures: pd.DataFrame,
    losses: pd.DataFrame,
    key: str,
    domains: Mapping[str, str],
    targets: Mapping[str, str],
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Rename columns that are in both tables, in one of them."""
    shared = [c for c in names_of(mixtures) if c in losses and c != key]
    # Measurements of both kinds may be called alike, as web and web; each is needed.
    measured = {c: f"{c} (losses)" for c in shared if c in domains or c in targets}
    others = {c: f"{c}{COPY}" for c in shared if c not in measured}
    renamed = {measured.get(c, c): target for c, target in targets.items()}
    return mixtures.rename(columns=others), losses.rename(columns=measured), renamed


def _without_copies(table: pd.DataFrame, losses: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Drop copies of columns that are equal in both tables; keep differing ones, with a note."""
    copies = [c for c in names_of(table) if c.endswith(COPY) and c.removesuffix(COPY) in losses]
    same = [c for c in copies if table[c].equals(table[c.removesuffix(COPY)])]
    differ = [c.removesuffix(COPY) for c in copies if c not in same]
    if differ:
        notes.append(f"The two tables differ in {listed(differ)}: taken from the losses.")
    return table.drop(columns=same)


def _note_unmatched(
    mixtures: pd.DataFrame, losses: pd.DataFrame, key: str, notes: list[str]
) -> None:
    if not mixtures[key].isin(losses[key]).any():
        raise SweepError(
            f"key {key}: no value is in both tables (mixtures: {listed(mixtures[key].unique())}; "
            f"losses: {listed(losses[key].unique())}). Check that they belong together."
        )
    for what, one, other in (("losses", mixtures, losses), ("a mixture", losses, mixtures)):
        missing = one.loc[~one[key].isin(other[key]), key].astype(str).unique()
        if len(missing):
            checks.warn(
                f"{counted(len(missing), 'run')} without {what} left out: {listed(missing)}.", notes
            )
