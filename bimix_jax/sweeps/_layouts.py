"""Layouts of a table of runs, wide or long, and how each is taken apart into points."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from bimix_jax.quantities import counted
from bimix_jax.reading.column_names import keep_scores_named, match_names
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.names import note_of_spelling, spelling, unified
from bimix_jax.reading.tables import LOSS_PREFIX, MIXTURE_PREFIX, SCORE_PREFIX, listed, prefixed
from bimix_jax.sweeps import _checks as checks
from bimix_jax.sweeps._checks import SAME_POINT, TWICE, Cells, Finding
from bimix_jax.sweeps._recognised import recognised
from bimix_jax.sweeps.sweep import CHANGED, SAME_MIXTURE, TWO_MIXTURES

ROW = "\0row"
"""Temporary column with the row that each value came from; no file has such a name."""


@dataclasses.dataclass
class Parts:
    """A table split into its parts, one row per point, before the checks."""

    run: str
    """the column of run labels"""
    budget: str | None
    """the column of budgets; None where there is none"""
    mixture: Cells
    loss: Cells
    rest: pd.DataFrame
    """run, budget and every other column"""
    rows: np.ndarray
    """(points,) row of the file; the first row below the header is 1"""
    findings: list[Finding] = dataclasses.field(default_factory=list)
    repeats: list[Finding] = dataclasses.field(default_factory=list)
    """points that occur twice; expected where several model sizes are mixed"""
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Wide:
    """A wide table: column of the file → domain or target."""

    domains: dict[str, str]
    targets: dict[str, str]
    file_rows: tuple[np.ndarray, np.ndarray] | None = None
    """for a joined pair: the row of each table that every joined row came from"""
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> set[str]:
        return {*self.domains, *self.targets}

    def take_apart(
        self, table: pd.DataFrame, rows: np.ndarray, run: str, budget: str | None
    ) -> Parts:
        mixture_rows, loss_rows = (
            (rows, rows) if self.file_rows is None else (r[rows - 1] for r in self.file_rows)
        )
        return Parts(
            run,
            budget,
            mixture=_columns(table, self.domains, mixture_rows),
            loss=_columns(table, self.targets, loss_rows),
            rest=table.drop(columns=list(self.used)),
            rows=loss_rows,
            notes=list(self.notes),
        )


def _columns(table: pd.DataFrame, names: Mapping[str, str], rows: np.ndarray) -> Cells:
    values = table[list(names)].rename(columns=names)
    return Cells(values, tuple(names), np.repeat(rows[:, None], len(names), axis=1))


@dataclasses.dataclass
class Long:
    """A long table, one row per run, budget and target; proportions in a column of their own or
    wide."""

    target: str
    domains: dict[str, str]

    @property
    def used(self) -> set[str]:
        return {self.target, "loss", *(self.domains or ["proportion"])}

    def take_apart(
        self, table: pd.DataFrame, rows: np.ndarray, run: str, budget: str | None
    ) -> Parts:
        by = [run] if budget is None else [run, budget]
        # Rows without a run or budget stay in groups, so that the checks report them.
        point = table.groupby(by, sort=False, dropna=False).ngroup().to_numpy()
        table, respelled_notes = self._in_one_spelling(table, point)
        first = np.flatnonzero(~pd.Series(point).duplicated())
        loss = self._spread(table, rows, point, "loss")
        if self.domains:
            mixture = _columns(table.iloc[first], self.domains, rows[first])
            repeats = self._points_twice(table, rows, by)
            repeats += [f for c in self.domains for f in self._unlike_first(table, rows, by, c)]
        else:
            # A proportion belongs to the run, so it may be written at one of the run's budgets
            # alone.
            whose = table.groupby(run, sort=False, dropna=False).ngroup().to_numpy()
            mixture = self._spread(table, rows, whose, "proportion", whose[first])
            repeats = self._points_twice(table, rows, by)
            repeats += self._unlike_first(table, rows, [run, self.target], "proportion")
            respelled_notes = (*respelled_notes, *_kept_first(table, [run, self.target]))
        rest = table.drop(columns=list(self.used))
        return Parts(
            run,
            budget,
            mixture,
            loss,
            rest.iloc[first].reset_index(drop=True),
            rows[first],
            checks.check_names(table[self.target], rows, self.target),
            repeats,
            [*respelled_notes, *_varying(rest.drop(columns=by), point)],
        )

    def _in_one_spelling(
        self, table: pd.DataFrame, point: np.ndarray
    ) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Merge names that differ in spelling alone, unless one point has both."""
        there = table[self.target].notna().to_numpy(bool)
        names = table[self.target][there].astype(str)
        renamed = unified(names.tolist(), point[there].tolist())
        if not renamed:
            return table, ()
        column = table[self.target].map(lambda name: renamed.get(str(name), name))
        return table.assign(**{self.target: column}), note_of_spelling(renamed)

    def _spread(
        self,
        table: pd.DataFrame,
        rows: np.ndarray,
        group: np.ndarray,
        value: str,
        order: np.ndarray | None = None,
    ) -> Cells:
        """Return one row per group (0, 1, … or in `order`), one column per name that has values."""
        cells = table[[self.target, value]].assign(**{ROW: rows, "\0group": group})
        # A pivot refuses repeated cells; they are findings of their own.
        cells = cells.dropna(subset=[self.target]).drop_duplicates(["\0group", self.target])
        if value == "proportion":  # a target without proportions is not a domain
            cells = cells.dropna(subset=[value])
        if cells.empty:
            raise SweepError(f"columns {self.target} and {value}: no row has both; fill them in.")
        names, groups = pd.unique(cells[self.target]), np.arange(group.max() + 1)
        # The rows are pivoted like the values, so that findings name the row of each value.
        wide, where = (
            cells.pivot(index="\0group", columns=self.target, values=column)
            .reindex(index=groups, columns=names)
            .iloc[groups if order is None else order]
            .reset_index(drop=True)
            for column in (value, ROW)
        )
        wide.columns = pd.Index([str(n) for n in names])
        first = pd.Series(rows).groupby(group).first().to_numpy()
        first = first if order is None else first[order]
        written_at = where.to_numpy(float)
        # A missing value is looked for at its group's first row.
        written_at = np.where(np.isnan(written_at), first[:, None], written_at).astype(int)
        return Cells(wide, tuple(f"{value} of {n}" for n in names), written_at)

    def _points_twice(
        self, table: pd.DataFrame, rows: np.ndarray, point: list[str]
    ) -> list[Finding]:
        key = [*point, self.target]
        twice = (table.duplicated(key) & table[key].notna().all(axis=1)).to_numpy(bool)
        return checks.findings_at(
            ", ".join(key),
            twice,
            _labels(table[key], twice),
            rows,
            SAME_POINT,
            TWICE,
        )

    def _unlike_first(
        self, table: pd.DataFrame, rows: np.ndarray, by: list[str], column: str
    ) -> list[Finding]:
        """Find proportions that differ from those of an earlier row and would be ignored."""
        values, text = checks.numbers(table[column])
        shares = pd.Series(values, table.index)
        first = shares.groupby([table[c] for c in by], sort=False).transform("first")
        changed = ((shares - first).abs() > CHANGED).to_numpy(bool)
        text &= table.duplicated(by).to_numpy(bool) & first.notna().to_numpy(bool)
        labels = _labels(table[[*by, column]], changed | text)
        name, problem = f"column {column}", "a run with two mixtures"
        return [
            *checks.findings_at(name, changed, labels, rows, problem, TWO_MIXTURES),
            *checks.findings_at(name, text, labels, rows, *checks.TEXT_SHARES),
        ]


