"""Checks of a table of runs; all findings are reported at once, each with its remedy."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError, SweepWarning
from bimix_jax.reading.names import (
    SILENT_TOLERANCE,
    SUM_TOLERANCE,
    note_of_spelling,
    spelling,
    unified,
)
from bimix_jax.reading.targets import FARTHEST, Target
from bimix_jax.reading.written_numbers import numbers, span
from bimix_jax.sweeps.sweep import NOT_FINITE, PERCENTAGES, SAME_MIXTURE

FEW_DECIMALS = 1e-3
"""Largest distance from 1 that needs no note where few decimals explain it."""
DECIMALS = 3, 4, 5
"""Numbers of decimals at which shares are seen to be rounded."""
EXACT = 1e-12
"""Largest distance from 1 at which a sum of a row counts as 1."""
EXAMPLES = 3
ROUNDED = 6e-4
"""Largest difference of a mean from what is written with three decimals."""
TWICE = (
    "Keep one row, or name the columns that tell the points apart with run= and budget= "
    "(--run-column, --budget-column)."
)
SAME_POINT = "the same point twice"
TEXT_SHARES = "proportions that are text", "Write numbers between 0 and 1."
MEND = "Write numbers, or leave the cell empty."
MAYBE_SCORE = (
    " If more is better in it, say so: metadata={{'higher_is_better': ['{0}']}} (--metadata "
    "higher_is_better={0})."
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One problem of a table, its place, and its remedy."""

    column: str
    problem: str
    remedy: str
    rows: tuple[int, ...] = ()
    """rows of the table, the first below the header being 1"""
    values: tuple[object, ...] = ()

    def __str__(self) -> str:
        """Return the finding as one line, with its first examples."""
        shown = [
            f"row {row}: {value}"
            for row, value in zip(self.rows[:EXAMPLES], self.values, strict=False)
        ]
        count = f", {len(self.rows)} rows" if len(self.rows) > EXAMPLES else ""
        where = f" ({'; '.join(shown)}{count})" if shown else ""
        return f"{self.column}: {self.problem}{where}. {self.remedy}"


def raise_findings(findings: Sequence[Finding], source: str) -> None:
    """Raise a SweepError with all findings, if there are any."""
    if findings:
        lines = "\n".join(f"  - {finding}" for finding in findings)
        count = "1 problem" if len(findings) == 1 else f"{len(findings)} problems"
        raise SweepError(f"{source} cannot be read as a sweep, {count}:\n{lines}")


def warn(message: str, notes: list[str]) -> None:
    """Warn now, and keep the message as a note."""
    notes.append(message)
    warnings.warn(message, SweepWarning, stacklevel=2)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Proportions or losses as they were written, and their places in the file."""

    values: pd.DataFrame
    """(points, names) one column per domain or target"""
    columns: tuple[str, ...]
    """(names,) the columns' names in the file"""
    rows: np.ndarray
    """(points, names) row of the file that holds each value"""


def findings_at(
    column: str, mask: np.ndarray, values: pd.Series, rows: np.ndarray, problem: str, remedy: str
) -> list[Finding]:
    """Return a finding for the rows where the mask is set, each row once; nothing if none is
    set."""
    if not mask.any():
        return []
    # A row of a long table, or of a table that was joined, may stand for several points.
    found, first = np.unique(rows[mask], return_index=True)
    shown = tuple(values[mask].iloc[i] for i in first[:EXAMPLES])
    return [Finding(column, problem, remedy, tuple(int(row) for row in found), shown)]


def check_proportions(cells: Cells, notes: list[str]) -> tuple[np.ndarray, list[Finding]]:
    """Return proportions (points, domains), normalised, with nan in bad rows; and the findings."""
    values, findings = np.empty(cells.values.shape), list[Finding]()
    for i, name in enumerate(cells.values.columns):
        values[:, i], wrong = _proportions_of_one(
            cells.columns[i], cells.values[name], cells.rows[:, i]
        )
        findings += wrong
    whole = np.all(np.isfinite(values) & (values >= 0), axis=1)
    values[~whole] = np.nan
    if not whole.any():
        return values, findings
    # The proportions of one point may come from several rows of a long table.
    rows = cells.rows.min(axis=1)
    values[whole], wrong_sums = _normalised(values[whole], rows[whole], notes)
    return values, findings + wrong_sums


