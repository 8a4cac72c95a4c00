"""Fits a second of `fit_many`'s chunks beside other libraries, in one run, and a picture.

    python -m benchmarks.throughput
    python -m benchmarks.throughput --large

Rates are after compilation, medians of at least five calls on all cores; SciPy has one. Every rate
has the number of fits that did not converge and the largest excess of a sum of squares over the
plain loop's from all starts. "× SciPy" is against SciPy's rate on the same residual and points,
the median of rounds in which one is timed right after the other, as a shared machine is not as fast
at all times. "of it" is the share of the measured ceiling that binds. --large adds a million fits.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.peers import PEERS, Sample, timed
from benchmarks.report import RESULTS, report
from bimix_jax.batching._rows import SweepRows
from bimix_jax.batching._run import fit_rows
from bimix_jax.batching.rates import Case, measure, measure_ceilings, plain_sums, synthetic_rows

HUBER = 0.02
SAMPLES = {"SciPy curve_fit": 300, "SciPy least_squares, Huber": 60, "optimistix, vmap": 2000}
BATCHES = (100, 1_000, 10_000, 100_000)
ROUNDS, CALLS = 9, 5


def cases(large: bool) -> list[Case]:
    """Timed cases, starting with those for a comparison with peers."""
    kinds = [Case(), Case(dtype="float32"), Case("log"), Case("log", dtype="float32"),
             Case(huber=HUBER), Case(huber=HUBER, dtype="float32")]  # fmt: skip
    points = [Case(points=n, dtype=d) for n in (200, 1_000) for d in ("float64", "float32")]
    batches = [Case(fits=n, dtype=d) for n in BATCHES if n != 10_000
               for d in ("float64", "float32")]  # fmt: skip
    million = [Case(fits=1_000_000, dtype=d) for d in ("float64", "float32")] if large else []
    return [*kinds, *points, *batches, *million]


def peer_rows(case: Case) -> list[dict[str, Any]]:
    """One row per library that supports a case."""
    found = []
    for name, peer in PEERS.items():
        rows, sample = sample_of(case, SAMPLES[name])
        result = timed(peer, sample, case.loss, case.huber)
        if result is None:
            continue
        rate, sums = result
        # Some end in a worse optimum: those count as not converged, not as an excess.
        above = sums / plain_sums(case, rows) - 1
        found.append({"by": name, **described(case), "fits": SAMPLES[name], "fits/s": rate,
                      "failed": int(np.sum(~(above < 1e-3))),
                      "excess": float(np.max(above[above < 1e-3]))})  # fmt: skip
    return found


def sample_of(case: Case, count: int) -> tuple[SweepRows, Sample]:
    """First fits of a case, for the other libraries."""
    rows = synthetic_rows(count, case.points)
    shares, budgets, losses = (
        x.reshape(count, case.points) for x in (rows.mixture[:, 0], rows.budget, rows.loss)
    )
    return rows, (np.log(shares), np.log(budgets), losses)


def times_scipy(case: Case) -> float:
    """Ratio of the package's rate of fits to SciPy's, the median of rounds."""
    name = "SciPy least_squares, Huber" if case.huber else "SciPy curve_fit"
    peer, (_, sample) = PEERS[name], sample_of(case, SAMPLES[name])
    rows, devices = synthetic_rows(case.fits, case.points), tuple(jax.local_devices())
    calls = max(1, min(CALLS, 100_000 // case.fits))
    fit_rows(rows, case.method, devices)
    found = []
    for _ in range(ROUNDS):
        theirs = seconds_of(lambda: peer(sample, case.loss, case.huber)) / SAMPLES[name]
        ours = [seconds_of(lambda: fit_rows(rows, case.method, devices)) for _ in range(calls)]
        found.append(theirs * case.fits / float(np.median(ours)))
    return float(np.median(found))


def seconds_of(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def described(case: Case) -> dict[str, Any]:
    """The columns that tell cases apart."""
    return {"residual": case.name, "dtype": case.dtype, "points": case.points, "fits": case.fits}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    rows = [row for case in (Case(), Case("log"), Case(huber=HUBER)) for row in peer_rows(case)]
    ceilings = {dtype: measure_ceilings(dtype) for dtype in ("float64", "float32")}
    for case in cases(arguments.large):
        rows.append({"by": "bimix_jax", **described(case), **measure(case, ceilings[case.dtype])})
        rows[-1]["× SciPy"] = times_scipy(case) if case.points == 64 else np.nan
        rows[-1].pop("method")
    table = pd.DataFrame(rows).drop(columns="load").set_index("by")
    report(
        "throughput", table, "Fits a second",
        ceilings={dtype: c._asdict() for dtype, c in ceilings.items()}, load=os.getloadavg()[0],
    )  # fmt: skip
    draw(table, RESULTS / "throughput.png")


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw fits per second against the number of fits per call, with and without compilation."""
    ours = table.loc[["bimix_jax"]].query("points == 64 and residual == 'relative'")
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for dtype, colour in (("float64", "#1f4e79"), ("float32", "#c55a11")):
        part = ours[ours["dtype"] == dtype].sort_values("fits")
        axes.plot(part["fits"], part["fits/s"], "o-", color=colour, label=f"{dtype}")
        axes.plot(part["fits"], part["with compile"], "o--", color=colour, alpha=0.5,
                  label=f"{dtype}, with compilation")  # fmt: skip
    scipy_rate = table.loc["SciPy curve_fit"].query("residual == 'relative'")["fits/s"].iloc[0]
    axes.axhline(scipy_rate, color="0.5", linewidth=1)
    axes.text(ours["fits"].min(), scipy_rate * 1.15, "SciPy curve_fit", color="0.35")
    axes.set(xscale="log", yscale="log", xlabel="fits in a call", ylabel="fits a second",
             title="BiMix fits of 64 points")  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=160)
    plt.close(figure)


if __name__ == "__main__":
    main()
