"""Measurements of many sweeps with common names, and how they are dealt to chunks of few shapes."""

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np

from bimix_jax.batching.compiled import Chunk

ALIGNMENT = 64
"""Bytes; of an array that starts at a multiple of them JAX makes no copy on a CPU."""


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


def padded_chunk(
    rows: Rows, sweeps: np.ndarray, length: int, shape: tuple[int, int], dtype: str
) -> Chunk:
    """The given sweeps as a chunk of shape (blocks, sweeps a block), with `length` points each.

    Targets are padded to a power of two; padding is a loss of nan, and a harmless mixture. Blocks
    without any sweep hold anything.
    """
    height, filled = math.prod(shape), -(-len(sweeps) // shape[1]) * shape[1]
    points, count, there = _places(rows, sweeps, length)

    def spread(values: np.ndarray, harmless: float, kind: str = dtype) -> np.ndarray:
        wide = aligned((height, length, *values.shape[1:]), kind)
        part = wide[: len(sweeps)]
        if there is None:
            part[:, :count] = values.reshape(len(sweeps), count, *values.shape[1:])
            part[:, count:] = harmless
        else:
            part[...] = harmless
            part[there] = values
        wide[len(sweeps) : filled] = harmless
        return wide.reshape(*shape, *wide.shape[1:])

    targets = 1 << (len(rows.targets) - 1).bit_length()
    loss = rows.loss[points]
    if targets > len(rows.targets):
        further = np.full((len(loss), targets - len(rows.targets)), np.nan)
        loss = np.concatenate([loss, further], axis=1)
    scale = np.ones(height, dtype)
    scale[: len(sweeps)] = rows.scale[sweeps]
    own = np.full((height, targets), -1)
    own[:, : len(rows.targets)] = own_index(rows)
    return Chunk(
        spread(rows.mixture[points], 1 / len(rows.domains)), spread(rows.budget[points], 1.0),
        spread(loss, np.nan), own.reshape(*shape, targets), scale.reshape(shape),
        None if rows.size is None else spread(rows.size[points], 1.0),
        None if rows.fold is None else spread(rows.fold[points], 1, "int64"),
    )  # fmt: skip


def aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of any values that starts at a multiple of `ALIGNMENT` bytes."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def own_index(rows: Rows) -> np.ndarray:
    """(targets,) int: the domain of a target's name, −1 where there is none."""
    place = {domain: i for i, domain in enumerate(rows.domains)}
    return np.array([place.get(target, -1) for target in rows.targets])


def _places(
    rows: Rows, sweeps: np.ndarray, length: int
) -> tuple[slice | np.ndarray, int, np.ndarray | None]:
    """Which rows are the points of sweeps, the most that a sweep has, and where they go.

    Sweeps that stand together are a slice, of which nothing is copied. Of a chunk (sweeps, length)
    the last is True where there is a point, and None where all sweeps have as many.
    """
    first, counts = rows.first[sweeps], rows.count[sweeps]
    most, same = int(counts.max(initial=0)), np.ptp(counts) == 0
    there = np.arange(length) < counts[:, None]
    found = None if same else there
    if np.array_equal(first[1:], first[:-1] + counts[:-1]):
        return slice(int(first[0]), int(first[-1] + counts[-1])), most, found
    return (first[:, None] + np.arange(length))[there], most, found