def _proportions_of_one(
    name: str, written: pd.Series, rows: np.ndarray
) -> tuple[np.ndarray, list[Finding]]:
    column = f"column {name}"
    values, text = numbers(written, percent=True)
    wrong = (values < 0) | np.isinf(values)
    text_found = findings_at(column, text, written, rows, *TEXT_SHARES)
    missing_found = findings_at(
        column,
        np.isnan(values) & ~text,
        written,
        rows,
        "proportions missing",
        "Fill them in; 0 is a value.",
    )
    wrong_found = findings_at(
        column,
        wrong,
        written,
        rows,
        "proportions negative or infinite",
        "Shares of the training data lie between 0 and 1.",
    )
    return values, text_found + missing_found + wrong_found


def _normalised(
    values: np.ndarray, rows: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, list[Finding]]:
    total = _sums(values)
    # The median decides, so that a single wrong row is reported and not rescaled.
    percent = bool(abs(np.median(total) - 100) <= 100 * SUM_TOLERANCE)
    expected = 100.0 if percent else 1.0
    wrong = np.abs(total / expected - 1) > SUM_TOLERANCE
    findings = findings_at(
        "proportions",
        wrong,
        pd.Series(total.round(6)),
        rows,
        f"rows that do not sum to {expected:g}",
        "Check for a missing domain column, or divide each row by its sum.",
    )
    if percent and not findings:
        warn(PERCENTAGES, notes)
    off = np.abs(total / expected - 1) > SILENT_TOLERANCE
    off[off] = ~_are_rounded(values[off] / expected)
    if off.any() and not findings:
        changed, all_of_them = (len(np.unique(each, axis=0)) for each in (values[off], values))
        warn(
            f"The proportions of {changed} of {all_of_them} mixtures summed to {span(total[off])} "
            "and were normalised to 1.",
            notes,
        )
    # Adding 0 turns −0 into 0, so that digests do not depend on how 0 was written.
    return values / np.where(wrong, np.nan, total)[:, None] + 0.0, findings


def _are_rounded(shares: np.ndarray) -> np.ndarray:
    """(rows,) bool: half a unit of the last decimal per share explains the distance from 1."""
    allowed = np.zeros(len(shares))
    for decimals in reversed(DECIMALS):
        scaled = shares * 10.0**decimals
        whole = np.all(np.abs(scaled - scaled.round()) < SAME_MIXTURE, axis=1)
        allowed = np.where(whole, shares.shape[1] * 0.5 * 10.0**-decimals, allowed)
    return np.abs(shares.sum(axis=1) - 1) <= np.minimum(allowed + EXACT, FEW_DECIMALS)


def _sums(values: np.ndarray) -> np.ndarray:
    """Return sums of rows that do not depend on the order of columns, even in the last bit.

    Sums very close to 1 are set to 1. So a sweep keeps its values when it is written and read
    again, or when its columns are permuted.
    """
    total = np.sort(values, axis=1).sum(axis=1)
    return np.where(np.abs(total - 1) <= EXACT, 1.0, total)


def in_one_spelling(cells: Cells, notes: list[str]) -> Cells:
    """Return cells in which columns whose names differ in spelling alone are one, unless a row has
    several of them; a note names the others."""
    columns, there = list(cells.values.columns), cells.values.notna().to_numpy(bool)
    if len({spelling(name) for name in columns}) == len(columns):  # fast: most tables
        return cells
    row, column = np.nonzero(there)
    first = unified([columns[i] for i in column], row.tolist())
    values, rows = cells.values.copy(), cells.rows.copy()
    for name, kept in first.items():
        i, k = columns.index(name), columns.index(kept)
        values[kept] = values[kept].where(~there[:, i], values[name])
        rows[there[:, i], k] = rows[there[:, i], i]
    notes += note_of_spelling(first)
    left = [i for i, name in enumerate(columns) if name not in first]
    kept_columns = tuple(cells.columns[i] for i in left)
    return Cells(values.iloc[:, left], kept_columns, rows[:, left])


