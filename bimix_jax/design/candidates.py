"""Mixtures that could be run: drawn from the simplex within bounds."""

import numpy as np

from bimix_jax.mixture.feasible import ROUNDING

EXCHANGES = 30
"""How often every domain gives to another, or takes, before a draw counts as forgotten."""


def mixtures_within(lower: np.ndarray, upper: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` mixtures (count, domains) with lower ≤ r ≤ upper, edges being likelier than middles.

    Two domains at a time share what they have anew, by the arcsine law within what the bounds
    leave, since the runs that teach most lie towards the edges.

    Raises:
        ValueError: if a lower bound is above the upper one, or no mixture fits.

    >>> drawn = mixtures_within(np.array([0.1, 0.1, 0.0]), np.array([0.5, 0.9, 0.4]), 1000)
    >>> drawn.min(axis=0).round(2), drawn.max(axis=0).round(2)
    (array([0.1, 0.1, 0. ]), array([0.5, 0.9, 0.4]))
    """
    if not (np.all(lower >= 0) and np.all(lower <= upper) and np.all(upper <= 1 + ROUNDING)):
        raise ValueError(
            f"bounds: {lower.tolist()} to {upper.tolist()}; expected 0 ≤ lower ≤ upper ≤ 1."
        )
    if not lower.sum() - ROUNDING <= 1 <= upper.sum() + ROUNDING:
        raise ValueError(
            f"bounds: lower ones sum to {lower.sum():.4g} and upper ones to {upper.sum():.4g}; "
            "expected sums of at most and at least 1. Lower or raise some of them."
        )
    rng = np.random.default_rng(seed)
    width = upper - lower
    share = (1 - lower.sum()) / max(float(width.sum()), np.finfo(float).tiny)
    mixture = np.tile(lower + min(max(share, 0.0), 1.0) * width, (count, 1))
    rows = np.arange(count)
    for _ in range(EXCHANGES * len(lower)):
        one, step = rng.integers(len(lower), size=count), rng.integers(1, len(lower), size=count)
        other = (one + step) % len(lower)
        both = mixture[rows, one] + mixture[rows, other]
        least = np.maximum(lower[one], both - upper[other])
        most = np.minimum(upper[one], both - lower[other])
        mixture[rows, one] = least + (most - least) * rng.beta(0.5, 0.5, count)
        mixture[rows, other] = both - mixture[rows, one]
    return mixture
