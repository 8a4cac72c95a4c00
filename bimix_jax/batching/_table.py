"""A table of many sweeps: sound sweeps are fitted as arrays, the others are read one by one.

`read_sweep` explains every defect of one sweep, in milliseconds; a batch has microseconds per
sweep. So this module checks whole columns at once, and only sweeps that fail a check, or whose
layout or law needs it, are read by `read_sweep`.
"""

import dataclasses
import functools

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from bimix_jax.batching._compiled import BatchMethod, end_to_end
from bimix_jax.batching._parts import SWEEP, joined, table_of_failed, table_of_fits
from bimix_jax.batching._rows import SweepRows
from bimix_jax.batching._run import Progress, fit_rows
from bimix_jax.batching.many import fit_many
from bimix_jax.fitting.shrinkage import has_shrinkage
from bimix_jax.laws.law import Law
from bimix_jax.reading.column_names import says_score
from bimix_jax.reading.names import SILENT_TOLERANCE
from bimix_jax.reading.tables import (
    BUDGET_COLUMNS,
    LOSS_PREFIX,
    MIXTURE_PREFIX,
    RUN_COLUMNS,
    prefixed,
)
from bimix_jax.sweeps.sweep import CHANGED, SAME_MIXTURE

APART = "its rows are not adjacent; sort the table by sweep."