def _labels(table: pd.DataFrame, where: np.ndarray) -> pd.Series:
    """Return the cells of each wanted row as one string."""
    labels = np.full(len(table), "", object)
    labels[where] = [" ".join(map(str, row)) for row in table[where].itertuples(index=False)]
    return pd.Series(labels)


def _kept_first(table: pd.DataFrame, by: list[str]) -> list[str]:
    """Return a note of proportions that are not those of the run's first row, but nearly."""
    shares = pd.Series(checks.numbers(table["proportion"])[0], table.index)
    first = shares.groupby([table[c] for c in by], sort=False).transform("first")
    near = int((shares - first).abs().between(SAME_MIXTURE, CHANGED).sum())
    if not near:
        return []
    said = counted(near, "proportion")
    return [f"{said} within {CHANGED:g} of the first of a run; the first is kept."]


def _varying(rest: pd.DataFrame, point: np.ndarray) -> list[str]:
    """Return a note of columns that vary within a point, where a table of points has one value."""
    several = [c for c in rest if rest[c].groupby(point).nunique(dropna=False).max() > 1]
    if not several:
        return []
    return [f"Columns that differ within a point; the first value is kept: {listed(several)}."]


def layout_of(
    table: pd.DataFrame, prefixes: tuple[str | None, str | None], name: str
) -> Wide | Long:
    """Return the layout of a table, by its column names: wide, or long with a row per target.

    Raises:
        SweepError: if the columns fit neither layout; `name` begins the message.
    """
    r, y = prefixes[0] or MIXTURE_PREFIX, prefixes[1] or LOSS_PREFIX
    domains, targets = _prefixed_apart(table, r, y)
    if domains and targets:
        return _wide(domains, targets, any(prefixes))
    # A table with both names its losses by target.
    target = next((c for c in ("target", "domain") if c in table), None)
    if target and "loss" in table and (domains or "proportion" in table):
        if not domains:
            _check_one_name_a_row(table, name)
        return Long(target, domains)
    reading = recognised(table, prefixes)
    if reading is not None:
        return _wide(reading.domains, reading.targets, False, (reading.note,))
    raise SweepError(
        f"{name}: found the columns {listed(table.columns)}. Expected {r}<domain> with "
        f"{y}<target>, or other prefixes by mixture_prefix= (--mixture-prefix) and loss_prefix= "
        "(--loss-prefix); or domain, proportion and loss in long form; or a second file with the "
        "losses by losses= (--losses)."
    )


