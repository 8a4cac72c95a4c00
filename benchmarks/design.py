"""Runs picked by `propose_runs` against random runs: the number that reaches a given quality.

    python -m benchmarks.design FOLDER

FOLDER holds the sweeps that `benchmarks.accuracy` reads. In each start 30 % of the mixtures are
held out and 4 others are drawn; both ways begin with these and add 2 mixtures at a time from the
rest, all their budgets, and refit. Three numbers are followed: `error`, the mean relative error on
the held-out mixtures; `choice`, the measured regret of the held-out run that the fit calls best, in
% of the mean loss; `decision`, the regret of the recommended mixture by a fit of the law to every
run of the sweep, in % too. A number is reached at the first size from which on it stays within the
goal: 1.1 × the median error of all runs that are not held out, or a regret of 0.1 %.
"""

import argparse
import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.accuracy import domains_of, sweeps
from benchmarks.report import report
from bimix_jax.sweeps.sweep import Sweep

FIRST, STEP, MOST = 4, 2, 20
LAWS: tuple[tuple[bx.Law, float | None], ...] = ((bx.BiMix(), None), (bx.TransferBiMix(), 1e-4))
"""Laws, and the shrinkage with which they are fitted: choosing one takes minutes a start."""
SLACK, LEAST_REGRET = 1.1, 0.1
Fitter = Callable[..., bx.Fit]
SHOWN = (4, 8, 12, 16, 20)
MEASURES = ("error", "choice", "decision")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--starts", type=int, default=30)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    for law, shrinkage in LAWS:
        for name, sweep in sweeps(arguments.folder):
            targets = domains_of(sweep)
            fit = functools.partial(bx.fit, sweep, law, targets=targets, shrinkage=shrinkage)
            found = pd.concat([grow(sweep, fit, start) for start in range(arguments.starts)])
            rows += [{"sweep": name, "law": law.name, **row} for row in summary(found)]
            table = pd.DataFrame(rows).set_index("sweep")
            title = "Median [quartiles] over starts, %, by number of runs; and runs to the goal"
            report("design", table, title, starts=arguments.starts, first=FIRST, step=STEP)


def grow(sweep: Sweep, fit: Fitter, start: int) -> pd.DataFrame:
    """Every number at every size, both ways, from one start; and with all runs not held out."""
    held_out = sweep.draw_mixtures(0.3, start)
    rng = np.random.default_rng(start)
    rest = rng.permutation(np.unique(sweep.mixture_group[~held_out]))
    score = functools.partial(scores, sweep, fit, fit(), held_out)
    rows = [{"way": "all", "runs": 0, **score(rest)[0]}]
    for way in ("proposed", "random"):
        inside = list(rest[:FIRST])
        while True:
            found, fitted, weight = score(np.array(inside))
            rows.append({"way": way, "runs": len(inside), **found})
            left = np.array([group for group in rest if group not in inside])
            if len(inside) >= MOST or len(left) < STEP:
                break
            inside += list(left[:STEP] if way == "random" else picks(sweep, fitted, weight, left))
    return pd.DataFrame(rows).assign(start=start)


def picks(sweep: Sweep, fitted: bx.Fit, weight: np.ndarray, left: np.ndarray) -> np.ndarray:
    """The mixtures that `propose_runs` picks of those left."""
    first = [int(np.argmax(sweep.mixture_group == group)) for group in left]
    pool = pd.DataFrame(sweep.mixture[first], index=left, columns=list(sweep.domains))
    proposal = bx.propose_runs(fitted, sweep, STEP, pool=pool, weight=weight)
    return proposal.mixtures.index.to_numpy()


def scores(
    sweep: Sweep, fit: Fitter, truth: bx.Fit, held_out: np.ndarray, inside: np.ndarray
) -> tuple[dict[str, float], bx.Fit, np.ndarray]:
    """Error and regrets of a fit to some mixtures, the fit, and the weights it took."""
    # Weights instead of parts, so that every size has one shape and nothing compiles twice.
    weight = np.isin(sweep.mixture_group, inside).astype(float)
    fitted = fit(weight=weight)
    measured = sweep.loss[:, [sweep.targets.index(t) for t in fitted.targets]]
    predicted = fitted.predict_points(sweep.mixture, sweep.budget)
    known = held_out[:, None] & np.isfinite(predicted) & np.isfinite(measured)
    errors = np.where(known, 100 * np.abs(predicted / measured - 1), np.nan)
    found = {
        "error": float(np.mean(np.nanmean(errors, axis=0))),
        "choice": choice_regret(sweep, held_out, measured, predicted),
        "decision": decision_regret(truth, fitted),
    }
    return found, fitted, weight


def choice_regret(
    sweep: Sweep, held_out: np.ndarray, measured: np.ndarray, predicted: np.ndarray
) -> float:
    """Mean loss of the held-out run that is predicted best, above the best one's, %."""
    last = held_out & np.isclose(sweep.budget, sweep.last_common_budget(), rtol=1e-9)
    rows = last & np.isfinite(measured).all(axis=1)
    means = measured[rows].mean(axis=1)
    return float(100 * (means[np.argmin(predicted[rows].mean(axis=1))] / means.min() - 1))


def decision_regret(truth: bx.Fit, fitted: bx.Fit) -> float:
    """Regret of the recommended mixture by the law fitted to every run, %; nan counts as inf."""
    best = bx.optimal_path(truth, truth.observed_budgets[1]).objective.iloc[0]
    mixture = bx.optimal_path(fitted, truth.observed_budgets[1]).mixtures.iloc[0]
    chosen = truth.predict(mixture).to_numpy().mean()
    return float(100 * (np.nan_to_num(chosen, nan=np.inf) / best - 1))


def summary(found: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row per measure: both ways at the sizes shown, and the runs that reach the goal."""
    for measure in MEASURES:
        everything = found[found["way"] == "all"][measure].median()
        goal = SLACK * everything if measure == "error" else LEAST_REGRET
        for way in ("proposed", "random"):
            mine = found[found["way"] == way]
            sizes = [size for size in SHOWN if size in set(mine["runs"])]
            at = {str(n): quartiles(mine[mine["runs"] == n][measure]) for n in sizes}
            reached = mine.groupby("start").apply(lambda one: reach(one, measure, goal))  # noqa: B023
            yield {
                "measure": measure, "way": way, **at, "goal": goal,
                "runs to goal": quartiles(reached.replace(np.inf, MOST + STEP), 0),
                "never": int(np.isinf(reached).sum()),
            }  # fmt: skip


def reach(one: pd.DataFrame, measure: str, goal: float) -> float:
    """Least number of runs from which on the measure stays within the goal; infinite for never."""
    ordered = one.sort_values("runs")
    beyond = np.flatnonzero(ordered[measure].to_numpy() > goal)
    first = beyond[-1] + 1 if len(beyond) else 0
    return float(ordered["runs"].iloc[first]) if first < len(ordered) else np.inf


def quartiles(values: pd.Series, digits: int = 2) -> str:
    """Median [lower quartile, upper quartile]."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], method="nearest")
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


if __name__ == "__main__":
    main()
