"""What can be wrong with a table of runs; all findings at once, each with how to mend it."""

import dataclasses
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

SUM_TOLERANCE = 0.02
"""Rows of proportions this close to 1 are normalised; further ones are errors."""
SILENT_TOLERANCE = 1e-5
"""Rows this close to 1 are rounded in the last digit, which needs no warning."""
PERPLEXITY = 20.0
"""A median loss above this many nats is taken for a perplexity."""
RISE = 0.02
"""A curve that ends this far (relative) above its least loss is said to rise."""
EXAMPLES = 3
MISSING_WORDS = {"", "nan", "na", "n/a", "none", "null"}


class SweepError(ValueError):
    """A table that is no sweep; the message lists every finding with its remedy."""


class SweepWarning(UserWarning):
    """Something about a sweep that a person should know; also kept in `Sweep.notes`."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing wrong, where, and how to mend it."""

    column: str
    problem: str
    remedy: str
    rows: tuple[int, ...] = ()
    """rows of the table, the first below the header being 1"""
    values: tuple[object, ...] = ()

    def __str__(self) -> str:
        """The finding as one line, with its first examples."""
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
    """Say it now and keep it."""
    notes.append(message)
    warnings.warn(message, SweepWarning, stacklevel=2)


def numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Values as float64 with nan for empty cells, and a mask of cells that hold text."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    words = column.astype("string").str.strip().str.lower()
    empty = (column.isna() | words.isin(list(MISSING_WORDS))).fillna(True).to_numpy(bool)
    return values, np.isnan(values) & ~empty


def _at(column: str, mask: np.ndarray, table: pd.Series, rows: np.ndarray, *text: str) -> list:
    if not mask.any():
        return []
    found = np.flatnonzero(mask)
    values = tuple(table.iloc[i] for i in found[:EXAMPLES])
    return [Finding(column, text[0], text[1], tuple(int(r) for r in rows[found]), values)]


def check_proportions(
    table: pd.DataFrame, rows: np.ndarray, prefix: str, notes: list[str]
) -> tuple[np.ndarray, list[Finding]]:
    """Proportions (points, domains), normalised, and what is wrong with them."""
    findings: list[Finding] = []
    values = np.empty(table.shape)
    for i, name in enumerate(table.columns):
        column = f"column {prefix}{name}"
        values[:, i], text = numbers(table[name])
        findings += _at(column, text, table[name], rows, "proportions that are text",
                        "Write numbers between 0 and 1.")  # fmt: skip
        findings += _at(column, np.isnan(values[:, i]) & ~text, table[name], rows,
                        "proportions missing", "Fill them in; 0 is a value.")  # fmt: skip
        wrong = (values[:, i] < 0) | np.isinf(values[:, i])
        findings += _at(column, wrong, table[name], rows, "proportions negative or infinite",
                        "Shares of the training data lie between 0 and 1.")  # fmt: skip
    if findings or not len(values):
        return values, findings
    return _normalised(values, rows, notes)


def _normalised(
    values: np.ndarray, rows: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, list[Finding]]:
    total = values.sum(axis=1)
    if np.all(np.abs(total - 100) <= 100 * SUM_TOLERANCE):
        warn("The proportions sum to 100 in every row: taken as percentages, divided by 100.", notes)
        values, total = values / 100, total / 100
    wrong = np.abs(total - 1) > SUM_TOLERANCE
    findings = _at("proportions", wrong, pd.Series(total.round(6)), rows,
                   "rows that do not sum to 1",
                   "Check for a missing domain column, or divide each row by its sum.")  # fmt: skip
    rounded = np.abs(total - 1) > SILENT_TOLERANCE
    if rounded.any() and not findings:
        warn(
            f"{rounded.sum()} of {len(total)} rows of proportions summed to "
            f"{total.min():.4g}-{total.max():.4g} and were normalised to 1.",
            notes,
        )
    return values / np.where(total > 0, total, 1.0)[:, None], findings


