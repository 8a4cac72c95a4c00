"""Held-out error of every law on real sweeps, of the judge's law, and of regressions.

    python -m benchmarks.accuracy FOLDER [FILE …]

FOLDER holds slimpajama_sweep.csv, pile5_sweep.csv and the regmix pair; missing ones are skipped.
Further FILEs are sweeps of their own. The embedded sweep is always measured. Only targets that are
train domains count. Splits are those of `bx.standard_splits`, seeds from 0: 30 % of the mixtures,
the later half of the budgets, both. The judge fits and scores within the train part with the same
kind of split, and names its law for that kind. Where later budgets are held out, points are
weighted by their budget (`budget_power`), in the judge's fits and in those of every law.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.baselines import baseline_predictions
from benchmarks.report import report
from bimix_jax.fitting.options import LATER
from bimix_jax.fitting.stacked import combined
from bimix_jax.judging._searches import later_held_out, purpose_of
from bimix_jax.judging.compare import JUDGED as LAWS_JUDGED
from bimix_jax.laws import LAWS
from bimix_jax.sweeps.sweep import Sweep

WARM_UP = 573_440
JUDGED = tuple(law.label for law in LAWS_JUDGED)
MEASURED: dict[str, bx.Law] = {
    law.label: law for law in (*(kind() for kind in LAWS.values()), *LAWS_JUDGED)
}
PICKED = "picked by the judge"


def sweeps(folder: Path) -> Iterator[tuple[str, Sweep]]:
    """Iterate over the sweeps that exist, one model size each."""
    yield "embedded", bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(WARM_UP)
    for file, sizes in {
        "slimpajama": {"122M": 122_000_000, "310M": 310_000_000},
        "pile5": {"70M": "70M", "160M": "160M"},
    }.items():
        path = folder / f"{file}_sweep.csv"
        for name, size in sizes.items() if path.exists() else ():
            yield f"{file} {name}", bx.read_sweep(path, select={"model_size": size})


def regmix_train(folder: Path) -> Iterator[tuple[str, Sweep]]:
    """Read the RegMix train pair, if it exists."""
    pair = [folder / f"regmix_train_{part}_1m.csv" for part in ("mixture", "pile_loss")]
    if all(path.exists() for path in pair):
        yield "regmix 1M", bx.read_sweep(*pair)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    given = ((path.stem, bx.read_sweep(path)) for path in arguments.files)
    for name, sweep in (*sweeps(arguments.folder), *given):
        splits = bx.standard_splits(sweep, repeats=arguments.seeds)
        found = pd.DataFrame([measure(sweep, split) for split in splits])
        rows += [{"sweep": name, **row} for row in summary(found)]
        table = pd.DataFrame(rows).set_index("sweep")
        title = "Held-out mean relative error, % (mean over domains; ± standard error over seeds)"
        report("accuracy", table, title, seeds=arguments.seeds, judged=JUDGED)
    report_regmix(arguments.folder)


def report_regmix(folder: Path) -> None:
    """Measure and report the RegMix pairs, if they exist."""
    pairs = regmix_pairs(folder)
    if pairs is None:
        return
    table = pd.DataFrame(regmix_test(*pairs)).set_index("method")
    report("accuracy_regmix", table, "RegMix 1M: 512 mixtures → 256 others")


def domains_of(sweep: Sweep) -> list[str]:
    """The targets that are train domains."""
    return [target for target in sweep.targets if target in sweep.domains]


def measure(sweep: Sweep, split: bx.Split) -> dict[str, object]:
    """Errors on one split, %, of every law, of the judge's pick and of regressions."""
    found: dict[str, object] = {"split": split.kind}
    budget_power = LATER if later_held_out(sweep, split) else 0.0
    predicted: dict[str, np.ndarray] = {}
    for name, law in MEASURED.items():
        of_members = [predicted[one.label] for one in law.members]
        predicted[name] = (
            combined(law, np.stack(of_members))
            if of_members
            else predictions(sweep, split, law, budget_power)
        )
        found[name] = mean_error(sweep, split, predicted[name])
    judged = bx.compare(sweep, JUDGED, within(sweep, split), targets=domains_of(sweep))
    picked = judged.best_of(split.kind)
    found |= {PICKED: found[picked], "pick": picked}
    guesses: dict[str, list[float]] = {}
    for target in domains_of(sweep):
        for method, predicted in baseline_predictions(sweep, split.train, target).items():
            errors = relative_errors(sweep, target, predicted)[split.test]
            guesses.setdefault(method, []).append(np.nanmean(errors))
    return found | {method: float(np.mean(errors)) for method, errors in guesses.items()}


