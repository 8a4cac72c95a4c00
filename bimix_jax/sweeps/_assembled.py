"""The parts of a table, checked together, as a Sweep."""

import contextlib
import dataclasses
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.reading.column_names import about_perplexities
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.metadata import Metadata, as_fitted
from bimix_jax.reading.names import as_expected, note_of_spelling, respelled
from bimix_jax.reading.tables import BUDGET_COLUMNS, names_of
from bimix_jax.reading.targets import Target
from bimix_jax.reading.written_numbers import number_of_parameters
from bimix_jax.sweeps import _checks as checks
from bimix_jax.sweeps._checks import SAME_POINT, TWICE, Cells, Finding, raise_findings
from bimix_jax.sweeps._layouts import Parts
from bimix_jax.sweeps._recognised_scores import recognised_targets
from bimix_jax.sweeps.doubts import with_doubts
from bimix_jax.sweeps.sweep import CHANGED, TWO_MIXTURES, Sweep

STEPS = ("step", "steps")


def assembled(
    parts: Parts, name: str, sizes: list[Finding], notes: list[str], metadata: Metadata
) -> Sweep:
    """Return the checked parts of the table called `name` as a Sweep.

    Args:
        parts: of the table; names of its losses may change here.
        name: begins messages.
        sizes: findings of several model sizes, which explain repeated points.
        notes: of what was read so far.
        metadata: of the losses as they are written.

    Raises:
        SweepError: with all findings.
    """
    notes += parts.notes
    # Names are made alike first, because near misses of names are sought among the rest.
    parts.mixture, parts.loss = (
        checks.in_one_spelling(cells, notes) for cells in (parts.mixture, parts.loss)
    )
    parts.loss = _spelled_as_domains(parts, name, notes)
    parts.loss = checks.without_empty_columns(parts.loss, notes)
    mixture, wrong_mixture = checks.check_proportions(parts.mixture, notes)
    metadata = recognised_targets(_of_targets(metadata, parts), parts, notes)
    described = metadata.described(parts.loss.values.columns)
    loss, wrong_loss = checks.check_losses(parts.loss, notes, metadata.loss_unit, described)
    of_losses = _of_losses(parts.loss, described)
    for doubt in about_perplexities(of_losses, names_of(parts.mixture.values), metadata.loss_unit):
        checks.warn(doubt, notes)
    budget, wrong_budget = np.ones(len(parts.rows)), list[Finding]()
    if parts.budget is not None:
        budget, wrong_budget = checks.check_budgets(parts.rest[parts.budget], parts.rows)
    run = parts.rest[parts.run].astype(str).to_numpy(object)
    repeats = _repeats(parts, budget, mixture)
    # All findings are raised at once, so that a table is mended in one go.
    raise_findings(
        [
            *(sizes or repeats),  # runs of several sizes share their labels
            *parts.findings,
            *checks.check_names(parts.rest[parts.run], parts.rows, "run"),
            *wrong_mixture,
            *wrong_loss,
            *wrong_budget,
            *checks.check_mixtures_differ(mixture),
            *checks.check_summary_rows(parts.rest[parts.run], mixture, loss, parts.rows),
        ],
        name,
    )
    notes += checks.note_of_nan(parts.loss, run)
    # Findings quote values as they are written, so units change only now.
    loss, metadata, converted = as_fitted(loss, metadata, described)
    notes += converted
    measured = _Measured(mixture, budget, loss, run)
    return with_doubts(_sweep(parts, measured, notes, metadata))


def _of_losses(cells: Cells, described: Sequence[Target]) -> dict[str, str]:
    """Column → target, of the targets that are losses."""
    pairs = zip(cells.columns, described, strict=True)
    return {column: target.name for column, target in pairs if not target.is_score}


def _repeats(parts: Parts, budget: np.ndarray, mixture: np.ndarray) -> list[Finding]:
    """Return findings of repeated points, by their cause where it is plain."""
    # Missing budgets or a restarted counter also repeat points, so these causes come first.
    twice = parts.repeats or _check_repeats(parts.rest[parts.run], budget, mixture, parts.rows)
    if parts.budget is not None:
        return _check_counter(parts.rest, parts.run, parts.budget, parts.rows) or twice
    if not any(finding.problem == SAME_POINT for finding in twice):
        return twice
    others = [finding for finding in twice if finding.problem != SAME_POINT]
    return _without_budgets(parts.rest, parts.run, parts.rows) + others


def _spelled_as_domains(parts: Parts, name: str, notes: list[str]) -> Cells:
    """Return the losses; a target that differs from a domain in spelling alone gets its name."""
    loss = parts.loss
    try:
        renamed = respelled(f"{name}: targets", loss.values.columns, parts.mixture.values.columns)
    except ValueError as error:
        raise SweepError(str(error)) from error
    notes += note_of_spelling(renamed)
    return dataclasses.replace(loss, values=loss.values.rename(columns=renamed))


def _of_targets(metadata: Metadata, parts: Parts) -> Metadata:
    """Return metadata whose descriptions have the names of targets, by their names or columns."""
    if not metadata.targets:
        return metadata
    of_column = dict(zip(parts.loss.columns, parts.loss.values.columns, strict=True))
    given = {of_column.get(target.name, target.name): target for target in metadata.targets}
    known = as_expected("targets", given, list(parts.loss.values.columns))
    named = tuple(dataclasses.replace(target, name=name) for name, target in known.items())
    return dataclasses.replace(metadata, targets=named)


class _Measured(NamedTuple):
    """The checked arrays of a sweep, one row per point."""

    mixture: np.ndarray
    """(points, domains)"""
    budget: np.ndarray
    """(points,)"""
    loss: np.ndarray
    """(points, targets)"""
    run: np.ndarray
    """(points,) labels"""


