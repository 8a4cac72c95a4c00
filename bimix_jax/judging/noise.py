"""Noise floor of any law: residuals of curves of single runs, and the spread of replicates."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bimix_jax.reading.targets import error_scale
from bimix_jax.sweeps.sweep import Sweep

LEAST_POINTS = 5
"""Number of budgets per run that leaves a curve of 3 coefficients with residuals."""
EXPONENTS = 1e-3, 10.0
"""Least and largest β of a curve."""
GRID = 48
"""Exponents that are tried, on a log scale, before the best is refined."""
GOLDEN, SECTIONS = (np.sqrt(5) - 1) / 2, 40
"""Factor by which a section narrows an interval, and the sections: 1e-9 of a cell is left."""
CELLS = 2**20
"""Losses that are fitted at once, 8 MB per array."""
TINY = np.finfo(float).tiny


@dataclasses.dataclass(frozen=True)
class NoiseFloor:
    """Mean relative error, a fraction, of the noise alone; nan where it is unknown."""

    curves: float
    """error of L = B s^−β + C, fitted to every run and target separately, corrected for its
    coefficients"""
    replicates: float
    """error of a single run, from the spread of runs of one mixture at one budget"""
    stated: float = np.nan
    """error of a single run, from the noise or the examples that are stated of all targets"""

    def least(self) -> float:
        """Largest of them, because curves do not include differences between runs."""
        known = [v for v in (self.curves, self.replicates, self.stated) if np.isfinite(v)]
        return max(known) if known else np.nan


def noise_floor(sweep: Sweep, targets: Sequence[str] | None = None) -> NoiseFloor:
    """Estimate the noise of targets, default all, from the budgets and replicates of a sweep.

    >>> from bimix_jax import datasets, read_sweep
    >>> floor = noise_floor(read_sweep(datasets.proxy_sweep()).from_budget(573_440))
    >>> f"{100 * floor.curves:.1f} %, {100 * floor.replicates:.1f} %"
    '0.3 %, 0.4 %'
    """
    columns = [sweep.targets.index(t) for t in (sweep.targets if targets is None else targets)]
    asked = dataclasses.replace(
        sweep, targets=tuple(sweep.targets[i] for i in columns), loss=sweep.loss[:, columns]
    )
    return NoiseFloor(_left_by_curves(asked), between_replicates(asked), _stated(asked))


def _stated(sweep: Sweep) -> float:
    """Mean |e − e'| of a score and its expectation; nan where that of some target is unknown."""
    described = sweep.described
    if not all(t.is_score and (t.noise is not None or t.examples) for t in described):
        return np.nan
    with np.errstate(invalid="ignore"):
        each = [np.sqrt(t.variance(sweep.loss[:, i])) for i, t in enumerate(described)]
    # Of normal noise, from its standard deviation.
    return float(np.sqrt(2 / np.pi) * np.nanmean(each))


def _left_by_curves(sweep: Sweep) -> float:
    """Mean |y − ŷ|/y of every curve with points to spare, times √(n/(n − 3))."""
    values = sweep.loss, error_scale(sweep.loss, sweep.described)
    found = [
        _errors_of_curves(sweep.budget[rows], *(np.moveaxis(x[rows], 2, 1) for x in values))
        for rows in _rows_of_runs(sweep)
    ]
    left = np.concatenate([errors.ravel() for errors in found]) if found else np.array([])
    return float(np.nanmean(left)) if np.isfinite(left).any() else np.nan


