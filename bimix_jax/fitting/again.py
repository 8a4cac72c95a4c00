"""Further searches, from other starts, of fits whose first one may have missed the best end."""

from typing import Any

import jax
import numpy as np

from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.codes import Code
from bimix_jax.laws.law import Law

IN_DOUBT = (int(Code.BOUNDARY), int(Code.UNIDENTIFIED))
"""Codes of ends from which no slope leads away, as an amplitude is 0 or a power too steep to see,
though the best one may lie elsewhere."""


def other_starts(law: Law, tied: tuple[str, ...], domains: int) -> Any:
    """Where each further search starts; none of tied targets, which could only change together."""
    return () if law.ties(tied) else law.further_starts(domains)


def in_doubt(code: Any) -> np.ndarray:
    """Whether a fit with such a code is searched again."""
    return np.isin(code, IN_DOUBT)


def is_better(first: ArrayFit, second: ArrayFit) -> np.ndarray:
    """Whether the second search of a fit in doubt ended lower, by more than rounding.

    >>> import jax.numpy as jnp
    >>> from bimix_jax import BiMix, fit_arrays
    >>> loss, budget = jnp.array([3.0, 2.0, 2.0]), jnp.array([0.1, 1.0, 1.0])
    >>> found = fit_arrays(BiMix(), jnp.full((3, 2), 0.5), budget, loss, own=0)
    >>> print(is_better(found, found._replace(sum_of_squares=found.sum_of_squares / 2 - 1)))
    True
    """
    before, after = np.asarray(first.sum_of_squares), np.asarray(second.sum_of_squares)
    epsilon = np.finfo(before.dtype).eps
    slack = np.sqrt(epsilon) * before + 16 * epsilon * np.asarray(first.points)
    return in_doubt(first.code) & (after < before - slack)


def chosen(better: np.ndarray, first: Any, second: Any) -> Any:
    """Arrays whose leading axes are those of `better`, of the second where that is True."""

    def one(before: Any, after: Any) -> np.ndarray:
        further = (1,) * (np.ndim(before) - better.ndim)
        return np.where(better.reshape(better.shape + further), after, before)

    return jax.tree.map(one, first, second)
