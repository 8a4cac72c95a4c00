"""Speed of training, in tokens per second and against the machine's own matrix products."""

import time

import jax
import jax.numpy as jnp

SIZES = {"cpu": 1024}
OTHER_SIZE = 8192
"""rows of a matrix large enough to keep a device busy, and no larger"""


def matrix_rate(products: str | None = None, repeats: int = 5) -> float:
    """Floating point operations a second of a product of large matrices, the best of some.

    Of a type, by default float32, and by the default precision of the device, as in training.
    """
    size = SIZES.get(jax.default_backend(), OTHER_SIZE)
    # Not of ones, which some devices multiply faster than other numbers.
    matrix = jax.random.normal(jax.random.key(0), (size, size), products or jnp.float32)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / min(seconds)
