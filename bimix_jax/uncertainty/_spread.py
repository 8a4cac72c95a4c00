"""Spread of the errors of a law at runs that its fits did not see: scale, shape and growth."""

import dataclasses

import numpy as np
from scipy.special import ndtr, ndtri, polygamma, stdtr, stdtrit

LEAST_SHARE = 0.5
"""Least variance of an error, as a share of that of the runs left out: a mixture in the middle of
the sweep is better known than most, but the law is not true there either."""
EFFICIENCY = 1 / (np.pi - 2)
"""Efficiency of the mean absolute error as an estimate of the size of normal errors, 0.88: it is as
good as the standard deviation of that share of the errors."""
NORMAL = 10
"""Number of normal quantiles that stand beside the errors, so that the shape of few is normal."""
OUTSIDE = 0.8
"""Number of mixtures that should lie outside an interval for it to be given: with 90 %, 8 are
needed, because of fewer the largest error says little about the tenth part."""
USUAL = 0.9
"""Level whose number of mixtures a probability needs."""
EXACT = 1e-6
"""Relative error up to which a law counts as exact; no measured loss is."""
FAR = 5.0
"""Error of a difference, in standard deviations of most, that counts as that much at most."""
LEAST_UNITS = 4
"""Least number of mixtures for an interval of any level."""
APART = np.linspace(0.0, 4.0, 201)
"""Possible standard deviations of the logarithms of quantities' variances; with the last one, a
third of the variances are 55 times the usual one or more, or as much below it."""
ALIKE = 0.99
"""Largest mean squared correlation of quantities that counts: with 1, none would tell of others."""
USUAL_GROWTH = 16.0
"""Usual growth of the variance of errors of losses beyond a sweep, over their square within it: on
the sweeps of `benchmarks/calibration.py` it is 10 to 120, 28 in their middle as a mean of the
targets and 12 as that of the median one."""
OWN_SHARE = 0.5
"""Share of the growth that a sweep shows in what is expected of differences between mixtures. What
is missed at later budgets is much the same for all mixtures, and on those sweeps differences have
grown less than this."""


def units_needed(level: float) -> int:
    """Number of mixtures that an interval needs.

    >>> [units_needed(level) for level in (0.5, 0.8, 0.9, 0.95)]
    [4, 4, 8, 16]
    """
    # Rounded, as 1 − 0.9 is not a tenth in binary.
    return max(LEAST_UNITS, int(np.ceil(np.round(OUTSIDE / (1 - level), 9))))


def note_on_reach(ratio: float, tested: float) -> tuple[str, ...]:
    """Note on a budget beyond those at which errors are known.

    Args:
        ratio: the budget over the largest one of the sweep.
        tested: largest ratio at which later budgets were left out.

    >>> note_on_reach(1.5, 2.0)
    ()
    """
    if ratio <= tested * (1 + 1e-9):
        return ()
    if tested <= 1:
        return (
            f"The budget is {ratio:.3g} × the largest observed one, and the sweep has too few "
            "budgets for leaving later ones out: intervals of losses widen as errors did on other "
            "sweeps, and those of differences between mixtures do not widen.",
        )
    return (
        f"The budget is {ratio:.3g} × the largest observed one, and leaving later budgets out "
        f"tests up to {tested:.3g} ×: beyond, intervals of differences between mixtures widen as "
        "errors grew up to there, those of losses halfway between that and other sweeps.",
    )


