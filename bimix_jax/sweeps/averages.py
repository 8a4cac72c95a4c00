"""Targets that are means of others, whose losses would count twice."""

from collections.abc import Mapping, Sequence

import numpy as np

SAME = 5e-5
"""Largest relative difference from a mean, which tables often hold with 4 decimals."""
ROWS = 2
"""Number of rows that must match, so that a match by chance is ruled out."""
LEAST = 0.01
"""Least weight of a loss in a weighted mean; less is the rounding of the losses."""
FIRST = 100
"""Rows that are compared before all the others."""
FEW = 14
"""Number of targets up to which the mean of every subset is compared."""
Losses = Mapping[str, np.ndarray]
"""Target → its losses, (rows,)."""


def mean_of(losses: Losses, target: str, others: Sequence[str]) -> list[str]:
    """Return the others whose mean a target is in every row; empty if it is not one.

    Where there are few others, the mean of some of them counts, else only that of all.

    >>> web, code, wiki = np.array([[3.0, 2.5, 2.25], [2.0, 1.5, 1.75], [2.75, 2.25, 2.0]])
    >>> losses = {"web": web, "code": code, "wiki": wiki, "nl": (web + wiki) / 2}
    >>> mean_of(losses, "nl", ["web", "code", "wiki"])
    ['web', 'wiki']
    """
    if len(others) < 2:
        return []
    if _is_mean(losses, target, others):
        return list(others)
    return next((p for p in _candidates(losses, target, others) if _is_mean(losses, target, p)), [])


def weighted_mean_of(losses: Losses, target: str, others: Sequence[str]) -> list[str]:
    """Return the others whose weighted mean a target is in every row, with the same weights; empty
    if it is not one.

    >>> web, code = np.array([[3.0, 2.5, 2.25, 2.5], [2.0, 1.5, 1.75, 1.25]])
    >>> losses = {"web": web, "code": code, "all": 0.7 * web + 0.3 * code}
    >>> weighted_mean_of(losses, "all", ["web", "code"])
    ['web', 'code']
    """
    if len(others) < 2:
        return []
    weights = _weights(losses, target, others, FIRST)
    if weights is not None:
        weights = _weights(losses, target, others)
    if weights is None:
        return []
    parts = [other for other, weight in zip(others, weights, strict=True) if weight > LEAST]
    return parts if len(parts) > 1 else []  # not a copy


def _weights(
    losses: Losses, target: str, others: Sequence[str], rows: int | None = None
) -> np.ndarray | None:
    """Weights (others,) ≥ 0 of sum 1 of a mean that the target is; None if it is not one."""
    table = np.column_stack([losses[name][:rows] for name in (target, *others)])
    table = table[np.isfinite(table).all(axis=1)]
    # As many rows as weights have a solution by chance.
    if len(table) < len(others) + ROWS:
        return None
    loss, parts = table[:, 0], table[:, 1:]
    weights = np.linalg.lstsq(parts, loss)[0]
    is_mean = weights.min() > -LEAST and abs(weights.sum() - 1) < LEAST
    near = np.abs(parts @ weights - loss) <= SAME * np.abs(loss)
    return weights if is_mean and near.all() else None


def _candidates(losses: Losses, target: str, others: Sequence[str]) -> list[list[str]]:
    """Subsets of at least two others whose mean the target is in the first complete rows."""
    if len(others) > FEW:
        return []
    table = np.column_stack([losses[name][:FIRST] for name in (target, *others)])
    table = table[np.isfinite(table).all(axis=1)][: ROWS + 2]
    if len(table) <= ROWS:
        return []
    # Row i of the table of subsets holds the binary digits of i.
    inside = np.arange(1 << len(others))[:, None] >> np.arange(len(others)) & 1
    inside = inside[inside.sum(axis=1) > 1]
    mean = inside @ table[:, 1:].T / inside.sum(axis=1)[:, None]
    near = (np.abs(mean / table[:, 0] - 1) <= SAME).all(axis=1)
    return [[o for o, is_in in zip(others, row, strict=True) if is_in] for row in inside[near]]


def _is_mean(losses: Losses, target: str, parts: Sequence[str]) -> bool:
    if not _near_mean(losses, target, parts, FIRST).all():  # fast: most targets differ at once
        return False
    near = _near_mean(losses, target, parts)
    return len(near) >= ROWS and bool(near.all())


def _near_mean(
    losses: Losses, target: str, parts: Sequence[str], rows: int | None = None
) -> np.ndarray:
    """Return for each row that holds all parts whether the target is their mean."""
    loss, mean = losses[target][:rows], np.mean([losses[part][:rows] for part in parts], axis=0)
    there = np.isfinite(mean) & np.isfinite(loss)
    return np.abs(loss - mean)[there] <= SAME * np.abs(mean[there])