def _rows_of_runs(sweep: Sweep) -> Iterator[np.ndarray]:
    """(runs, points) rows of some runs of equal length, with points to spare."""
    _, run, lengths = np.unique(sweep.run, return_inverse=True, return_counts=True)
    rows, first = np.argsort(run, kind="stable"), np.cumsum(lengths) - lengths
    for length in np.unique(lengths[lengths >= LEAST_POINTS]):
        every = rows[first[lengths == length, None] + np.arange(length)]
        yield from np.array_split(every, -(-every.size * len(sweep.targets) // CELLS))


def _errors_of_curves(budget: np.ndarray, loss: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(runs, targets) corrected mean |ŷ − y|/scale, nan of curves without points to spare.

    The amplitudes follow from β, and the squares have one minimum in its cell of the grid; so an
    interval is narrowed, of all curves at once, without a program to compile for it.

    Args:
        budget: (runs, points).
        loss: (runs, targets, points), nan where it was not measured.
        scale: (runs, targets, points) of its errors.
    """
    there = np.isfinite(loss)
    weight, target = (np.where(there, each / scale, 0.0) for each in (1.0, loss))
    # From 1 down, whatever the unit: an underflow to 0 does no harm.
    later = np.log(budget / budget.min(axis=1, keepdims=True))[:, None]

    def residuals(beta: np.ndarray) -> np.ndarray:
        return _residuals(np.exp(-np.exp(beta)[..., None] * later), weight, target)

    def squares(beta: np.ndarray) -> np.ndarray:
        return (residuals(beta) ** 2).sum(axis=-1)

    grid = np.log(np.geomspace(*EXPONENTS, GRID))
    least = np.argmin([squares(np.full(loss.shape[:2], beta)) for beta in grid], axis=0)
    ends = grid[np.maximum(least - 1, 0)], grid[np.minimum(least + 1, GRID - 1)]
    errors = np.abs(residuals(_narrowed(squares, *ends))).sum(axis=-1)
    counts = (weight > 0).sum(axis=-1)
    spared = np.where(counts >= LEAST_POINTS, counts, np.nan)
    return errors / np.sqrt(spared * (spared - 3))


def _residuals(power: np.ndarray, weight: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weighted ŷ less the target, weighted y, of the best amplitudes B, C ≥ 0 of s^−β and 1."""
    first = power * weight

    def along(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # A curve without points has no amplitude.
        return (a * b).sum(-1, keepdims=True) / np.maximum((b * b).sum(-1, keepdims=True), TINY)

    shared = along(first, weight)
    b = np.maximum(along(target, first - shared * weight), 0.0)
    c = along(target, weight) - shared * b
    b, c = np.where(c < 0, along(target, first), b), np.maximum(c, 0.0)
    return b * first + c * weight - target


def _narrowed(
    squares: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Minima of functions within intervals, which golden sections narrow."""
    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    values = [squares(place) for place in inner]
    for _ in range(SECTIONS):
        left = values[0] < values[1]
        low, high = np.where(left, low, inner[0]), np.where(left, inner[1], high)
        new = np.where(left, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        value = squares(new)
        inner = [np.where(left, new, inner[1]), np.where(left, inner[0], new)]
        values = [np.where(left, value, values[1]), np.where(left, values[0], value)]
    return (low + high) / 2


def between_replicates(sweep: Sweep) -> float:
    """Mean |y − y'|/ȳ, |e − e'| of scores, of runs of one mixture at one budget, over √2."""
    differences = []
    size = np.zeros(len(sweep.budget)) if sweep.size is None else sweep.size
    for group, n in np.unique(np.column_stack([sweep.mixture_group, size]), axis=0):
        runs = np.unique(sweep.run[(sweep.mixture_group == group) & (size == n)])
        for one, other in itertools.combinations(runs, 2):
            differences.append(_difference(sweep, one, other))
    known = np.concatenate([d.ravel() for d in differences]) if differences else np.array([])
    known = known[np.isfinite(known)]
    return float(np.mean(known) / np.sqrt(2)) if len(known) else np.nan


def _difference(sweep: Sweep, one: str, other: str) -> np.ndarray:
    a, b = (np.flatnonzero(sweep.run == run) for run in (one, other))
    _, in_a, in_b = np.intersect1d(sweep.budget[a], sweep.budget[b], return_indices=True)
    first, second = sweep.loss[a[in_a]], sweep.loss[b[in_b]]
    return np.abs(first - second) / error_scale((first + second) / 2, sweep.described)
