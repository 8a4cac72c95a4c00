"""Signal of targets: how far mixtures differ, beside the noise of one run.

As Magnusson et al. ("DataDecide", 2025) rank proxies, by the spread between data over that between
repetitions: a task in which mixtures differ by less than runs do says nothing about mixtures.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import chdtrc, fdtrc

from bimix_jax.reading.targets import Target

CHANCE = 0.05
"""Probability with which a target without any signal is said to have one."""
FEWEST = 3
"""Number of mixtures below which nothing is said."""


def signal_of(group: np.ndarray, losses: np.ndarray, described: Sequence[Target]) -> pd.DataFrame:
    """Signal and noise of targets, from losses (runs, targets) of mixtures (runs,) int.

    Returns:
        Rows by target: `signal`, the standard deviation between mixtures without the part of the
        noise, `noise`, that of one run, both in the unit of the target, their `ratio`, the `basis`
        of the noise ("stated", "examples", "replicates", or ""), and `clear`: False where a test
        at the level of 5 % finds no difference between mixtures. Nan, and True, where the noise
        is unknown.

    >>> scores = np.array([[0.5], [0.5], [0.2], [0.21], [0.9], [0.91]])
    >>> table = signal_of(np.array([0, 0, 1, 1, 2, 2]), 1 - scores, [Target("quiz", maximum=1)])
    >>> table["basis"].item(), table["clear"].item(), round(table["signal"].item(), 2)
    ('replicates', True, 0.35)
    """
    rows = [_row(group, losses[:, i], target) for i, target in enumerate(described)]
    index = pd.Index([target.name for target in described], name="target")
    return pd.DataFrame(rows, index=index)


def _row(group: np.ndarray, losses: np.ndarray, target: Target) -> dict[str, object]:
    there = np.isfinite(losses)
    number = np.unique(group[there], return_inverse=True)[1].reshape(-1)
    counts = np.bincount(number)
    means = np.bincount(number, losses[there]) / counts if len(counts) else np.zeros(0)
    variance, freedom, basis = _noise(losses[there], means[number], counts, target)
    if len(counts) < FEWEST or not basis:
        return {"signal": np.nan, "noise": np.nan, "ratio": np.nan, "basis": "", "clear": True}
    # Of means over several runs the noise is less, so squares count by the number of runs.
    between = float(np.sum(counts * (means - np.average(means, weights=counts)) ** 2))
    ends = len(counts) - 1
    spare = between / ends / variance if variance > 0 else np.inf
    chance = fdtrc(ends, freedom, spare) if freedom else chdtrc(ends, spare * ends)
    noise = np.sqrt(variance)
    signal = noise * np.sqrt(max(spare - 1, 0.0) / counts.mean()) if variance > 0 else np.nan
    unit = abs(target.score(1.0) - target.score(0.0))
    return {
        "signal": float(signal * unit),
        "noise": float(noise * unit),
        "ratio": float(signal / noise) if variance > 0 else np.inf,
        "basis": basis,
        "clear": bool(chance < CHANCE),
    }


def _noise(
    losses: np.ndarray, means: np.ndarray, counts: np.ndarray, target: Target
) -> tuple[float, int, str]:
    """Variance of one run, its degrees of freedom (0 where it is known), and what it rests on.

    Args:
        losses: (runs,).
        means: (runs,) of the runs of the same mixture.
        counts: (mixtures,) runs.
        target: may state its noise, or the number of its examples.
    """
    if target.is_score and (target.noise is not None or target.examples is not None):
        basis = "stated" if target.noise is not None else "examples"
        return float(np.mean(target.variance(losses))), 0, basis
    freedom = int(np.sum(counts - 1))
    if not freedom:
        return np.nan, 0, ""
    return float(np.sum((losses - means) ** 2) / freedom), freedom, "replicates"
