"""Measurements of many sweeps with common names, and how they are dealt to chunks of few shapes."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bimix_jax.batching.compiled import Chunk
from bimix_jax.batching.memory import OF_CHUNKS

MOST_LEVELS = 24
"""Budgets that runs share, of those for which sweeps are compiled apart."""


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


class Bucket(NamedTuple):
    """Sweeps that are fitted by one compiled call."""

    length: int
    """points, padded"""
    levels: int
    """budgets that all runs of a sweep share, 0 if that is not asked or so"""
    sweeps: np.ndarray


def buckets(rows: Rows, sweeps: np.ndarray, by_budget: bool = False) -> Iterator[Bucket]:
    """Every one that is not empty; those whose runs share budgets apart only if `by_budget`."""
    counts = rows.count[sweeps]
    seen = np.flatnonzero(np.bincount(counts))
    table = np.zeros(seen.max(initial=0) + 1, int)
    table[seen] = [padded_length(int(n)) for n in seen]
    levels = shared_budgets(rows, sweeps) if by_budget else np.zeros(len(sweeps), int)
    keys = table[counts] * (MOST_LEVELS + 1) + levels
    for key in np.flatnonzero(np.bincount(keys)):
        length, shared = divmod(int(key), MOST_LEVELS + 1)
        whole_runs = -(-length // shared) * shared if shared else length
        yield Bucket(whole_runs, shared, sweeps[keys == key])


def shared_budgets(rows: Rows, sweeps: np.ndarray) -> np.ndarray:
    """(sweeps,) how many budgets all runs of a sweep share, run after run in the same order.

    0 where they do not, where there is one run, and where they share more than `MOST_LEVELS`.
    """
    found, counts = np.zeros(len(sweeps), int), rows.count[sweeps]
    for count in np.flatnonzero(np.bincount(counts)):
        alike = np.flatnonzero(counts == count)
        points, *_ = _places(rows, sweeps[alike], int(count))
        budget = rows.budget[points].reshape(len(alike), -1)
        # Most batches have one design, which is seen in a fraction of the time.
        one = np.array_equal(budget[1:], budget[:-1])
        found[alike] = _period(budget[:1] if one else budget)
    return found


def _period(budget: np.ndarray) -> np.ndarray:
    """(sweeps,) after how many points the budgets (sweeps, points) come again and again, or 0."""
    count = budget.shape[1]
    # A column more than there are, so that one point alone has no period.
    again = np.zeros((len(budget), MOST_LEVELS + 1), bool)
    again[:, 1:count] = budget[:, 1 : MOST_LEVELS + 1] == budget[:, :1]
    period = again.argmax(axis=1)
    for levels in np.flatnonzero(np.bincount(period)):
        of = np.flatnonzero(period == levels)
        whole = levels > 1 and count % levels == 0
        same = whole & np.all(budget[of, levels:] == budget[of, : -levels or None], axis=1)
        period[of[~same]] = 0
    return period


def padded_chunk(
    rows: Rows, sweeps: np.ndarray, length: int, shape: tuple[int, int], dtype: str
) -> Chunk:
    """The given sweeps as a chunk of shape (blocks, sweeps a block), with `length` points each.

    Targets are padded to a power of two; padding is a loss of nan, and a harmless mixture. Blocks
    without any sweep hold anything. The memory may go to further chunks by `OF_CHUNKS.give`.
    """
    height, filled = math.prod(shape), -(-len(sweeps) // shape[1]) * shape[1]
    points, count, there = _places(rows, sweeps, length)

    def spread(values: np.ndarray, harmless: float, kind: str = dtype) -> np.ndarray:
        found = OF_CHUNKS.take((*shape, length, *values.shape[1:]), kind)
        wide = found.reshape(height, *found.shape[2:])
        part = wide[: len(sweeps)]
        if there is None:
            part[:, :count] = values.reshape(len(sweeps), count, *values.shape[1:])
            part[:, count:] = harmless
        else:
            part[...] = harmless
            part[there] = values
        wide[len(sweeps) : filled] = harmless
        return found

    targets = 1 << (len(rows.targets) - 1).bit_length()
    loss = rows.loss[points]
    if targets > len(rows.targets):
        further = np.full((len(loss), targets - len(rows.targets)), np.nan)
        loss = np.concatenate([loss, further], axis=1)
    own, scale = OF_CHUNKS.take((*shape, targets), "int64"), OF_CHUNKS.take(shape, dtype)
    own[...] = -1
    own[..., : len(rows.targets)] = own_index(rows)
    scale[...] = 1.0
    scale.reshape(-1)[: len(sweeps)] = rows.scale[sweeps]
    return Chunk(
        spread(rows.mixture[points], 1 / len(rows.domains)), spread(rows.budget[points], 1.0),
        spread(loss, np.nan), own, scale,
        None if rows.size is None else spread(rows.size[points], 1.0),
        None if rows.fold is None else spread(rows.fold[points], 1, "int64"),
    )  # fmt: skip


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
