"""Time of resampling after compilation: fits alone, and with every resample's optimum.

    python -m benchmarks.bootstrap

A synthetic sweep of 66 runs at 10 budgets, 7 domains that are targets too, 1 % noise; the runs are
resampled 1 000 and 10 000 times. Seconds are medians of five calls with different seeds. The
excess is that of the sums of squares of 50 resamples over those of `fit` with the same weights.
"""

import os
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.report import report
from bimix_jax.uncertainty._resamples import draw

DOMAINS = tuple("abcdefg")
RUNS, BUDGETS, CALLS, COMPARED = 66, 10, 5, 50


def sweep() -> bx.Sweep:
    """A world in which BiMix is true."""
    rng = np.random.default_rng(0)
    size = len(DOMAINS)
    mixture = np.repeat(0.02 + 0.86 * rng.dirichlet(np.ones(size), RUNS), BUDGETS, axis=0)
    budget = np.tile(np.geomspace(1e8, 1e10, BUDGETS), RUNS)
    alpha, beta = rng.uniform(0.05, 0.4, size), rng.uniform(0.3, 1.0, size)
    loss = mixture**-alpha * (1.2 * (budget[:, None] / 1e10) ** -beta + 1.5)
    loss *= np.exp(0.01 * rng.standard_normal(loss.shape))
    table = pd.DataFrame(mixture, columns=[f"r_{d}" for d in DOMAINS])
    table[[f"loss_{d}" for d in DOMAINS]] = loss
    return bx.read_sweep(table.assign(tokens=budget, run=np.repeat(np.arange(RUNS), BUDGETS)))


def seconds(run: Callable[[int], object]) -> tuple[float, float]:
    """Seconds of the first call, and the median of those after it."""
    taken = []
    for seed in range(CALLS + 1):
        started = time.perf_counter()
        run(seed)
        taken.append(time.perf_counter() - started)
    return taken[0], float(np.median(taken[1:]))


def excess(measured: bx.Sweep, fitted: bx.Fit) -> float:
    """Largest relative excess of sums of squares of resamples over those of fits with weights."""
    ours = bx.bootstrap(measured, fitted, COMPARED).resampled.sum_of_squares
    weights = draw("multinomial", 0, COMPARED, RUNS)[:, measured.mixture_group]
    plain = np.stack(
        [bx.fit(measured, bx.BiMix(), weight=weight).sum_of_squares for weight in weights]
    )
    return float(np.max(ours / plain - 1))


def main() -> None:
    """Measure and report."""
    measured = sweep()
    fitted = bx.fit(measured, bx.BiMix())
    rows = []
    for count in (1_000, 10_000):
        for what, run in {
            "fits": lambda seed, n=count: bx.bootstrap(measured, fitted, n, seed),
            "fits and optima": lambda seed, n=count: bx.certainty(
                bx.bootstrap(measured, fitted, n, seed), 2e10
            ),
        }.items():
            first, later = seconds(run)
            rows.append({"resamples": count, "what": what, "seconds": later, "first call": first})
    table = pd.DataFrame(rows).set_index("resamples")
    report(
        "bootstrap", table, f"Resamples of {len(DOMAINS)} targets × {RUNS * BUDGETS} rows",
        excess=excess(measured, fitted), load=os.getloadavg()[0],
    )  # fmt: skip


if __name__ == "__main__":
    main()