@dataclasses.dataclass(frozen=True)
class Spread:
    """Relative errors of several quantities, of units (mixtures) that were left out."""

    error: np.ndarray
    """(units, quantities) relative or log errors, nan where there is none"""
    sampling: np.ndarray
    """(units, quantities) variance over resamples of what the errors are about"""
    square: np.ndarray
    """(quantities,) square of the size of the errors"""
    freedom: np.ndarray
    """(quantities,) degrees of freedom of the squares"""
    growth: np.ndarray
    """(quantities,) variance per squared logarithm of the ratio of budgets, beyond the sweep"""

    @classmethod
    def of(cls, error: np.ndarray, sampling: np.ndarray) -> "Spread":
        """Spread of errors (units, quantities), without growth.

        Their size is √(π/2) times their mean absolute value, the standard deviation of normal
        errors, where those that are `FAR` from most count as that much: a single fit that went
        astray without a unit must not widen all intervals. Few units hardly tell the size for one
        quantity, so those of the others count, see `pooled`.
        """
        most = _far(error)
        size = np.sqrt(np.pi / 2) * known_mean(np.minimum(np.abs(error), most))
        return cls(error, sampling, *pooled(error, size**2), np.zeros(error.shape[1]))

    @classmethod
    def of_differences(
        cls, error: np.ndarray, resampled: np.ndarray, counted: np.ndarray | bool = True
    ) -> "Spread":
        """Spread of the difference of one quantity between two units, without growth.

        Args:
            error: (units,).
            resampled: (resamples, units) the quantity, relative, at the same units.
            counted: (resamples, units) bool: resamples whose spread at the unit counts.
        """
        known = np.isfinite(error)
        count = max(int(known.sum()), 1)
        # The mean square of differences of pairs is twice the variance, with count − 1.
        twice = 2 * count / max(count - 1, 1)
        centred = error - (np.median(error[known]) if known.any() else 0.0)
        apart = resampled - known_mean(resampled)
        apart = apart - np.nansum(apart[:, known], axis=1, keepdims=True) / count
        sampling = twice * known_variance(np.where(counted, apart, np.nan))
        # One fit that went astray without a unit must not make all differences uncertain.
        most = _far(centred[known]) if known.any() else np.inf
        scaled = np.sqrt(twice) * np.clip(centred, -most, most)[:, None]
        freedom = freedom_of(scaled)
        return cls(scaled, sampling[:, None], known_mean(scaled**2), freedom, np.zeros(1))

    @property
    def units(self) -> np.ndarray:
        """(quantities,) int, number of errors."""
        return np.isfinite(self.error).sum(axis=0)

    @property
    def _inside(self) -> np.ndarray:
        """(quantities,) mean sampling variance at the units; one that goes astray without a unit
        counts little."""
        known = np.where(np.isfinite(self.error), self.sampling, np.nan)
        return np.nan_to_num(known_mean(np.minimum(known, FAR**2 * known_median(known))))

    def variance(
        self, sampling: np.ndarray, ratio: np.ndarray | float = 1.0, share: np.ndarray | float = 1.0
    ) -> np.ndarray:
        """Variance (points, quantities) of the errors at other points.

        Args:
            sampling: (points, quantities) variance over resamples there. Beyond its mean at the
                units it adds to the squared errors of these, so that intervals widen away from
                what was run.
            ratio: (points,) budget over the largest one of the sweep.
            share: (points,) of the errors at the units that is expected at the points.
        """
        part, square = np.reshape(share, (-1, 1)), self.square
        within = np.maximum(part * (square - self._inside) + sampling, LEAST_SHARE * part * square)
        beyond = np.log(np.maximum(ratio, 1.0)) ** 2
        return within + part * np.reshape(beyond, (-1, 1)) * self.growth

    def half_width(
        self, variance: np.ndarray, level: float, largest: np.ndarray | None = None
    ) -> np.ndarray:
        """Half the width (points, quantities) of intervals, nan with too few units.

        `largest` (units, quantities) are the standardised errors to hold instead of those of the
        spread, each the largest of several.
        """
        return self._widths(level, largest) * np.sqrt(variance)

    def terms(self, level: float) -> dict[str, np.ndarray]:
        """Terms (quantities,) by name of half the width of an interval, which is
        width·√(max(base + sampling, least) + growth·log² ratio), of a sampling variance and a
        ratio of budgets above 1."""
        least = LEAST_SHARE * self.square
        base, growth = self.square - self._inside, self.growth
        return {"base": base, "least": least, "growth": growth, "width": self._widths(level)}

    def _widths(self, level: float, largest: np.ndarray | None = None) -> np.ndarray:
        """Half the width (quantities,) of intervals of errors of variance 1.

        The shape is that of all standardised errors together, because those of one quantity are
        few; it is widened as Student's distribution is wider than the normal one.
        """
        enough = self.units >= units_needed(level)
        widened = stdtrit(self.freedom, (1 + level) / 2) / ndtri((1 + level) / 2)
        if largest is None:
            normal = ndtri((1 + (np.arange(NORMAL) + 0.5) / NORMAL) / 2)
            largest = np.concatenate([self.standard[np.isfinite(self.standard)], normal])
        known = largest[np.isfinite(largest)]
        quantile = float(np.quantile(known, level)) if len(known) else np.nan
        return np.where(enough, widened * quantile, np.nan)

    @property
    def standard(self) -> np.ndarray:
        """(units, quantities) absolute errors over their standard deviations."""
        scale = np.sqrt(np.maximum(self.variance(self.sampling), np.finfo(float).tiny))
        # Each quantity has its own scale, so that only the shape is shared.
        return np.abs(self.error) / scale

    def student(self, level: float) -> np.ndarray:
        """Half the width (quantities,) of intervals of normal errors of variance 1."""
        enough = self.units >= units_needed(level)
        return np.where(enough, stdtrit(np.maximum(self.units - 1, 1), (1 + level) / 2), np.nan)

    def probability(self, value: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Probability (points, quantities) that what is estimated as value is above 0."""
        enough = self.units >= units_needed(USUAL)
        scale = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
        found = stdtr(np.maximum(self.units - 1, 1), value / scale)
        return np.where(enough, found, np.nan)


def freedom_of(error: np.ndarray) -> np.ndarray:
    """Degrees of freedom (quantities,) of the mean absolute values of errors (units, …)."""
    return np.maximum(EFFICIENCY * (np.isfinite(error).sum(axis=0) - 1), 1.0)


def pooled(error: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared sizes (quantities,) of errors, each drawn towards that of all, and their degrees of
    freedom.

    The logarithms of the squares vary because they are estimates from few units, by a variance that
    is known (ψ′(freedom/2), as of a χ²; less what correlated quantities share), and because the
    quantities differ. The first one's part of both is the weight of the common size, as in limma
    (Smyth 2004). Few quantities may be alike by chance, so the weight is the mean over the
    deviations of quantities that are possible, with a flat prior (Gelman 2006).

    Args:
        error: (units, quantities), nan where there is none.
        square: (quantities,) squared sizes of each quantity alone.
    """
    freedom = freedom_of(error)
    some = np.flatnonzero((square > 0) & (np.isfinite(error).sum(axis=0) >= LEAST_UNITS))
    if len(some) < 2:
        return square, freedom
    count, each = len(some), np.log(square[some])
    alike = _squared_correlation(error[:, some])
    of_estimates = float(polygamma(1, freedom[some].mean() / 2))
    own = of_estimates * (1 - alike)
    variance = own + APART**2
    density = -(count - 1) * np.log(variance) / 2 - count * each.var() / 2 / variance
    weight = np.exp(density - density.max())
    common = float(np.trapezoid(weight * own / variance) / np.trapezoid(weight))
    left = 1 - common + common * (1 + (count - 1) * alike) / count
    # An estimate that varies less has a logarithm nearer to that of its mean.
    shift = of_estimates * (1 - left) / 2
    square, freedom = square.copy(), freedom.copy()
    square[some] = np.exp(each + common * (each.mean() - each) + shift)
    freedom[some] /= left
    return square, freedom


def _squared_correlation(error: np.ndarray) -> float:
    """Mean squared correlation of errors (units, quantities) of two quantities, around 0."""
    known = np.isfinite(error)
    scaled = np.where(known, error, 0.0)
    scaled = scaled / np.sqrt((scaled**2).mean(axis=0))
    square, count = (scaled.T @ scaled / len(error)) ** 2, error.shape[1]
    return float(min((square.sum() - count) / (count * (count - 1)), ALIKE))


def _far(error: np.ndarray) -> np.ndarray:
    """Size (…) from which errors (n, …) are far from most; ∞ where most are 0 but for rounding, as
    the others are then all that is known."""
    usual = deviation_of_most(error)
    return np.where(usual > EXACT, FAR * usual, np.inf)


def deviation_of_most(errors: np.ndarray) -> np.ndarray:
    """Standard deviation (…) of errors (n, …) around 0, from their median absolute value."""
    return known_median(np.abs(errors)) / ndtri(0.75)


def known_median(values: np.ndarray) -> np.ndarray:
    """Median over the first axis of the finite values; nan where there is none.

    >>> print(known_median(np.array([3.0, np.nan, 1.0, 8.0, 2.0])))
    2.5
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)
    return _at_rank(ordered, (np.isfinite(ordered).sum(axis=0) - 1) / 2)


def known_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of the finite values; nan where there is none."""
    known = np.isfinite(values)
    count, total = known.sum(axis=0), np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def known_variance(values: np.ndarray) -> np.ndarray:
    """Variance over the first axis of the finite values; nan where there is none.

    The square of half the distance of the two quantiles that are one standard deviation from the
    middle of a normal distribution: with few runs some resamples go astray, by any amount.

    >>> print(known_variance(np.array([-300.0, -1, -1, -1, np.nan, 0, 1, 1, 1, 50])))
    1.0
    """
    finite = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)
    last = np.isfinite(finite).sum(axis=0) - 1
    low, high = (_at_rank(finite, last * part) for part in (ndtr(-1), ndtr(1)))
    return ((high - low) / 2) ** 2


