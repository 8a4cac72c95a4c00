"""Coverage of the 90 % intervals on predictions and on the gain, where the law is true.

    python -m benchmarks.coverage

Synthetic sweeps with known coefficients: 4 domains, 6 budgets, Dirichlet mixtures; losses with an
error of every run (half of its variance common to all targets) and one of every point. Of each
sweep five unseen mixtures and the uniform one are predicted at its largest budget and at twice
that, and the recommended mixture's true gain over the uniform one is compared with its interval.
Every row is a way to make intervals, all from the same resamples:

- percentile: the 5 % and 95 % points of the resamples;
- expanded: those of `Bootstrap.interval`, which assume that the law is true;
- left out: those of `Bootstrap.predict` and of `Certainty`, from the errors of runs that were left
  out; of the measured losses of new runs, with their noise, at the largest budget. × oracle is
  their width over that of an oracle who knows the law, its coefficients and the noise;
- left out, twice: the same at twice that budget;
- fixed mixture: expanded, of the gain that resamples predict for the recommended mixture, instead
  of `Certainty.possible_gains`, which corrects for the winner's curse;
- jackknife: ± Student's quantile times the standard error from leaving runs out.
"""

import argparse
import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

import bimix_jax as bx
from benchmarks.report import report

DOMAINS = ("web", "code", "books", "papers")
BUDGETS = 6
RUNS = (8, 12, 20, 40)
FEW = (4, 5, 6)
LEVEL = 0.9
NEW_RUNS = "left out"
BEYOND = f"{NEW_RUNS}, twice"
"""Methods whose intervals hold measured losses, all others' the true ones."""


@dataclasses.dataclass(frozen=True)
class World:
    """A law with its true coefficients, and the noise of its runs."""

    law: bx.Law
    run_noise: float
    point_noise: float
    seed: int

    def loss(self, mixture: np.ndarray, budget: np.ndarray) -> np.ndarray:
        """True losses (points, targets); budgets relative to the largest."""
        rng = np.random.default_rng([self.seed, 0])
        size = len(DOMAINS)
        alpha, beta = rng.uniform(0.03, 0.3, size), rng.uniform(0.2, 1.0, size)
        scale, floor = rng.uniform(1.5, 5.0, size), rng.uniform(0.4, 0.9, size)
        worth = mixture @ self.transfer(rng).T
        return scale * worth**-alpha * ((1 - floor) * budget[:, None] ** -beta + floor)

    def transfer(self, rng: np.random.Generator) -> np.ndarray:
        """(targets, domains) worth of tokens; only the own domain counts for BiMix."""
        size = len(DOMAINS)
        if isinstance(self.law, bx.BiMix):
            return np.eye(size)
        worth = np.where(rng.random((size, size)) < 0.4, 0.0, rng.uniform(0.02, 0.6, (size, size)))
        np.fill_diagonal(worth, 1.0)
        return worth

    def mixtures(self, count: int, number: int) -> np.ndarray:
        """(count, domains) mixtures with no proportion below 1.5 %."""
        rng = np.random.default_rng([self.seed, number])
        return 0.94 * rng.dirichlet(np.full(len(DOMAINS), 2.0), count) + 0.06 / len(DOMAINS)

    def noise(self, mixture: np.ndarray) -> np.ndarray:
        """Factors (runs, targets) by the noise of single runs and points, of mixtures (runs, …)."""
        rng, shape = np.random.default_rng([self.seed, 4]), (len(mixture), len(DOMAINS))
        common, own, point = (rng.standard_normal((shape[0], n)) for n in (1, *shape[1:] * 2))
        return np.exp(self.run_noise * np.sqrt(0.5) * (common + own) + self.point_noise * point)

    def sweep(self, runs: int) -> bx.Sweep:
        """Generate the measured sweep."""
        rng = np.random.default_rng([self.seed, 1])
        mixture = np.repeat(self.mixtures(runs, 2), BUDGETS, axis=0)
        budget = np.tile(np.geomspace(1 / 32, 1.0, BUDGETS), runs)
        common, own = rng.standard_normal((runs, 1)), rng.standard_normal((runs, len(DOMAINS)))
        of_run = self.run_noise * np.sqrt(0.5) * np.repeat(common + own, BUDGETS, axis=0)
        of_point = self.point_noise * rng.standard_normal(of_run.shape)
        table = pd.DataFrame({"run": np.repeat(np.arange(runs), BUDGETS), "tokens": budget})
        loss = self.loss(mixture, budget) * np.exp(of_run + of_point)
        for i, domain in enumerate(DOMAINS):
            table[f"r_{domain}"], table[f"loss_{domain}"] = mixture[:, i], loss[:, i]
        return bx.read_sweep(table)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=500, help="of every number of runs")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--law", default="BiMix")
    parser.add_argument("--resampling", default="multinomial")
    parser.add_argument("--runs", type=int, nargs="+", default=[*FEW, *RUNS])
    parser.add_argument("--run-noise", type=float, default=0.005)
    parser.add_argument("--point-noise", type=float, default=0.003)
    parser.add_argument("--name", default="coverage")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for runs in arguments.runs:
        found = pd.concat([
            covered(World(bx.law_named(arguments.law), arguments.run_noise, arguments.point_noise,
                          1000 * runs + number), runs, arguments)
            for number in range(arguments.sweeps)
        ])  # fmt: skip
        rows += list(summary(runs, found))
        table = pd.DataFrame(rows).set_index("runs")
        title = f"{arguments.law}: coverage of 90 % intervals, % of {arguments.sweeps} sweeps"
        settings = {k: v for k, v in vars(arguments).items() if k != "name"}
        report(arguments.name, table, title, **settings)


