"""Held-out large runs predicted from small ones, by a bridge and by its alternatives.

    python -m benchmarks.bridge FOLDER [--sweeps NAME …] [--draws 5] [--budget-power 2 --given 5]

FOLDER holds slimpajama_sweep.csv and pile5_sweep.csv; missing ones are skipped, and the embedded
pair of sizes is always measured. Of every draw 30 % of the mixtures are held out at both sizes; the
small law is fitted to all other small runs, and 3, 5 or 8 of the other large runs are given. The
error is the mean relative one at all points of the held-out large runs; ranks are those of the mean
loss of the targets, at the largest budget at which nine tenths of these runs are measured. With a
budget power all fits weight points by it, and the results have a file of their own.
"""

import argparse
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import bimix_jax as bx
from benchmarks.accuracy import domains_of
from benchmarks.report import report
from bimix_jax.sweeps.sweep import Sweep

LAW = "SubstitutionBiMix"
GIVEN = (3, 5, 8)
HELD_OUT = 0.3
COMPLETE = 0.9
LEVEL, RESAMPLES = 0.9, 64


class Pair(NamedTuple):
    """Sweeps of the same mixtures at two model sizes."""

    small: Sweep
    large: Sweep
    sizes: tuple[float, float]


def pairs(folder: Path) -> Iterator[tuple[str, Pair]]:
    """Iterate over the pairs that exist."""
    embedded = [bx.read_sweep(bx.datasets.debian_sweep(size)) for size in ("1.3M", "11.5M")]
    yield "debian 1.3M → 11.5M", Pair(*embedded, (1.3e6, 11.5e6))
    for file, sizes in {
        "slimpajama": {122_000_000: 122e6, 310_000_000: 310e6},
        "pile5": {"70M": 70e6, "160M": 160e6},
    }.items():
        path = folder / f"{file}_sweep.csv"
        if path.exists():
            both = [bx.read_sweep(path, select={"model_size": size}) for size in sizes]
            small, large = (f"{size / 1e6:.0f}M" for size in sizes.values())
            yield f"{file} {small} → {large}", Pair(*both, tuple(sizes.values()))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sweeps", nargs="*", help="names of those to measure; all by default")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--given", type=int, nargs="*", default=GIVEN, help="large runs given")
    parser.add_argument("--budget-power", type=float, default=0.0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    title = f"Held-out large runs predicted by {LAW}: error, there and at the end, and rank"
    for name, pair in pairs(arguments.folder):
        if name.split()[0] not in (arguments.sweeps or [name.split()[0]]):
            continue
        draws = [Draw(pair, i, arguments.budget_power) for i in range(arguments.draws)]
        found = pd.DataFrame([r for draw in draws for r in draw.rows(arguments.given)])
        mean = found.groupby(["large runs", "method"], sort=False).mean().reset_index()
        rows += [{"sweep": name, **row} for row in mean.to_dict("records")]
        # After each, so that what is measured is kept.
        table = pd.DataFrame(rows).set_index("sweep")
        power = arguments.budget_power
        settings = {"draws": arguments.draws, "law": LAW, "level": LEVEL, "budget_power": power}
        report("bridge_late" if power else "bridge", table, title, **settings)


class Draw(NamedTuple):
    """One draw of held-out mixtures, and the weight of budgets in all fits."""

    pair: Pair
    seed: int
    power: float

    def rows(self, numbers: Iterable[int]) -> Iterator[dict[str, object]]:
        """Errors of the small law alone, and of all methods with numbers of large runs."""
        small, large, _ = self.pair
        targets = domains_of(small)
        mixtures = np.unique(large.mixture.round(9), axis=0)
        order = np.random.default_rng(self.seed).permutation(len(mixtures))
        count = round(HELD_OUT * len(mixtures))
        test, train = mixtures[order[:count]], mixtures[order[count:]]
        # Weights instead of parts, so that every draw has one shape and compiles nothing.
        seen = (~among(small, test)).astype(float)
        fitted = bx.fit(small, LAW, targets=targets, weight=seen, budget_power=self.power)
        held_out = large.take(among(large, test))
        alone = fitted.predict_points(held_out.mixture, held_out.budget)
        yield row(0, "small law alone", held_out, targets, alone)
        for given in numbers:
            few = large.take(among(large, train[:given]))
            for method, found in self.methods(few, fitted, small.take(seen > 0)).items():
                sized = found.law.needs_size
                of = found.at_model_size(self.pair.sizes[1]) if sized else found
                losses = of.predict_points(held_out.mixture, held_out.budget)
                inside = coverage(few, found, held_out) if method == "bridge" else {}
                yield row(given, method, held_out, targets, losses) | inside

    def methods(self, few: Sweep, fitted: bx.Fit, seen: Sweep) -> dict[str, bx.Fit]:
        """Fits that predict the large runs, from a few of them."""
        small_size, large_size = self.pair.sizes
        both = bx.stack_sizes({small_size: seen, large_size: few})
        sized = bx.WithModelSize(bx.law_named(LAW))
        targets, power = list(fitted.targets), self.power
        return {
            "bridge": bx.bridge(fitted, few, budget_power=power),
            "large runs alone": bx.fit(few, LAW, targets=targets, budget_power=power),
            "model size as a variable": bx.fit(both, sized, targets=targets, budget_power=power),
        }


def among(sweep: Sweep, mixtures: np.ndarray) -> np.ndarray:
    """(points,) bool: the mixture of the point is one of these."""
    apart = np.abs(sweep.mixture[:, None] - mixtures).max(axis=2)
    return (apart < 1e-6).any(axis=1)


def row(
    given: int, method: str, held_out: Sweep, targets: list[str], losses: np.ndarray
) -> dict[str, object]:
    """Error and rank correlation of predicted losses (points, targets)."""
    measured = held_out.loss[:, [held_out.targets.index(target) for target in targets]]
    complete = np.isfinite(measured).all(axis=1)
    runs = pd.Series(held_out.run[complete]).groupby(held_out.budget[complete]).nunique()
    last = runs.index[runs >= COMPLETE * len(held_out.runs)].max()
    there = complete & (held_out.budget == last)
    predicted, true = losses[there].mean(axis=1), measured[there].mean(axis=1)
    return {
        "large runs": given,
        "method": method,
        "error": float(np.nanmean(np.abs(losses / measured - 1))),
        "at the end": 100 * float(np.nanmean(np.abs(losses / measured - 1)[there])),
        "rank": float(spearmanr(predicted, true).statistic),
    }


def coverage(few: Sweep, fitted: bx.Fit, held_out: Sweep) -> dict[str, float]:
    """Share of held-out losses inside of intervals, and half the width of these; nothing where
    there are too few large runs for one."""
    drawn = bx.bootstrap(few, fitted, RESAMPLES)
    half, _ = drawn.half_widths(held_out.mixture, held_out.budget, LEVEL)
    measured = held_out.loss[:, [held_out.targets.index(target) for target in fitted.targets]]
    error = np.log(measured / fitted.predict_points(held_out.mixture, held_out.budget))
    known = np.isfinite(error) & np.isfinite(half)
    if not known.any():
        return {}
    inside = np.abs(error) <= half
    return {"inside": 100 * float(inside[known].mean()), "half": 100 * float(half[known].mean())}


if __name__ == "__main__":
    main()
