"""Differences of an objective between mixtures: value, variance and probability."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from bimix_jax.mixture.decision import Decision
from bimix_jax.uncertainty._held_out import HeldOut
from bimix_jax.uncertainty._spread import (
    OWN_SHARE,
    Spread,
    deviation_of_most,
    growth_of,
    known_median,
    known_variance,
)
from bimix_jax.uncertainty.bootstrap import VARIANCE, Bootstrap


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """The decision's objective at every unit that was left out, at the budget nearest to its."""

    held_out: HeldOut
    """all rows in which every loss that counts is measured and predicted"""
    rows: HeldOut
    """one row per unit"""
    predicted: np.ndarray
    """(units,) objective that the fit without the unit predicts"""
    measured: np.ndarray
    """(units,)"""
    whole: np.ndarray
    """(units,) objective that the fit to the whole sweep predicts"""
    resampled: np.ndarray
    """(resamples, units) those that the resamples predict"""
    counted: np.ndarray
    """(resamples, units) bool: resamples whose spread at the unit counts"""

    @classmethod
    def of(cls, bootstrap: Bootstrap, decision: Decision) -> "LeftOut":
        """Take the losses that a bootstrap holds."""
        held_out, law = bootstrap.held_out_rows, decision.fitted.law
        counted = decision.weights > 0
        # A mixture counts where every loss that does is measured and the law has a value.
        complete = np.isfinite((held_out.measured * held_out.predicted)[:, counted]).all(axis=1)
        held_out = held_out.take(complete)
        rows = held_out.nearest(decision.budget, getattr(law, "size", None))
        points = rows.mixture, rows.budget, rows.size if law.needs_size else None
        losses = (
            rows.predicted,
            rows.measured,
            decision.fitted.predict_points(*points),
            bootstrap.predict_points(*points, VARIANCE),
        )
        predicted, measured, whole, resampled = map(decision.objectives, losses)
        counted = np.isfinite(bootstrap.without_their_unit(resampled, rows.unit))
        return cls(held_out, rows, predicted, measured, whole, resampled, counted)

    def errors(self) -> tuple[float, Spread]:
        """Slope of measured objectives in predicted ones, and the spread of the differences."""
        (found,) = self.errors_of_each(np.arange(len(self.predicted))[None])
        return found

    def errors_of_each(self, used: np.ndarray) -> Iterator[tuple[float, Spread]]:
        """Slope and spread as `errors` gives them, from every set of units, `used` (sets, n)."""
        slopes, errors = _slopes(self.predicted[used.T], self.measured[used.T])
        for slope, error, some in zip(slopes.tolist(), errors.T, used, strict=True):
            resampled = self.resampled[:, some] / self.whole[some] - 1
            yield slope, Spread.of_differences(error, slope * resampled, self.counted[:, some])


