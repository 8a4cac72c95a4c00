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
from bimix_jax.fitting.lean_arrays import replaced

FEW = 16
"""Sweeps that are fitted again go in chunks smaller by this factor."""
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

    def one(part: tuple[int, np.ndarray, int]) -> Any:
        found = _fit_chunk(rows, method, devices, *part)
        if progress is not None:
            progress(len(part[1]))
        return found

    with ThreadPoolExecutor(_workers(devices)) as pool:
        found = list(pool.map(one, parts))
    order = np.argsort(np.concatenate([sweeps for _, sweeps, _ in parts]), kind="stable")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *found)


def _fit_chunk(
    rows: Rows, method: Method, devices: tuple[jax.Device, ...], length: int, sweeps: np.ndarray,
    height: int,
) -> tuple[ArrayFit, np.ndarray]:  # fmt: skip
    """Fits and errors of some sweeps; what the lean search leaves open goes to the plain loop."""
    lean = method.lean(len(rows.domains))

    def call(which: np.ndarray, height: int, lean: bool) -> Any:
        # A context of its own, since a thread does not inherit this setting.
        with jax.enable_x64(method.dtype == "float64"):
            chunk = padded_chunk(rows, which, length, height, method.dtype)
            found = compiled_chunk(method, devices, lean)(chunk)
            return jax.tree.map(lambda leaf: _taken(leaf, len(which), len(rows.targets)), found)

    *found, settled = call(sweeps, height, lean)
    again = np.flatnonzero(~settled.all(axis=1))
    few = -(-height // FEW // len(devices)) * len(devices)
    for first in range(0, len(again), few):
        places = again[first : first + few]
        *better, _ = call(sweeps[places], few, False)
        found = jax.tree.map(lambda old, new, at=places: replaced(old, at, new), found, better)
    return found[0], found[1]


def _taken(leaf: Any, sweeps: int, targets: int) -> np.ndarray:
    return np.asarray(leaf)[:sweeps, :targets]


def _workers(devices: tuple[jax.Device, ...]) -> int:
    """Threads that feed the devices: a CPU works on one chunk a thread, others take turns."""
    if devices[0].platform != "cpu" or len(devices) > 1:
        return 2
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
