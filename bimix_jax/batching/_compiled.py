"""The compiled call of a chunk, and its memory."""

import collections
import dataclasses
import functools
import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from bimix_jax.fitting.again import compiled_best_ends
from bimix_jax.fitting.arrays import ArrayFit, fit_arrays
from bimix_jax.fitting.kernel import fit_in_kernel, suits_kernel
from bimix_jax.fitting.measured import usable_points
from bimix_jax.fitting.options import FitOptions, budget_weight
from bimix_jax.fitting.residual import mean_relative_error
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import (
    ONE_THREAD,
    QUICKLY_COMPILED,
    REASSOCIATED,
    OnceCompiled,
    cpu_options,
)
from bimix_jax.xla.traced import kept_program

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
        """Take an aligned array of any values."""
        with self.lock:
            spare = self.spare[shape, np.dtype(dtype)]
            if spare:
                self.kept -= spare[-1].nbytes
                return spare.pop()
        return _aligned(shape, dtype)

    def give(self, arrays: Iterable[np.ndarray]) -> None:
        """Take back arrays that nothing reads any more; beyond `most` bytes the pool is emptied."""
        with self.lock:
            for array in arrays:
                # All are dropped: the shapes of a batch that has ended would never be taken again.
                if self.kept + array.nbytes > self.most:
                    self.spare.clear()
                    self.kept = 0
                if array.nbytes <= self.most:
                    self.spare[array.shape, array.dtype].append(array)
                    self.kept += array.nbytes


def _aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Make an array of any values that starts at a multiple of `ALIGNMENT` bytes."""
    # JAX takes an array as it is if it is aligned, which NumPy does not promise.
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def end_to_end(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate arrays of float64, aligned.

    >>> end_to_end([np.ones(2), np.zeros(1)])
    array([1., 1., 0.])
    """
    found = _aligned((sum(map(len, arrays)), *arrays[0].shape[1:]), "float64")
    return np.concatenate(arrays, out=found)


OF_CHUNKS = Memory()
"""Pool of this process, for arrays of chunks."""


# 16384 losses of 8 bytes with two features and a weight each are half a megabyte.
CELLS = {"cpu": 1 << 14}
"""Losses (sweeps × points × targets) that are searched side by side: with their features they stay
in the cache of one core. Such a block waits only for the slowest of its own fits, and has one shape
for any number of sweeps, so that no digit depends on that number. Other devices take `MANY_CELLS`,
because they need work for thousands of lanes."""
BLOCKS = 20
"""Largest number of blocks per chunk on a CPU, of which a call fits those in use; elsewhere 1."""
MANY_CELLS = 1 << 24
"""`CELLS` of other devices."""
SHORTEST = 4096
"""Least number of sweeps per device to which large blocks are shortened."""


class Chunk(NamedTuple):
    """Measurements of sweeps of one shape, float64; padding rows have a loss of nan.

    All arrays have a leading axis of blocks, except in a call for one block.
    """

    mixture: Any
    """(sweeps, points, domains)"""
    budget: Any
    """(sweeps, points)"""
    loss: Any
    """(sweeps, points, targets)"""
    own: Any
    """(sweeps, targets) int"""
    scale: Any
    """(sweeps,)"""
    size: Any = None
    """(sweeps, points) or None"""
    fold: Any = None
    """(sweeps, points) int or None"""


