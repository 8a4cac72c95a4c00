"""Time of the judge: folds of many targets after compilation, and a whole command.

    python -m benchmarks.judge FOLDER

FOLDER holds pile5_sweep.csv and slimpajama_sweep.csv. Ten folds of mixtures of all targets of
pile5, the search from every start of the law on the whole sweep included, with and without the
choice of the shrinkage within each fold; and `bimix compare` over five laws and over all that it
judges if none are named, from process start.
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.report import report
from bimix_jax.fitting.options import LATER, FitOptions
from bimix_jax.fitting.searches import compiled
from bimix_jax.judging._searches import predict_splits
from bimix_jax.judging.compare import JUDGED
from bimix_jax.sweeps.sweep import Sweep

FOLDS = 10
FIVE = ("BiMix", "TransferBiMix", "SubstitutionBiMix", "SplitSubstitutionBiMix", "AdditiveLaw")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    sweep = bx.read_sweep(arguments.folder / "pile5_sweep.csv", select={"model_size": "160M"})
    splits = folds_of(sweep)
    law = bx.TransferBiMix()
    rows.append(timed("shrinkage chosen in each fold", sweep, splits, law, arguments.repeats))
    rows.append(timed("shrinkage given", sweep, splits, law, arguments.repeats, 1e-7))
    for laws, count in ((FIVE, len(FIVE)), ((), len(JUDGED))):
        seconds = [whole_command(arguments.folder, laws) for _ in range(arguments.repeats)]
        rows.append({"what": f"bimix compare, {count} laws, slimpajama 122M, whole process",
                     "seconds": float(np.median(seconds)), "fits": np.nan})  # fmt: skip
    table = pd.DataFrame(rows).set_index("what")
    report("judge", table, "Seconds, median", repeats=arguments.repeats)


def folds_of(sweep: Sweep) -> list[bx.Split]:
    """Ten parts of the mixtures, each held out once."""
    fold = sweep.folds(FOLDS)
    return [bx.Split("fold", fold != number, fold == number) for number in range(FOLDS)]


def timed(
    what: str,
    sweep: Sweep,
    splits: list[bx.Split],
    law: bx.Law,
    repeats: int,
    shrinkage: Any = "mixtures",
) -> dict[str, object]:
    """Median seconds after one call that compiles."""
    options = FitOptions(budget_power=LATER, shrinkage=shrinkage)

    def run() -> object:
        return predict_splits(sweep, law, splits, sweep.targets, options)

    first = seconds_of(run)
    seconds = [seconds_of(run) for _ in range(repeats)]
    compiled.cache_clear()
    return {
        "what": f"pile5 160M, {len(sweep.targets)} targets × {len(splits)} folds, {what}",
        "seconds": float(np.median(seconds)),
        "first call": first,
        "fits": len(sweep.targets) * len(splits),
    }


def seconds_of(run: Callable[[], object]) -> float:
    """Seconds of a call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def whole_command(folder: Path, laws: Sequence[str]) -> float:
    """Seconds of `bimix compare` from process start, of its own laws where none are named."""
    command = [
        sys.executable, "-m", "bimix_jax.cli", "compare", str(folder / "slimpajama_sweep.csv"),
        "--select", "model_size=122000000", "--json",
        *(word for law in laws for word in ("--law", law)),
    ]  # fmt: skip
    return seconds_of(lambda: subprocess.run(command, check=True, capture_output=True))


if __name__ == "__main__":
    main()