@dataclasses.dataclass(frozen=True)
class Differences:
    """How sure a difference of the objective between two mixtures is, at the decision's budget.

    Errors of the law count in it as far as they differ between the mixtures that were left out:
    what all of them share cancels.
    """

    spread: Spread
    """relative errors of the difference between two units"""
    ratio: float
    """budget of the decision over the largest one of the sweep"""
    tested: float
    """largest such ratio at which later budgets were left out"""
    distance: float
    """mean total variation distance between two units"""
    slope: float = 1.0
    """share of a predicted difference that is expected; below 1 where the law exaggerates"""

    @classmethod
    def of(cls, bootstrap: Bootstrap, decision: Decision) -> "Differences":
        """Measure the errors of the decision's objective at every unit that was left out."""
        units = LeftOut.of(bootstrap, decision)
        slope, spread = units.errors()
        later = units.held_out.beyond
        beyond = _relative(decision, later.predicted, later.measured)
        growth = OWN_SHARE * growth_of(
            _apart(beyond, later.last, later.budget)[:, None],
            spread.square,
            later.budget,
            later.last,
            decision.fitted.observed_budgets,
        )
        ratio = decision.budget / float(decision.fitted.observed_budgets[1])
        spread = dataclasses.replace(spread, growth=growth)
        return cls(spread, ratio, units.held_out.tested, mean_distance(units.rows.mixture), slope)

    def variance(self, sampling: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Variance (pairs,) of relative differences between mixtures.

        Args:
            sampling: (pairs,) variance over the resamples of what the law predicts.
            distance: (pairs,) total variation distance of the mixtures. The error of a law is much
                the same at near mixtures: its difference grows like a random walk, its variance
                in proportion to the distance, as on the sweeps of `benchmarks/calibration.py`.
        """
        share = np.asarray(distance) / self.distance
        scaled = self.slope**2 * np.asarray(sampling)
        return self.spread.variance(scaled[:, None], self.ratio, share)[:, 0]

    def probability(
        self, difference: np.ndarray, variance: np.ndarray, room: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Probability (pairs,) that the true difference is above −room, of one predicted."""
        value = self.slope * difference + room
        return self.spread.probability(value[:, None], variance[:, None])[:, 0]


def better(
    bootstrap: Bootstrap,
    decision: Decision,
    first: np.ndarray,
    second: np.ndarray,
    errors: Differences | None = None,
) -> np.ndarray:
    """Probability (pairs,) that the first of two mixtures has the lower objective.

    Args:
        bootstrap: the fit and its resamples.
        decision: what is compared, at which budget.
        first: (pairs, domains).
        second: (pairs, domains).
        errors: of the decision, where they are known.
    """
    made = Differences.of(bootstrap, decision) if errors is None else errors
    difference, sampling, distance = differences_of(bootstrap, decision, first, second)
    return made.probability(difference, made.variance(sampling, distance))


def differences_of(
    bootstrap: Bootstrap, decision: Decision, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Relative differences (pairs,) of the objective of the second mixtures from the first, their
    variance over the resamples, and the total variation distance of the mixtures."""
    both, count = np.concatenate([first, second]), len(first)
    whole = decision.objectives(decision.fitted.predict_points(both, decision.budget))
    each = decision.objectives(bootstrap.predict_points(both, decision.budget, None, VARIANCE))
    distance = np.abs(first - second).sum(axis=1) / 2
    with np.errstate(invalid="ignore"):  # infinite where the law has no value
        sampling = known_variance(each[:, count:] / each[:, :count])
        return whole[count:] / whole[:count] - 1, sampling, distance


PAIRS = 10_000
"""Number of pairs that are enough for a mean distance."""


def mean_distance(mixtures: np.ndarray) -> float:
    """Mean total variation distance of mixtures (mixtures, domains), of some pairs of many."""
    count = len(mixtures)
    rng = np.random.default_rng(0)
    one, other = (
        np.triu_indices(count, 1) if count**2 < PAIRS else rng.integers(count, size=(2, PAIRS))
    )
    apart = np.abs(mixtures[one] - mixtures[other]).sum(axis=1)[one != other] / 2
    return float(apart.mean()) if len(apart) else 1.0


EXPECTED = 0.25
"""Standard deviation of the slope of a law that misses nothing known, around 1."""
ASTRAY = 4.685
"""Error, in standard deviations of most errors, of a fit that went astray without a unit and says
nothing about the slope: the usual constant of the biweight, which costs 5 % with normal errors."""
ROUNDS = 20
"""Number of weighted least squares of a slope; few change it after the third."""


def _slopes(predicted: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of measured objectives in those predicted without the unit, and the errors.

    A law without some effects puts what they do down to others, and exaggerates differences where
    these are combined otherwise. The slope is that of a robust regression (Tukey's biweight, from a
    slope of 1), shrunk towards 1 by its standard error (empirical Bayes), and at most 1. Errors are
    relative to the median.

    Args:
        predicted: (units, …), a regression for each of what is behind the units.
        measured: (units, …).
    """
    known = np.isfinite(predicted) & np.isfinite(measured)
    middle = known_median(np.where(known, predicted, np.nan))
    along, across = (np.where(known, part / middle - 1, np.nan) for part in (predicted, measured))
    fitted, error = _regressions(along, across)
    # Where nothing limits the error, this is nan, and the slope 1.
    with np.errstate(invalid="ignore"):
        shrunk = np.fmin(1.0, (error + EXPECTED**2 * fitted) / (error + EXPECTED**2))
    slopes = np.where(known.sum(axis=0) > 3, shrunk, 1.0)
    return slopes, across - slopes * along


def _regressions(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (…) of y in x, each (units, …), by the biweight, and the squares of their standard
    errors, infinite where x does not vary."""
    slope, error = np.ones(x.shape[1:]), np.full(x.shape[1:], np.inf)
    for _ in range(ROUNDS):
        weight = _biweight(y - slope * x)
        total = weight.sum(axis=0)
        with np.errstate(all="ignore"):
            across, along = (part - np.nansum(weight * part, axis=0) / total for part in (y, x))
            spread = np.nansum(weight * along**2, axis=0)
            found = np.nansum(weight * along * across, axis=0) / spread
            missed = np.nansum(weight * (across - found * along) ** 2, axis=0)
            square = missed / (total - 2) / spread
        # Where a slope is not determined, it stays what it was.
        enough = (total > 2) & (spread > 0)
        slope, error = np.where(enough, found, slope), np.where(enough, square, error)
    return slope, error


def _biweight(errors: np.ndarray) -> np.ndarray:
    """Weights (units, …) of errors: 1 in their middle, 0 from `ASTRAY` on, and for nan."""
    apart = errors - known_median(errors)
    size = deviation_of_most(apart)
    with np.errstate(all="ignore"):
        weight = np.maximum(1 - (apart / (ASTRAY * size)) ** 2, 0.0) ** 2
    # Where most errors are 0, nothing is known about the rest.
    return np.where(np.isfinite(apart), np.where(size > 0, weight, 1.0), 0.0)


def _relative(decision: Decision, predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Objectives of measured over those of predicted losses (…, targets), − 1."""
    return np.asarray(decision.objectives(measured) / decision.objectives(predicted) - 1)


def _apart(error: np.ndarray, *groups: Any) -> np.ndarray:
    """Errors (rows,) without their mean in each group, of the size of differences of two."""
    _, number = np.unique(np.column_stack(groups), axis=0, return_inverse=True)
    known, number = np.isfinite(error), number.reshape(-1)
    count = np.bincount(number[known], minlength=number.max(initial=0) + 1)
    total = np.bincount(number[known], error[known], minlength=len(count))
    # With a single one there is no difference.
    mean = np.where(count > 1, total / np.maximum(count, 1), np.nan)[number]
    return (error - mean) * np.sqrt(2 * count / np.maximum(count - 1, 1))[number]