def _wide(
    domains: dict[str, str],
    targets: dict[str, str],
    own_prefixes: bool,
    notes: tuple[str, ...] = (),
) -> Wide:
    """Return names as they are, or shortened to what tells them apart if only then some agree."""
    scores = {c: name for c, name in targets.items() if c.startswith(SCORE_PREFIX)}
    targets = {c: name for c, name in targets.items() if c not in scores}
    # A score is no domain's loss, so that its name has nothing to agree with.
    if scores:
        losses = _wide(domains, targets, own_prefixes, notes) if targets else Wide(domains, {})
        return dataclasses.replace(losses, targets=losses.targets | scores)
    matched = match_names(domains, targets)
    if own_prefixes:
        return Wide(*matched, notes=notes)
    there, cut = (_in_common(*names) for names in ((domains, targets), matched))
    if there or len(cut) < 2:  # a single name shares all of itself with all others of its kind
        return Wide(domains, targets, notes=notes)
    column, loss = (next(c for c, n in kind.items() if spelling(n) in cut) for kind in matched)
    note = (
        f"No target has a domain's name until the parts that all columns share are cut: {column} "
        f"and {loss} are {matched[0][column]}."
    )
    return Wide(*matched, notes=(*notes, note))


def _in_common(domains: dict[str, str], targets: dict[str, str]) -> set[str]:
    return {*map(spelling, domains.values())} & {*map(spelling, targets.values())}


def _prefixed_apart(table: pd.DataFrame, r: str, y: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return columns of proportions and of losses; where both prefixes fit, the longer one
    counts."""
    domains, targets = prefixed(table, r), keep_scores_named(prefixed(table, y), y)
    targets |= _scores(table, {*domains.values(), *targets.values()}) if y == LOSS_PREFIX else {}
    # With the prefixes loss_ and loss_r_, a column of the second also begins with the first.
    both = domains.keys() & targets.keys()
    without = [{c: n for c, n in kind.items() if c not in both} for kind in (domains, targets)]
    return (
        domains if len(r) > len(y) else without[0],
        targets if len(y) > len(r) else without[1],
    )


def _scores(table: pd.DataFrame, others: set[str]) -> dict[str, str]:
    """Columns `score_<task>` → task; one that has the name of a domain or a loss keeps its own."""
    taken = set(map(spelling, others))
    return {c: c if spelling(n) in taken else n for c, n in prefixed(table, SCORE_PREFIX).items()}


def _check_one_name_a_row(table: pd.DataFrame, name: str) -> None:
    """Raise SweepError where the proportion and the loss of one row belong to different names."""
    if "target" not in table or "domain" not in table:
        return
    differ = (table["target"].map(spelling) != table["domain"].map(spelling)).to_numpy()
    if differ.any():
        row = int(np.argmax(differ))
        raise SweepError(
            f"{name}: a long table has one name per row for proportion and loss, but row {row + 1} "
            f"has domain {table['domain'].iloc[row]} and target {table['target'].iloc[row]}. Write "
            "the proportions wide, as r_<domain>, or keep one of the two columns."
        )
