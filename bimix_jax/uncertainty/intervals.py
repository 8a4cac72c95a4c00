"""From resampled values to intervals, wider where few mixtures were run."""

import dataclasses

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

LEAST_KNOWN = 0.5
"""Share of the resamples that must have a value, so that an interval is given."""
LEAST_FREEDOM = 3.0
"""Mixtures beyond the coefficients they determine, below which no interval is given."""


@dataclasses.dataclass(frozen=True)
class Freedom:
    """What intervals rest on."""

    units: int
    """mixtures (or runs) that were drawn from"""
    coefficients: float
    """how many coefficients of the law they determine, beyond the level of the loss"""

    @property
    def left(self) -> float:
        """Degrees of freedom."""
        return self.units - self.coefficients

    @property
    def enough(self) -> bool:
        """Whether an interval can be given at all."""
        return self.left >= LEAST_FREEDOM - 1e-6

    @property
    def inflation(self) -> float:
        """√(n/(n − k)), by how much residuals are too small once k coefficients are fitted."""
        return float(np.sqrt(self.units / self.left))


def expanded_tail(level: float, freedom: Freedom) -> float:
    """The share of resamples to leave out at either end, for an interval of that level.

    Φ(−√(n/(n−k))·t), t the quantile of Student's distribution with n − k degrees of freedom:
    plain percentiles over few units are too narrow. Source: Hesterberg, "What Teachers Should
    Know About the Bootstrap", The American Statistician 2015, for a mean, where k = 1; that k
    is the number of coefficients of the mixture is our choice, by measured coverage
    (`benchmarks/coverage.py`).

    >>> [round(expanded_tail(0.9, Freedom(n, 1.0)), 3) for n in (8, 40, 1000)]
    [0.021, 0.044, 0.05]
    """
    student = stdtrit(freedom.left, (1 - level) / 2)
    return float(ndtr(student * freedom.inflation))


def check_level(level: float) -> None:
    """Refuse what is no level of an interval.

    Raises:
        ValueError: if it is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1, .9 for example.")


def interval(values: np.ndarray, level: float, freedom: Freedom) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end (…) of values (resamples, …); resamples that are nan do not count.

    nan where fewer than half of the resamples have a value, or too few mixtures were run.

    Raises:
        ValueError: if level is not between 0 and 1.
    """
    check_level(level)
    known = np.mean(~np.isnan(values), axis=0) >= LEAST_KNOWN
    if not freedom.enough:
        known = np.zeros_like(known)
    tail = expanded_tail(level, freedom) if freedom.enough else 0.0
    low, high = np.nanquantile(np.where(known, values, 0.0), [tail, 1 - tail], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def probability_above(values: np.ndarray, threshold: float, freedom: Freedom) -> float:
    """How likely a quantity is above a threshold, by values (resamples,): `interval` turned round.

    The lower end of the interval of level 1 − 2q lies at the threshold where this is 1 − q. It
    is never 0 or 1, which no number of resamples can show; nan where no interval is given.

    >>> round(probability_above(np.linspace(-1.0, 3.0, 1001), 0.0, Freedom(8, 1.0)), 2)
    0.73
    """
    known = values[~np.isnan(values)]
    if len(known) < LEAST_KNOWN * len(values) or not freedom.enough:
        return float("nan")
    above = np.sum(known > threshold) + np.sum(known == threshold) / 2
    share = (above + 0.5) / (len(known) + 1)
    return float(stdtr(freedom.left, ndtri(share) / freedom.inflation))
