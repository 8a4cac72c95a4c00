"""Whether a mixture lies among those that were measured, or only between their extremes."""

import numpy as np

from bimix_jax.mixture.nonnegative import nearest_in_hull

NOTICED = 0.005
"""A proportion this far from the nearest mixture of the hull is outside of it; rounding is less."""


def outside_hull(mixture: np.ndarray, measured: np.ndarray | None) -> np.ndarray:
    """(domains,) bool: proportions by which a mixture leaves the hull of the measured mixtures.

    `measured` (mixtures, domains); None where they are not known, and then nothing is said.

    >>> outside_hull(np.array([0.5, 0.1, 0.4]), np.array([[0.6, 0.2, 0.2], [0.2, 0.2, 0.6]]))
    array([ True,  True,  True])
    """
    if measured is None:
        return np.zeros(len(mixture), bool)
    return np.abs(mixture - nearest_in_hull(mixture, measured)) > NOTICED
