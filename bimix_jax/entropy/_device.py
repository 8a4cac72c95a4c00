"""Sorting on an accelerator, if one is available."""

import jax
import jax.numpy as jnp
import numpy as np

from bimix_jax.entropy._counts import Sort

LARGEST = np.uint32(2**32 - 1)
"""Padding, which sorts behind all keys and is cut off there."""


def device_sort(device: str) -> Sort | None:
    """Return a sort of uint32 keys for `device`: "cpu" (None, NumPy's), "gpu", "tpu", "jax" or
    "auto".

    "jax" is JAX's default device; "auto" is the same unless that is a CPU.

    Raises:
        ValueError: if the device is unknown, or JAX has none of that kind.
    """
    known = ("auto", "cpu", "jax", "gpu", "tpu")
    if device not in known:
        raise ValueError(f"device is {device!r}; expected one of {', '.join(known)}.")
    # On CPUs NumPy sorts in place, without the copies and the compilation that JAX needs.
    if device == "cpu" or (device == "auto" and jax.default_backend() == "cpu"):
        return None
    try:
        where = jax.devices(None if device in ("auto", "jax") else device)[0]
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}, but JAX has none here: {error}") from error
    return lambda keys: sort_on(where, keys)


def sort_on(device: jax.Device, keys: np.ndarray) -> np.ndarray:
    """Sort keys (n,) on a device; padding to a power of two keeps the compiled shapes few."""
    padded = np.full(1 << max(len(keys) - 1, 1).bit_length(), LARGEST, np.uint32)
    padded[: len(keys)] = keys
    return np.asarray(_sort(jax.device_put(padded, device)))[: len(keys)]


@jax.jit
def _sort(keys: jax.Array) -> jax.Array:
    return jnp.sort(keys)
