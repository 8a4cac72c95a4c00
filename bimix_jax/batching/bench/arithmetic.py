"""Least cost of a fit: operations of its evaluations, and bytes that have to move."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bimix_jax.batching.compiled import Method
from bimix_jax.fitting.kernel import evaluation
from bimix_jax.fitting.residual import Points, needs_full

TRANSCENDENTAL = 20
"""Operations per exponential or logarithm: a polynomial of about ten terms."""


@functools.cache
def operations(method: Method, points: int) -> float:
    """Operations of one evaluation of the sum of squares, its slopes and curvature.

    XLA counts them for `points` points in the program before it is optimised: an addition or
    multiplication is 1, an exponential `TRANSCENDENTAL`.

    >>> from bimix_jax import BiMix
    >>> 50 < operations(Method(BiMix()), 64) / 64 < 300
    True
    """
    with jax.default_device(_counting_device()):
        return _operations(method, points)


def _operations(method: Method, points: int) -> float:
    asked, own = method.options, np.array([1.0, 0.0])
    row: Any = jax.eval_shape(method.law.features, jnp.ones(2), own, jnp.ones(()))
    features = jax.tree.map(lambda leaf: jnp.ones((points, *leaf.shape)), row)
    data = Points(features, jnp.ones(points), jnp.ones(points))
    full = needs_full(asked.residual, asked.huber)
    count = len(method.law.exponent_names) + full * len(method.law.amplitude_names)
    run = functools.partial(evaluation, method.law, asked.residual, asked.huber)
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
    return float((4 * points + 16) * np.dtype(dtype).itemsize)
