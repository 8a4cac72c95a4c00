"""10 000 fits of 64 points against SciPy's curve_fit in the same run, and the ill-conditioned set.

    python -m benchmarks.fit

Every batch is one jit call, cut into chunks by `lax.map`. "plain" is the package's fit as it is;
"tuned" gives XLA two CPU options for that call alone. Rates are medians of five runs; "with
compile" is the first call. The error of a row is the excess of its sums of squares over the least
that any method found for the same data.
"""

import time
from collections.abc import Callable

import jax
import numpy as np
import pandas as pd
from scipy.optimize import curve_fit

from benchmarks.report import report
from bimix_jax import ArrayFit, BiMix, Code, fit_arrays

FITS, POINTS, CHUNK = 10_000, 64, 1_000
SCIPY_SAMPLE = 500
TUNED = {"xla_cpu_enable_fast_math": True, "xla_cpu_prefer_vector_width": 512}
ONE_START = [[0.1, 0.5]]
Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def synthetic(count: int, beta: tuple[float, float], budgets: float, seed: int) -> Data:
    """Shares (fits, points), budgets (points,) up to 1, losses (fits, points) with 1 % noise."""
    rng = np.random.default_rng(seed)
    alpha, exponent = rng.uniform(0.02, 0.4, (count, 1)), rng.uniform(*beta, (count, 1))
    scale, floor = rng.uniform(1, 5, (count, 1)), rng.uniform(0.1, 0.9, (count, 1))
    share = rng.uniform(0.1, 0.4, (count, POINTS))
    budget = np.tile(np.geomspace(1 / budgets, 1, 8), POINTS // 8)
    loss = scale * share**-alpha * ((1 - floor) * budget**-exponent + floor)
    return share, budget, loss * np.exp(0.01 * rng.standard_normal(loss.shape))


def batch(
    data: Data, starts: list | None, options: dict | None = None, dtype: str = "float64"
) -> Callable[[], ArrayFit]:
    """A call that fits the whole batch."""
    share, budget, loss = (np.asarray(x, dtype) for x in data)
    mixture = np.stack([share, 1 - share], axis=-1)

    def one(pair: tuple) -> ArrayFit:
        return fit_arrays(BiMix(), pair[0], budget, pair[1], own=0, budget_scale=1.0, starts=starts)

    run = jax.jit(
        lambda m, y: jax.lax.map(one, (m, y), batch_size=CHUNK), compiler_options=options or {}
    )
    return lambda: jax.block_until_ready(run(mixture, loss))


def scipy_fits(data: Data) -> tuple[np.ndarray, int, float]:
    """Sums of squares, failures and seconds of `curve_fit` on the first fits of a batch."""
    share, budget, loss = data
    sums, failures, started = [], 0, time.perf_counter()
    for r, y in zip(share[:SCIPY_SAMPLE], loss[:SCIPY_SAMPLE], strict=True):
        points = (np.log(r), np.log(budget))
        try:
            x, _ = curve_fit(law, points, y, p0=(0.1, 0.5, 1.0, 1.0), sigma=y, maxfev=5000)
            sums.append(np.sum((law(points, *x) / y - 1) ** 2))
        except RuntimeError:
            failures += 1
            sums.append(np.inf)
    return np.array(sums), failures, time.perf_counter() - started


def law(points: tuple, alpha: float, beta: float, reducible: float, floor: float) -> np.ndarray:
    """BiMix in its four identifiable parameters, of log share and log budget."""
    log_share, log_budget = points
    return np.exp(-alpha * log_share) * (reducible * np.exp(-beta * log_budget) + floor)


def rates(data: Data) -> list[dict[str, object]]:
    """One row per method, SciPy's first."""
    sums, failures, seconds = scipy_fits(data)
    scipy_rate = SCIPY_SAMPLE / seconds
    results = [("SciPy curve_fit", scipy_rate, scipy_rate, sums, failures)]
    for name, options, dtype in (
        ("plain, float64", None, "float64"),
        ("tuned, float64", TUNED, "float64"),
        ("plain, float32", None, "float32"),
        ("tuned, float32", TUNED, "float32"),
    ):
        run = batch(data, ONE_START, options, dtype)
        first, *later = (timed(run) for _ in range(6))
        found = later[-1][1]
        lost = int(np.sum(~np.isin(found.code, [Code.CONVERGED, Code.BOUNDARY])))
        middle = float(np.median([seconds for seconds, _ in later]))
        results.append((name, FITS / middle, FITS / first[0], found.sum_of_squares, lost))
    reference = np.asarray(batch(data, None)().sum_of_squares)
    return [
        {
            "method": name,
            "fits/s": rate,
            "× SciPy": rate / scipy_rate,
            "with compile": cold,
            "median excess": excess(sums, reference, np.median),
            "worst excess": excess(sums, reference, np.max),
            "not converged": failures,
        }
        for name, rate, cold, sums, failures in results
    ]


def excess(sums: np.ndarray, reference: np.ndarray, over: Callable) -> float:
    """Relative excess of sums of squares over those of the full multi-start fit."""
    sums = np.asarray(sums, float)
    return float(over(np.maximum(sums / reference[: len(sums)] - 1, 0)))


def timed(run: Callable[[], ArrayFit]) -> tuple[float, ArrayFit]:
    """Seconds and result of one call."""
    started = time.perf_counter()
    found = run()
    return time.perf_counter() - started, found


def ill_conditioned(noise_seed: int) -> dict[str, object]:
    """Fit 5 000 sweeps over one decade of budgets, β down to 0.05, against 24 starts each."""
    data = synthetic(5_000, (0.05, 1.0), 10.0, noise_seed)
    grid = [[a, b] for a in (0.05, 0.3) for b in np.geomspace(0.01, 8, 12)]
    ours, many = batch(data, None)(), batch(data, grid)()
    best = np.minimum(ours.sum_of_squares, many.sum_of_squares)
    above = np.asarray(ours.sum_of_squares > best * (1 + 1e-3))
    counts = {code.label: int(np.sum(ours.code == code)) for code in Code}
    silent = above & np.isin(ours.code, [Code.CONVERGED, Code.BOUNDARY])
    return {"seed": noise_seed, "above by 1e-3": int(above.sum()), "uncoded": int(silent.sum())} | {
        label: count for label, count in counts.items() if count
    }


def main() -> None:
    """Measure and report."""
    with jax.enable_x64(True):
        table = pd.DataFrame(rates(synthetic(FITS, (0.2, 1.0), 64.0, 0))).set_index("method")
        report("fit", table, f"{FITS} fits of {POINTS} points", fits=FITS, points=POINTS)
        rows = pd.DataFrame([ill_conditioned(seed) for seed in range(3)]).fillna(0)
        report(
            "ill_conditioned", rows.set_index("seed"), "5 000 ill-conditioned fits, 1 % noise",
            budgets="one decade", share=".1-.4", beta=".05-1",
        )  # fmt: skip


if __name__ == "__main__":
    main()
