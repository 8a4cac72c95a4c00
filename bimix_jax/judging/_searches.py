"""Fits of one law to the train parts of a sweep, and their predictions at held-out points."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bimix_jax.fitting.options import FitOptions, budget_weight
from bimix_jax.fitting.program import solve
from bimix_jax.fitting.stacked import combined
from bimix_jax.fitting.task import FitTask, Purpose, choose_folds
from bimix_jax.laws.law import Law
from bimix_jax.sweeps.splits import Split
from bimix_jax.sweeps.sweep import Sweep

TOLERANCE = 1e-4
"""Of a judged fit, on the scaled gradient. On three real sweeps it moves a prediction by 1.4e-3 of
itself at most and no law's mean error by more than 5e-4 of itself, and leads out of flat valleys in
half the steps."""


WILD = 100.0
"""Multiple of the largest measured loss of a target above which a prediction is none: few runs can
leave a coefficient at 0 that divides."""


class HeldOut(NamedTuple):
    """Fits of one law to some splits, as arrays."""

    splits: np.ndarray
    """(splits,) int, their numbers"""
    predicted: np.ndarray
    """(splits, points, targets) losses, also of the points that were fitted"""
    code: np.ndarray
    """(splits, targets) int, see `Code`"""
    usable: np.ndarray
    """(points, targets) bool: the law has a value there"""
    agreement: np.ndarray
    """(splits, targets) share of the searches that reach the best optimum of the train part"""
    called: tuple[str, ...]
    """(splits,) simplest law to which each fit reduces"""

    def joined(self, other: "HeldOut") -> "HeldOut":
        """Add fits of the same law to other splits."""
        own = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("splits", "predicted", "code", "agreement")
        }
        return self._replace(called=self.called + other.called, **own)

    def only(self, splits: np.ndarray) -> "HeldOut":
        """Select the fits to these splits, in this order."""
        places = [self.splits.tolist().index(split) for split in splits]
        own = {
            name: getattr(self, name)[places]
            for name in ("splits", "predicted", "code", "agreement")
        }
        return self._replace(called=tuple(self.called[place] for place in places), **own)


def predict_splits(
    sweep: Sweep,
    law: Law,
    splits: Sequence[Split],
    targets: Sequence[str],
    options: FitOptions,
) -> HeldOut:
    """Fit a law to the train part of every split and predict all points.

    As in `fit`, a shrinkage without a given strength is chosen within each train part, for the
    purpose of the split, and the fit is searched from all starts of the law. So no held-out loss
    affects a fit. Points are weighted by their budget where later budgets are held out, see
    `_weights_of`.
    """
    # Weights by budget are those of each split, below.
    alike = dataclasses.replace(options, budget_power=0.0)
    task = FitTask.of(sweep, law, alike, targets)
    factor = np.stack([_weights_of(sweep, split, options.budget_power) for split in splits])
    folds = [choose_folds(sweep, split.train, purpose_of(sweep, split)) for split in splits]
    solved = solve(task, factor, folds, tolerance=TOLERANCE)
    found: Any = solved.fit
    ends = zip(found.coefficients.exponents, found.code, strict=True)
    called = tuple(task.called(*end) for end in ends)
    predicted = np.moveaxis(solved.predicted, 1, 2)
    with np.errstate(invalid="ignore"):
        sane = predicted <= WILD * np.nanmax(task.loss, axis=0, initial=0.0)
    predicted = np.where(sane, predicted, np.nan)
    number = np.arange(len(splits))
    return HeldOut(number, predicted, found.code, task.valued, found.agreement, called)


def stacked(law: Law, members: Sequence[HeldOut]) -> HeldOut:
    """Fits of a law with members from those of its members, to the splits that all have."""
    shared = functools.reduce(np.intersect1d, [member.splits for member in members])
    members = [member.only(shared) for member in members]
    each = zip(*(member.called for member in members), strict=True)
    called = tuple(names[0] if len(set(names)) == 1 else law.label for names in each)
    return HeldOut(
        members[0].splits,
        combined(law, np.stack([member.predicted for member in members])),
        np.min([member.code for member in members], axis=0),
        np.any([member.usable for member in members], axis=0),
        np.mean([member.agreement for member in members], axis=0),
        called,
    )


def purpose_of(sweep: Sweep, split: Split) -> Purpose:
    """Purpose of the split: later budgets where it holds out only those, else mixtures."""
    unseen = np.setdiff1d(sweep.mixture_group[split.test], sweep.mixture_group[split.train])
    return "budgets" if later_held_out(sweep, split) and not len(unseen) else "mixtures"


def later_held_out(sweep: Sweep, split: Split) -> bool:
    """True where all held-out budgets are larger than the fitted ones."""
    return bool(sweep.budget[split.test].min() > sweep.budget[split.train].max())


def _weights_of(sweep: Sweep, split: Split, budget_power: float) -> np.ndarray:
    """(points,) 0 outside the train part; by budget where later ones are held out, else 1."""
    power = budget_power if later_held_out(sweep, split) else 0.0
    return split.train * budget_weight(sweep.budget, sweep.largest_budget, power)
