"""Measurements of many sweeps with common names, and how they are dealt to chunks of few shapes."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from bimix_jax.batching.compiled import Chunk


@dataclasses.dataclass(frozen=True)
class Rows:
    """Points of many sweeps that have the same domains and targets, those of a sweep together."""

    domains: tuple[str, ...]
    targets: tuple[str, ...]
    count: np.ndarray
    """(sweeps,) points of each"""
    mixture: np.ndarray
    """(points, domains)"""
    budget: np.ndarray
    """(points,)"""
    loss: np.ndarray
    """(points, targets)"""
    size: np.ndarray | None = None
    """(points,)"""
    fold: np.ndarray | None = None
    """(points,) int"""

    @functools.cached_property
    def scale(self) -> np.ndarray:
        """(sweeps,) the largest budget of each."""
        first = np.cumsum(self.count) - self.count
        return np.maximum.reduceat(self.budget, first) if len(first) else np.zeros(0)


def padded_length(count: int) -> int:
    """The least of 8, 12, 16, 24, 32, 48, … that holds `count`: at most half of it is padding.

    >>> [padded_length(n) for n in (1, 9, 17, 64, 65)]
    [8, 12, 24, 64, 96]
    """
    length = 8
    while length < count:
        length = length * 3 // 2 if length & (length - 1) == 0 else length * 4 // 3
    return length


def buckets(rows: Rows, sweeps: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Padded length and those of the sweeps in it, for every bucket that is not empty."""
    counts, place = np.unique(rows.count[sweeps], return_inverse=True)
    lengths = np.array([padded_length(int(n)) for n in counts], int)[place]
    for length in np.unique(lengths):
        yield int(length), sweeps[lengths == length]


def padded_chunk(rows: Rows, sweeps: np.ndarray, length: int, height: int, dtype: str) -> Chunk:
    """The given sweeps as a chunk of `height` sweeps of `length` points.

    Targets are padded to a power of two; padding is a loss of nan, and a harmless mixture.
    """
    targets = 1 << (len(rows.targets) - 1).bit_length()
    source, there = _places(rows.count, sweeps, length, height)

    def spread(values: np.ndarray, padding: float, kind: str = dtype) -> np.ndarray:
        wide = np.take(values, source, axis=0).astype(kind, copy=False)
        if not there.all():
            wide[~there] = padding
        return wide

    loss = np.full((height, length, targets), np.nan, dtype)
    loss[:, :, : len(rows.targets)] = spread(rows.loss, np.nan)
    scale = np.ones(height, dtype)
    scale[: len(sweeps)] = rows.scale[sweeps]
    own = np.full((height, targets), -1)
    own[:, : len(rows.targets)] = own_index(rows)
    return Chunk(
        spread(rows.mixture, 1 / len(rows.domains)), spread(rows.budget, 1.0), loss, own, scale,
        None if rows.size is None else spread(rows.size, 1.0),
        None if rows.fold is None else spread(rows.fold, 1, "int64"),
    )  # fmt: skip


def own_index(rows: Rows) -> np.ndarray:
    """(targets,) int: the domain of a target's name, −1 where there is none."""
    place = {domain: i for i, domain in enumerate(rows.domains)}
    return np.array([place.get(target, -1) for target in rows.targets])


def _places(
    count: np.ndarray, sweeps: np.ndarray, length: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the rows the points of a chunk (height, length) are, and whether they are there."""
    first, lengths = np.zeros((2, height), int)
    first[: len(sweeps)] = (np.cumsum(count) - count)[sweeps]
    lengths[: len(sweeps)] = count[sweeps]
    position = np.arange(length)
    there = position < lengths[:, None]
    return np.where(there, first[:, None] + position, 0), there
