"""Excess of the stack and of the judge's picks over the law that is best in hindsight.

    python -m benchmarks.stacked FOLDER

FOLDER holds the sweeps that `benchmarks.accuracy` reads; the embedded ones are always measured. Of
every sweep 30 % of the mixtures, the later half of the budgets, and both are held out. The judge
fits and scores within the train part, with the same kind of split. In hindsight the best law is the
one of the judged laws, without the stack, whose error on the part held out is least.
"""

import argparse
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.accuracy import domains_of, sweeps, within
from benchmarks.report import report
from bimix_jax.judging.comparison import Comparison
from bimix_jax.laws import Stacked
from bimix_jax.sweeps.sweep import Sweep

HELD_OUT = "held out"
NEAR = 0.02
"""Points of error within which a case counts as as good as the best law."""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sweeps", nargs="*", help="names of those to measure; all by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    title = "Error of the law that is best in hindsight, %, and excess of others over it, points"
    for name, sweep in every(arguments.folder):
        if name not in (arguments.sweeps or [name]):
            continue
        for split in bx.standard_splits(sweep, repeats=1):
            rows.append({"sweep": name, "held out": split.kind, **measure(sweep, split)})
            # After each, so that what is measured is kept.
            table = pd.DataFrame([*rows, *summary(pd.DataFrame(rows))]).set_index("sweep")
            report("stacked", table, title, near=NEAR)


def every(folder: Path) -> Iterator[tuple[str, Sweep]]:
    """Iterate over the sweeps, one model size each."""
    yield from sweeps(folder)
    for model in ("1.3M", "11.5M"):
        yield f"debian {model}", bx.read_sweep(bx.datasets.debian_sweep(model))


def measure(sweep: Sweep, split: bx.Split) -> dict[str, object]:
    """Excess of the stack, of the judge's pick, and of its pick among single laws."""
    outer = split._replace(kind=HELD_OUT)
    inner = [part for part in within(sweep, split) if part.kind == split.kind]
    judged = bx.compare(sweep, splits=[*inner, outer], targets=domains_of(sweep))
    single = without_stacks(judged)
    error = 100 * judged.table_of(HELD_OUT)["mre"]
    best = error[list(single.laws)].min()
    picked, alone = judged.best_of(split.kind), single.best_of(split.kind)
    return {
        "best": error[list(single.laws)].idxmin(),
        "least": best,
        "stack": error[Stacked().label] - best,
        "pick": error[picked] - best,
        "single pick": error[alone] - best,
        "picked": picked,
        "picked alone": alone,
    }


def without_stacks(judged: Comparison) -> Comparison:
    """Leave the stacks out of a comparison."""
    some = np.flatnonzero(~np.array(judged.stacks))
    by_law = ("predicted", "unidentified", "usable", "fitted")
    arrays: dict[str, Any] = {name: getattr(judged, name)[some] for name in by_law}
    tuples: Any = {
        name: tuple(getattr(judged, name)[i] for i in some)
        for name in ("laws", "called", "coefficients", "stacks")
    }
    return dataclasses.replace(judged, **arrays, **tuples)


def summary(found: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Rows of the mean and the worst excess, and of the share of cases that are near."""
    columns = ["stack", "pick", "single pick"]
    for what, of in (("mean", "mean"), ("worst", "max")):
        yield {"sweep": what, **found[[*columns, "least"]].agg(of).to_dict()}
    yield {"sweep": f"within {NEAR:g}", **(found[columns] <= NEAR).mean().to_dict()}


if __name__ == "__main__":
    main()
