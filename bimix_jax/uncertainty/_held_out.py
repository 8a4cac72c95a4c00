"""Losses of runs beside the predictions of fits that did not see these runs."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from bimix_jax.fitting.coefficients import FAILED, predict_losses
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.searches import Drawn
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty._resamples import CLOSE, fit_resamples
from bimix_jax.uncertainty._spread import known_mean
from bimix_jax.xla.compilation import jit

SHORTLY = 1.2
"""Least ratio of the largest budget to the later end: a smaller one shows noise, not growth."""
PARTS = 4
"""Number of parts of the mixtures, each of which is left out of the fits to a cut sweep."""
LEAST_AHEAD = 3
"""Least number of units measured at a budget that show how errors differ there."""


class HeldOut(NamedTuple):
    """Measured losses, and the predictions of fits without the mixture of each row."""

    mixture: np.ndarray
    """(rows, domains)"""
    budget: np.ndarray
    """(rows,)"""
    unit: np.ndarray
    """(rows,) int, number of the mixture or run that was left out"""
    measured: np.ndarray
    """(rows, targets), nan where not measured"""
    predicted: np.ndarray
    """(rows, targets), nan where the fit failed or has no value"""
    last: np.ndarray
    """(rows,) largest budget that the fit saw; below that of the row where later ones were left
    out as well"""
    size: np.ndarray
    """(rows,) parameters of the model, 1 where all are of one size"""

    @property
    def within(self) -> np.ndarray:
        """(rows,) bool: the fit saw budgets as large as that of the row."""
        return np.asarray(self.budget <= self.last * (1 + 1e-9))

    def take(self, rows: np.ndarray) -> "HeldOut":
        """Select rows."""
        return HeldOut(*(part[rows] for part in self))

    def nearest(self, budget: float, size: float | None) -> "HeldOut":
        """Select one row per unit, that at the budget (and the size) nearest by ratio."""
        usable = np.flatnonzero(self.within & np.isfinite(self.measured).any(axis=1))
        apart = np.abs(np.log(self.budget[usable] / budget))
        if size is not None:
            apart += np.abs(np.log(self.size[usable] / size))
        # Of the rows in order of unit and distance, the first of each unit is the nearest.
        order = usable[np.lexsort((apart, self.unit[usable]))]
        return self.take(order[np.unique(self.unit[order], return_index=True)[1]])

    @property
    def beyond(self) -> "HeldOut":
        """Rows at budgets that their fits did not see."""
        return self.take(~self.within)

    @property
    def error(self) -> np.ndarray:
        """(rows, targets) ln y − ln ŷ, nan where either is missing."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.log(self.measured) - np.log(self.predicted))

    def errors_at(self, budget: float, size: float | None, nearest: "HeldOut") -> np.ndarray:
        """(units, targets) errors at a budget (and a size), from the row of each unit `nearest` it,
        by their `scale_at`."""
        return nearest.error * self.scale_at(budget, size, nearest)

    def scale_at(self, budget: float, size: float | None, nearest: "HeldOut") -> np.ndarray:
        """(units, targets) factor of the errors in the row of each unit `nearest` a budget.

        Units that were not measured near the budget, as runs that ended earlier, would show too
        small errors. Theirs are scaled by how those of the other units differ between the budget
        and that of their row, in the median; 1 for the other units.
        """
        error, budgets = nearest.error, nearest.budget
        scale = np.ones_like(error)
        measured = np.clip(budget, budgets.min(initial=np.inf), budgets.max(initial=0.0))
        far = np.abs(np.log(budgets / measured)) > np.log(SHORTLY)
        if not far.any() or np.sum(~far) < LEAST_AHEAD:
            return scale
        others = self.take(np.isin(self.unit, nearest.unit[~far]))
        before = others.nearest(float(np.median(budgets[far])), size)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = known_mean(np.abs(error[~far])) / known_mean(np.abs(before.error))
        scale[far] = np.where(np.isfinite(ratio), np.maximum(ratio, 1.0), 1.0)
        return scale

    @property
    def tested(self) -> float:
        """Largest ratio of a row's budget to the largest budget of its fit, 1 where none is."""
        return float(np.max(self.budget / self.last, initial=1.0))


