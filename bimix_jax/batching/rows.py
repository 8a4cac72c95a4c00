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
    def first(self) -> np.ndarray:
        """(sweeps,) place of the first point of each."""
        return np.cumsum(self.count) - self.count

    @functools.cached_property
    def scale(self) -> np.ndarray:
        """(sweeps,) the largest budget of each."""
        return np.maximum.reduceat(self.budget, self.first) if len(self.count) else np.zeros(0)


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
    counts = rows.count[sweeps]
    seen = np.flatnonzero(np.bincount(counts))
    table = np.zeros(seen.max(initial=0) + 1, int)
    table[seen] = [padded_length(int(n)) for n in seen]
    lengths = table[counts]
    for length in np.unique(table[seen]):
        yield int(length), sweeps[lengths == length]


def padded_chunk(rows: Rows, sweeps: np.ndarray, length: int, height: int, dtype: str) -> Chunk:
    """The given sweeps as a chunk of `height` sweeps of `length` points.

    Targets are padded to a power of two; padding is a loss of nan, and a harmless mixture.
    """
    targets = 1 << (len(rows.targets) - 1).bit_length()
    points, count, there = _places(rows, sweeps, length)

    def spread(values: np.ndarray, harmless: float, kind: str = dtype) -> np.ndarray:
        found, shape = values[points].astype(kind, copy=False), values.shape[1:]
        if count == length and len(sweeps) == height:
            return found.reshape(height, length, *shape)
        wide = np.full((height, length, *shape), harmless, kind)
        if count is None:
            wide[: len(sweeps)][there] = found
        else:
            wide[: len(sweeps), :count] = found.reshape(len(sweeps), count, *shape)
        return wide

    loss = spread(rows.loss, np.nan)
    if targets > len(rows.targets):
        further = np.full((height, length, targets - len(rows.targets)), np.nan, dtype)
        loss = np.concatenate([loss, further], axis=2)
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
    rows: Rows, sweeps: np.ndarray, length: int
) -> tuple[slice | np.ndarray, int | None, np.ndarray]:
    """Which rows are the points of sweeps, how many a sweep has, and where they go.

    Sweeps that stand together are a slice, of which nothing is copied; None if their counts differ.
    Of a chunk (sweeps, length) it is True where there is a point.
    """
    first, counts = rows.first[sweeps], rows.count[sweeps]
    there = np.arange(length) < counts[:, None]
    same = int(counts[0]) if np.all(counts == counts[0]) else None
    if np.all(np.diff(first) == counts[:-1]):
        return slice(int(first[0]), int(first[-1] + counts[-1])), same, there
    return (first[:, None] + np.arange(length))[there], same, there
