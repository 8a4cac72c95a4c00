"""Memory of chunks, used again: a new page takes longer to get than to fill."""

import collections
import math
import threading
from collections.abc import Iterable, Sequence

import numpy as np

ALIGNMENT = 64
"""Alignment in bytes of arrays that JAX does not copy on a CPU."""
MOST = 1 << 26
"""Largest number of bytes kept, about the need of two cores for chunks of a few domains."""


class Memory:
    """Pool of unused arrays, for the next request of the same shape and type.

    >>> memory = Memory()
    >>> first = memory.take((2, 3), "float64")
    >>> memory.give([first])
    >>> memory.take((2, 3), "float64") is first
    True
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.kept, self.lock = most, 0, threading.Lock()
        self.spare: dict[tuple, list[np.ndarray]] = collections.defaultdict(list)

    def take(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """An array of any values, aligned."""
        with self.lock:
            spare = self.spare[shape, np.dtype(dtype)]
            if spare:
                self.kept -= spare[-1].nbytes
                return spare.pop()
        return aligned(shape, dtype)

    def give(self, arrays: Iterable[np.ndarray]) -> None:
        """Return arrays that nothing reads any more; beyond `most` others are dropped."""
        with self.lock:
            for array in arrays:
                if self.kept + array.nbytes > self.most:
                    self.spare.clear()
                    self.kept = 0
                if array.nbytes <= self.most:
                    self.spare[array.shape, array.dtype].append(array)
                    self.kept += array.nbytes


def aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of any values that starts at a multiple of `ALIGNMENT` bytes."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def end_to_end(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate arrays of float64, aligned.

    >>> end_to_end([np.ones(2), np.zeros(1)])
    array([1., 1., 0.])
    """
    found = aligned((sum(map(len, arrays)), *arrays[0].shape[1:]), "float64")
    return np.concatenate(arrays, out=found)


OF_CHUNKS = Memory()
"""Pool of this process."""
