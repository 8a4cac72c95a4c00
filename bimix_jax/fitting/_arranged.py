"""The order of points in a compiled fit: on a grid (slots, blocks), each block of one mixture."""

from typing import NamedTuple

import numpy as np

FEW = 32
"""Numbers of places are rounded up to about multiples of this, or more, to share compiled
programs."""
SPARE = 1.25
"""Largest number of places per point, for blocks whose last places stay empty."""


class Arranged(NamedTuple):
    """Places of points in blocks of one size, each of one mixture.

    Place p is slot p // blocks of block p mod blocks.
    """

    slots: int
    """places of a block"""
    rows: np.ndarray
    """(places,) int, the point at every place; where there is none, another one of the block"""
    counted: np.ndarray
    """(places,) bool: False where there is none"""
    place: np.ndarray
    """(points,) int, the place of every point"""

    @property
    def first(self) -> np.ndarray:
        """(blocks,) int, a point of every block."""
        return self.rows[: len(self.rows) // self.slots]


def arranged(mixture: np.ndarray, by_mixture: bool) -> Arranged:
    """Arrange points with mixtures (points, domains), in blocks of one point unless `by_mixture`.

    Blocks are as large as they can be with at most `SPARE` places per point.

    >>> found = arranged(np.array([[0.5], [0.2], [0.5], [0.2]]), True)
    >>> found.slots, found.first[:2].tolist(), found.counted.sum().item()
    (2, [1, 0], 4)
    """
    points = len(mixture)
    group = np.unique(mixture, axis=0, return_inverse=True)[1].ravel()
    of_group = np.bincount(group)
    slots = _slots(of_group, points) if by_mixture else 1
    slot, block = np.zeros(points, int), np.arange(points)
    if slots > 1:
        order = np.argsort(group, kind="stable")
        within = np.arange(points) - np.repeat(np.cumsum(of_group) - of_group, of_group)
        of_blocks = -(-of_group // slots)
        before = np.repeat(np.cumsum(of_blocks) - of_blocks, of_group)
        slot[order], block[order] = within % slots, before + within // slots
    blocks = like_size(int(block.max(initial=0)) + 1, slots)
    place = slot * blocks + block
    rows, counted = np.zeros(slots * blocks, int), np.zeros(slots * blocks, bool)
    rows[place], counted[place] = np.arange(points), True
    # The first place of a block holds a point, so that it can stand for the others.
    first = np.tile(rows[:blocks], slots)
    return Arranged(slots, np.where(counted, rows, first), counted, place)


def _slots(of_group: np.ndarray, points: int) -> int:
    """The largest size of blocks for groups of so many points that leaves few places empty."""
    for slots in range(int(of_group.max(initial=1)), 1, -1):
        if slots * np.sum(-(-of_group // slots)) <= SPARE * points:
            return slots
    return 1


def like_size(count: int, slots: int = 1) -> int:
    """Round a number of blocks up to one of few, at most an eighth more above 256 points."""
    step = max(1, FEW // slots, (1 << count.bit_length()) // 16)
    return -(-count // step) * step
