"""Fit all chunks of a batch on every core, and return the results in the order of the input."""

import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from bimix_jax.batching._compiled import (
    OF_CHUNKS,
    BatchMethod,
    block_length,
    chunk_blocks,
    compiled_chunk,
    cores,
    has_large_chunks,
)
from bimix_jax.batching._rows import Bucket, Filled, SweepRows, buckets, filled_chunk
from bimix_jax.fitting.again import all_starts, chosen, in_doubt, is_lower
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.kernel import STEPS

FEW = 64
"""Factor by which blocks are smaller for the sweeps that the plain loop has to fit."""
QUICK_STEPS = 5
"""Evaluations of a search after which nearly all fits are settled. A chunk waits for its slowest
fit; where chunks are large, as on GPUs, those that need more are searched again in chunks of their
own."""
Progress = Callable[[int], None]
"""Callback that is called with the number of finished sweeps of each chunk."""


class _Stage(NamedTuple):
    """Settings for the sweeps that remain at a stage."""

    kernel: bool
    steps: int = STEPS
    fewer: int = 1
    """factor by which blocks are smaller"""
    searches: int | None = None
    """largest number of searches of the plain loop; None for all"""
    last: bool = False
    """True where every result is final"""

    def begin(self, method: BatchMethod, domains: int) -> Any:
        """Argument of the compiled call: the largest number of steps, or the starts."""
        if self.kernel:
            return self.steps
        every = all_starts(method.law, method.options.tied, domains)
        return np.asarray(every[: self.searches], float)

    def settled(self, found: ArrayFit, settled: np.ndarray) -> np.ndarray:
        """(sweeps, targets) bool: True where a fit needs no further stage."""
        return settled & ~in_doubt(found) | self.last


class ChunkPart(NamedTuple):
    """A chunk's share of the sweeps."""

    bucket: Bucket
    sweeps: np.ndarray
    shape: tuple[int, int]
    """largest number of blocks, and sweeps per block"""

    def filled(self, rows: SweepRows) -> Filled:
        """Fill the chunk with its measurements."""
        return filled_chunk(rows, self.sweeps, self.bucket.length, self.shape)

    def blocks(self, first: int) -> tuple[int, int]:
        """Range of the blocks that hold its sweeps, the first of which is at place `first`."""
        return first // self.shape[1], -(-(first + len(self.sweeps)) // self.shape[1])


def fit_rows(
    rows: SweepRows,
    method: BatchMethod,
    devices: tuple[jax.Device, ...],
    progress: Progress | None = None,
) -> tuple[ArrayFit, np.ndarray]:
    """Fit all sweeps: entries with axes (sweeps, targets, …), and errors (sweeps, targets).

    Sweeps are dealt to chunks by their padded number of points (and, where log losses can be summed
    by budget, by the number of budgets that their runs share); each such shape is compiled once.
    Fits that a stage does not settle, or leaves in doubt, are dealt again.
    """
    found, left = None, np.arange(len(rows.count))
    known = np.zeros((len(left), len(rows.targets)), bool)
    for stage in _stages(rows, method, devices):
        *new, ended = _fit_stage(rows, method, devices, stage, left, progress)
        settled = stage.settled(new[0], ended)
        if found is None:
            found = new
        else:
            old = jax.tree.map(lambda leaf, at=left: leaf[at], found)
            # The later verdict counts, unless the kernel found a lower end.
            new = chosen(~is_lower(new[0], old[0]) | ~known[left], old, new)
            # In place, as a copy of all sweeps takes longer than a few fits.
            for whole, part in zip(*map(jax.tree.leaves, (found, new)), strict=True):
                whole[left] = part
        known[left] |= ended
        left = left[~settled.all(axis=1)]
        if not len(left):
            break
    assert found is not None
    return found[0], found[1]


def _stages(rows: SweepRows, method: BatchMethod, devices: tuple[jax.Device, ...]) -> list[_Stage]:
    domains, last = len(rows.domains), _Stage(False, fewer=FEW, last=True)
    if method.kernel(domains):
        quick = [_Stage(True, QUICK_STEPS)] if has_large_chunks(devices) else []
        return [*quick, _Stage(True), last]
    first = _Stage(False, searches=1)
    again = len(all_starts(method.law, method.options.tied, domains)) > 1
    return [first, last] if again else [first._replace(last=True)]


def parts_of(
    rows: SweepRows,
    sweeps: np.ndarray,
    method: BatchMethod,
    devices: tuple[jax.Device, ...],
    kernel: bool,
    fewer: int = 1,
) -> list[ChunkPart]:
    """Split into chunks of similar numbers of blocks, so that no processor waits long."""
    parts, most, workers = (
        list[ChunkPart](),
        chunk_blocks(devices, kernel or fewer > 1),
        _workers(devices),
    )
    by_budget = kernel and method.sums_by_budget(len(rows.domains))
    for bucket in buckets(rows, sweeps, by_budget):
        block = block_length(bucket.length, len(rows.targets), devices, len(bucket.sweeps), fewer)
        blocks = -(-len(bucket.sweeps) // block)
        rounds = -(-blocks // (most * workers))
        height = -(-blocks // (rounds * workers)) * block
        parts += [
            ChunkPart(bucket, bucket.sweeps[first : first + height], (most, block))
            for first in range(0, len(bucket.sweeps), height)
        ]
    return parts


def _fit_stage(
    rows: SweepRows,
    method: BatchMethod,
    devices: tuple[jax.Device, ...],
    stage: _Stage,
    sweeps: np.ndarray,
    progress: Progress | None,
) -> Any:
    """Fit some sweeps in their order; also return their errors, and which ended well."""
    parts = parts_of(rows, sweeps, method, devices, stage.kernel, stage.fewer)
    begin = stage.begin(method, len(rows.domains))
    # Not in the threads, each of which would make and compile a function of its own.
    calls = {
        levels: compiled_chunk(dataclasses.replace(method, levels=levels), devices, stage.kernel)
        for levels in {part.bucket.levels for part in parts}
    }

    def one(part: ChunkPart) -> Any:
        chunk, first, lent = part.filled(rows)

        def cut(leaf: jax.Array) -> np.ndarray:
            flat = np.asarray(leaf).reshape(-1, *leaf.shape[2:])
            return flat[first : first + len(part.sweeps), : len(rows.targets)]

        # A context of its own, since a thread does not inherit this setting.
        with jax.enable_x64(True):
            call = calls[part.bucket.levels]
            fits, errors, ended = jax.tree.map(cut, call(chunk, begin, part.blocks(first)))
        # The results are there, so the chunk has been read.
        OF_CHUNKS.give(lent)
        if progress is not None:
            progress(int(stage.settled(fits, ended).all(axis=1).sum()))
        return fits, errors, ended

    # Another thread would only have to wake up for a single part.
    each = map if len(parts) == 1 else _threads(_workers(devices)).map
    found = list(each(one, parts))
    done = np.concatenate([part.sweeps for part in parts])
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    if np.all(np.diff(done) > 0):
        return joined
    order = np.argsort(done)
    return jax.tree.map(lambda leaf: leaf[order], joined)


@functools.cache
def _threads(workers: int) -> ThreadPoolExecutor:
    """Pool of threads, kept because a thread takes as long to start as a thousand fits."""
    return ThreadPoolExecutor(workers, thread_name_prefix="bimix_jax batch")


def _workers(devices: tuple[jax.Device, ...]) -> int:
    """Number of threads: one per core of a single CPU device; else two, one of them to prepare."""
    if devices[0].platform != "cpu" or len(devices) > 1:
        return 2
    return cores()
