"""Held-out error of every law on real sweeps, beside SciPy's best of 20 starts on the same splits.

    python -m benchmarks.accuracy FOLDER

FOLDER holds slimpajama_sweep.csv, pile5_sweep.csv and the regmix pair; those that are missing are
passed over. The embedded sweep is always measured. Only targets that are train domains count.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks import scipy_fit
from benchmarks.report import report
from bimix_jax.sweep import Sweep

WARM_UP = 573_440
LAWS: tuple[bx.Law, ...] = (bx.BiMix(), bx.TransferBiMix())
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


def regmix_train(folder: Path) -> Iterator[tuple[str, Sweep]]:
    """The RegMix train pair, if it is there."""
    pair = [folder / f"regmix_train_{part}_1m.csv" for part in ("mixture", "pile_loss")]
    if all(path.exists() for path in pair):
        yield "regmix 1M", bx.read_sweep(*pair)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, optima = [], []
    with jax.enable_x64(True):
        for name, sweep in sweeps(arguments.folder):
            optima += [{"sweep": name, **sum_of_squares(sweep, law)} for law in LAWS]
            for split, cut in SPLITS.items():
                seeds = 1 if split == "budgets" else arguments.seeds
                found = pd.DataFrame([errors(*cut(sweep, seed)) for seed in range(seeds)])
                rows.append({"sweep": name, "held out": split, **summary(found)})
        regmix_rows = list(regmix(arguments.folder))
    table = pd.DataFrame(optima).set_index("sweep")
    report("optima", table, "Sum of squares of each target against SciPy's best of 20 starts")
    table = pd.DataFrame(rows).set_index("sweep")
    title = "Held-out mean relative error, % (mean over domains, ± standard error over seeds)"
    report("accuracy", table, title, seeds=arguments.seeds, starts=20)
    if regmix_rows:
        table = pd.DataFrame(regmix_rows).set_index("law")
        report("accuracy_regmix", table, "RegMix 1M: 512 mixtures → 256 others")


def domains_of(sweep: Sweep) -> list[str]:
    """The targets that are train domains."""
    return [target for target in sweep.targets if target in sweep.domains]


def sum_of_squares(sweep: Sweep, law: bx.Law) -> dict[str, object]:
    """How far above SciPy's best the sums of squares are (relative, largest over targets)."""
    fitted = bx.fit(sweep, law, targets=domains_of(sweep))
    best = [scipy_fit.best_of_starts(law, sweep, target)[0] for target in fitted.targets]
    return {
        "law": law.name,
        "targets": len(best),
        "excess": float(np.max(fitted.sum_of_squares / np.array(best) - 1)),
        "converged": int(np.sum(fitted.code == bx.Code.CONVERGED)),
    }


def errors(train: Sweep, test: Sweep) -> dict[str, float]:
    """Mean relative error of every law on one split, %, and of SciPy's best for BiMix."""
    targets = domains_of(train)
    found = {
        law.name: bx.evaluate(bx.fit(train, law, targets=targets), test).table() for law in LAWS
    }
    ours = {name: 100 * float(table.loc["overall", "mre"]) for name, table in found.items()}
    each = [scipy_error(train, test, target) for target in targets]
    return ours | {"SciPy BiMix": 100 * float(np.mean(each))}


def scipy_error(train: Sweep, test: Sweep, target: str) -> float:
    """Mean relative error of SciPy's best of 20 starts for BiMix on one target."""
    law = bx.BiMix()
    _, params = scipy_fit.best_of_starts(law, train, target)
    mixture, own, budget, loss = scipy_fit.points_of(law, test, target)
    features = scipy_fit.features_of(law, mixture, own, budget / train.largest_budget)
    return float(np.mean(np.abs(scipy_fit.losses(law, params, features) / loss - 1)))


def summary(found: pd.DataFrame) -> dict[str, object]:
    """Mean ± standard error a law, and the largest difference of BiMix to SciPy on one split."""
    apart = (found["BiMix"] - found["SciPy BiMix"]).abs().max()
    means = {name: _mean(found[name].to_numpy()) for name in found}
    return {"splits": len(found), **means, "largest difference": float(apart)}


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
        for law in LAWS:
            overall = bx.evaluate(bx.fit(train, law), test).table().loc["overall"]
            points = int(overall["points"])
            yield {"law": law.name, "mre": overall["mre"], "spearman": overall["spearman"],
                   "points scored": points}  # fmt: skip


if __name__ == "__main__":
    main()