def within(sweep: Sweep, split: bx.Split) -> list[bx.Split]:
    """Build the judge's splits of the train part, as masks of the whole sweep."""

    def whole(part: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(sweep.budget), bool)
        mask[np.flatnonzero(split.train)[part]] = True
        return mask

    inner = bx.standard_splits(sweep.take(split.train))
    return [bx.Split(part.kind, whole(part.train), whole(part.test)) for part in inner]


def predictions(sweep: Sweep, split: bx.Split, law: bx.Law, budget_power: float) -> np.ndarray:
    """Losses (points, targets) that a law predicts, fitted to the train part.

    The shrinkage is chosen for later budgets where those are held out.
    """
    targets, shrinkage = domains_of(sweep), purpose_of(sweep, split)
    # Weights instead of parts, so that every split has one shape and nothing compiles twice.
    weight = split.train.astype(float)
    fitted = bx.fit(
        sweep, law, targets=targets, weight=weight, budget_power=budget_power, shrinkage=shrinkage
    )
    return fitted.predict_points(sweep.mixture, sweep.budget)


def mean_error(sweep: Sweep, split: bx.Split, predicted: np.ndarray) -> float:
    """Mean over targets of the mean relative error, %, where there is a prediction."""
    each = [
        relative_errors(sweep, target, predicted[:, i])[split.test]
        for i, target in enumerate(domains_of(sweep))
    ]
    return float(np.mean([np.nanmean(errors) for errors in each]))


def relative_errors(sweep: Sweep, target: str, predicted: np.ndarray) -> np.ndarray:
    """|y − ŷ|/y, % (points,), nan where either has no value."""
    measured = sweep.loss[:, sweep.targets.index(target)]
    return 100 * np.abs(np.where(np.isfinite(predicted), predicted, np.nan) / measured - 1)


def summary(found: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row per kind of split: mean ± standard error of every method, and the picks."""
    for kind, rows in found.groupby("split", sort=False):
        means = {c: _mean(rows[c].to_numpy(float)) for c in rows if c not in ("split", "pick")}
        picks = ", ".join(f"{law} {n}×" for law, n in rows["pick"].value_counts().items())
        yield {"held out": kind, "splits": len(rows), **means, "picks": picks}


def _mean(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def regmix_pairs(folder: Path) -> tuple[Sweep, Sweep] | None:
    """Read the train and the test pair, if they exist."""
    pairs = [
        (folder / f"regmix_{part}_mixture_1m.csv", folder / f"regmix_{part}_pile_loss_1m.csv")
        for part in ("train", "test")
    ]
    if not all(path.exists() for pair in pairs for path in pair):
        return None
    train, test = (bx.read_sweep(*pair) for pair in pairs)
    return train, test


def regmix_test(train: Sweep, test: Sweep) -> Iterator[dict[str, object]]:
    """Fit on the train pair, score on the test pair."""
    scores: dict[str, dict[str, object]] = {}
    for name, law in MEASURED.items():
        overall = bx.evaluate(bx.fit(train, law), test).table().loc["overall"]
        scores[name] = {
            "mre %": 100 * overall["mre"], "spearman": overall["spearman"],
            "points scored": int(overall["points"]),
        }  # fmt: skip
        yield {"method": name, **scores[name]}
    picked = bx.compare(train, JUDGED).best
    yield {"method": f"{PICKED}: {picked}", **scores[picked]}
    yield from regmix_baselines(train, test)


def regmix_baselines(train: Sweep, test: Sweep) -> Iterator[dict[str, object]]:
    """Score regressions without a law."""
    sweep, split = end_to_end(train, test)
    scores: dict[str, list[float]] = {}
    for target in sweep.targets:
        for method, predicted in baseline_predictions(sweep, split.train, target).items():
            errors = relative_errors(sweep, target, predicted)[split.test]
            scores.setdefault(method, []).append(np.nanmean(errors))
    for method, errors in scores.items():
        yield {"method": method, "mre %": float(np.mean(errors)), "points scored":
               len(test.budget) * len(test.targets)}  # fmt: skip


def end_to_end(train: Sweep, test: Sweep) -> tuple[Sweep, bx.Split]:
    """Join two sweeps of one budget, and build the split that separates them again."""
    domains = [test.domains.index(domain) for domain in train.domains]
    targets = [test.targets.index(target) for target in train.targets]
    inside = np.arange(len(train.budget) + len(test.budget)) < len(train.budget)
    sweep = Sweep(
        train.domains, train.targets, np.concatenate([train.mixture, test.mixture[:, domains]]),
        np.ones(len(inside)), np.concatenate([train.loss, test.loss[:, targets]]),
        np.arange(len(inside)).astype(str), "run", pd.DataFrame(index=range(len(inside))),
    )  # fmt: skip
    return sweep, bx.Split("256 others", inside, ~inside)


if __name__ == "__main__":
    main()
