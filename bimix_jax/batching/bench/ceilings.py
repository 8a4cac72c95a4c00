"""Ceilings of a device, measured on the spot: arithmetic and memory traffic."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimix_jax.xla.compilation import REASSOCIATED, cpu_options

CHAINS, LENGTH = 8, 64
"""Multiply-adds on numbers in registers; several chains hide the latency of each."""
SMALL, LARGE = 1 << 16, 1 << 24
"""Array lengths within a cache, for arithmetic, and beyond it, for traffic."""
CALLS = 7


class Ceilings(NamedTuple):
    """Rates of one floating type on the first local device."""

    flops: float
    """multiplications and additions per second, in chains that touch no memory"""
    bytes: float
    """bytes read or written per second, by adding two arrays larger than any cache"""


def measure_ceilings(dtype: str) -> Ceilings:
    """The best of several calls.

    >>> found = measure_ceilings("float32")
    >>> found.flops > 1e8 and found.bytes > 1e8
    True
    """
    many = LARGE if jax.default_backend() == "cpu" else 4 * LARGE
    wide = SMALL if jax.default_backend() == "cpu" else LARGE
    with jax.enable_x64(dtype == "float64"):
        chained = _best(_chains, jnp.asarray(np.linspace(0, 1, wide), dtype))
        added = _best(lambda x: 0.5 * x[0] + x[1], jnp.ones((2, many), dtype))
    return Ceilings(
        2 * CHAINS * LENGTH * wide / chained, 3 * many * np.dtype(dtype).itemsize / added
    )


def _chains(x: jax.Array) -> jax.Array:
    values = [x + k for k in range(CHAINS)]
    for i in range(LENGTH):
        values = [y * x + (i + 1) / LENGTH for y in values]
    return functools.reduce(jnp.add, values)


def _best(function: Callable[[Any], Any], argument: Any) -> float:
    """Seconds of the fastest call after the first."""
    call = jax.jit(function, compiler_options=cpu_options(REASSOCIATED))
    jax.block_until_ready(call(argument))
    seconds = []
    for _ in range(CALLS):
        started = time.perf_counter()
        jax.block_until_ready(call(argument))
        seconds.append(time.perf_counter() - started)
    return min(seconds)
