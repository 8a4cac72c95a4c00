"""Scores as targets: errors at mixtures that were left out, coverage, and seconds.

    python -m benchmarks.scores TABLE

TABLE holds runs with shares `r_base` and `r_python`, columns `model` and `base`, and scores, as
those of Muennighoff et al. 2023 (huggingface/datablations). Every mixture of a model and base is
left out once, and predicted from the others by the law that `bx.fit` chooses among them, and by
what needs no law: the mean, regressions on the share, and a Gaussian process (scikit-learn, of this
file only). Synthetic scores are shares of 1 000 examples whose probability follows a known law, or
a link from the losses of one; there both ways are measured, directly and through losses.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.report import report

AVERAGES = ("average", "average_without_babi")
DOMAINS = ("web", "code", "books", "maths")
EXAMPLES, LEVEL = 1000, 0.9

Predictor = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""From shares (runs,) and scores (runs, tasks) to the scores (tasks,) at another share."""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--worlds", type=int, default=20, help="synthetic sweeps")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    groups = dict(sweeps(arguments.table))
    errors = pd.DataFrame({name: left_out(sweep) for name, sweep in groups.items()}).T
    counts = np.array([len(sweep.runs) for sweep in groups.values()])
    errors.loc["all"] = np.average(errors, axis=0, weights=counts)
    report("scores_left_out", errors, "Mean error of scores that were left out, points")
    shares = pd.DataFrame({name: best_share(sweep) for name, sweep in groups.items()}).T
    report("scores_share", shares, "Share of Python that is best for the average score")
    kept = {name: mean_of(way, arguments.worlds) for name, way in WAYS.items()}
    report("scores_coverage", pd.DataFrame(kept).T, "Coverage of 90 % intervals, errors in points")
    report("scores_speed", speed().to_frame("seconds"), "200 tasks of 64 runs, seconds")


def sweeps(path: Path) -> Iterator[tuple[str, bx.Sweep]]:
    """Sweeps by model and base, without the averages."""
    table = pd.read_csv(path).drop(columns=[f"score_{name}" for name in AVERAGES])
    for (model, base), part in table.groupby(["model", "base"]):
        yield f"{model} {base}", bx.read_sweep(part.reset_index(drop=True))


# ---- mixtures that were left out -----------------------------------------------------------------


def left_out(sweep: bx.Sweep) -> dict[str, float]:
    """Mean absolute error over all mixtures and tasks, in points, by predictor."""
    share, scores = sweep.mixtures["python"].to_numpy(), sweep.to_frame().filter(like="score_")
    values = scores.to_numpy(float)
    ways: dict[str, Predictor] = {
        "mean": lambda x, y, at: y.mean(axis=0),
        "linear": lambda x, y, at: regression(x, y, at, 1),
        "quadratic": lambda x, y, at: regression(x, y, at, 2),
        "Gaussian process": process,
    }
    found = {name: errors(way, share, values) for name, way in ways.items()}
    return {"bimix": by_law(sweep, values)} | found


def by_law(sweep: bx.Sweep, values: np.ndarray) -> float:
    """Mean error of the law that is chosen without the mixture that is left out."""
    apart = []
    for run in sweep.runs:
        fitted = bx.fit(sweep.without_runs([run]))
        predicted = fitted.predict(sweep.mixtures.loc[[run]])[list(sweep.targets)]
        apart.append(np.abs(predicted.to_numpy()[0] - values[sweep.run == run][0]))
    return float(np.mean(apart))


def errors(way: Predictor, share: np.ndarray, values: np.ndarray) -> float:
    """Mean error of a predictor that knows the share alone."""
    rows = np.arange(len(share))
    found = [np.abs(way(share[rows != i], values[rows != i], share[i]) - values[i]) for i in rows]
    return float(np.mean(found))


def regression(x: np.ndarray, y: np.ndarray, at: float, degree: int) -> np.ndarray:
    """Least squares in powers of the share."""
    return np.vander([at], degree + 1)[0] @ np.polyfit(x, y, degree)


