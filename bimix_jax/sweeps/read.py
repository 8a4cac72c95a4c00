"""CSV, Parquet, JSON lines or a DataFrame, wide, long or a pair of files, read as a Sweep."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.names import (
    as_expected,
    note_of_spelling,
    respelled,
    spelling,
    unified,
)
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.metadata import Kept, Metadata, in_nats, kept_with, metadata_of
from bimix_jax.reading.tables import (
    BUDGET_COLUMNS,
    LOSS_PREFIX,
    MIXTURE_PREFIX,
    RUN_COLUMNS,
    SIZE_COLUMN,
    Source,
    listed,
    name_of,
    names_of,
    prefixed,
    read_table,
)
from bimix_jax.reading.written_numbers import number_of_parameters
from bimix_jax.sweeps import checks
from bimix_jax.sweeps._repeats import (
    SAME_POINT,
    TWICE,
    check_counter,
    check_repeats,
    without_budgets,
)
from bimix_jax.sweeps.checks import Cells, Finding, raise_findings
from bimix_jax.sweeps.doubts import with_doubts
from bimix_jax.sweeps.pairs import Pair, join, match_names, runs_without_blanks
from bimix_jax.sweeps.scores import keep_scores_named
from bimix_jax.sweeps.sizes import stack_sizes
from bimix_jax.sweeps.sweep import Sweep

ROW = "\0row"
"""Temporary column with the row that each value came from; no file has such a name."""


@dataclasses.dataclass
class _Table:
    """A table split into its parts, one row per point, before the checks."""

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


def read_sweep(
    source: Source,
    losses: Source | None = None,
    *,
    key: str | None = None,
    budget: str | None = None,
    select: Mapping[str, Any] | None = None,
    run: str | None = None,
    mixture_prefix: str | None = None,
    loss_prefix: str | None = None,
    model_size: str | None = None,
    metadata: Metadata | Mapping[str, Any] | None = None,
    endpoints_only: bool = False,
) -> Sweep:
    """Read training runs with their mixtures and losses, and check them.

    Three layouts are recognised by their columns:

    - wide: `r_<domain>` and `loss_<target>`, one row per run and budget;
    - long: `domain` (or `target`), `proportion` and `loss`, one row per run, budget and domain; or
      `target` and `loss` beside wide `r_<domain>`;
    - a pair of files, proportions in one and losses in the other, joined on a key, names without
      their shared parts: `train_the_pile_github` meets `metric/the_pile_github_val_loss`.

    Args:
        source: a path (.csv, .csv.gz, .parquet, .jsonl, .ndjson) or a DataFrame.
        losses: the second file of a pair.
        key: the column that joins the pair; default the one both have.
        budget: the budget column; default the first of tokens, step, steps, budget, in any case.
            Without one the sweep has the single budget 1, unit "run".
        select: column → value or list of values; other rows are left out.
        run: the column that names the runs; default run, run_id, run_name or index.
        mixture_prefix, loss_prefix: prefixes of the columns; default "r_" and "loss_".
        model_size: a column of model sizes ("122M" or numbers), several of which are an error
            without it; all are then read into one sweep (`stack_sizes`).
        metadata: units and conditions that the file does not state, a `Metadata` or a mapping of
            its entries; losses are converted from the unit stated there.
        endpoints_only: keep the last point of each run (`Sweep.endpoints`).

    Returns:
        A `Sweep`; its notes list choices, normalisation and omissions.

    Raises:
        SweepError: with every finding (column, row, value) and its remedy.

    >>> sweep = read_sweep(pd.DataFrame({
    ...     "run": ["a", "b"], "tokens": [1e9, 1e9], "r_code": [0.2, 0.6], "r_text": [0.8, 0.4],
    ...     "loss_code": [2.1, 1.9], "loss_text": [3.0, 3.1]}))
    >>> sweep.domains, sweep.unit, sweep.mixtures.loc["b", "code"].item()
    (('code', 'text'), 'tokens', 0.6)
    """
    with _naming(source, losses):
        if not isinstance(select or {}, Mapping):
            raise SweepError(f"select: is {select!r}; expected a mapping of a column to its value.")
        names = (run, key, *(select or {}))
        table = read_table(source, names)
        kept = _kept_with(table, name_of(source))
        given = metadata_of(metadata)
        # A unit stated twice differently would convert losses wrongly without a sign of it.
        given.check_like(kept.metadata, "metadata=", name_of(source))
        stated = kept.metadata.and_stated(given)
        if (sizes_in := model_size or kept.size) and kept.size not in (select or {}):
            options = {
                "key": key,
                "budget": budget,
                "run": run,
                "mixture_prefix": mixture_prefix,
                "loss_prefix": loss_prefix,
                "endpoints_only": endpoints_only,
                "metadata": dataclasses.replace(stated, model_size=None),
            }
            return _of_every_size(table, losses, sizes_in, select or {}, options)
        name, notes, prefixes = name_of(source), list(kept.notes), (mixture_prefix, loss_prefix)
        layout: _Wide | _Long
        if losses is None:
            layout = _layout(table, prefixes, name)
        else:
            name = f"{name} with {name_of(losses)}"
            pair = _pair(table, losses, key, prefixes, budget, names, notes)
            table, run = pair.table, run or pair.key
            layout = _Wide(pair.domains, pair.targets, pair.file_rows)
        if not len(table):
            raise SweepError(f"{name} has no rows; expected one a run and budget.")
        table, rows = _select(table, select or {}, notes)
        budget_column = _budget_column(table, budget or kept.unit, layout.used, notes)
        run_column = _run_column(table, run, layout, notes)
        table = runs_without_blanks(table, run_column, notes)
        used = {*layout.used, run_column, budget_column} - {None}
        sizes = _several_model_sizes(table.drop(columns=list(used)))
        parts = layout.take_apart(table, rows, run_column, budget_column)
        sweep = _checked(parts, name, run_column, budget_column, sizes, notes, stated)
        return sweep.endpoints() if endpoints_only else sweep


@contextlib.contextmanager
def _naming(source: Source, losses: Source | None) -> Iterator[None]:
    """Add the name of the table to every error that does not name it."""
    try:
        yield
    except SweepError as error:
        names = [name_of(each) for each in (source, losses) if each is not None]
        if any(name in str(error) for name in names):
            raise
        raise SweepError(f"{' with '.join(names)}: {error}") from error


def _pair(
    table: pd.DataFrame,
    losses: Source,
    key: str | None,
    prefixes: tuple[str | None, str | None],
    budget: str | None,
    names: tuple[str | None, ...],
    notes: list[str],
) -> Pair:
    """Join proportions with the losses of another file; columns in `names` hold names."""
    second = read_table(losses, names)
    usual = [c for t in (table, second) for c in _called(BUDGET_COLUMNS, t, set())]
    known = {c for c in (budget, *names, *usual) if c is not None}
    return join(table, second, key, prefixes, known, notes)


def _kept_with(table: pd.DataFrame, name: str) -> Kept:
    """Return the unit, size and notes from the table's attrs, if their columns exist."""
    kept = kept_with(table.attrs, name)
    unit = kept.unit if kept.unit in table and kept.unit != "run" else None
    return kept._replace(unit=unit, size=kept.size if kept.size in table else None)


