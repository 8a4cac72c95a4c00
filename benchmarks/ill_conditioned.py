"""Fits of a batch with hardly identified exponents, against the best of 24 starts.

    python -m benchmarks.ill_conditioned

5 000 sweeps per seed of 64 points within one decade of budgets, β down to 0.05, 1 % noise, through
the chunks of `fit_many`. The excess is that of the sum of squares over the least that the plain
loop finds in float64 from 24 starts.
"""

import itertools

import jax
import numpy as np
import pandas as pd

from benchmarks.fit import POINTS, Data, synthetic
from benchmarks.report import report
from bimix_jax import BiMix, Code, fit_arrays
from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.batching._rows import SweepRows
from bimix_jax.batching._run import fit_rows
from bimix_jax.fitting.options import FitOptions

FITS, SEEDS = 5_000, 3
STARTS = list(itertools.product((0.03, 0.1, 0.4), (0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.5, 4.0)))
KINDS = {"relative": ("relative", None), "log": ("log", None), "Huber": ("relative", 0.02)}


def rows_of(data: Data) -> SweepRows:
    """Convert the points to sweeps of one target."""
    share, budget, loss = data
    mixture = np.stack([share, 1 - share], axis=-1).reshape(-1, 2)
    return SweepRows(
        ("own", "other"), ("own",), np.full(len(loss), POINTS), mixture,
        np.tile(budget, len(loss)), loss.reshape(-1, 1),
    )  # fmt: skip


def least_squares(rows: SweepRows, method: BatchMethod) -> np.ndarray:
    """(sweeps,) least sum of squares that the plain loop finds."""
    count = len(rows.count)
    data = (rows.mixture.reshape(count, POINTS, 2), rows.budget.reshape(count, POINTS),
            rows.loss.reshape(count, POINTS))  # fmt: skip

    def one(part: Data) -> jax.Array:
        return fit_arrays(
            method.law,
            *part,
            own=0,
            budget_scale=1.0,
            residual=method.options.residual,
            huber=method.options.huber,
            starts=np.array(STARTS),
        ).sum_of_squares

    with jax.enable_x64(True):
        return np.asarray(jax.jit(lambda d: jax.lax.map(one, d, batch_size=250))(data))


def main() -> None:
    """Measure and report."""
    found = []
    devices = tuple(jax.local_devices())
    for (name, (loss, huber)), seed in itertools.product(KINDS.items(), range(SEEDS)):
        rows = rows_of(synthetic(FITS, (0.05, 1.0), 10.0, seed))
        best = least_squares(rows, BatchMethod(BiMix(), FitOptions(loss, huber)))
        for dtype in ("float64", "float32"):
            fitted, _ = fit_rows(
                rows, BatchMethod(BiMix(), FitOptions(loss, huber, dtype=dtype)), devices
            )
            excess = fitted.sum_of_squares[:, 0].astype(float) / best - 1
            codes = {code.label: int(np.sum(fitted.code == code)) for code in Code}
            found.append({"residual": name, "dtype": dtype, "seed": seed,
                          "above by 1e-3": int(np.sum(~(excess <= 1e-3))),
                          "worst excess": float(excess.max()), **codes})  # fmt: skip
    table = pd.DataFrame(found).set_index("residual")
    report("ill_conditioned_batch", table, f"{FITS} ill-conditioned fits through a batch")


if __name__ == "__main__":
    main()
