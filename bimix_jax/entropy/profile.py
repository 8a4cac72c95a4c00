"""How often each number of occurrences occurs: all that entropy estimators need to know."""

import dataclasses
from collections.abc import Iterable

import numpy as np

SMALL = 1 << 16
BLOCK = 1 << 22


@dataclasses.dataclass(frozen=True)
class Profile:
    """`types[k]` different symbols were seen `counts[k]` times each; counts rise, all above 0.

    Profiles of disjoint sets of symbols add up, in integers, so that no order of the work and no
    size of a chunk shows in an entropy.
    """

    counts: np.ndarray
    """(k,) int64, occurrences"""
    types: np.ndarray
    """(k,) int64, symbols with that many occurrences"""

    @property
    def total(self) -> int:
        """Occurrences in all."""
        return int(np.sum(self.counts * self.types))

    @property
    def seen(self) -> int:
        """Different symbols in all."""
        return int(np.sum(self.types))

    @property
    def once(self) -> int:
        """Symbols that were seen once."""
        return int(np.sum(self.types[self.counts == 1]))


def profile_of(occurrences: np.ndarray) -> Profile:
    """The profile of numbers of occurrences, one a symbol; zeros are left out.

    >>> profile_of(np.array([3, 0, 1, 1]))
    Profile(counts=array([1, 3]), types=array([2, 1]))
    """
    small = np.bincount(occurrences[occurrences < SMALL], minlength=1)
    small[0] = 0
    counts = np.flatnonzero(small)
    large, types = np.unique(occurrences[occurrences >= SMALL], return_counts=True)
    return Profile(
        np.concatenate([counts, large]).astype(np.int64),
        np.concatenate([small[counts], types]).astype(np.int64),
    )


def merged(profiles: Iterable[Profile]) -> Profile:
    """The profile of all symbols of profiles that share none."""
    each = [Profile(np.empty(0, np.int64), np.empty(0, np.int64)), *profiles]
    counts, where = np.unique(np.concatenate([p.counts for p in each]), return_inverse=True)
    types = np.zeros(len(counts), np.int64)
    np.add.at(types, where, np.concatenate([p.types for p in each]))
    return Profile(counts, types)


def profile_of_sorted(keys: np.ndarray) -> Profile:
    """The profile of sorted keys, by the lengths of their runs; blockwise, to bound memory."""
    profiles, begin = [], 0
    for start in range(0, len(keys), BLOCK):
        block = keys[start : start + BLOCK + 1]
        ends = np.flatnonzero(block[1:] != block[:-1]) + (start + 1)
        if start + BLOCK >= len(keys):
            ends = np.append(ends, len(keys))
        if len(ends):
            profiles.append(profile_of(np.diff(ends, prepend=begin)))
            begin = int(ends[-1])
    return merged(profiles)