def _at_rank(ordered: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Values (…) of ordered ones (count, …) at ranks (…) from 0, between two of them if need be."""
    below = np.maximum(np.floor(rank), 0).astype(int)
    above = np.maximum(np.ceil(rank), 0).astype(int)
    one, other = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (below, above))
    return np.asarray(one + (rank - below) * (other - one))


def growth_of(
    error: np.ndarray,
    square: np.ndarray,
    budget: np.ndarray,
    last: np.ndarray,
    observed: np.ndarray,
) -> np.ndarray:
    """Growth (quantities,) of the variance of errors with the squared logarithm of a ratio.

    What a curve of the budget misses is much the same for all mixtures and bends slowly, so that
    an error grows like the ratio's logarithm L: the curve is carried on at a wrong slope. If it
    wanders like a random walk in the logarithm of the budget, its slope along budgets that span S
    has a variance κ²/S, and the error one of κ² L²/S. κ² is the slope by least squares through
    `square` at L = 0, its mean over the cuts, and 0 where errors do not grow.

    Args:
        error: (rows, quantities) at budgets that the fits did not see.
        square: (quantities,) mean squared error at those that they saw.
        budget: (rows,) of the errors.
        last: (rows,) largest budget that the fit saw, which tells the fits apart.
        observed: (2,) least and largest budget of the sweep, whose κ²/S is returned.
    """
    wander = []
    # Of a fit to a single budget there is no slope.
    for end in np.unique(last[last > observed[0]]):
        rows = last == end
        along = np.log(budget[rows] / end) ** 2 / np.log(end / observed[0])
        wander.append(_slope(error[rows] ** 2 - square, along[:, None]))
    mean = np.nan_to_num(np.mean(wander, axis=0)) if wander else 0 * square
    return np.maximum(mean, 0.0) * _per_span(observed)


def expected_growth(
    growth: np.ndarray, square: np.ndarray, observed: np.ndarray, tested: np.ndarray
) -> np.ndarray:
    """Growth (quantities,) that is expected of errors of losses.

    What all mixtures share is seen once per cut, so a sweep tells little of its size: its own
    growth, of at least `square`, and the usual one have equal parts in their geometric mean.

    Args:
        growth: of the sweep, by `growth_of`.
        square: (quantities,) mean squared error within the sweep.
        observed: (2,) least and largest budget of the sweep.
        tested: (quantities,) False where no later budget was left out.
    """
    least = square * _per_span(observed)
    usual = USUAL_GROWTH * least
    return np.where(tested, np.sqrt(usual * (least + growth)), usual)


def _per_span(observed: np.ndarray) -> float:
    """1/S, S the logarithm of the ratio of two budgets, or 0 of a single one, without a curve."""
    span = float(np.log(observed[1] / observed[0]))
    return 1 / span if span > 0 else 0.0


def _slope(values: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Slope (quantities,) through the origin of values (rows, quantities), 0 without any."""
    known = np.isfinite(values)
    squares = (known * along**2).sum(axis=0)
    return np.where(known, values * along, 0.0).sum(axis=0) / np.where(squares > 0, squares, 1.0)
