"""Calibration of intervals at later budgets of synthetic sweeps whose law is wrong in the budget.

    python -m benchmarks.bent_budgets

Every sweep has a budget curve of its own kind, which no law that is fitted has, except for those
called "as the law". Domains help each other, runs and losses are noisy, and the numbers of mixtures
and budgets, the range of the budgets and their spacing are drawn. The later half of the budgets is
held out, of all mixtures. Columns are those of `benchmarks.calibration`; "sweeps under 85" is the
share of the sweeps of which 90 % intervals cover less than 85 %.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.calibration import Case, fitted_to, of_resamples, summary
from benchmarks.report import report

DOMAINS = [f"d{i}" for i in range(5)]
LEAST = 85
LAWS = ("SubstitutionBiMix", "BiMix")
NAMES = ("50", "80", "90", "width", "× plain", "calibration error", "wrong", "draws")

Generator = np.random.Generator
Curve = Callable[[np.ndarray, float, Generator], np.ndarray]
"""Of budgets (n,) as shares of the largest, an exponent, and a generator of further numbers."""


def as_the_law(budget: np.ndarray, beta: float, rng: Generator) -> np.ndarray:
    """A power law with a constant."""
    return budget**-beta + rng.uniform(0.2, 1.5)


def warm_up(budget: np.ndarray, beta: float, rng: Generator) -> np.ndarray:
    """The first budgets count less, up to twice the first one."""
    lost = rng.uniform(0.5, 2) * budget[0]
    return as_the_law(budget - lost * -np.expm1(-budget / lost) + 1e-3, beta, rng)


def decay(budget: np.ndarray, beta: float, rng: Generator) -> np.ndarray:
    """A kink from which on the learning rate decays, inside the fitted part or behind it."""
    begin, depth = rng.uniform(0.1, 0.8), rng.uniform(0.02, 0.1)
    along = np.clip((budget - begin) / (1 - begin), 0, 1)
    return as_the_law(budget, beta, rng) * (1 - depth * along**2)


def broken(budget: np.ndarray, beta: float, rng: Generator) -> np.ndarray:
    """A power that becomes another one."""
    at, change = rng.uniform(0.1, 0.9), rng.uniform(-0.25, 0.25)
    bend = (1 + (budget / at) ** 3) ** (change / 3)
    return budget**-beta * bend + rng.uniform(0.2, 1.5)


def curved(budget: np.ndarray, beta: float, rng: Generator) -> np.ndarray:
    """A power that changes all along."""
    bend = np.exp(rng.uniform(-0.08, 0.08) * np.log(budget) ** 2)
    return budget**-beta * bend + rng.uniform(0.2, 1.5)


CURVES: dict[str, Curve] = {
    "as the law": as_the_law,
    "floor": as_the_law,
    "warm-up": warm_up,
    "decay": decay,
    "broken": broken,
    "curved": curved,
}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=12, help="number of each kind")
    parser.add_argument("--laws", nargs="+", default=LAWS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for law in arguments.laws:
        every = []
        for kind in CURVES:
            sweeps = [made(kind, seed) for seed in range(arguments.sweeps)]
            cases = [case_of(sweep, law) for sweep in sweeps]
            every += cases
            rows.append({"curve": kind, "law": law, **row_of(cases)})
        rows.append({"curve": "all", "law": law, **row_of(every)})
        table = pd.DataFrame(rows).set_index("curve")
        title = "Calibration at later budgets of synthetic sweeps, %"
        report("bent_budgets", table, title, sweeps=arguments.sweeps)


def case_of(sweep: bx.Sweep, law: str) -> Case:
    """One law without the later half of the budgets."""
    (split,) = bx.standard_splits(sweep, "budgets")
    return of_resamples(fitted_to(sweep, split, law), sweep.take(split.test))


def row_of(cases: list[Case]) -> dict[str, object]:
    """Summary of the cases, with the share of sweeps that are covered too little."""
    found = summary(cases)
    covered = np.array([one.found.coverage()["covered"].loc[0.9] for one in cases])
    return {name: found[name] for name in NAMES} | {
        f"sweeps under {LEAST}": 100 * np.mean(100 * covered < LEAST)
    }


def made(kind: str, seed: int) -> bx.Sweep:
    """Make a sweep of a kind of curve."""
    rng = np.random.default_rng([seed, list(CURVES).index(kind)])
    mixtures, budgets, span = (rng.choice(few) for few in ((12, 24), (8, 12), (4, 10, 30)))
    shares = np.maximum(rng.dirichlet(np.ones(len(DOMAINS)), mixtures), 0.01)
    shares /= shares.sum(axis=1, keepdims=True)
    at = (np.geomspace if rng.random() < 0.5 else np.linspace)(1, span, budgets) / span
    table = {"run": np.repeat(np.arange(mixtures), budgets), "tokens": np.tile(at * 1e9, mixtures)}
    worth = rng.uniform(0, 0.15, (len(DOMAINS), len(DOMAINS)))
    np.fill_diagonal(worth, 1.0)
    noise, of_run, of_budget = (rng.choice(few) for few in ((1, 3, 6), (0, 2, 5), (0, 2)))
    for i, name in enumerate(DOMAINS):
        curve = CURVES[kind](at, rng.uniform(0.25, 0.6), rng)
        loss = np.outer((shares @ worth[i]) ** -rng.uniform(0.05, 0.2), curve)
        if kind == "floor":  # no mixture lowers this part
            loss = 0.6 * loss + rng.uniform(0.3, 1.5)
        error = noise * rng.standard_normal(loss.shape)
        error += of_run * rng.standard_normal((mixtures, 1)) + of_budget * rng.standard_normal(
            budgets
        )
        table[f"r_{name}"] = np.repeat(shares[:, i], budgets)
        table[f"loss_{name}"] = (loss * np.exp(error / 1000)).ravel()
    return bx.read_sweep(pd.DataFrame(table))


if __name__ == "__main__":
    main()
