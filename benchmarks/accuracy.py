"""Held-out error of every law on real sweeps, beside SciPy's best of 20 starts on the same splits.

    python -m benchmarks.accuracy FOLDER

FOLDER holds slimpajama_sweep.csv, pile5_sweep.csv and the regmix pair; those that are missing are
passed over. The embedded sweep is always measured. Only targets that are train domains count.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks import scipy_fit
from benchmarks.report import report
from bimix_jax.sweep import Sweep

WARM_UP = 573_440
Split = Callable[[Sweep, int], tuple[Sweep, Sweep]]


def both(sweep: Sweep, seed: int) -> tuple[Sweep, Sweep]:
    """Earlier budgets of most mixtures against later budgets of the others."""
    train, test = sweep.split_runs(0.3, seed)
    cut = sweep.split_budgets(0.5)[1].budget.min()
    return train.take(train.budget < cut), test.take(test.budget >= cut)


SPLITS: dict[str, Split] = {
    "mixtures": lambda sweep, seed: sweep.split_runs(0.3, seed),
    "budgets": lambda sweep, seed: sweep.split_budgets(0.5),
    "both": both,
}


def sweeps(folder: Path) -> Iterator[tuple[str, Sweep]]:
    """Every sweep that is there, one model size each."""
    yield "embedded", bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(WARM_UP)
    for file, sizes in {
        "slimpajama": {"122M": 122_000_000, "310M": 310_000_000},
        "pile5": {"70M": "70M", "160M": "160M"},
    }.items():
        path = folder / f"{file}_sweep.csv"
        for name, size in sizes.items() if path.exists() else ():
            yield f"{file} {name}", bx.read_sweep(path, select={"model_size": size})


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, optima = [], []
    for name, sweep in sweeps(arguments.folder):
        optima.append({"sweep": name, **sum_of_squares(sweep)})
        for split, cut in SPLITS.items():
            seeds = 1 if split == "budgets" else arguments.seeds
            pairs = [errors(*cut(sweep, seed)) for seed in range(seeds)]
            rows.append({"sweep": name, "held out": split, **summary(np.array(pairs))})
    table = pd.DataFrame(optima).set_index("sweep")
    report("optima", table, "Sum of squares of each target against SciPy's best of 20 starts")
    table = pd.DataFrame(rows).set_index("sweep")
    title = "Held-out mean relative error, % (mean over domains, ± standard error over seeds)"
    report("accuracy", table, title, seeds=arguments.seeds, law="BiMix", starts=20)
    rows = list(regmix(arguments.folder))
    if rows:
        table = pd.DataFrame(rows).set_index("sweep")
        report("accuracy_regmix", table, "RegMix 1M: 512 mixtures → 256 others, own share above 0")


def sum_of_squares(sweep: Sweep) -> dict[str, float]:
    """How far above SciPy's best the sums of squares are (relative, largest over targets)."""
    fitted = bx.fit(sweep)
    best = np.array([scipy_best(sweep, target)[0] for target in fitted.targets])
    return {
        "targets": len(best),
        "excess": float(np.max(fitted.sum_of_squares / best - 1)),
        "converged": int(np.sum(fitted.code == bx.Code.CONVERGED)),
    }


def scipy_best(sweep: Sweep, target: str) -> tuple[float, np.ndarray, float]:
    """SciPy's best of 20 starts for one target, and its budget scale."""
    share = sweep.mixture[:, sweep.domains.index(target)]
    loss = sweep.loss[:, sweep.targets.index(target)]
    keep = np.isfinite(loss) & (share > 0)
    least, x = scipy_fit.best_of_starts(share[keep], sweep.budget[keep], loss[keep])
    return least, x, float(sweep.budget[keep].max())


def errors(train: Sweep, test: Sweep) -> tuple[float, float]:
    """Mean relative error of ours and of SciPy's best on one split, a fraction."""
    ours = bx.evaluate(bx.fit(train), test).table().loc["overall", "mre"]
    each = []
    for target in (t for t in train.targets if t in train.domains):
        _, x, scale = scipy_best(train, target)
        share = test.mixture[:, test.domains.index(target)]
        loss = test.loss[:, test.targets.index(target)]
        keep = np.isfinite(loss) & (share > 0)
        predicted = scipy_fit.predict(x, share[keep], test.budget[keep], scale)
        each.append(np.mean(np.abs(predicted / loss[keep] - 1)))
    return float(ours), float(np.mean(each))


def summary(pairs: np.ndarray) -> dict[str, object]:
    """Mean ± standard error of both, and the largest difference on one split, in %."""
    ours, theirs = 100 * pairs.T
    return {
        "splits": len(pairs),
        "BiMix": _mean(ours),
        "SciPy best of 20": _mean(theirs),
        "difference of means": float(np.mean(ours - theirs)),
        "largest difference": float(np.max(np.abs(ours - theirs))),
    }


def _mean(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def regmix(folder: Path) -> Iterator[dict[str, object]]:
    """Fit on the train pair, score on the test pair."""
    pairs = [
        (folder / f"regmix_{part}_mixture_1m.csv", folder / f"regmix_{part}_pile_loss_1m.csv")
        for part in ("train", "test")
    ]
    if all(path.exists() for pair in pairs for path in pair):
        train, test = (bx.read_sweep(*pair) for pair in pairs)
        overall = bx.evaluate(bx.fit(train), test).table().loc["overall"]
        yield {"sweep": "regmix 1M", "mre": overall["mre"], "spearman": overall["spearman"]}


if __name__ == "__main__":
    main()
