"""All chunks of a batch through the compiled call, on every core, results in the order of input."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from bimix_jax.batching.compiled import Method, chunk_length, compiled_chunk
from bimix_jax.batching.rows import Rows, buckets, padded_chunk
from bimix_jax.fitting.arrays import ArrayFit

Progress = Callable[[int], None]
"""Called with the number of sweeps of each chunk that is done."""


def fit_rows(
    rows: Rows,
    method: Method,
    devices: tuple[jax.Device, ...],
    progress: Progress | None = None,
) -> tuple[ArrayFit, np.ndarray]:
    """Fits of all sweeps, every entry with axes (sweeps, targets, …), and errors (sweeps, targets).

    Sweeps are dealt to chunks by their padded number of points; each such shape is compiled once.
    """
    parts = [
        (length, which[first : first + height], height)
        for length, which in buckets(rows)
        for height in [chunk_length(length, len(rows.targets), devices)]
        for first in range(0, len(which), height)
    ]
    call = compiled_chunk(method, devices)

    def one(part: tuple[int, np.ndarray, int]) -> Any:
        length, sweeps, height = part
        # A context of its own, since a thread does not inherit this setting.
        with jax.enable_x64(method.dtype == "float64"):
            found = call(padded_chunk(rows, sweeps, length, height, method.dtype))
            found = jax.tree.map(lambda leaf: _taken(leaf, len(sweeps), len(rows.targets)), found)
        if progress is not None:
            progress(len(sweeps))
        return found

    with ThreadPoolExecutor(_workers(devices)) as pool:
        found = list(pool.map(one, parts))
    order = np.argsort(np.concatenate([sweeps for _, sweeps, _ in parts]), kind="stable")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *found)


def _taken(leaf: Any, sweeps: int, targets: int) -> np.ndarray:
    return np.asarray(leaf)[:sweeps, :targets]


def _workers(devices: tuple[jax.Device, ...]) -> int:
    """Threads that feed the devices: a CPU works on one chunk a thread, others take turns."""
    if devices[0].platform != "cpu" or len(devices) > 1:
        return 2
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
