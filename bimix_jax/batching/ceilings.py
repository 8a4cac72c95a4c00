"""Ceilings of a device: arithmetic and memory traffic of a fit."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimix_jax.batching.compiled import BatchMethod
from bimix_jax.fitting.kernel import evaluation
from bimix_jax.fitting.problem import Settings
from bimix_jax.fitting.residual import Points
from bimix_jax.xla.compilation import REASSOCIATED, cpu_options

TRANSCENDENTAL = 20
"""Operations per exponential or logarithm: a polynomial of about ten terms."""


@functools.cache
def operations(method: BatchMethod, points: int) -> float:
    """Operations of one evaluation of the sum of squares, its slopes and curvature.

    XLA counts them for `points` points in the program before it is optimised: an addition or
    multiplication is 1, an exponential `TRANSCENDENTAL`.

    >>> from bimix_jax import BiMix
    >>> 50 < operations(BatchMethod(BiMix()), 64) / 64 < 300
    True
    """
    with jax.default_device(_counting_device()):
        return _operations(method, points)


def _operations(method: BatchMethod, points: int) -> float:
    asked, own = method.options, np.array([1.0, 0.0])
    row: Any = jax.eval_shape(method.law.features, jnp.ones(2), own, jnp.ones(()))
    features = jax.tree.map(lambda leaf: jnp.ones((points, *leaf.shape)), row)
    data = Points(features, jnp.ones(points), jnp.ones(points))
    problem = Settings(residual=asked.residual, huber=asked.huber).problem(method.law, 2, 1)
    count = len(method.law.exponent_names) + problem.needs_full * len(method.law.amplitude_names)
    run = functools.partial(evaluation, problem)
    cost = jax.jit(run).lower(data, jnp.ones(count)).cost_analysis() or {}
    return float(cost.get("flops", np.nan) + TRANSCENDENTAL * cost.get("transcendentals", 0.0))


def _counting_device() -> Any:
    """Choose a CPU, because other compilers count nothing; without one, the default device."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def bytes_moved(points: int, dtype: str) -> float:
    """Bytes moved by one fit: two shares, a budget and a loss per point, and the results."""
    # 2 + 1 + 1 numbers per point; 16 stands for coefficients, codes and sums of one fit.
    return float((4 * points + 16) * np.dtype(dtype).itemsize)


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
    """Measure the best rates of several calls.

    >>> found = measure_ceilings("float32")
    >>> found.flops > 1e8 and found.bytes > 1e8
    True
    """
    # Caches of GPUs are larger, and they need more threads than a cache of numbers has.
    many = LARGE if jax.default_backend() == "cpu" else 4 * LARGE
    wide = SMALL if jax.default_backend() == "cpu" else LARGE
    with jax.enable_x64(dtype == "float64"):
        chained = _best(_chains, jnp.asarray(np.linspace(0, 1, wide), dtype))
        added = _best(lambda x: 0.5 * x[0] + x[1], jnp.ones((2, many), dtype))
    # A multiply-add is two operations; adding two arrays reads two numbers and writes one.
    return Ceilings(
        2 * CHAINS * LENGTH * wide / chained, 3 * many * np.dtype(dtype).itemsize / added
    )


def _chains(x: jax.Array) -> jax.Array:
    # A chain alone would wait for each result before the next step could begin.
    values = [x + k for k in range(CHAINS)]
    for i in range(LENGTH):
        values = [y * x + (i + 1) / LENGTH for y in values]
    return functools.reduce(jnp.add, values)


def _best(function: Callable[[Any], Any], argument: Any) -> float:
    """Seconds of the fastest call after the first."""
    call = jax.jit(function, compiler_options=cpu_options(REASSOCIATED))
    # The first call compiles. The fastest of the others is the least disturbed one.
    jax.block_until_ready(call(argument))
    seconds = []
    for _ in range(CALLS):
        started = time.perf_counter()
        jax.block_until_ready(call(argument))
        seconds.append(time.perf_counter() - started)
    return min(seconds)