def _of_every_size(
    table: pd.DataFrame,
    losses: Source | None,
    column: str,
    select: Mapping[str, Any],
    options: dict[str, Any],
) -> Sweep:
    if column not in table:
        raise SweepError(
            f"model_size: there is no column {column}; expected one of {listed(table.columns)}."
        )
    parts = {}
    for size in table[column].dropna().unique():
        part = read_sweep(table, losses, select={**select, column: size}, **options)
        # All sizes are read, so the note of rows left out by size would be wrong.
        kept = tuple(n for n in part.notes if not n.endswith(f"selected by {column} = {size}."))
        parts[size] = dataclasses.replace(part, notes=kept)
    return stack_sizes(parts)


# ---- layouts -------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Wide:
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
    ) -> _Table:
        mixture_rows, loss_rows = (
            (rows, rows) if self.file_rows is None else (r[rows - 1] for r in self.file_rows)
        )
        return _Table(
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
class _Long:
    """A long table, one row per run, budget and target; proportions in a column of their own or
    wide."""

    target: str
    domains: dict[str, str]

    @property
    def used(self) -> set[str]:
        return {self.target, "loss", *(self.domains or ["proportion"])}

    def take_apart(
        self, table: pd.DataFrame, rows: np.ndarray, run: str, budget: str | None
    ) -> _Table:
        by = [run] if budget is None else [run, budget]
        point = table.groupby(by, sort=False, dropna=False).ngroup().to_numpy()
        table, respelled_notes = self._in_one_spelling(table, point)
        first = np.flatnonzero(~pd.Series(point).duplicated())
        loss = self._spread(table, rows, point, "loss")
        if self.domains:
            mixture = _columns(table.iloc[first], self.domains, rows[first])
            repeats = self._points_twice(table, rows, by)
            repeats += [f for c in self.domains for f in self._unlike_first(table, rows, by, c)]
        else:
            whose = table.groupby(run, sort=False, dropna=False).ngroup().to_numpy()
            mixture = self._spread(table, rows, whose, "proportion", whose[first])
            repeats = self._points_twice(table, rows, by)
            repeats += self._unlike_first(table, rows, [run, self.target], "proportion")
        rest = table.drop(columns=list(self.used))
        return _Table(
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
        cells = cells.dropna(subset=[self.target]).drop_duplicates(["\0group", self.target])
        if value == "proportion":  # a target without proportions is not a domain
            cells = cells.dropna(subset=[value])
        if cells.empty:
            raise SweepError(f"columns {self.target} and {value}: no row has both; fill them in.")
        names, groups = pd.unique(cells[self.target]), np.arange(group.max() + 1)
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
        changed = ((shares - first).abs() > checks.CHANGED).to_numpy(bool)
        text &= table.duplicated(by).to_numpy(bool) & first.notna().to_numpy(bool)
        labels = _labels(table[[*by, column]], changed | text)
        name, problem = f"column {column}", "a run with two mixtures"
        return [
            *checks.findings_at(name, changed, labels, rows, problem, checks.TWO_MIXTURES),
            *checks.findings_at(name, text, labels, rows, *checks.TEXT_SHARES),
        ]


def _labels(table: pd.DataFrame, where: np.ndarray) -> pd.Series:
    """Return the cells of each wanted row as one string."""
    labels = np.full(len(table), "", object)
    labels[where] = [" ".join(map(str, row)) for row in table[where].itertuples(index=False)]
    return pd.Series(labels)


def _varying(rest: pd.DataFrame, point: np.ndarray) -> list[str]:
    """Return a note of columns that vary within a point, where a table of points has one value."""
    several = [c for c in rest if rest[c].groupby(point).nunique(dropna=False).max() > 1]
    if not several:
        return []
    return [f"Columns that differ within a point, of which the first is kept: {listed(several)}."]


def _layout(
    table: pd.DataFrame, prefixes: tuple[str | None, str | None], name: str
) -> _Wide | _Long:
    r, y = prefixes[0] or MIXTURE_PREFIX, prefixes[1] or LOSS_PREFIX
    domains, targets = _prefixed_apart(table, r, y)
    if domains and targets:
        return _wide(domains, targets, any(prefixes))
    target = next((c for c in ("target", "domain") if c in table), None)
    if target and "loss" in table and (domains or "proportion" in table):
        if not domains:
            _check_one_name_a_row(table, name)
        return _Long(target, domains)
    raise SweepError(
        f"{name}: found the columns {listed(table.columns)}. Expected {r}<domain> with "
        f"{y}<target> (other beginnings: mixture_prefix=, loss_prefix=), or domain, proportion "
        "and loss in long form, or a second file with the losses (losses=)."
    )


def _wide(domains: dict[str, str], targets: dict[str, str], own_prefixes: bool) -> _Wide:
    """Return names as they stand or, where none is in both, without the parts all of a kind
    share."""
    matched = match_names(domains, targets)
    if own_prefixes:
        return _Wide(*matched)
    there, cut = (_in_common(*names) for names in ((domains, targets), matched))
    if there or len(cut) < 2:  # a single name shares all of itself with all others of its kind
        return _Wide(domains, targets)
    column, loss = (next(c for c, n in kind.items() if spelling(n) in cut) for kind in matched)
    note = (
        f"No target is called as a domain; without what all columns share they are: {column} and "
        f"{loss} are {matched[0][column]}."
    )
    return _Wide(*matched, notes=(note,))


def _in_common(domains: dict[str, str], targets: dict[str, str]) -> set[str]:
    return {*map(spelling, domains.values())} & {*map(spelling, targets.values())}


def _prefixed_apart(table: pd.DataFrame, r: str, y: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return columns of proportions and of losses; where both prefixes fit, the longer one
    counts."""
    domains, targets = prefixed(table, r), keep_scores_named(prefixed(table, y), y)
    both = domains.keys() & targets.keys()
    without = [{c: n for c, n in kind.items() if c not in both} for kind in (domains, targets)]
    return (
        domains if len(r) > len(y) else without[0],
        targets if len(y) > len(r) else without[1],
    )


def _check_one_name_a_row(table: pd.DataFrame, name: str) -> None:
    """Raise SweepError where the proportion and the loss of one row belong to different names."""
    if "target" not in table or "domain" not in table:
        return
    differ = (table["target"].map(spelling) != table["domain"].map(spelling)).to_numpy()
    if differ.any():
        row = int(np.argmax(differ))
        raise SweepError(
            f"{name}: a long table has one name a row for proportion and loss, but row {row + 1} "
            f"has domain {table['domain'].iloc[row]} and target {table['target'].iloc[row]}. Write "
            "the proportions wide, as r_<domain>, or keep one of the two columns."
        )


# ---- rows and columns ----------------------------------------------------------------------------


def _select(
    table: pd.DataFrame, select: Mapping[str, Any], notes: list[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    keep = np.ones(len(table), bool)
    for column, wanted in select.items():
        if column not in table:
            raise SweepError(
                f"select: there is no column {column}; expected one of {listed(table.columns)}."
            )
        values = list(wanted) if pd.api.types.is_list_like(wanted) else [wanted]
        chosen = [_equals(table[column], value) for value in values]
        absent = [v for v, rows in zip(values, chosen, strict=True) if not rows.any()]
        if absent or not values:
            raise SweepError(
                f"select: no row has {column} = {listed(absent) or 'one of no values'}; it takes "
                f"the values {listed(table[column].dropna().unique())}."
            )
        keep &= np.any(chosen, axis=0)
    said = ", ".join(f"{c} = {v}" for c, v in select.items())
    if not keep.any():
        raise SweepError(f"select: no row has {said} together; select less.")
    if select:
        notes.append(f"{keep.sum()} of {len(keep)} rows selected by {said}.")
    return table[keep].reset_index(drop=True), table.index.to_numpy()[keep] + 1


def _equals(column: pd.Series, value: Any) -> np.ndarray:
    """Compare as text, or else as numbers if this matches one text only, not both 07 and 7.0."""
    same_text = (column.astype("string") == str(value)).fillna(False).to_numpy(bool)
    numeric = pd.api.types.is_numeric_dtype(column)
    if same_text.any() and not numeric:
        return same_text
    same_number = checks.numbers(column)[0] == checks.numbers(pd.Series([str(value)]))[0]
    one = numeric or column[same_number].astype(str).nunique() == 1
    return same_text | (same_number & one)


def _budget_column(
    table: pd.DataFrame, budget: str | None, used: set[str], notes: list[str]
) -> str | None:
    if budget is not None:
        if budget not in table or budget in used:
            raise SweepError(
                f"budget: there is no column {budget} to measure budgets by; expected one of "
                f"{listed([c for c in table if c not in used])}."
            )
        return budget
    there = _called(BUDGET_COLUMNS, table, used)
    if not there:
        notes.append("No budget column: the sweep has a single budget, called 1 run.")
        return None
    if len(there) > 1:
        others = ", ".join(there[1:])
        notes.append(f"Budgets are taken from {there[0]} ({others} is there too; budget= chooses).")
    return there[0]


def _run_column(
    table: pd.DataFrame, run: str | None, layout: _Wide | _Long, notes: list[str]
) -> str:
    """Return the column of run labels; without one, make it from the mixtures (and seeds)."""
    if run is not None:
        if run not in table or run in layout.used:
            there = [c for c in table if c not in layout.used]
            raise SweepError(
                f"run: no column {run} to name runs by; expected one of {listed(there)}."
            )
        return run
    named = _called(RUN_COLUMNS, table, layout.used)
    filled = [c for c in named if checks.are_named(table[c]).any()]
    notes += [f"Column {c} is empty, so it names no run." for c in named if c not in filled]
    if filled:
        return filled[0]
    if not layout.domains:
        raise SweepError("run: a long table needs a column that names the runs; pass run=.")
    by = [*layout.domains, *(c for c in ("seed",) if c in table)]
    table["run"] = "run" + table.groupby(by, sort=False, dropna=False).ngroup().astype(str)
    notes.append(
        "No run column: every mixture" + (" and seed" if "seed" in by else "") + " is a run."
    )
    return "run"


def _called(names: tuple[str, ...], table: pd.DataFrame, used: set[str]) -> list[str]:
    """Return columns that have one of the names, in any case, in the order of the names."""
    free = [c for c in names_of(table) if c not in used]
    return [c for name in names for c in free if c.lower() == name]


def _several_model_sizes(rest: pd.DataFrame) -> list[Finding]:
    for column in names_of(rest):
        values: Any = rest[column].dropna().unique() if SIZE_COLUMN.fullmatch(column) else []
        if len(values) > 1:
            example = values[0].item() if isinstance(values[0], np.generic) else values[0]
            return [
                Finding(
                    f"column {column}",
                    f"several model sizes: {listed(values)}",
                    f"Choose one with select={{{column!r}: {example!r}}} "
                    f"(--select {column}={example}).",
                )
            ]
    return []


def _checked(
    parts: _Table,
    name: str,
    run_column: str,
    budget_column: str | None,
    sizes: list[Finding],
    notes: list[str],
    metadata: Metadata,
) -> Sweep:
    """Run all checks, raise all findings in one error, or return the Sweep."""
    rows, rest = parts.rows, parts.rest
    notes += parts.notes
    parts.mixture, parts.loss = (
        checks.in_one_spelling(cells, notes) for cells in (parts.mixture, parts.loss)
    )
    parts.loss = _spelled_as_domains(parts, name, notes)
    parts.loss = checks.without_empty_columns(parts.loss, notes)
    mixture, wrong_mixture = checks.check_proportions(parts.mixture, notes)
    loss, wrong_loss = checks.check_losses(parts.loss, notes, metadata.loss_unit)
    budget, wrong_budget = np.ones(len(rows)), list[Finding]()
    if budget_column is not None:
        budget, wrong_budget = checks.check_budgets(rest[budget_column], rows)
    run = rest[run_column].astype(str).to_numpy(object)
    repeats = _repeats(parts, run_column, budget_column, budget, mixture)
    # All findings are raised at once, so that a table is mended in one go.
    raise_findings(
        [
            *(sizes or repeats),  # runs of several sizes share their labels
            *parts.findings,
            *checks.check_names(rest[run_column], rows, "run"),
            *wrong_mixture,
            *wrong_loss,
            *wrong_budget,
            *checks.check_mixtures_differ(mixture),
            *checks.check_summary_rows(rest[run_column], mixture, loss, rows),
        ],
        name,
    )
    notes += checks.note_of_nan(parts.loss, run)
    metadata = _of_targets(metadata, list(parts.loss.values.columns))
    loss, metadata, converted = in_nats(loss, metadata)
    notes += converted
    sweep = _sweep(parts, mixture, budget, loss, run, run_column, budget_column, notes, metadata)
    return with_doubts(sweep)


def _repeats(
    parts: _Table, run: str, budget_column: str | None, budget: np.ndarray, mixture: np.ndarray
) -> list[Finding]:
    """Return findings of repeated points, by their cause where it is plain."""
    # Missing budgets or a restarted counter also repeat points, so these causes come first.
    twice = parts.repeats or check_repeats(parts.rest[run], budget, mixture, parts.rows)
    if budget_column is not None:
        return check_counter(parts.rest, run, budget_column, parts.rows) or twice
    if not any(finding.problem == SAME_POINT for finding in twice):
        return twice
    others = [finding for finding in twice if finding.problem != SAME_POINT]
    return without_budgets(parts.rest, run, parts.rows) + others


def _spelled_as_domains(parts: _Table, name: str, notes: list[str]) -> Cells:
    """Return the losses; a target that differs from a domain in spelling alone gets its name."""
    loss = parts.loss
    try:
        renamed = respelled(f"{name}: targets", loss.values.columns, parts.mixture.values.columns)
    except ValueError as error:
        raise SweepError(str(error)) from error
    notes += note_of_spelling(renamed)
    return dataclasses.replace(loss, values=loss.values.rename(columns=renamed))


def _of_targets(metadata: Metadata, targets: list[str]) -> Metadata:
    """Return metadata whose names of targets are spelled as in the sweep."""
    if metadata.lower_is_better is None:
        return metadata
    known = as_expected("lower_is_better", dict.fromkeys(metadata.lower_is_better), targets)
    return dataclasses.replace(metadata, lower_is_better=tuple(known))


def _sweep(
    parts: _Table,
    mixture: np.ndarray,
    budget: np.ndarray,
    loss: np.ndarray,
    run: np.ndarray,
    run_column: str,
    budget_column: str | None,
    notes: list[str],
    metadata: Metadata,
) -> Sweep:
    domains, targets = parts.mixture.values.columns, parts.loss.values.columns
    unused = [d for d, top in zip(domains, mixture.max(axis=0), strict=True) if not top]
    if unused:
        notes.append(f"Domains that no run was trained on: {', '.join(unused)}.")
    extra = parts.rest.drop(columns=[run_column, *([budget_column] if budget_column else [])])
    return Sweep(
        domains=tuple(domains),
        targets=tuple(targets),
        mixture=mixture,
        budget=budget,
        loss=loss,
        run=run,
        unit=_unit(budget_column),
        extra=extra.reset_index(drop=True),
        notes=tuple(notes),
        metadata=_with_size(metadata, extra),
    )


def _with_size(metadata: Metadata, extra: pd.DataFrame) -> Metadata:
    """Take the model size from a column of model sizes, unless it is stated."""
    for column in names_of(extra):
        if metadata.model_size is None and column.lower() == "model_size":
            for size in extra[column].dropna().unique():
                with contextlib.suppress(ValueError):  # a name like "large" is not a size
                    return dataclasses.replace(metadata, model_size=number_of_parameters(size))
    return metadata


def _unit(budget_column: str | None) -> str:
    if budget_column is None:
        return "run"
    name = budget_column.lower()
    return "steps" if name == "step" else name if name in BUDGET_COLUMNS else budget_column
