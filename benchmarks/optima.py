"""Quality of the optima of fits: sums of squares beside SciPy's best of 20 starts.

    python -m benchmarks.optima FOLDER

On the train parts of the very splits of `benchmarks.accuracy`, without shrinkage: where the sums
agree, so do the held-out errors of our fits and of SciPy's.
"""

import argparse
import warnings
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks import scipy_fit
from benchmarks.accuracy import domains_of, sweeps
from benchmarks.report import report
from bimix_jax.laws import LAWS
from bimix_jax.sweeps.sweep import Sweep


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--laws", nargs="*", default=list(LAWS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name, sweep in sweeps(arguments.folder):
        for split in bx.standard_splits(sweep, repeats=1):
            train = sweep.take(split.train)
            for law in arguments.laws:
                with jax.enable_x64(True):
                    found = excess(train, bx.law_named(law), arguments.starts)
                rows.append({"sweep": name, "train part of": split.kind, "law": law, **found})
                table = pd.DataFrame(rows).set_index("sweep")
        report("optima", table, "Sums of squares against SciPy's best", starts=arguments.starts)


def excess(sweep: Sweep, law: bx.Law, starts: int) -> dict[str, object]:
    """Relative excess of the sums of squares over SciPy's best, over targets."""
    fitted = bx.fit(sweep, law, targets=domains_of(sweep), shrinkage=0.0)
    best = [scipy_fit.best_of_starts(law, sweep, t, starts)[0] for t in fitted.targets]
    above = fitted.sum_of_squares / np.array(best) - 1
    return {
        "targets": len(best),
        "median": float(np.median(above)),
        "worst": float(np.max(above)),
        "best": float(np.min(above)),
        "agreement of starts": float(np.mean(fitted.agreement)),
    }


if __name__ == "__main__":
    main()
