"""Held-out error of laws with many coefficients on sweeps cut to 4, 6 and 8 runs, beside BiMix's.

    python -m benchmarks.few_runs FOLDER

FOLDER holds the sweeps that `benchmarks.accuracy` reads. Every draw takes whole mixtures, all their
budgets; the other mixtures are held out. Laws are scored where BiMix has a value too.
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
from bimix_jax.sweeps.sweep import Sweep

RUNS = (4, 6, 8)
RESTRAINED: tuple[bx.Law, ...] = (
    bx.TransferBiMix(), bx.SubstitutionBiMix(), bx.SplitTransferBiMix(),
    bx.SplitSubstitutionBiMix(), bx.CrossBiMix(),
)  # fmt: skip


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--sweeps", nargs="*", help="names of those to measure; all by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    title = "Held-out mean relative error, % (mean over domains and draws)"
    every = (*sweeps(arguments.folder), *regmix_train(arguments.folder))
    for name, sweep in every:
        for runs in RUNS if name in (arguments.sweeps or dict(every)) else ():
            found = pd.DataFrame([errors(sweep, runs, draw) for draw in range(arguments.draws)])
            rows += list(summary(name, runs, found))
            # After each, so that what is measured is kept.
            table = pd.DataFrame(rows).set_index("sweep")
            report("few_runs", table, title, draws=arguments.draws)


def errors(sweep: Sweep, runs: int, draw: int) -> dict[str, float]:
    """Error of every law and of BiMix on the points that both can score, %."""
    groups = np.random.default_rng(draw).permutation(np.unique(sweep.mixture_group))
    inside = np.isin(sweep.mixture_group, groups[:runs])
    plain = relative_errors(bx.BiMix(), sweep, inside)
    found = {}
    for law in RESTRAINED:
        ours = relative_errors(law, sweep, inside)
        both = np.isfinite(ours) & np.isfinite(plain)
        found[law.name] = mean_over_targets(ours, both)
        found[f"BiMix beside {law.name}"] = mean_over_targets(plain, both)
    return found


def relative_errors(law: bx.Law, sweep: Sweep, inside: np.ndarray) -> np.ndarray:
    """|y − ŷ|/y outside of the fitted part, % (points, targets), nan without a value."""
    targets = domains_of(sweep)
    # Weights instead of parts, so that every draw has one shape and nothing compiles twice.
    fitted = bx.fit(sweep, law, targets=targets, weight=inside.astype(float))
    measured = sweep.loss[:, [sweep.targets.index(target) for target in targets]]
    predicted = fitted.predict_points(sweep.mixture, sweep.budget)
    error = 100 * np.abs(predicted / measured - 1)
    return np.where(np.isfinite(predicted) & ~inside[:, None], error, np.nan)


def mean_over_targets(values: np.ndarray, counted: np.ndarray) -> float:
    """Mean over the points of every target, then over targets."""
    pairs = zip(values.T, counted.T, strict=True)
    each = [column[known].mean() for column, known in pairs if known.any()]
    return float(np.mean(each)) if each else np.nan


def summary(name: str, runs: int, found: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row per law: its mean error, BiMix's, and the excess."""
    for law in RESTRAINED:
        pair = found[[law.name, f"BiMix beside {law.name}"]].dropna()
        ours, plain = pair.mean()
        yield {
            "sweep": name, "runs": runs, "law": law.name, "draws": len(pair), "law %": ours,
            "BiMix %": plain, "above BiMix": f"{100 * (ours / plain - 1):+.1f} %",
        }  # fmt: skip


if __name__ == "__main__":
    main()
