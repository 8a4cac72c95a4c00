"""Calibration from the units that a bootstrap left out; no fit is made."""

import numpy as np

from bimix_jax.mixture.decision import Decision
from bimix_jax.uncertainty._differences import Differences, LeftOut, mean_distance
from bimix_jax.uncertainty._held_out import HeldOut
from bimix_jax.uncertainty._spread import Spread, known_variance
from bimix_jax.uncertainty.bootstrap import FEWEST, Bootstrap
from bimix_jax.uncertainty.calibration import LEVELS, Calibration

MOST_PAIRS = 500
"""Number of pairs that are judged, drawn where there are more: they share few units, so that more
of them tell little more."""


def calibration_of_left_out(bootstrap: Bootstrap, decision: Decision) -> Calibration:
    """Intervals and probabilities at every unit, by the errors at the others.

    The loss of a unit is predicted by the fit without it, and the interval around that comes from
    the errors of the other units, as the jackknife+ of Barber et al. (2021) has it. Pairs are
    compared by the objective of the decision, with the errors at all units but the two.

    Args:
        bootstrap: the fit, its resamples, and the fits without a unit.
        decision: whose objective is compared, at whose budget, or that nearest to it.
    """
    held_out = bootstrap.held_out_rows
    at = decision.budget, getattr(bootstrap.fitted.law, "size", None)
    rows, sampling = held_out.nearest(*at), bootstrap.spread(decision.budget).sampling
    # The intervals are those at the budgets that were measured.
    half = np.array(
        [
            _half_widths(held_out, rows, at, sampling, number) / scale
            for number, scale in enumerate(held_out.scale_at(*at, rows))
        ]
    )
    claimed, right = _pairs(LeftOut.of(bootstrap, decision))
    # (units, levels, targets) → (levels, units, targets)
    return Calibration(
        bootstrap.fitted.targets, rows.error, np.swapaxes(half, 0, 1), claimed, right
    )


def _half_widths(
    held_out: HeldOut,
    rows: HeldOut,
    at: tuple[float, float | None],
    sampling: np.ndarray,
    number: int,
) -> np.ndarray:
    """Half the widths (levels, targets) of the intervals of one unit, from the other units.

    `rows` are those of all units nearest to the budget and the size that `at` holds.
    """
    unit = rows.unit[number]
    others = rows.unit != unit
    error = held_out.take(held_out.unit != unit).errors_at(*at, rows.take(others))
    spread = Spread.of(error, sampling[others])
    variance = spread.variance(sampling[~others])
    return np.array([spread.half_width(variance, level)[0] for level in LEVELS])


def _pairs(units: LeftOut) -> tuple[np.ndarray, np.ndarray]:
    """Claimed probability (pairs,), 0.5 or more, and whether the claim was right."""
    one, other = np.triu_indices(len(units.measured), 1)
    # The loss at a larger budget is lower whatever the mixture is.
    same = np.isclose(units.rows.budget[one], units.rows.budget[other], rtol=1e-9)
    pairs = np.stack([one[same], other[same]], axis=1)
    if len(pairs) > MOST_PAIRS:
        pairs = np.random.default_rng(0).choice(pairs, MOST_PAIRS, replace=False)
    usual, several = mean_distance(units.rows.mixture), np.arange(len(units.measured))
    others = np.array([several[~np.isin(several, pair)] for pair in pairs], int)
    errors = units.errors_of_each(others.reshape(len(pairs), -1))
    found = [
        _better(units, first, second, Differences(spread, 1.0, 1.0, usual, slope))
        for (first, second), (slope, spread) in zip(pairs, errors, strict=True)
    ]
    above = np.array(found)
    first, second = units.measured[pairs].T
    right = np.where(above >= 0.5, first < second, second < first)
    return np.maximum(above, 1 - above), right


def _better(units: LeftOut, first: int, second: int, errors: Differences) -> float:
    """Probability that the first unit has the lower objective, from the errors at the others."""
    mixture = units.rows.mixture
    difference = units.predicted[second] / units.predicted[first] - 1
    sampling = known_variance(_apart(units, first, second))
    distance = np.abs(mixture[first] - mixture[second]).sum() / 2
    variance = errors.variance(np.array([sampling]), np.array([distance]))
    return float(errors.probability(np.array([difference]), variance)[0])


def _apart(units: LeftOut, first: int, second: int) -> np.ndarray:
    """Ratios (resamples,) of the objectives of two units, by resamples that contain neither."""
    ratio = units.resampled[:, second] / units.resampled[:, first]
    neither = units.counted[:, first] & units.counted[:, second]
    return ratio[neither] if neither.sum() >= FEWEST else ratio