@dataclasses.dataclass(frozen=True)
class BatchMethod:
    """Settings of every sweep's fit in a batch; static, so that equal ones share a compilation."""

    law: Law
    options: FitOptions = FitOptions()
    folds: int = 0
    """number of folds that choose the strength of the shrinkage; 0 where it is known"""
    strength: float | None = None
    """strength of the shrinkage, where it is known"""
    levels: int = 0
    """Number of budgets that every run of a sweep has in the same order, where log losses are
    summed by them; else 0."""

    def kernel(self, domains: int) -> bool:
        """True where the kernel can fit most sweeps."""
        return suits_kernel(self.law, domains) and self.options.is_plain

    def sums_by_budget(self, domains: int) -> bool:
        """True where runs that share their budgets can be summed by budget."""
        # With residuals that are linear in the log loss, the sum of squares of the runs at a budget
        # depends on sums over them alone.
        linear = self.options.residual == "log" and self.options.huber is None
        return linear and self.law.is_separable and self.kernel(domains)

    def typed(self, block: Chunk) -> Chunk:
        """Convert measurements to the floating type of the fit."""

        def cast(leaf: Array) -> Array:
            return leaf.astype(
                self.options.dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else int
            )

        return jax.tree.map(cast, block)

    def weight(self, sweep: Chunk) -> Array:
        """Weights (points,) or, where all are equal, of the shape of the losses."""
        if not self.options.budget_power:
            return jnp.ones_like(sweep.loss)
        return jnp.asarray(budget_weight(sweep.budget, sweep.scale, self.options.budget_power))

    def fit(self, sweep: Chunk, starts: Array) -> ArrayFit:
        """Fit one sweep, without the leading axis, by the plain loop from starts."""
        return fit_arrays(
            self.law,
            *self._points(sweep),
            **self._further(sweep),
            starts=starts,
            fold=sweep.fold,
            folds=self.folds,
            shrinkage=self.strength,
            **self.options.settings,
        )

    def _points(self, sweep: Chunk) -> tuple[Array, Array, Array, Array]:
        """Arguments of a fit of a sweep, by their place."""
        return sweep.mixture, sweep.budget, sweep.loss, self.weight(sweep)

    def _further(self, sweep: Chunk) -> dict[str, Any]:
        """Arguments of a fit of a sweep, by their names."""
        return {"own": sweep.own, "budget_scale": sweep.scale, "size": sweep.size}

    def fit_in_kernel(self, chunk: Chunk, steps: Array) -> tuple[ArrayFit, Array, Array]:
        """Fit all sweeps by the kernel; also return their errors, and which targets are settled."""

        def one(sweep: Chunk) -> tuple[ArrayFit, Array, Array]:
            return fit_in_kernel(
                self.law,
                *self._points(sweep),
                **self._further(sweep),
                steps=steps,
                levels=self.levels,
                **self.options.settings,
            )

        # Mapped over targets outside and sweeps inside: only loss and own domain differ by target.
        of_target = Chunk(None, None, 2, 1, None, None, None)
        return jax.vmap(jax.vmap(one), in_axes=(of_target,), out_axes=1)(chunk)

    def error(self, found: ArrayFit, sweep: Chunk) -> Array:
        """(targets,) mean relative error of a fit."""
        own = found.coefficients.own
        points, _ = jax.vmap(usable_points, in_axes=(None, None, None, None, 1, 1, 0))(
            self.law,
            sweep.mixture,
            sweep.budget / sweep.scale,
            sweep.size,
            sweep.loss,
            jnp.ones_like(sweep.loss),
            own,
        )

        errors = jax.vmap(functools.partial(mean_relative_error, self.law))
        return errors(points, found.coefficients.exponents, found.coefficients.amplitudes)


def _in_blocks(fit: Callable[[Chunk], Any], chunk: Chunk, blocks: tuple[Array, Array]) -> Any:
    """Apply `fit` to a range of blocks of a chunk, one after another; 0 for the others."""

    def block(k: Any) -> Chunk:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, k, 0, False), chunk)

    # One block needs no loop.
    count = len(chunk.scale)
    if count == 1:
        return jax.tree.map(lambda leaf: leaf[None], fit(block(0)))
    # Traced once, for its shapes and for the loop.
    fit = jax.jit(fit)
    none = jax.tree.map(
        lambda one: jnp.zeros((count, *one.shape), one.dtype), jax.eval_shape(fit, block(0))
    )

    def further(k: Array, found: Any) -> Any:
        put = functools.partial(jax.lax.dynamic_update_index_in_dim, index=k, axis=0)
        return jax.tree.map(put, found, fit(block(k)))

    return jax.lax.fori_loop(*blocks, further, none)