def without_empty_columns(cells: Cells, notes: list[str]) -> Cells:
    """Return the targets with at least one loss; a note names the others."""
    written = [numbers(cells.values[name]) for name in cells.values.columns]
    there = np.array([bool(np.any(text | ~np.isnan(values))) for values, text in written], bool)
    if not there.all():
        gone = ", ".join(cells.values.columns[~there])
        notes.append(f"Targets without any loss left out: {gone}.")
    columns = tuple(c for c, measured in zip(cells.columns, there, strict=True) if measured)
    return Cells(cells.values.loc[:, there], columns, cells.rows[:, there])


def check_losses(
    cells: Cells, notes: list[str], unit: str | None, described: Sequence[Target]
) -> tuple[np.ndarray, list[Finding]]:
    """Return losses and scores (points, targets), with nan for empty cells, and the findings.

    `unit` is the unit of the losses that the user stated; perplexities lie above 1. `described`
    are the targets.
    """
    findings: list[Finding] = []
    values = np.empty(cells.values.shape)
    for i, target in enumerate(described):
        column = f"column {cells.columns[i]}"
        written, rows = cells.values[target.name], cells.rows[:, i]
        values[:, i], wrong = (
            _scores_of_one(column, written, rows, target)
            if target.is_score
            else _losses_of_one(column, written, rows, unit)
        )
        findings += wrong
    # A table without any loss has nothing else to report, unless its cells were refused above.
    if not values.size or np.isnan(values).all():
        return values, findings or [
            Finding("losses", "no loss is measured", "Fill in the loss columns.")
        ]
    empty = int(np.isnan(values).sum())
    if empty and not findings:
        notes.append(f"{empty} of {values.size} loss cells are empty and were left out.")
    return values, findings


def _losses_of_one(
    column: str, written: pd.Series, rows: np.ndarray, unit: str | None
) -> tuple[np.ndarray, list[Finding]]:
    values, text = numbers(written)
    # Laws are fitted to the logarithm of perplexities, which must be above 0.
    least, expected = (
        (1.0, "perplexities that are not above 1 and finite")
        if unit == "perplexity"
        else (0.0, "losses that are not positive and finite")
    )
    # A loss of exactly 0 does not occur in training; a score of 0 does.
    zeros = np.any(values == 0) and not np.any(values < 0)
    score = MAYBE_SCORE.format(written.name) if zeros else ""
    remedy = f"Leave the cell of a diverged run empty, or remove the run.{score}"
    wrong = (values <= least) | np.isinf(values)
    return values, [
        *findings_at(column, text, written, rows, "losses that are text", MEND),
        *findings_at(column, wrong, written, rows, expected, remedy),
    ]


def _scores_of_one(
    column: str, written: pd.Series, rows: np.ndarray, target: Target
) -> tuple[np.ndarray, list[Finding]]:
    """Scores and their findings: text, and values outside the range of the target."""
    values, text = numbers(written, percent=target.unit != "percent")
    distance = target.distance(values)
    wrong = (distance < -EXACT) | (distance > FARTHEST + EXACT) | np.isinf(values)
    outside = (
        f"scores above the maximum {target.maximum:g}, or farther below chance "
        f"{target.chance:g} than that is above it"
    )
    remedy = "Mend them, or describe the range of the target: chance, maximum and unit."
    return values, [
        *findings_at(column, text, written, rows, "scores that are text", MEND),
        *findings_at(column, wrong, written, rows, outside, remedy),
    ]