def covered(world: World, runs: int, arguments: argparse.Namespace) -> pd.DataFrame:
    """One row per method: share of true values inside, and widths, of losses and of the gain."""
    sweep = world.sweep(runs)
    drawn = bx.bootstrap(
        sweep, world.law, arguments.resamples, world.seed, resampling=arguments.resampling
    )
    sure = bx.certainty(drawn, 2.0, level=LEVEL)
    unseen = np.vstack([world.mixtures(5, 3), sure.optimum.reference.to_numpy()])
    mixture, budget = np.tile(unseen, (2, 1)), np.repeat([1.0, 2.0], len(unseen))
    true = world.loss(mixture, budget)
    measured = true * world.noise(mixture)
    oracle = 2 * ndtri((1 + LEVEL) / 2) * np.hypot(world.run_noise, world.point_noise)
    pair = np.stack([sure.optimum.reference, sure.optimum.mixture])
    before, after = world.loss(pair, np.full(2, 2.0)).mean(axis=1)
    resampled = drawn.predict_points(mixture, budget)
    tail = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    methods = {
        "percentile": (
            np.nanquantile(resampled, tail, axis=0), np.nanquantile(sure.gains, tail),
        ),
        "expanded": (
            drawn.interval(resampled, LEVEL), drawn.interval(sure.possible_gains, LEVEL),
        ),
        "fixed mixture": (
            drawn.interval(resampled, LEVEL), drawn.interval(sure.gains, LEVEL),
        ),
        "jackknife": jackknife(drawn, sure, mixture, budget),
        NEW_RUNS: (new_runs(drawn, mixture, budget), sure.gain_interval()),
        BEYOND: (new_runs(drawn, mixture, budget), sure.gain_interval()),
    }  # fmt: skip
    last, both = budget == 1.0, np.full(len(budget), True)
    some = {NEW_RUNS: last, BEYOND: ~last}
    rows = [
        {
            "method": method, "freedom": drawn.freedom.left,
            "refused": np.isnan(of_gain[0]),
            **of_losses(ends, measured if method in some else true, some.get(method, both), oracle),
            "gain": inside(1 - after / before, *of_gain),
            "gain width": of_gain[1] - of_gain[0],
            "predicted − true gain": sure.gain - (1 - after / before),
            "optimism": sure.optimism,
            "predicted gain": sure.gain,
            "better": float(after < before),
            "probability": sure.probability,
        }
        for method, (ends, of_gain) in methods.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def of_losses(ends: tuple, losses: np.ndarray, rows: np.ndarray, oracle: float) -> dict[str, float]:
    """Share of losses (points, targets) inside intervals with these ends, and widths, of rows."""
    low, high, losses = (each[rows] for each in (*ends, losses))
    return {
        "predictions": inside(losses, low, high),
        "width": float(np.median((high - low) / losses)),
        "× oracle": float(np.median(high / low - 1)) / oracle,
    }


def new_runs(drawn: bx.Bootstrap, mixture: np.ndarray, budget: np.ndarray) -> tuple:
    """The ends for the measured losses of new runs."""
    half, _ = drawn.half_widths(mixture, budget, LEVEL)
    losses = drawn.fitted.predict_points(mixture, budget)
    return losses * np.exp(-half), losses * np.exp(half)


def jackknife(
    drawn: bx.Bootstrap, sure: bx.Certainty, mixture: np.ndarray, budget: np.ndarray
) -> tuple[tuple, tuple]:
    """Ends ± Student's quantile times the standard error, of losses and of the gain."""
    left_out = dataclasses.replace(drawn, resampled=drawn.left_out).predict_points(mixture, budget)
    pair = np.stack([sure.optimum.reference, sure.optimum.mixture])
    beside = dataclasses.replace(drawn, resampled=drawn.left_out).predict_points(pair, 2.0)
    means = beside.mean(axis=2)
    gains = 1 - means[:, 1] / means[:, 0]
    centre = drawn.fitted.predict_points(mixture, budget)
    return around(drawn, centre, left_out), around(drawn, np.array(sure.gain), gains)


def around(drawn: bx.Bootstrap, centre: np.ndarray, values: np.ndarray) -> tuple:
    """The ends for a statistic without each run, values (runs, …)."""
    runs = len(values)
    error = np.sqrt((runs - 1) / runs * np.sum((values - centre) ** 2, axis=0))
    half = -stdtrit(drawn.freedom.left, (1 - LEVEL) / 2) * error
    return centre - half, centre + half


def inside(true: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of true values between the ends; nan without an interval."""
    given = ~np.isnan(low)
    within = (low <= true) & (true <= high)
    return float(np.mean(within)) if np.all(given) else np.nan


def summary(runs: int, found: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row per method: coverage with its standard error, % of sweeps, and median widths, %."""
    for method, rows in found.groupby("method", sort=False):
        given = rows[~rows["refused"]]
        yield {
            "runs": runs, "method": method, "freedom": rows["freedom"].median(),
            "no interval %": 100 * rows["refused"].mean(),
            "predictions": percent(given["predictions"]),
            "width %": 100 * given["width"].median(), "× oracle": given["× oracle"].median(),
            "gain covered": percent(given["gain"]),
            "gain width %": 100 * given["gain width"].median(),
            "gain %": 100 * rows["predicted gain"].median(),
            "too much %": 100 * rows["predicted − true gain"].mean(),
            "better": percent(rows["better"]),
            "probability": rows["probability"].mean(),
        }  # fmt: skip


def percent(values: pd.Series) -> str:
    """Mean ± its standard error over sweeps, %."""
    if values.empty:
        return "–"
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1) / np.sqrt(len(values)):.1f}"


if __name__ == "__main__":
    main()