def block_length(
    points: int, targets: int, devices: Sequence[jax.Device], sweeps: int, fewer: int = 1
) -> int:
    """Number of sweeps per block, a multiple of the number of devices; targets are padded.

    `fewer` divides it. Large blocks are shortened by powers of four until the `sweeps` fill one, so
    that none has to be padded and few lengths are compiled.
    """
    # A power of two, as `filled_chunk` pads targets.
    padded, count = 1 << (targets - 1).bit_length(), len(devices)
    cells = CELLS.get(devices[0].platform, MANY_CELLS) // fewer
    length = max(1, cells // (points * padded))
    while has_large_chunks(devices) and length > SHORTEST and length * count > sweeps:
        length //= 4
    return length * count


def chunk_blocks(devices: Sequence[jax.Device], several: bool) -> int:
    """Number of blocks per chunk: several on CPU for the kernel and for small blocks, else one.

    The iteration counts of the plain loop vary too much for large blocks to wait for each other.
    """
    return 1 if has_large_chunks(devices) or not several else BLOCKS


def has_large_chunks(devices: Sequence[jax.Device]) -> bool:
    """True where a chunk holds hundreds of thousands of fits, more than a cache."""
    return devices[0].platform not in CELLS


def cores() -> int:
    """Number of processor cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


@functools.lru_cache(maxsize=256)
def compiled_chunk(
    method: BatchMethod, devices: tuple[jax.Device, ...], kernel: bool
) -> OnceCompiled:
    """Compile, once per shape, the fits of a chunk, their errors and which are settled.

    The arguments are the largest number of evaluations of the kernel, or the starts (searches,
    starts, exponents) of the plain loop, and the range of blocks in use. Each device has its part
    of a block, and none waits for another, because they exchange nothing.
    """

    def plain(block: Chunk, starts: Array) -> tuple[ArrayFit, Array, Array]:
        fit = jax.vmap(method.fit, in_axes=(0, None))
        found = compiled_best_ends(functools.partial(fit, block), starts)
        return found, jax.vmap(method.error)(found, block), jnp.ones(found.code.shape, bool)

    def every(chunk: Chunk, begin: Array, blocks: Any) -> tuple[ArrayFit, Array, Array]:
        # Measurements become single precision here, which takes less time than copies of them.
        with jax.enable_x64(method.options.dtype == "float64"):
            first, end = (jnp.asarray(number, int) for number in blocks)
            if kernel:
                fit = functools.partial(method.fit_in_kernel, steps=jnp.asarray(begin, int))
            else:
                fit = functools.partial(plain, starts=jnp.asarray(begin, method.options.dtype))
            return _in_blocks(lambda block: fit(method.typed(block)), chunk, (first, end))

    mesh = Mesh(np.asarray(devices), ("sweeps",))
    along, everywhere = PartitionSpec(None, "sweeps"), PartitionSpec()
    each = jax.shard_map(
        every,
        mesh=mesh,
        in_specs=(along, everywhere, everywhere),
        out_specs=along,
        check_vma=False,
    )
    kind = REASSOCIATED if kernel else QUICKLY_COMPILED
    options = cpu_options(kind, ONE_THREAD, platform=devices[0].platform)

    def kept(args: Any) -> Any:
        # Tracing takes 4 s, and is the same for all workers of a cluster.
        alone = devices == tuple(jax.devices()[:1]) and jax.config.jax_default_device is None  # type: ignore[attr-defined]
        return kept_program(every, (method, kernel), (args, {}), options) if alone else None

    return OnceCompiled(jax.jit(each, compiler_options=options), kept)