def note_of_nan(cells: Cells, run: np.ndarray) -> list[str]:
    """Return a note of the losses that are written as nan, and of their runs.

    Only columns that hold other text as well still tell nan from an empty cell.
    """
    stated = np.column_stack(
        [
            np.zeros(len(column), bool)
            if pd.api.types.is_numeric_dtype(column)
            else column.astype("string").str.strip().str.lower().isin(["nan"]).to_numpy(bool)
            for _, column in cells.values.items()
        ]
    )
    if not stated.any():
        return []
    runs = [str(r) for r in dict.fromkeys(run[stated.any(axis=1)])]
    more = f" and {len(runs) - EXAMPLES} more" if len(runs) > EXAMPLES else ""
    lost = counted(stated.sum(), "loss that is", "losses that are")
    return [f"{lost} {NOT_FINITE} ({', '.join(runs[:EXAMPLES])}{more})."]


def check_budgets(column: pd.Series, rows: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """Return budgets (points,) and the findings."""
    values, text = numbers(column, suffixes=True)
    name = f"column {column.name}"
    findings = findings_at(
        name, text, column, rows, "budgets that are text", "Write numbers above 0."
    )
    findings += findings_at(
        name,
        np.isnan(values) & ~text,
        column,
        rows,
        "budgets missing",
        "Every row needs the budget its losses were measured at.",
    )
    wrong = (values <= 0) | np.isinf(values)
    findings += findings_at(
        name,
        wrong,
        column,
        rows,
        "budgets that are not positive and finite",
        "Leave out the row of the untrained model.",
    )
    return values, findings


def check_names(column: pd.Series, rows: np.ndarray, what: str) -> list[Finding]:
    """Find cells without a name, so that no point gets lost."""
    return findings_at(
        f"column {column.name}",
        ~are_named(column),
        column,
        rows,
        f"{what} names missing",
        f"Name the {what} in every row.",
    )


def are_named(column: pd.Series) -> np.ndarray:
    """Return a mask (rows,): True where the cell holds more than blanks."""
    blank = column.astype("string").str.strip().eq("").fillna(True).to_numpy(bool)
    return ~(column.isna().to_numpy(bool) | blank)


def check_summary_rows(
    names: pd.Series, mixture: np.ndarray, loss: np.ndarray, rows: np.ndarray
) -> list[Finding]:
    """Find a row that holds the means of all others, as spreadsheets and `describe` add it."""
    # A run with several budgets in the middle of an even design is no summary.
    alone = ~names.duplicated(keep=False).to_numpy(bool)
    if not alone.any():
        return []  # fast: logs hold many budgets of every run
    values = np.column_stack([mixture, loss])
    there = np.isfinite(values)
    others = there.sum(axis=0) - there
    if len(values) < 4 or not np.isfinite(mixture).all() or not others.all():
        return []
    known = np.where(there, values, 0.0)
    off = np.abs((known.sum(axis=0) - known) / others - values)
    summary = alone & (np.nanmax(off, axis=1) < ROUNDED) & np.isfinite(loss).any(axis=1)
    # Where all losses are nearly one, every row is nearly the mean.
    if not summary.any() or np.nanstd(loss, axis=0).max() < 20 * ROUNDED:
        return []
    return findings_at(
        "rows",
        summary,
        names,
        rows,
        "a row that holds the means of all others",
        "Remove it: it is not a run.",
    )


def check_mixtures_differ(mixture: np.ndarray) -> list[Finding]:
    """Find a sweep of a single mixture, from which no law can be fitted; rows with nan may
    differ."""
    # A mixture with a bad cell has a finding of its own, and may be the other one.
    if np.isnan(mixture).any() or max(map(np.ptp, mixture.T)) > SAME_MIXTURE:
        return []
    return [
        Finding(
            "proportions",
            "all runs have one mixture, so nothing can be learnt about mixtures",
            "Add runs on other mixtures.",
        )
    ]
