"""Domains whose effects the mixtures of a sweep cannot tell apart."""

import numpy as np
import pandas as pd

NEGLIGIBLE = 1e-6
"""Share of the largest singular value below which one counts as 0."""
INVOLVED = 0.05
"""Share of a null vector's largest entry below which an entry is rounding."""


def collinear_domains(mixtures: pd.DataFrame) -> list[tuple[str, ...]]:
    """Find groups of domains that a linear relation ties together in every mixture.

    Args:
        mixtures: one row per mixture, one column per domain.

    Returns:
        One tuple of names per relation, of the null space of the mixtures in echelon form, so that
        each names as few domains as it can; none where all can be told apart.

    >>> share = np.array([0.1, 0.2, 0.4])
    >>> mixtures = {"web": share, "code": 2 * share, "books": 1 - 3 * share}
    >>> collinear_domains(pd.DataFrame(mixtures))
    [('web', 'code')]
    """
    values = mixtures.to_numpy(float)
    # A vector v with mixtures @ v = 0 is a relation; the last rows of Vᵀ span all of them.
    _, singular, rows = np.linalg.svd(values, full_matrices=True)
    # Shares sum to 1, so the largest singular value is never 0 and can be the scale.
    rank = int(np.sum(singular > NEGLIGIBLE * singular[0]))
    names = list(mixtures.columns)
    return [
        tuple(names[i] for i in np.flatnonzero(np.abs(row) > INVOLVED * np.abs(row).max()))
        for row in _echelon(rows[rank:])
    ]


def _echelon(rows: np.ndarray) -> np.ndarray:
    """Return the reduced row echelon form, with the largest entry of each row as its pivot."""
    rows = rows.copy()
    for i in range(len(rows)):
        pivot = int(np.argmax(np.abs(rows[i])))
        rows[i] /= rows[i, pivot]
        others = np.arange(len(rows)) != i
        rows[others] -= np.outer(rows[others, pivot], rows[i])
    return rows
