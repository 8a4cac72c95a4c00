"""CSV, Parquet, JSON lines or a DataFrame; wide, long, or a pair of files: all become a Sweep."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax import checks
from bimix_jax.checks import Finding, SweepError, raise_findings
from bimix_jax.sweep import Sweep

BUDGET_COLUMNS = ("tokens", "step", "steps", "budget")
RUN_COLUMNS = ("run", "run_id", "run_name", "index")
SIZE_COLUMN = re.compile(r"model_size|n_params.*|num_params.*|params|parameters|model", re.I)
MIXTURE_PREFIX, LOSS_PREFIX = "r_", "loss_"
SEPARATORS = "_/.-"

Source = str | Path | pd.DataFrame


@dataclasses.dataclass
class _Table:
    """A table taken apart, one row a point, before it is checked."""

    mixture: pd.DataFrame
    loss: pd.DataFrame
    rest: pd.DataFrame
    """run, budget and every other column"""
    prefixes: tuple[str, str]
    """how the mixture and loss columns are called in the file, for messages"""
    rows: np.ndarray
    """row of the file, the first below the header being 1"""
    findings: list[Finding] = dataclasses.field(default_factory=list)


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
) -> Sweep:
    """Read training runs with their mixtures and losses, and check them.

    Three layouts are told apart by their columns:

    - wide: `r_<domain>` and `loss_<target>`, one row a run and budget;
    - long: `domain` (or `target`), `proportion` and `loss`, one row a run, budget and domain; or
      `target` and `loss` beside wide `r_<domain>`;
    - a pair of files, proportions in one and losses in the other, joined on a key. Names are
      matched after stripping what all columns of a file share, so that `train_the_pile_github`
      meets `metric/the_pile_github_val_loss`.

    Args:
        source: a path (.csv, .csv.gz, .parquet, .jsonl, .ndjson) or a DataFrame.
        losses: the second file of a pair.
        key: the column that joins the pair; default the one both have.
        budget: the budget column; default the first of tokens, step, steps, budget. Without one
            the sweep has the single budget 1, unit "run".
        select: column → value or list of values; other rows are left out. One model size at a
            time: several are an error.
        run: the column that names the runs; default run, run_id, run_name or index.
        mixture_prefix: what proportion columns begin with; default "r_".
        loss_prefix: what loss columns begin with; default "loss_".

    Returns:
        A `Sweep`; what was chosen, normalised or left out is in its notes.

    Raises:
        SweepError: with every finding (column, row, value) and how to mend it.

    >>> import pandas as pd
    >>> sweep = read_sweep(pd.DataFrame({
    ...     "run": ["a", "b"], "tokens": [1e9, 1e9], "r_code": [0.2, 0.6], "r_text": [0.8, 0.4],
    ...     "loss_code": [2.1, 1.9], "loss_text": [3.0, 3.1]}))
    >>> sweep.domains, sweep.unit, sweep.mixtures.loc["b", "code"].item()
    (('code', 'text'), 'tokens', 0.6)
    """
    name = _name(source)
    notes: list[str] = []
    table = read_table(source)
    if losses is not None:
        table, layout = _join(table, read_table(losses), key, mixture_prefix, loss_prefix, notes)
    else:
        layout = _layout(table, mixture_prefix, loss_prefix, name)
    table, rows = _select(table, select or {}, notes)
    if not len(table):
        raise SweepError(f"{name} has no rows; expected one a run and budget.")
    budget_column = _budget_column(table, budget, layout.used, notes)
    run_column = _run_column(table, run, layout, notes)
    parts = layout.take_apart(table, rows, run_column, budget_column)
    return _checked(parts, name, run_column, budget_column, notes)


def _name(source: Source) -> str:
    return "The DataFrame" if isinstance(source, pd.DataFrame) else str(source)


# ---- files ---------------------------------------------------------------------------------------

READERS: dict[str, Callable[[Any], pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".csv.gz": pd.read_csv,
    ".parquet": pd.read_parquet,
    ".jsonl": lambda path: pd.read_json(path, lines=True),
    ".ndjson": lambda path: pd.read_json(path, lines=True),
}


def read_table(source: Source) -> pd.DataFrame:
    """A file (by its extension) or a DataFrame as a table; SweepError if it cannot be read."""
    if isinstance(source, pd.DataFrame):
        return _unique_columns(source.reset_index(drop=True), "The DataFrame")
    path = Path(source)
    if not path.is_file():
        raise SweepError(f"{path} does not exist; expected a table of runs there.")
    reader = next((r for ending, r in READERS.items() if path.name.lower().endswith(ending)), None)
    if reader is None:
        raise SweepError(
            f"{path}: unknown extension; expected one of {', '.join(READERS)}. Rename the file to "
            "what it holds."
        )
    try:
        table = reader(os.fspath(path))
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it is empty"
        raise SweepError(
            f"{path} cannot be read as {path.suffix[1:]}: {reason}. Check that it is complete."
        ) from error
    table.columns = table.columns.map(str).str.strip()
    return _unique_columns(table, str(path))


def _unique_columns(table: pd.DataFrame, name: str) -> pd.DataFrame:
    twice = sorted(set(table.columns[table.columns.duplicated()].map(str)))
    if twice:
        raise SweepError(f"{name}: the columns {', '.join(twice)} stand there twice; rename them.")
    return table


# ---- layouts -------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Wide:
    """Column of the file → domain or target."""

    domains: dict[str, str]
    targets: dict[str, str]
    prefixes: tuple[str, str]

    @property
    def used(self) -> set[str]:
        return {*self.domains, *self.targets}

    def take_apart(
        self, table: pd.DataFrame, rows: np.ndarray, run: str, budget: str | None
    ) -> _Table:
        return _Table(
            mixture=table[list(self.domains)].rename(columns=self.domains),
            loss=table[list(self.targets)].rename(columns=self.targets),
            rest=table.drop(columns=list(self.used)),
            prefixes=self.prefixes,
            rows=rows,
        )


@dataclasses.dataclass
class _Long:
    """One row a run, budget and target; proportions in their own column or wide."""

    target: str
    domains: dict[str, str]
    prefix: str

    @property
    def used(self) -> set[str]:
        return {self.target, "proportion", "loss", *self.domains}

    def take_apart(
        self, table: pd.DataFrame, rows: np.ndarray, run: str, budget: str | None
    ) -> _Table:
        point = [run] if budget is None else [run, budget]
        findings = self._twice(table, rows, point)
        first = table.assign(**{"": rows}).drop_duplicates(point).reset_index(drop=True)
        names = pd.unique(table[self.target].dropna())
        measured = table.drop_duplicates([*point, self.target])
        losses = measured.pivot(index=point, columns=self.target, values="loss")
        losses = losses.reindex(pd.MultiIndex.from_frame(first[point]) if budget else first[run])
        losses = losses[[n for n in names if not measured.loc[measured[self.target] == n, "loss"]
                         .isna().all()]].reset_index(drop=True)  # fmt: skip
        mixture = self._wide(first) if self.domains else self._pivot(table, first[run], run)
        losses.columns = losses.columns.map(str)
        rest = first.drop(columns=[c for c in ("", *self.used) if c in first])
        return _Table(mixture, losses, rest, (self.prefix, ""), first[""].to_numpy(), findings)

    def _wide(self, first: pd.DataFrame) -> pd.DataFrame:
        return first[list(self.domains)].rename(columns=self.domains)

    def _pivot(self, table: pd.DataFrame, runs: pd.Series, run: str) -> pd.DataFrame:
        given = table[[run, self.target, "proportion"]].dropna(subset=["proportion"])
        given = given.drop_duplicates([run, self.target])
        mixture = given.pivot(index=run, columns=self.target, values="proportion")
        mixture = mixture[pd.unique(given[self.target])].reindex(runs).reset_index(drop=True)
        mixture.columns = mixture.columns.map(str)
        return mixture

    def _twice(self, table: pd.DataFrame, rows: np.ndarray, point: list[str]) -> list[Finding]:
        findings = []
        key = [*point, self.target]
        twice = table.duplicated(key).to_numpy()
        if twice.any():
            findings.append(Finding(
                ", ".join(key), "the same point twice",
                "Keep one row, or name the column that tells the runs apart with run=.",
                tuple(int(r) for r in rows[twice]),
                tuple(table.loc[twice, key].head(checks.EXAMPLES).astype(str).agg(" ".join, axis=1)),
            ))  # fmt: skip
        if not self.domains:
            given = table[[point[0], self.target, "proportion"]].dropna()
            several = given.drop_duplicates().duplicated([point[0], self.target])
            labels = given.drop_duplicates().loc[several, point[0]].astype(str).unique()
            if len(labels):
                findings.append(Finding(
                    "proportion", f"runs with two mixtures: {', '.join(labels[:checks.EXAMPLES])}",
                    "A run is trained on one mixture; give the others labels of their own.",
                ))  # fmt: skip
        return findings


def _layout(
    table: pd.DataFrame, mixture_prefix: str | None, loss_prefix: str | None, name: str
) -> _Wide | _Long:
    r, y = mixture_prefix or MIXTURE_PREFIX, loss_prefix or LOSS_PREFIX
    domains, targets = _prefixed(table, r), _prefixed(table, y)
    if domains and targets:
        domains = domains if mixture_prefix is None else _strip_common(domains, (), r)
        targets = targets if loss_prefix is None else _strip_common(targets, domains.values(), y)
        return _Wide(domains, targets, (r, y))
    target = next((c for c in ("target", "domain") if c in table), None)
    if target and "loss" in table and (domains or "proportion" in table):
        return _Long(target, domains, r)
    raise SweepError(
        f"{name}: found the columns {_listed(table.columns)}. Expected r_<domain> with "
        "loss_<target> (other beginnings: mixture_prefix=, loss_prefix=), or domain, proportion "
        "and loss in long form, or a second file with the losses (losses=)."
    )


def _prefixed(table: pd.DataFrame, prefix: str) -> dict[str, str]:
    return {c: c.removeprefix(prefix) for c in table if c.startswith(prefix) and c != prefix}


def _listed(names: Any) -> str:
    shown = [str(n) for n in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")


def _strip_common(columns: Mapping[str, str], match: Any, prefix: str) -> dict[str, str]:
    """Names without the beginning and end they all share, cut at a separator.

    Only if that helps: where the names already match those of the other table they stay.
    """
    names = list(columns.values())
    if len(names) < 2 or set(names) & set(match):
        return dict(columns)
    front = _to_separator(os.path.commonprefix(names))
    back = _to_separator(os.path.commonprefix([n[::-1] for n in names]))
    return {c: n[len(front) : len(n) - len(back)] for c, n in columns.items()}


def _to_separator(shared: str) -> str:
    return shared[: 1 + max(shared.rfind(s) for s in SEPARATORS)]


# ---- pairs ---------------------------------------------------------------------------------------


def _join(
    mixtures: pd.DataFrame,
    losses: pd.DataFrame,
    key: str | None,
    mixture_prefix: str | None,
    loss_prefix: str | None,
    notes: list[str],
) -> tuple[pd.DataFrame, _Wide]:
    key = _join_key(mixtures, losses, key)
    if mixtures[key].duplicated().any():
        twice = mixtures.loc[mixtures[key].duplicated(), key].astype(str).unique()
        raise SweepError(
            f"key {key}: {_listed(twice)} stands more than once in the table of mixtures; expected "
            "one row a run."
        )
    domains = _measurements(mixtures, key, mixture_prefix, MIXTURE_PREFIX)
    targets = _measurements(losses, key, loss_prefix, LOSS_PREFIX)
    domains = _strip_common(domains, targets.values(), "")
    targets = _strip_common(targets, domains.values(), "")
    clash = {c for c in mixtures if c in losses and c != key}
    renamed = {c: f"{c} (loss)" for c in clash & set(targets)}
    losses = losses.rename(columns=renamed).drop(columns=list(clash - set(targets)))
    targets = {renamed.get(c, c): t for c, t in targets.items()}
    table = mixtures.merge(losses, on=key, how="inner")
    _note_unmatched(mixtures, losses, key, table, notes)
    return table, _Wide(domains, targets, ("", ""))


def _join_key(mixtures: pd.DataFrame, losses: pd.DataFrame, key: str | None) -> str:
    shared = [c for c in mixtures if c in losses]
    if key is None and len(shared) > 1:
        shared = [c for c in shared if c in RUN_COLUMNS] or shared
    chosen = [key] if key is not None else shared
    if len(chosen) != 1 or chosen[0] not in mixtures or chosen[0] not in losses:
        raise SweepError(
            f"key: the two tables share the columns {_listed(shared) or 'none'}"
            f"{'' if key is None else f', not {key}'}; expected one that names the run in both. "
            "Name it with key=."
        )
    return chosen[0]


def _measurements(
    table: pd.DataFrame, key: str, prefix: str | None, default: str
) -> dict[str, str]:
    """The columns that hold proportions or losses: those with the prefix, else all numbers."""
    named = _prefixed(table, prefix or default)
    if named or prefix is not None:
        return named
    known = {key, "seed", *BUDGET_COLUMNS, *RUN_COLUMNS}
    return {
        c: c
        for c in table
        if c not in known
        and not SIZE_COLUMN.fullmatch(c)
        and pd.api.types.is_numeric_dtype(table[c])
    }


def _note_unmatched(
    mixtures: pd.DataFrame, losses: pd.DataFrame, key: str, table: pd.DataFrame, notes: list[str]
) -> None:
    if not len(table):
        raise SweepError(
            f"key {key}: no value is in both tables (mixtures {_listed(mixtures[key].unique()[:5])}; "
            f"losses {_listed(losses[key].unique()[:5])}). Check that they belong together."
        )
    for what, one, other in (("losses", mixtures, losses), ("a mixture", losses, mixtures)):
        missing = one.loc[~one[key].isin(other[key]), key].astype(str).unique()
        if len(missing):
            checks.warn(f"{len(missing)} runs without {what} left out: {_listed(missing)}.", notes)


# ---- rows and columns ----------------------------------------------------------------------------


def _select(
    table: pd.DataFrame, select: Mapping[str, Any], notes: list[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    keep = np.ones(len(table), bool)
    for column, wanted in select.items():
        if column not in table:
            raise SweepError(
                f"select: there is no column {column}; expected one of {_listed(table.columns)}."
            )
        chosen = _equals_any(table[column], wanted)
        if not chosen.any():
            raise SweepError(
                f"select: no row has {column} = {wanted}; it takes the values "
                f"{_listed(table[column].dropna().unique())}."
            )
        keep &= chosen
    if select:
        said = ", ".join(f"{c} = {v}" for c, v in select.items())
        notes.append(f"{keep.sum()} of {len(keep)} rows selected by {said}.")
    return table[keep].reset_index(drop=True), np.flatnonzero(keep) + 1


def _equals_any(column: pd.Series, wanted: Any) -> np.ndarray:
    """Equality as numbers where both are, else as text."""
    many = not isinstance(wanted, str) and isinstance(wanted, Sequence | set | np.ndarray)
    values = list(wanted) if many else [wanted]
    as_numbers = pd.to_numeric(column, errors="coerce")
    text = column.astype(str)
    chosen = np.zeros(len(column), bool)
    for value in values:
        chosen |= (text == str(value)).to_numpy()
        number = pd.to_numeric(value, errors="coerce")
        chosen |= (as_numbers == number).to_numpy(bool, na_value=False)
    return chosen


def _budget_column(
    table: pd.DataFrame, budget: str | None, used: set[str], notes: list[str]
) -> str | None:
    if budget is not None:
        if budget not in table or budget in used:
            raise SweepError(
                f"budget: there is no column {budget} to measure budgets by; expected one of "
                f"{_listed([c for c in table if c not in used])}."
            )
        return budget
    there = [c for c in BUDGET_COLUMNS if c in table and c not in used]
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
    """The column of run labels; made from the mixtures (and seeds) where there is none."""
    if run is not None:
        if run not in table:
            raise SweepError(f"run: no column {run}; expected one of {_listed(table.columns)}.")
        return run
    named = next((c for c in RUN_COLUMNS if c in table and c not in layout.used), None)
    if named is not None:
        return named
    if not layout.domains:
        raise SweepError("run: a long table needs a column that names the runs; pass run=.")
    by = [*layout.domains, *(c for c in ("seed",) if c in table)]
    table["run"] = "run" + table.groupby(by, sort=False, dropna=False).ngroup().astype(str)
    notes.append("No run column: every mixture" + (" and seed" if "seed" in by else "") + " is a run.")
    return "run"


def _one_model_size(rest: pd.DataFrame) -> list[Finding]:
    for column in rest:
        values = rest[column].dropna().unique() if SIZE_COLUMN.fullmatch(str(column)) else []
        if len(values) > 1:
            example = values[0] if isinstance(values[0], str) else values[0].item()
            return [
                Finding(
                    f"column {column}",
                    f"several model sizes: {_listed(values)}",
                    f"Choose one with select={{{column!r}: {example!r}}} "
                    f"(--select {column}={example}).",
                )
            ]
    return []


def _checked(
    parts: _Table, name: str, run_column: str, budget_column: str | None, notes: list[str]
) -> Sweep:
    """All checks, all findings in one error, then the Sweep."""
    rows, rest = parts.rows, parts.rest
    findings = [*parts.findings, *_one_model_size(rest)]
    findings += checks.names_in_common(list(parts.mixture.columns), list(parts.loss.columns))
    mixture, wrong = checks.check_proportions(parts.mixture, rows, parts.prefixes[0], notes)
    findings += wrong
    loss, wrong = checks.check_losses(parts.loss, rows, parts.prefixes[1], notes)
    findings += wrong
    budget = np.ones(len(rows))
    if budget_column is not None:
        budget, wrong = checks.check_budgets(rest[budget_column], rows)
        findings += wrong
    run = rest[run_column].astype(str).to_numpy(object)
    several_sizes = any("several model sizes" in f.problem for f in findings)
    if not several_sizes and not parts.findings:
        findings += checks.check_points(run, budget, mixture, rows)
    if not np.isfinite(loss).any():
        findings.append(Finding("losses", "no loss is measured", "Fill in the loss columns."))
    raise_findings(findings, name)
    checks.warn_of_rising(run, budget, loss, notes)
    return _sweep(parts, mixture, budget, loss, run, run_column, budget_column, notes)


def _sweep(
    parts: _Table,
    mixture: np.ndarray,
    budget: np.ndarray,
    loss: np.ndarray,
    run: np.ndarray,
    run_column: str,
    budget_column: str | None,
    notes: list[str],
) -> Sweep:
    measured = np.isfinite(loss).any(axis=0)
    targets = [t for t, there in zip(parts.loss.columns, measured, strict=True) if there]
    if not measured.all():
        gone = [t for t in parts.loss.columns if t not in targets]
        notes.append(f"Targets without any loss left out: {', '.join(gone)}.")
    unused = [d for d, top in zip(parts.mixture.columns, mixture.max(axis=0), strict=True) if not top]
    if unused:
        notes.append(f"Domains that no run was trained on: {', '.join(unused)}.")
    extra = parts.rest.drop(columns=[run_column, *([budget_column] if budget_column else [])])
    return Sweep(
        domains=tuple(parts.mixture.columns),
        targets=tuple(targets),
        mixture=mixture,
        budget=budget,
        loss=loss[:, measured],
        run=run,
        unit=_unit(budget_column),
        extra=extra.reset_index(drop=True),
        notes=tuple(notes),
    )


def _unit(budget_column: str | None) -> str:
    if budget_column is None:
        return "run"
    return "steps" if budget_column.lower() in ("step", "steps") else budget_column