def check_losses(
    table: pd.DataFrame, rows: np.ndarray, prefix: str, notes: list[str]
) -> tuple[np.ndarray, list[Finding]]:
    """Losses (points, targets) with nan for empty cells, and what is wrong with them."""
    findings: list[Finding] = []
    values = np.empty(table.shape)
    for i, name in enumerate(table.columns):
        column = f"column {prefix}{name}"
        values[:, i], text = numbers(table[name])
        findings += _at(column, text, table[name], rows, "losses that are text",
                        "Write numbers, or leave the cell empty.")  # fmt: skip
        with np.errstate(invalid="ignore"):
            wrong = (values[:, i] <= 0) | np.isinf(values[:, i])
        findings += _at(column, wrong, table[name], rows, "losses that are not positive and finite",
                        "Leave the cell of a diverged run empty, or remove the run.")  # fmt: skip
    empty = int(np.isnan(values).sum())
    if empty and not findings:
        notes.append(f"{empty} of {values.size} loss cells are empty and were left out.")
    if not findings and np.isfinite(values).any() and np.nanmedian(values) > PERPLEXITY:
        warn(
            f"The median loss is {np.nanmedian(values):.3g}: this looks like perplexities. The "
            "laws are for mean cross-entropy in nats per token; take the logarithm.",
            notes,
        )
    return values, findings


def check_budgets(column: pd.Series, rows: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """Budgets (points,), and what is wrong with them."""
    values, text = numbers(column)
    name = f"column {column.name}"
    findings = _at(name, text, column, rows, "budgets that are text", "Write numbers above 0.")
    findings += _at(name, np.isnan(values) & ~text, column, rows, "budgets missing",
                    "Every row needs the budget its losses were measured at.")  # fmt: skip
    with np.errstate(invalid="ignore"):
        wrong = (values <= 0) | np.isinf(values)
    findings += _at(name, wrong, column, rows, "budgets that are not positive and finite",
                    "Leave out the row of the untrained model.")  # fmt: skip
    return values, findings


def check_points(
    run: np.ndarray, budget: np.ndarray, mixture: np.ndarray, rows: np.ndarray
) -> list[Finding]:
    """Duplicate points, runs that change their mixture, and a single mixture."""
    points = pd.DataFrame({"run": run, "budget": budget})
    labels = points["run"] + " at " + points["budget"].map("{:g}".format)
    findings = _at("run and budget", points.duplicated().to_numpy(), labels, rows,
                   "the same point twice",
                   "Keep one row, or name the column that tells the runs apart with run=.")  # fmt: skip
    first = pd.DataFrame(mixture).groupby(run, sort=False).transform("first").to_numpy()
    changed = np.any(np.abs(mixture - first) > 1e-4, axis=1)
    findings += _at("run", changed, points["run"], rows, "a run with two mixtures",
                    "A run is trained on one mixture; give the others labels of their own.")  # fmt: skip
    if len(np.unique(mixture.round(6), axis=0)) < 2:
        findings.append(
            Finding(
                "proportions",
                "all runs have one mixture, so nothing can be learnt about mixtures",
                "Add runs on other mixtures.",
            )
        )
    return findings


def warn_of_rising(run: np.ndarray, budget: np.ndarray, loss: np.ndarray, notes: list[str]) -> None:
    """Warn of curves whose last loss is clearly above their least."""
    order = np.argsort(budget, kind="stable")
    table = pd.DataFrame(loss[order]).groupby(run[order])
    rising = (table.last() > (1 + RISE) * table.min()).to_numpy()
    if rising.any():
        warn(
            f"{rising.sum()} of {rising.size} curves end more than {100 * RISE:g} % above their "
            "least loss: look for diverged runs.",
            notes,
        )


def names_in_common(domains: Iterable[str], targets: Iterable[str]) -> list[Finding]:
    """A finding if no domain and target share a name."""
    if set(domains) & set(targets):
        return []
    return [
        Finding(
            "columns",
            f"no name is both a domain ({', '.join(domains)}) and a target ({', '.join(targets)})",
            "Give a target the name of the domain it measures.",
        )
    ]