def rows_of_units(
    left_out: Fit, sweep: Sweep, unit: np.ndarray, used: np.ndarray, columns: list[int]
) -> HeldOut:
    """Predict the points of every unit by the fit without it.

    Args:
        left_out: fits with a leading axis (units,).
        sweep: what was fitted.
        unit: (points,) int, the unit of each point.
        used: (points,) bool, points that count.
        columns: (targets,) of the fit, in the sweep.
    """
    rows = [np.flatnonzero(used & (unit == number)) for number in range(len(left_out.code))]
    last = np.full(len(rows), sweep.budget[used].max())
    return _held_out(left_out, sweep, unit, rows, columns, last)


def rows_beyond(fitted: Fit, task: FitTask, unit: np.ndarray, used: np.ndarray) -> HeldOut | None:
    """Predict later budgets of mixtures by fits that saw neither these budgets nor the mixtures.

    The sweep is cut off at a few of its budgets, each time without some of the mixtures. None
    where too few budgets would be left for the curve of the law.
    """
    sweep = task.sweep
    budgets = np.unique(sweep.budget[used])
    ends = _ends(budgets, task.law.curve)
    if not len(ends):
        return None
    part = np.unique(unit, return_inverse=True)[1] % PARTS
    cuts = [(end, number) for end in ends for number in range(PARTS) if np.any(part != number)]
    seen = np.stack([(sweep.budget <= end) & (part != number) for end, number in cuts])
    # Weights by budget are relative to the largest one, of which the pull of a shrinkage must not
    # depend: they count from the last budget that is left.
    factor = seen * np.array([budgets[-1] / end for end, _ in cuts])[:, None] ** (
        fitted.options.budget_power
    )
    found = fit_resamples(fitted, task, Drawn(factor, np.arange(len(unit))), None, CLOSE)
    rows = [np.flatnonzero(used & (sweep.budget > end) & (part == number)) for end, number in cuts]
    return _held_out(found, sweep, unit, rows, task.columns, np.array([end for end, _ in cuts]))


def _ends(budgets: np.ndarray, curve: int) -> np.ndarray:
    """Budgets at which a sweep is cut off: the middle one, and one shortly before the last.

    The early cut tests far, and the late one shows how errors grow where the sweep ends. At least
    `curve` budgets are left.

    >>> _ends(np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]), 3).tolist()
    [4.0, 16.0]
    """
    left = budgets[curve - 1 : -1]
    if not len(left):
        return left
    late = left[left * SHORTLY <= budgets[-1]]
    return np.unique([left[max(len(budgets) // 2 - curve, 0)], *late[-1:]])


def _held_out(
    fits: Fit,
    sweep: Sweep,
    unit: np.ndarray,
    rows: Sequence[np.ndarray],
    columns: list[int],
    last: np.ndarray,
) -> HeldOut:
    """Predict rows[i] of a sweep by fit i, whose largest budget is last[i]."""
    # Filled up to a power of two, so that one program predicts the rows of all fits.
    most = 1 << (max(map(len, rows)) - 1).bit_length()
    padded = np.stack(
        [np.resize(each, most) if len(each) else np.zeros(most, int) for each in rows]
    )
    size = None if sweep.size is None else sweep.size[padded]
    points = sweep.mixture[padded], sweep.budget[padded], size
    losses = np.array(_predict_own(fits.law, fits.coefficients, *points))
    failed = np.isin(fits.code, FAILED)[:, None] | ~np.isfinite(losses)
    losses = np.where(failed, np.nan, losses)
    real = np.arange(most) < np.array([len(each) for each in rows])[:, None]
    flat = padded[real]
    return HeldOut(
        sweep.mixture[flat],
        sweep.budget[flat],
        unit[flat],
        sweep.loss[flat][:, columns],
        losses[real],
        np.broadcast_to(last[:, None], padded.shape)[real],
        np.ones(len(flat)) if sweep.size is None else sweep.size[flat],
    )


def joined(first: HeldOut, second: HeldOut | None) -> HeldOut:
    """Put the rows of two together."""
    if second is None:
        return first
    return HeldOut(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))


def _predict_fits(law: Law, coefficients: Any, mixture: Any, budget: Any, size: Any) -> Any:
    """Losses (fits, rows, targets) of mixtures (fits, rows, domains) at budgets (fits, rows)."""
    axes = (0, 0, 0, None if size is None else 0)
    by_fit = jax.vmap(functools.partial(predict_losses, law), in_axes=axes)
    return by_fit(coefficients, mixture, budget, size)


_predict_own = jit(_predict_fits, static_argnums=0, x64=True)
