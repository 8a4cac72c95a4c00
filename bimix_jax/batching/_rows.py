"""Measurements of many sweeps with common names, and their distribution to chunks of few shapes."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bimix_jax.batching._compiled import OF_CHUNKS, Chunk

# Each number of levels is a program of its own; it also bounds the codes in `buckets`.
MOST_LEVELS = 24
"""Largest number of shared budgets for which sweeps are compiled separately."""


@dataclasses.dataclass(frozen=True)
class SweepRows:
    """Points of many sweeps with the same domains and targets; those of a sweep are adjacent."""

    domains: tuple[str, ...]
    targets: tuple[str, ...]
    count: np.ndarray
    """(sweeps,) number of points of each"""
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
        """(sweeps,) index of the first point of each."""
        return np.cumsum(self.count) - self.count

    @functools.cached_property
    def scale(self) -> np.ndarray:
        """(sweeps,) largest budget of each."""
        return np.maximum.reduceat(self.budget, self.first) if len(self.count) else np.zeros(0)


def padded_length(count: int) -> int:
    """Round up to 8, 12, 16, 24, 32, 48, …: from 9 points on less than a third is padding.

    >>> [padded_length(n) for n in (1, 9, 17, 64, 65)]
    [8, 12, 24, 64, 96]
    """
    # A power of two goes to one and a half of it, that one to the next power: steps of 3/2 and 4/3.
    length = 8
    while length < count:
        length = length * 3 // 2 if length & (length - 1) == 0 else length * 4 // 3
    return length


class Bucket(NamedTuple):
    """Sweeps that are fitted by one compiled call."""

    length: int
    """padded number of points"""
    levels: int
    """number of budgets that all runs of a sweep share, 0 if there are none or they are unused"""
    sweeps: np.ndarray


def buckets(rows: SweepRows, sweeps: np.ndarray, by_budget: bool = False) -> Iterator[Bucket]:
    """Iterate over the non-empty buckets; runs with shared budgets apart only if `by_budget`."""
    counts = rows.count[sweeps]
    seen = np.flatnonzero(np.bincount(counts))
    table = np.zeros(seen.max(initial=0) + 1, int)
    table[seen] = [padded_length(int(n)) for n in seen]
    levels = shared_budgets(rows, sweeps) if by_budget else np.zeros(len(sweeps), int)
    # One number for the pair (length, levels), as counting numbers is faster than sorting pairs.
    keys = table[counts] * (MOST_LEVELS + 1) + levels
    for key in np.flatnonzero(np.bincount(keys)):
        length, shared = divmod(int(key), MOST_LEVELS + 1)
        # Rounded up to whole runs, as sums by budget are over whole runs.
        whole_runs = -(-length // shared) * shared if shared else length
        yield Bucket(whole_runs, shared, sweeps[keys == key])


def shared_budgets(rows: SweepRows, sweeps: np.ndarray) -> np.ndarray:
    """(sweeps,) number of budgets that all runs of a sweep share, in the same order.

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
    """(sweeps,) period of the budgets (sweeps, points), or 0."""
    count = budget.shape[1]
    # A column more than there are, so that one point alone has no period.
    again = np.zeros((len(budget), MOST_LEVELS + 1), bool)
    again[:, 1:count] = budget[:, 1 : MOST_LEVELS + 1] == budget[:, :1]
    # The second place of the first budget; 0 where it does not come again. Then all are compared.
    period = again.argmax(axis=1)
    for levels in np.flatnonzero(np.bincount(period)):
        of = np.flatnonzero(period == levels)
        whole = levels > 1 and count % levels == 0
        same = whole & np.all(budget[of, levels:] == budget[of, : -levels or None], axis=1)
        period[of[~same]] = 0
    return period


class Filled(NamedTuple):
    """A chunk, and the place of the requested sweeps in it."""

    chunk: Chunk
    first: int
    """index of the first sweep, counted over the blocks"""
    lent: list[np.ndarray]
    """arrays of `OF_CHUNKS`, to be returned once the chunk has been read"""