def fit_frame(
    table: pd.DataFrame,
    method: BatchMethod,
    devices: tuple[jax.Device, ...],
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Fit every sweep of a table with a column `sweep`; return what `ManyFits.table` does.

    A sweep whose rows are not adjacent fails, because it would be fitted twice, in parts.
    """
    labels, number = _sweeps_of(table)
    apart = pd.Series(labels).duplicated(keep=False).to_numpy()
    wide = _wide(table, method.law)
    sound = np.zeros(len(labels), bool) if wide is None else wide.sound_sweeps(number) & ~apart
    parts = []
    if wide is not None and sound.any():
        fits, errors = fit_rows(wide.rows(number, sound), method, devices, progress)
        named = [_plain(label) for label in labels[sound]]
        parts.append(table_of_fits(named, method.law, wide.targets, fits, errors))
        if sound.all():
            return parts[0]
    others = np.flatnonzero(~sound & ~apart)
    if len(others):
        singly = table[np.isin(number, others)]
        found = fit_many(
            singly,
            method.law,
            devices=devices,
            progress=progress,
            **dataclasses.asdict(method.options),
        )
        parts.append(found.table())
    parts.append(table_of_failed(dict.fromkeys(labels[apart].tolist(), APART)))
    return joined(parts, labels.tolist())


def _sweeps_of(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Labels (sweeps,) and the number of the sweep (rows,) of each row, by runs of equal labels."""
    labels, new = table[SWEEP], np.ones(len(table), bool)
    if isinstance(labels.dtype, pd.StringDtype):
        # Not as objects of Python, which take most of the time to make.
        new = begins(pa.array(labels))
    else:
        values = labels.to_numpy()
        new[1:] = values[1:] != values[:-1]
    return labels[new].to_numpy(), np.cumsum(new) - 1


def begins(labels: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(rows,) bool: True where a label differs from the one before, or is missing."""
    found = np.ones(len(labels), bool)
    found[1:] = pa.compute.fill_null(pa.compute.not_equal(labels[1:], labels[:-1]), True)
    return found


@dataclasses.dataclass(frozen=True)
class _WideTable:
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    mixture: np.ndarray
    budget: np.ndarray
    loss: np.ndarray
    run: np.ndarray

    def sound_sweeps(self, number: np.ndarray) -> np.ndarray:
        """(sweeps,) bool: True where `read_sweep` would find no defect and change no number."""
        # Column by column, which takes a third of the time of sums along short rows.
        shares, losses = list(self.mixture.T), list(self.loss.T)
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(functools.reduce(np.add, shares) - 1) <= SILENT_TOLERANCE)
            unsound = [~((loss > 0) & (loss < np.inf)) & ~np.isnan(loss) for loss in losses]
        no_budget = ~(np.isfinite(self.budget) & (self.budget > 0))
        run, first, again = self.runs(number)
        wrong = [
            off,
            *(~(share >= 0) for share in shares),
            *unsound,
            no_budget,
            pd.isna(self.run),
            again,
        ]
        if len(first) < len(run):
            wrong += [np.abs(share - share[first][run]) > CHANGED for share in shares]
        sound = np.bincount(number[_any_of(wrong)], minlength=number[-1] + 1) == 0
        begin = np.flatnonzero(np.diff(number, prepend=-1))
        spread = [np.maximum.reduceat(x, begin) - np.minimum.reduceat(x, begin) for x in shares]
        empty = [~np.logical_or.reduceat(np.isfinite(loss), begin) for loss in losses]
        differ = _any_of([x > SAME_MIXTURE for x in spread])
        return sound & differ & ~_any_of(empty) & ~self._may_be_scores(number, run)

    def rows(self, number: np.ndarray, sound: np.ndarray) -> SweepRows:
        """Measurements of the sound sweeps."""
        keep: slice | np.ndarray = slice(None) if sound.all() else sound[number]
        mixture, budget, loss = (
            end_to_end([x[keep]]) for x in (self.mixture, self.budget, self.loss)
        )
        # As `read_sweep` does with sums that are 1 but for rounding.
        mixture /= functools.reduce(np.add, mixture.T)[:, None]
        counts = np.bincount(number, minlength=len(sound))[sound]
        return SweepRows(self.domains, self.targets, counts, mixture, budget, loss)

    def _may_be_scores(self, number: np.ndarray, run: np.ndarray) -> np.ndarray:
        """(sweeps,) bool: True where some target falls in fewer than half of the runs."""
        first, last = _ends_of_runs(run, self.budget)
        runs = np.bincount(number[first], minlength=number[-1] + 1)
        falls = [
            np.bincount(number[first], loss[last] <= loss[first], minlength=len(runs))
            for loss in self.loss.T
        ]
        # A run of one point neither falls nor rises.
        longer = np.bincount(number[first], first != last, minlength=len(runs)) > 0
        return longer & _any_of([2 * fall < runs for fall in falls])

    def runs(self, number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run of each row, first row of each run, and True for each row whose budget repeats.

        Runs are within a sweep, numbered from 0; a budget repeats if its run has it twice.
        """
        if pd.api.types.is_numeric_dtype(self.run) and len(number):
            further, later, other = (x[1:] > x[:-1] for x in (self.run, self.budget, number))
            new, same = further | other, self.run[1:] == self.run[:-1]
            if np.all(new | (same & later)):
                # In order, as files mostly are: seen in a fraction of the time.
                begins = np.append(True, new)
                run = np.cumsum(begins) - 1
                return run, np.flatnonzero(begins), np.zeros(len(number), bool)
        points = pd.DataFrame({"sweep": number, "run": self.run, "budget": self.budget})
        codes = pd.factorize(self.run)[0]
        # One number for the pair (sweep, run); codes begin at −1, for a missing label.
        run = pd.factorize(number * (codes.max() + 2) + codes + 1)[0]
        return run, np.unique(run, return_index=True)[1], points.duplicated().to_numpy()


def _ends_of_runs(run: np.ndarray, budget: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(runs,) rows of the least and of the largest budget of each run."""
    ordered = np.all((run[1:] > run[:-1]) | ((run[1:] == run[:-1]) & (budget[1:] > budget[:-1])))
    order = np.arange(len(run)) if ordered else np.lexsort((budget, run))
    new = np.append(True, run[order][1:] != run[order][:-1])
    begins = np.flatnonzero(new)
    return order[begins], order[np.append(begins[1:], len(run)) - 1]


def _any_of(conditions: list[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.logical_or, conditions)


def _wide(table: pd.DataFrame, law: Law) -> _WideTable | None:
    """Columns of a wide table of numbers; None for other tables and for laws of single sweeps."""
    domains, targets = prefixed(table, MIXTURE_PREFIX), prefixed(table, LOSS_PREFIX)
    budget = [c for name in BUDGET_COLUMNS for c in table if c == name]
    run = [c for name in RUN_COLUMNS for c in table if c == name]
    known = {*domains, *targets, *budget, *run, SWEEP}
    numeric = all(pd.api.types.is_numeric_dtype(table[c]) for c in [*domains, *targets, *budget])
    single = law.needs_size or type(law).for_sweep is not Law.for_sweep
    if not (domains and targets and budget and run and numeric) or {*table} - known or single:
        return None
    # These need what `read_sweep` finds out about one sweep: folds, capacities, scores.
    kept = {c: t for c, t in targets.items() if not law.needs_own or t in domains.values()}
    scores = any(says_score(t) for t in targets.values() if t not in domains.values())
    if len(kept) < len(targets) or has_shrinkage(law, len(domains)) or scores:
        return None
    return _WideTable(
        tuple(domains.values()),
        tuple(targets.values()),
        table[list(domains)].to_numpy(float),
        table[budget[0]].to_numpy(float),
        table[list(targets)].to_numpy(float),
        _run_labels(table[run[0]]),
    )


def _run_labels(labels: pd.Series) -> np.ndarray:
    """Convert labels to numbers where all look like numbers, which compare many times as fast."""
    if not isinstance(labels.dtype, pd.StringDtype):
        return labels.to_numpy()
    text = pa.array(labels, pa.string())
    try:
        numbers = text.cast(pa.int64())
    except pa.ArrowInvalid:
        return labels.to_numpy(object)
    return numbers.to_numpy(False) if numbers.cast(pa.string()).equals(text) else labels.to_numpy()


def _plain(label: object) -> object:
    return label.item() if isinstance(label, np.generic) else label