def process(x: np.ndarray, y: np.ndarray, at: float) -> np.ndarray:
    """Gaussian processes with a smooth kernel and noise, one per task."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    def of(column: np.ndarray) -> float:
        kernel = ConstantKernel() * RBF(0.3, (0.05, 10)) + WhiteKernel(0.1)
        fitted = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        return float(fitted.fit(x[:, None], column).predict([[at]])[0])

    return np.array([of(column) for column in y.T])


def best_share(sweep: bx.Sweep) -> dict[str, float]:
    """The share that is best for the mean of all tasks, and the range that is not told from it."""
    weights = dict.fromkeys(sweep.targets, 1.0)
    sure = bx.certainty(bx.bootstrap(sweep, n=500), weights=weights, level=LEVEL)
    same = sure.indistinct.loc["python"]
    ends = sure.ends.loc["python"]
    return {
        "best": sure.optimum.mixture["python"],
        "low": ends["low"],
        "high": ends["high"],
        "not told apart from": same["low"],
        "to": same["high"],
    }


# ---- synthetic scores ----------------------------------------------------------------------------


def world(seed: int, tasks: int = 6, runs: int = 24) -> tuple[pd.DataFrame, Callable]:
    """A table of runs, and the true scores (mixtures, tasks) of mixtures (mixtures, domains)."""
    rng = np.random.default_rng(seed)
    tilt = rng.normal(0, 1.5, (tasks, len(DOMAINS)))
    level, floor = rng.uniform(-1.2, -0.4, tasks), rng.uniform(0.05, 0.3, tasks)

    def truth(mixture: np.ndarray) -> np.ndarray:
        return 1 - floor - (1 - floor) * 0.8 * np.exp(level + mixture @ tilt.T - tilt.mean(axis=1))

    mixture = rng.dirichlet(np.full(len(DOMAINS), 2.0), runs)
    chance = np.clip(truth(mixture), 0.01, 0.99)
    measured = rng.binomial(EXAMPLES, chance) / EXAMPLES
    columns = {f"r_{d}": mixture[:, i] for i, d in enumerate(DOMAINS)}
    columns |= {f"score_task{i}": measured[:, i] for i in range(tasks)}
    return pd.DataFrame({"run": [f"run{i}" for i in range(runs)], **columns}), truth


def linked_world(seed: int, tasks: int = 6, runs: int = 24) -> tuple[pd.DataFrame, Callable]:
    """As `world`, but of losses at four budgets, and scores that are links of two of them each."""
    rng = np.random.default_rng(seed)
    count = len(DOMAINS)
    transfer = rng.uniform(0, 0.3, (count, count))
    np.fill_diagonal(transfer, 1.0)
    slopes = rng.uniform(0.8, 2.5, (tasks, count))
    for row in slopes:
        row[rng.choice(count, count - 2, replace=False)] = 0.0

    def losses(mixture: np.ndarray, budget: np.ndarray) -> np.ndarray:
        return (mixture @ transfer.T) ** -0.08 * (1.6 + 0.7 * budget[:, None] ** -0.25)

    budget = np.tile(np.geomspace(0.05, 1.0, 4), runs)
    mixture = np.repeat(rng.dirichlet(np.full(count, 2.0), runs), 4, axis=0)
    exact = losses(mixture, budget)
    level = slopes @ exact.mean(axis=0) + rng.uniform(-0.5, 0.5, tasks)

    def truth(mixture: np.ndarray, budget: np.ndarray | float = 1.0) -> np.ndarray:
        at = np.broadcast_to(budget, len(mixture))
        return 1 / (1 + np.exp(losses(mixture, at) @ slopes.T - level))

    measured = rng.binomial(EXAMPLES, truth(mixture, budget)) / EXAMPLES
    noisy = exact * np.exp(0.003 * rng.standard_normal(exact.shape))
    columns = {f"r_{d}": mixture[:, i] for i, d in enumerate(DOMAINS)}
    columns |= {f"loss_{d}": noisy[:, i] for i, d in enumerate(DOMAINS)}
    columns |= {f"score_task{i}": measured[:, i] for i in range(tasks)}
    names = np.repeat([f"run{i}" for i in range(runs)], 4)
    return pd.DataFrame({"run": names, "tokens": 2e10 * budget, **columns}), truth


WAYS: dict[str, tuple[Callable, bx.Law]] = {
    "LogLinear, of scores": (world, bx.LogLinear()),
    "SubstitutionBiMix, of linked scores": (linked_world, bx.SubstitutionBiMix()),
    "ThroughLosses, of linked scores": (linked_world, bx.ThroughLosses()),
}


def mean_of(way: tuple[Callable, bx.Law], worlds: int) -> pd.Series:
    """Mean of `coverage` over worlds."""
    return pd.DataFrame([coverage(seed, *way) for seed in range(worlds)]).mean()


def coverage(seed: int, made: Callable, law: bx.Law) -> dict[str, float]:
    """Shares of new runs inside the intervals of their scores, and of gains inside theirs; the
    error of the predicted scores, and the true gain of the recommended mixture, in points."""
    table, truth = made(seed)
    names = [c.removeprefix("score_") for c in table if c.startswith("score_")]
    described = {name: {"unit": "fraction", "examples": EXAMPLES} for name in names}
    sweep = bx.read_sweep(table, metadata={"targets": described})
    drawn = bx.bootstrap(sweep, law, n=300)
    rng = np.random.default_rng(1000 + seed)
    mixture = rng.dirichlet(np.full(len(DOMAINS), 2.0), 20)
    exact = np.clip(truth(mixture), 0.01, 0.99)
    new = rng.binomial(EXAMPLES, exact) / EXAMPLES
    ends = drawn.predict(pd.DataFrame(mixture, columns=list(DOMAINS)), level=LEVEL)
    ends = ends.loc[ends.index.get_level_values("target").isin(names)]
    found, low, high = (ends[end].to_numpy().reshape(new.shape) for end in ("loss", "low", "high"))
    sure = bx.certainty(drawn, weights=dict.fromkeys(names, 1.0), level=LEVEL)
    both = np.stack([sure.optimum.mixture, sure.optimum.reference])
    mean = 1 - truth(both).mean(axis=1)
    gain = 1 - mean[0] / mean[1]
    first, last = sure.gain_interval()
    return {
        "scores of new runs": np.mean((low <= new) & (new <= high)),
        "gain": first <= gain <= last,
        "points off": 100 * np.abs(found - exact).mean(),
        "true gain": 100 * (mean[1] - mean[0]),
    }


def speed() -> pd.Series:
    """Seconds of the second fit of one law, and of the first comparison of all."""
    table, _ = world(0, tasks=200, runs=64)
    sweep = bx.read_sweep(table)
    bx.fit(sweep, "TransferBiMix")
    begin = time.perf_counter()
    bx.fit(sweep, "TransferBiMix")
    fitted = time.perf_counter()
    bx.compare(sweep)
    return pd.Series({"fit, again": fitted - begin, "compare": time.perf_counter() - fitted})


if __name__ == "__main__":
    main()
