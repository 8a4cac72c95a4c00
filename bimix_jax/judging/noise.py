"""Noise floor of any law: residuals of curves of single runs, and the spread of replicates."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.program import solve
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.sweeps.sweep import Sweep

LEAST_POINTS = 5
"""Number of budgets per run that leaves a curve of 3 coefficients with residuals."""


@dataclasses.dataclass(frozen=True)
class NoiseFloor:
    """Mean relative error, a fraction, of the noise alone; nan where it is unknown."""

    curves: float
    """error of L = B s^−β + C, fitted to every run and target separately, corrected for its
    coefficients"""
    replicates: float
    """error of a single run, from the spread of runs of one mixture at one budget"""

    def least(self) -> float:
        """Larger of the two, because curves do not include differences between runs."""
        known = [v for v in (self.curves, self.replicates) if np.isfinite(v)]
        return max(known) if known else np.nan


@dataclasses.dataclass(frozen=True)
class _Curve(Law):
    """L = B s^−β + C, of one run."""

    name: ClassVar[str] = "Curve"
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("B", "C")

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10."""
        return [(1e-3, 10.0)]

    def starts(self, domains: int) -> Any:
        """Starts of slow and fast saturation."""
        return [[0.1], [0.5], [1.5], [4.0]]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """Log of the budget."""
        return jnp.log(budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(s^−β, 1)."""
        return jnp.exp(-exponents[0] * features), 1.0


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
    return NoiseFloor(_left_by_curves(asked), between_replicates(asked))


def _left_by_curves(sweep: Sweep) -> float:
    """Mean |y − ŷ|/y of every curve with points to spare, times √(n/(n − 3))."""
    inside = np.stack([sweep.run == run for run in sweep.runs])
    counts = (inside[:, :, None] & np.isfinite(sweep.loss)).sum(axis=1)
    if not np.any(counts >= LEAST_POINTS):
        return np.nan
    predicted = _curves(sweep, inside.astype(float))
    error = np.abs(predicted / sweep.loss - 1)
    error = np.where(inside[:, :, None] & np.isfinite(error), error, 0.0).sum(axis=1)
    usable = counts >= LEAST_POINTS
    spare = np.sqrt(counts[usable] / (counts[usable] - 3.0))
    return float(np.mean(error[usable] / counts[usable] * spare))


def _curves(sweep: Sweep, factor: np.ndarray) -> np.ndarray:
    """(runs, points, targets) losses predicted by the curves of each run's points."""
    alone, weight = np.full(len(sweep.targets), -1), np.ones(sweep.loss.shape)
    law, options = _Curve(), FitOptions()
    task = FitTask(sweep, law, options, sweep.targets, weight, sweep.largest_budget, alone)
    return np.moveaxis(solve(task, factor).predicted, 1, 2)


def between_replicates(sweep: Sweep) -> float:
    """Mean |y − y'|/ȳ of runs of one mixture at one budget, over √2."""
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
    return np.abs(first - second) / ((first + second) / 2)