def filled_chunk(
    rows: SweepRows, sweeps: np.ndarray, length: int, shape: tuple[int, int]
) -> Filled:
    """Fill a chunk of shape (blocks, sweeps per block) with the sweeps, `length` points each.

    Adjacent sweeps with equal numbers of points are not copied, and may stand among others to fill
    the shape. Otherwise targets are padded to a power of two; padding is a loss of nan and a
    harmless mixture. Blocks without a sweep hold arbitrary values.
    """
    height, filled, lent = math.prod(shape), -(-len(sweeps) // shape[1]) * shape[1], []
    window = _window(rows, sweeps, length, shape)
    held = sweeps if window is None else np.arange(window, window + height)
    points, count, there = _places(rows, held, length)

    def take(shape: tuple[int, ...], kind: str) -> np.ndarray:
        lent.append(OF_CHUNKS.take(shape, kind))
        return lent[-1]

    def spread(values: np.ndarray, harmless: float, kind: str = "float64") -> np.ndarray:
        whole = (*shape, length, *values.shape[1:])
        if window is not None and values.dtype == kind:
            return values.reshape(whole)
        found = take(whole, kind)
        wide = found.reshape(height, *found.shape[2:])
        part = wide[: len(held)]
        if there is None:
            part[:, :count] = values.reshape(len(held), count, *values.shape[1:])
            part[:, count:] = harmless
        else:
            part[...] = harmless
            part[there] = values
        wide[len(held) : filled] = harmless
        return found

    # nan losses have no weight, so that padded targets are fits without points.
    targets = 1 << (len(rows.targets) - 1).bit_length()
    loss = _with_targets(rows.loss[points], targets)
    own, scale = take((*shape, targets), "int64"), take(shape, "float64")
    own[...] = -1
    own[..., : len(rows.targets)] = own_index(rows)
    scale[...] = 1.0
    scale.reshape(-1)[: len(held)] = rows.scale[held]
    chunk = Chunk(
        spread(rows.mixture[points], 1 / len(rows.domains)),
        spread(rows.budget[points], 1.0),
        spread(loss, np.nan),
        own,
        scale,
        None if rows.size is None else spread(rows.size[points], 1.0),
        None if rows.fold is None else spread(rows.fold[points], 1, "int64"),
    )
    return Filled(chunk, 0 if window is None else int(sweeps[0]) - window, lent)


def _with_targets(loss: np.ndarray, targets: int) -> np.ndarray:
    """Add targets of nan to losses (points, targets), up to a number of them."""
    missing = targets - loss.shape[1]
    # Losses that need no padding stay a view, which makes no copy of the chunk.
    if not missing:
        return loss
    return np.concatenate([loss, np.full((len(loss), missing), np.nan)], axis=1)


def _window(rows: SweepRows, sweeps: np.ndarray, length: int, shape: tuple[int, int]) -> int | None:
    """First of the adjacent sweeps of a chunk that include the given ones, or None.

    All have `length` points. Sweeps that fill less than half a block are copied instead, because
    they would wait for the others.
    """
    height = math.prod(shape)
    # Near the end of the rows the window moves back, so that it stays inside them.
    first = min(int(sweeps[0]), len(rows.count) - height)
    many = first >= 0 and 2 * len(sweeps) >= shape[1]
    alike = many and np.all(rows.count[first : first + height] == length)
    return first if alike and np.all(np.diff(sweeps) == 1) else None


def own_index(rows: SweepRows) -> np.ndarray:
    """(targets,) int: index of the domain of a target's name, −1 for none."""
    place = {domain: i for i, domain in enumerate(rows.domains)}
    return np.array([place.get(target, -1) for target in rows.targets])


def _places(
    rows: SweepRows, sweeps: np.ndarray, length: int
) -> tuple[slice | np.ndarray, int, np.ndarray | None]:
    """Rows of the points of sweeps, the largest number per sweep, and their places.

    Adjacent sweeps are a slice, which is not copied. The places (sweeps, length) are True where
    there is a point, and None where all sweeps have the same number.
    """
    first, counts = rows.first[sweeps], rows.count[sweeps]
    most, same = int(counts.max(initial=0)), np.ptp(counts) == 0
    together = np.array_equal(first[1:], first[:-1] + counts[:-1])
    whole = slice(int(first[0]), int(first[-1] + counts[-1])) if together else None
    if whole and same:
        return whole, most, None
    there = np.arange(length) < counts[:, None]
    points = whole or (first[:, None] + np.arange(length))[there]
    return points, most, None if same else there
