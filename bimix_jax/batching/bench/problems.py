"""Synthetic batches of sweeps for timing: one target each, in which BiMix is true."""

import numpy as np

from bimix_jax.batching.memory import end_to_end
from bimix_jax.batching.rows import Rows

BUDGETS = 8


def synthetic_rows(fits: int, points: int, seed: int = 0, noise: float = 0.01) -> Rows:
    """Generate sweeps of `points` losses at eight budgets over a factor of 64, shares 0.1 to 0.4.

    Coefficients cover the range of real sweeps: α 0.02 to 0.4, β 0.2 to 1, floors 0.1 to 0.9 of the
    loss. There are two domains, and the first is the target.

    >>> synthetic_rows(3, 16).loss.shape
    (48, 1)
    """
    rng = np.random.default_rng(seed)
    alpha, beta = rng.uniform(0.02, 0.4, (fits, 1)), rng.uniform(0.2, 1.0, (fits, 1))
    scale, floor = rng.uniform(1, 5, (fits, 1)), rng.uniform(0.1, 0.9, (fits, 1))
    share = rng.uniform(0.1, 0.4, (fits, points))
    budget = np.resize(np.geomspace(1 / 64, 1, BUDGETS), points)
    loss = scale * share**-alpha * ((1 - floor) * budget**-beta + floor)
    loss *= np.exp(noise * rng.standard_normal(loss.shape))
    mixture = np.stack([share, 1 - share], axis=-1).reshape(-1, 2)
    columns = (end_to_end([x]) for x in (mixture, np.tile(budget, fits), loss.reshape(-1, 1)))
    return Rows(("own", "other"), ("own",), np.full(fits, points), *columns)
