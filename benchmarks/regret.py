"""Regret of mixtures chosen by every law: measured loss of the choice above the best one.

    python -m benchmarks.regret FOLDER

FOLDER holds the sweeps that `benchmarks.accuracy` reads. Of each, 30 % of the mixtures are held out
(ten draws); a law is fitted to the others, and of the held-out runs it takes the one whose
predicted mean loss over the train domains at the last budget they share is least. Regret is its
measured mean loss minus that of the best held-out run, nats. Beside the laws: a run drawn by
chance, and the held-out run nearest to the best run that was fitted.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.accuracy import domains_of, regmix_train, sweeps
from benchmarks.report import report
from bimix_jax.fitting.options import FitOptions
from bimix_jax.judging._searches import predict_splits
from bimix_jax.laws import LAWS
from bimix_jax.sweeps.sweep import Sweep


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--laws", nargs="+", default=list(LAWS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    for name, sweep in (*sweeps(arguments.folder), *regmix_train(arguments.folder)):
        splits = bx.standard_splits(sweep, ["mixtures"], arguments.draws)
        rows += [{"sweep": name, **row} for row in measured(sweep, splits, arguments.laws)]
        table = pd.DataFrame(rows).set_index("sweep")
        title = "Regret of the choice among held-out runs, nats (± standard error over draws)"
        report("regret", table, title, draws=arguments.draws, laws=arguments.laws)


def measured(sweep: Sweep, splits: list[bx.Split], laws: list[str]) -> Iterator[dict[str, object]]:
    """One row per way to choose."""
    columns = [sweep.targets.index(target) for target in domains_of(sweep)]
    mean = sweep.loss[:, columns].mean(axis=1)
    candidates = [held_out_rows(sweep, split, mean) for split in splits]
    by_law = {law: predicted_means(sweep, law, splits) for law in laws}
    for law, predicted in by_law.items():
        yield row(law, [
            regret(mean[rows], np.where(np.isfinite(p[rows]), p[rows], np.inf))
            for rows, p in zip(candidates, predicted, strict=True)
        ])  # fmt: skip
    yield row("by chance", [mean[rows].mean() - mean[rows].min() for rows in candidates])
    yield row("nearest to the best run fitted", [
        regret(mean[rows], distance_to_best(sweep, split, mean, rows))
        for rows, split in zip(candidates, splits, strict=True)
    ])  # fmt: skip


def held_out_rows(sweep: Sweep, split: bx.Split, mean: np.ndarray) -> np.ndarray:
    """Held-out points with every loss measured at the last budget that 90 % of the runs have."""
    last = np.isclose(sweep.budget, sweep.last_common_budget(), rtol=1e-9)
    return np.flatnonzero(split.test & last & np.isfinite(mean))


def predicted_means(sweep: Sweep, law: str, splits: list[bx.Split]) -> np.ndarray:
    """(splits, points) predicted mean loss over the train domains, not finite where unknown."""
    found = predict_splits(sweep, bx.law_named(law), splits, domains_of(sweep), FitOptions())
    return found.predicted.mean(axis=2)


def regret(measured: np.ndarray, score: np.ndarray) -> float:
    """Measured loss of the run with the least score, above the least measured loss."""
    return float(measured[np.argmin(score)] - measured.min())


def distance_to_best(
    sweep: Sweep, split: bx.Split, mean: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """(rows,) total variation distance to the best measured mixture of the train part."""
    last = np.isclose(sweep.budget, sweep.last_common_budget(), rtol=1e-9)
    known = np.flatnonzero(split.train & last & np.isfinite(mean))
    best = sweep.mixture[known[np.argmin(mean[known])]]
    return np.abs(sweep.mixture[rows] - best).sum(axis=1) / 2


def row(choice: str, regrets: list[float]) -> dict[str, object]:
    """Mean ± standard error, the worst, and the share of draws that choose the best run."""
    values = np.array(regrets)
    error = values.std(ddof=1) / np.sqrt(len(values))
    return {
        "chosen by": choice,
        "regret": f"{values.mean():.4f} ± {error:.4f}",
        "largest": values.max(),
        "best run chosen %": 100 * np.mean(values == 0),
    }


if __name__ == "__main__":
    main()