def _sweep(parts: Parts, measured: _Measured, notes: list[str], metadata: Metadata) -> Sweep:
    domains, targets = parts.mixture.values.columns, parts.loss.values.columns
    unused = [d for d, top in zip(domains, measured.mixture.max(axis=0), strict=True) if not top]
    if unused:
        notes.append(f"Domains that no run was trained on: {', '.join(unused)}.")
    extra = parts.rest.drop(columns=[c for c in (parts.run, parts.budget) if c is not None])
    return Sweep(
        domains=tuple(domains),
        targets=tuple(targets),
        mixture=measured.mixture,
        budget=measured.budget,
        loss=measured.loss,
        run=measured.run,
        unit=_unit(parts.budget),
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
    # Usual names become one spelling, so that sweeps of several files have the same unit.
    return "steps" if name == "step" else name if name in BUDGET_COLUMNS else budget_column


# ---- repeated points and counters ----------------------------------------------------------------


def _check_repeats(
    names: pd.Series, budget: np.ndarray, mixture: np.ndarray, rows: np.ndarray
) -> list[Finding]:
    """Find duplicate points, and runs that change their mixture; rows without a run name are
    skipped."""
    named = checks.are_named(names)
    run, labels = pd.factorize(names.astype(str), use_na_sentinel=False)
    points = pd.DataFrame({"run": run, "budget": budget})
    twice = points.duplicated().to_numpy() & np.isfinite(budget) & named
    # A first point with a missing proportion would hide every change, because nan compares as no
    # change.
    first = mixture[_first_of_each(run, np.isfinite(mixture).all(axis=1))]
    changed = np.any(np.abs(mixture - first) > CHANGED, axis=1) & named
    shown = pd.Series("", names.index, dtype=object)
    shown[changed] = labels[run[changed]]
    two_mixtures = checks.findings_at(
        "run", changed, shown, rows, "a run with two mixtures", TWO_MIXTURES
    )
    points_twice = [f"{labels[run[i]]} at {budget[i]:g}" for i in np.flatnonzero(twice)]
    # The column of examples is used twice, for one finding after the other.
    shown[twice] = np.array(points_twice, object)
    return [
        *checks.findings_at("run and budget", twice, shown, rows, SAME_POINT, TWICE),
        *two_mixtures,
    ]


def _first_of_each(run: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return (points,) the first point of each point's run, preferably one without missing
    values."""
    found = np.zeros(run.max(initial=-1) + 1, int)
    backwards = np.flatnonzero(whole)[::-1]
    found[run[backwards]] = backwards  # the last assignment wins: the first point
    return found[run]


def _without_budgets(table: pd.DataFrame, run: str, rows: np.ndarray) -> list[Finding]:
    """Find runs with several rows where no column is known as their budgets."""
    again = (table.duplicated(run) & checks.are_named(table[run])).to_numpy(bool)
    maybe = [c for c in names_of(table) if c != run and _tells_apart(table, run, c)]
    named = f"budget={maybe[0]!r} (--budget-column {shlex.quote(maybe[0])})" if maybe else ""
    offered = named or "budget= (--budget-column)"
    return checks.findings_at(
        f"column {run}",
        again,
        table[run],
        rows,
        "runs have several rows, and no column is called tokens, step, steps or budget",
        f"Name the column of budgets, for example with {offered}, or keep one row per run.",
    )


def _tells_apart(table: pd.DataFrame, run: str, column: str) -> bool:
    """True where a column holds numbers of 0 or more, each once per run."""
    values, text = checks.numbers(table[column])
    once = not pd.DataFrame({"run": table[run], "value": values}).duplicated().any()
    return once and not text.any() and bool(np.all(values >= 0))


def _check_counter(points: pd.DataFrame, run: str, budget: str, rows: np.ndarray) -> list[Finding]:
    """Find token counts that do not rise with the steps of their run: restarted, or per batch."""
    steps = [c for c in names_of(points) if c.lower() in STEPS and c != budget]
    # Budgets in steps have no second counter to be compared with.
    if not steps or budget.lower() in STEPS:
        return []
    step, text = checks.numbers(points[steps[0]])
    counted = checks.numbers(points[budget])[0]
    # Steps that are text are only beside the budgets here, so they are no error.
    if text.any():
        return []
    order = np.lexsort((step, pd.factorize(points[run])[0]))
    same = points[run].to_numpy()[order][1:] == points[run].to_numpy()[order][:-1]
    # Equal counts at later steps are no progress either: a counter of tokens per batch.
    back = same & (np.diff(step[order]) > 0) & (np.diff(counted[order]) <= 0)
    falls = np.zeros(len(points), bool)
    falls[order[1:][back]] = True
    labels = [
        f"{name} at {steps[0]} {at:g} has {count:g}"
        for name, at, count in zip(points[run], step, counted, strict=True)
    ]
    return checks.findings_at(
        f"column {budget}",
        falls,
        pd.Series(labels),
        rows,
        f"does not rise with {steps[0]} in {_runs(points[run][falls])}",
        "A counter that starts again on resume, or counts per batch, is not a budget: mend it, or "
        f"use budget={steps[0]!r} (--budget-column {steps[0]}).",
    )


def _runs(names: pd.Series) -> str:
    every: Sequence[str] = [str(name) for name in pd.unique(names)]
    more = f" and {len(every) - 6} more runs" if len(every) > 6 else ""
    return f"run{'s' if len(every) > 1 else ''} {', '.join(every[:6])}{more}"
