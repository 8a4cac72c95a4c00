"""Repeated points, missing budgets, and token counters that restart."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bimix_jax.reading.tables import names_of
from bimix_jax.sweeps.checks import (
    CHANGED,
    TWO_MIXTURES,
    Finding,
    are_named,
    findings_at,
    numbers,
)

TWICE = (
    "Keep one row, or name the columns that tell the points apart with run= and budget= "
    "(--run-column, --budget-column)."
)
SAME_POINT = "the same point twice"
STEPS = ("step", "steps")


def check_repeats(
    names: pd.Series, budget: np.ndarray, mixture: np.ndarray, rows: np.ndarray
) -> list[Finding]:
    """Find duplicate points, and runs that change their mixture; rows without a run name are
    skipped."""
    named = are_named(names)
    run, labels = pd.factorize(names.astype(str), use_na_sentinel=False)
    points = pd.DataFrame({"run": run, "budget": budget})
    twice = points.duplicated().to_numpy() & np.isfinite(budget) & named
    # A first point with a missing proportion would hide every change, because nan compares as no
    # change.
    first = mixture[_first_of_each(run, np.isfinite(mixture).all(axis=1))]
    changed = np.any(np.abs(mixture - first) > CHANGED, axis=1) & named
    shown = pd.Series("", names.index, dtype=object)
    shown[changed] = labels[run[changed]]
    two_mixtures = findings_at("run", changed, shown, rows, "a run with two mixtures", TWO_MIXTURES)
    points_twice = [f"{labels[run[i]]} at {budget[i]:g}" for i in np.flatnonzero(twice)]
    # The column of examples is used twice, for one finding after the other.
    shown[twice] = np.array(points_twice, object)
    return [*findings_at("run and budget", twice, shown, rows, SAME_POINT, TWICE), *two_mixtures]


def _first_of_each(run: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return (points,) the first point of each point's run, preferably one without missing
    values."""
    found = np.zeros(run.max(initial=-1) + 1, int)
    backwards = np.flatnonzero(whole)[::-1]
    found[run[backwards]] = backwards  # the last assignment wins: the first point
    return found[run]


def without_budgets(table: pd.DataFrame, run: str, rows: np.ndarray) -> list[Finding]:
    """Find runs with several rows where no column is known as their budgets."""
    again = (table.duplicated(run) & are_named(table[run])).to_numpy(bool)
    maybe = [c for c in names_of(table) if c != run and _tells_apart(table, run, c)]
    named = f"budget={maybe[0]!r} (--budget-column {maybe[0]})" if maybe else ""
    offered = named or "budget= (--budget-column)"
    return findings_at(
        f"column {run}",
        again,
        table[run],
        rows,
        "runs have several rows, and no column is called tokens, step, steps or budget",
        f"Name the column of budgets, for example with {offered}, or keep one row per run.",
    )


def _tells_apart(table: pd.DataFrame, run: str, column: str) -> bool:
    """True where a column holds numbers of 0 or more, each once per run."""
    values, text = numbers(table[column])
    once = not pd.DataFrame({"run": table[run], "value": values}).duplicated().any()
    return once and not text.any() and bool(np.all(values >= 0))


def check_counter(points: pd.DataFrame, run: str, budget: str, rows: np.ndarray) -> list[Finding]:
    """Find token counts that do not rise with the steps of their run: restarted, or per batch."""
    steps = [c for c in names_of(points) if c.lower() in STEPS and c != budget]
    # Budgets in steps have no second counter to be compared with.
    if not steps or budget.lower() in STEPS:
        return []
    step, text = numbers(points[steps[0]])
    counted = numbers(points[budget])[0]
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
    return findings_at(
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
