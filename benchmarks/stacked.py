"""Excess of the stack and of the judge's picks over the law that is best in hindsight.

    python -m benchmarks.stacked FOLDER

FOLDER holds the sweeps that `benchmarks.accuracy` reads; the embedded ones are always measured. Of
every sweep 30 % of the mixtures, the later half of the budgets, and both are held out, mixtures by
several draws. The judge fits and scores within the train part, with the same kind of split. A case
is a sweep and a kind of split, with the mean over the draws of all errors, as a cell of the table
of `benchmarks.accuracy`. In hindsight the best law is the one of the judged laws, without the
stack, whose error on the part held out is least.
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
from bimix_jax.judging.compare import JUDGED
from bimix_jax.judging.comparison import Comparison
from bimix_jax.laws import Stacked
from bimix_jax.sweeps.sweep import Sweep

HELD_OUT = "held out"
STACK = Stacked().label
NEAR = 0.02
"""Points of error within which a case counts as as good as the best law."""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sweeps", nargs="*", help="names of those to measure; all by default")
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    title = "Error of the law that is best in hindsight, %, and excess of others over it, points"
    for name, sweep in every(arguments.folder):
        if name not in (arguments.sweeps or [name]):
            continue
        for split in bx.standard_splits(sweep, repeats=arguments.draws):
            rows.append({"sweep": name, "held out": split.kind, **measure(sweep, split)})
            cases = pd.DataFrame([case(of) for of in by_case(pd.DataFrame(rows))])
            # After each, so that what is measured is kept.
            table = pd.DataFrame([*cases.to_dict("records"), *summary(cases)]).set_index("sweep")
            report("stacked", table, title, near=NEAR, draws=arguments.draws)


def every(folder: Path) -> Iterator[tuple[str, Sweep]]:
    """Iterate over the sweeps, one model size each."""
    yield from sweeps(folder)
    for model in ("1.3M", "11.5M"):
        yield f"debian {model}", bx.read_sweep(bx.datasets.debian_sweep(model))


def measure(sweep: Sweep, split: bx.Split) -> dict[str, object]:
    """Errors, %, of every law, of the judge's pick, and of its pick among single laws."""
    outer = split._replace(kind=HELD_OUT)
    inner = [part for part in within(sweep, split) if part.kind == split.kind]
    judged = bx.compare(sweep, splits=[*inner, outer], targets=domains_of(sweep))
    error = 100 * judged.table_of(HELD_OUT)["mre"]
    picked = judged.best_of(split.kind)
    alone = without_stacks(judged).best_of(split.kind)
    return {
        **error,
        "pick": error[picked],
        "single pick": error[alone],
        "picked": picked,
        "picked alone": alone,
    }


def by_case(found: pd.DataFrame) -> list[pd.DataFrame]:
    """The draws of each sweep and kind of split."""
    return [of for _, of in found.groupby(["sweep", "held out"], sort=False)]


def case(draws: pd.DataFrame) -> dict[str, object]:
    """Excess of the stack and the picks, in the mean over the draws of a case."""
    names = [law.label for law in JUDGED]
    error = draws[[*names, "pick", "single pick"]].mean()
    least = error[[name for name in names if name != STACK]]
    return {
        "sweep": draws["sweep"].iloc[0],
        "held out": draws["held out"].iloc[0],
        "draws": len(draws),
        "best": least.idxmin(),
        "least": least.min(),
        "stack": error[STACK] - least.min(),
        "pick": error["pick"] - least.min(),
        "single pick": error["single pick"] - least.min(),
        **{name: listed(draws[name]) for name in ("picked", "picked alone")},
    }


def listed(names: pd.Series) -> str:
    """How often each name occurs."""
    return ", ".join(f"{name} {count}×" for name, count in names.value_counts().items())


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
