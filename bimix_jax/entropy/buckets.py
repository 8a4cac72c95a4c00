"""Where the pairs of a range of first tokens are collected, by all threads at once.

A pair is a key, first · vocabulary + second, that wraps at 32 bits. Keys of one range differ all
the same, as a range spans less than 2^32 of them.
"""

import threading
from collections.abc import Callable

import numpy as np

from bimix_jax.entropy.profile import Profile, profile_of, profile_of_sorted

KEYS = 2**32
"""different values a key can have"""
KEY_BYTES = 4
COUNT_BYTES = 8

Sort = Callable[[np.ndarray], np.ndarray]


class KeyBucket:
    """Keys as they come, sorted in the end."""

    def __init__(self, pairs: int) -> None:
        self._keys = np.empty(pairs, np.uint32)
        self._filled = 0
        self._lock = threading.Lock()

    def add(self, keys: np.ndarray) -> None:
        """Take keys, to a place of their own, so that threads write side by side."""
        with self._lock:
            place = self._filled
            self._filled += len(keys)
        self._keys[place : place + len(keys)] = keys

    def profile(self, sort: Sort | None) -> Profile:
        """Of all pairs added; `sort` None sorts in place."""
        if sort is not None:
            return profile_of_sorted(sort(self._keys))
        self._keys.sort()
        return profile_of_sorted(self._keys)


class TableBucket:
    """Counts by second token of the pairs of one first token, which may have more than fit."""

    def __init__(self, first: int, vocabulary: int) -> None:
        self._base = np.uint32(first * vocabulary % KEYS)
        self._counts = np.zeros(vocabulary, np.int64)
        self._lock = threading.Lock()

    def add(self, keys: np.ndarray) -> None:
        """Count keys."""
        counts = np.bincount(keys - self._base)
        with self._lock:
            self._counts[: len(counts)] += counts

    def profile(self, sort: Sort | None) -> Profile:
        """Of all pairs added; there is nothing to sort."""
        return profile_of(self._counts)


Bucket = KeyBucket | TableBucket


def bucket_bytes(begin: int, end: int, pairs: int, vocabulary: int) -> int:
    """Memory of the bucket for the pairs of a range of first tokens."""
    keys = KEY_BYTES * pairs
    return min(keys, COUNT_BYTES * vocabulary) if end == begin + 1 else keys


def new_bucket(begin: int, end: int, pairs: int, vocabulary: int) -> Bucket:
    """The smaller kind of bucket that the range allows."""
    if bucket_bytes(begin, end, pairs, vocabulary) < KEY_BYTES * pairs:
        return TableBucket(begin, vocabulary)
    return KeyBucket(pairs)
