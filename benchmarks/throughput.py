"""Fits a second of `fit_many`'s compiled chunks against SciPy's curve_fit, in one run.

    python -m benchmarks.throughput

Rates are after compilation, medians of five runs, by wall clock on all cores; SciPy has one. "a
CPU second" counts the time of all threads instead, which other work on the machine disturbs less.
The excess is that of the sum of squares over the law's own starts searched by the plain loop.
"""

import os
import time
from collections.abc import Callable

import jax
import numpy as np
import pandas as pd

from benchmarks.fit import batch, excess, scipy_fits, synthetic
from benchmarks.report import report
from bimix_jax import BiMix, Code
from bimix_jax.batching.compiled import Method
from bimix_jax.batching.rows import Rows
from bimix_jax.batching.run import fit_rows

FITS, POINTS = 10_000, 64


def rows_of(data: tuple) -> Rows:
    """The synthetic fits as sweeps of one target."""
    share, budget, loss = data
    count = len(share)
    mixture = np.stack([share, 1 - share], axis=-1).reshape(-1, 2)
    lengths = np.full(count, POINTS)
    return Rows(("a", "b"), ("a",), lengths, mixture, np.tile(budget, count), loss.reshape(-1, 1))


def timed(run: Callable) -> tuple[float, float, tuple]:
    """Wall and CPU seconds and the result of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def main() -> None:
    """Measure and report."""
    data = synthetic(FITS, (0.2, 1.0), 64.0, 0)
    rows, devices = rows_of(data), tuple(jax.local_devices())
    with jax.enable_x64(True):
        reference = np.asarray(batch(data, None)().sum_of_squares)
    wall, cpu, (sums, failures, seconds) = timed(lambda: scipy_fits(data))
    per_fit, per_fit_cpu = seconds / len(sums), cpu / len(sums)
    table = [
        {"method": "SciPy curve_fit", "fits/s": 1 / per_fit, "× SciPy": 1.0,
         "fits a CPU second": 1 / per_fit_cpu, "× SciPy, CPU": 1.0, "first call s": wall,
         "worst excess": excess(sums, reference, np.max), "not converged": failures}
    ]  # fmt: skip
    for dtype in ("float64", "float32"):
        first, *later = (
            timed(lambda dtype=dtype: fit_rows(rows, Method(BiMix(), dtype=dtype), devices))
            for _ in range(6)
        )
        middle, middle_cpu = (float(np.median([run[i] for run in later])) / FITS for i in (0, 1))
        found = first[2][0]
        lost = int(np.sum(~np.isin(found.code, [Code.CONVERGED, Code.BOUNDARY])))
        table.append(
            {"method": f"fit_many's chunks, {dtype}", "fits/s": 1 / middle,
             "× SciPy": per_fit / middle, "fits a CPU second": 1 / middle_cpu,
             "× SciPy, CPU": per_fit_cpu / middle_cpu, "first call s": first[0],
             "worst excess": excess(found.sum_of_squares[:, 0], reference, np.max),
             "not converged": lost}
        )  # fmt: skip
    report(
        "throughput", pd.DataFrame(table).set_index("method"), f"{FITS} fits of {POINTS} points",
        fits=FITS, points=POINTS, load=os.getloadavg()[0],
    )  # fmt: skip


if __name__ == "__main__":
    main()
