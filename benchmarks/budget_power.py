"""Held-out error of fits with points weighted by a power of their budget, by that power.

    python -m benchmarks.budget_power FOLDER

FOLDER holds the sweeps that `benchmarks.accuracy` reads; the two that come with the package beside
the embedded one are measured, too. Splits and scores are those of `benchmarks.accuracy`.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.accuracy import law_error, sweeps
from benchmarks.report import report
from bimix_jax.datasets import DEBIAN
from bimix_jax.sweeps.sweep import Sweep

POWERS = (0.0, 1.0, 2.0, 3.0)
COMPARED: tuple[bx.Law, ...] = (bx.BiMix(), bx.SubstitutionBiMix())


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    debian = ((f"debian {size}", bx.read_sweep(bx.datasets.debian_sweep(size))) for size in DEBIAN)
    rows: list[dict[str, object]] = []
    for name, sweep in (*sweeps(arguments.folder), *debian):
        rows += [{"sweep": name, **row} for row in errors(sweep, arguments.seeds)]
        table = pd.DataFrame(rows).set_index("sweep")
        title = "Held-out mean relative error, %, by the power of the budget"
        report("budget_power", table, title, seeds=arguments.seeds)


def errors(sweep: Sweep, seeds: int) -> Iterator[dict[str, object]]:
    """One row per law and kind of split: the mean error at each power."""
    splits = bx.standard_splits(sweep, repeats=seeds)
    for law in COMPARED:
        for kind in dict.fromkeys(split.kind for split in splits):
            those = [split for split in splits if split.kind == kind]
            means = {
                f"{power:g}": np.mean([law_error(sweep, split, law, power) for split in those])
                for power in POWERS
            }
            yield {"law": law.name, "held out": kind, **means}


if __name__ == "__main__":
    main()
