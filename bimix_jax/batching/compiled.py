"""One compiled call for a chunk of sweeps of one shape, on every device of this process."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from bimix_jax.fitting.arrays import ArrayFit, fit_arrays
from bimix_jax.fitting.coefficients import predict_losses
from bimix_jax.fitting.residual import Residual
from bimix_jax.laws.law import Law

CPU_OPTIONS = {"xla_cpu_enable_fast_math": True, "xla_cpu_prefer_vector_width": 512}
"""Given to the compilation of chunks alone, and on CPUs only: sums are reassociated, which
vectorises them. Neither helps without the other."""
CELLS = {"cpu": 1 << 15}
"""Losses (sweeps × points × targets) a chunk: what stays in a processor's cache. Other devices
take `MANY_CELLS`, as they need work for thousands of lanes."""
MANY_CELLS = 1 << 22


class Chunk(NamedTuple):
    """Measurements of sweeps of one shape; rows that are padding have a loss of nan."""

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
class Method:
    """How every sweep of a batch is fitted; static, so that equal ones share a compilation."""

    law: Law
    loss: Residual = "relative"
    huber: float | None = None
    tied: tuple[str, ...] = ()
    max_steps: int | None = None
    dtype: str = "float64"
    folds: int = 0
    restrained: bool = False

    def fit(self, sweep: Chunk) -> tuple[ArrayFit, Array]:
        """One sweep, without the leading axis: its fit, and the mean relative error (targets,)."""
        found = fit_arrays(
            self.law, sweep.mixture, sweep.budget, sweep.loss, own=sweep.own,
            budget_scale=sweep.scale, residual=self.loss, huber=self.huber, tied=self.tied,
            max_steps=self.max_steps, size=sweep.size, fold=sweep.fold, folds=self.folds,
            restraint=jnp.inf if self.restrained and not self.folds else None, quick=True,
        )  # fmt: skip
        predicted = predict_losses(
            self.law, found.coefficients, sweep.mixture, sweep.budget, sweep.size
        )
        errors = jnp.abs(predicted / sweep.loss - 1)
        counted = jnp.isfinite(errors)
        total = jnp.sum(jnp.where(counted, errors, 0.0), axis=0)
        return found, total / jnp.sum(counted, axis=0)


def chunk_length(points: int, targets: int, devices: Sequence[jax.Device]) -> int:
    """Sweeps a chunk, a multiple of the number of devices."""
    cells = CELLS.get(devices[0].platform, MANY_CELLS)
    return max(1, cells // (points * targets)) * len(devices)


@functools.lru_cache(maxsize=256)
def compiled_chunk(method: Method, devices: tuple[jax.Device, ...]) -> Callable[[Chunk], Any]:
    """`Method.fit` over a chunk, compiled once a shape; each device has its part of the sweeps.

    No device waits for another, as there is nothing to exchange.
    """
    mesh = Mesh(np.asarray(devices), ("sweeps",))
    along = PartitionSpec("sweeps")
    each = jax.shard_map(
        jax.vmap(method.fit), mesh=mesh, in_specs=along, out_specs=along, check_vma=False
    )
    options = CPU_OPTIONS if devices[0].platform == "cpu" else {}
    return jax.jit(each, compiler_options=options)
