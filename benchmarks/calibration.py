"""Calibration of intervals and probabilities on held-out parts of real sweeps.

    python -m benchmarks.calibration FOLDER [FILE …]

FOLDER holds the sweeps of `benchmarks.accuracy`; missing ones are skipped. Further FILEs are sweeps
of their own. The embedded sweeps are always measured, and 60 mixtures of RegMix where it is there.
Of each sweep 30 % of the mixtures, the later half of the budgets, or both are held out; the laws
that the judge compares, the stack among them, are fitted to the rest, with the judge's pick of that
rest beside them, or those of `--laws`. Columns, in % but for "× plain" and the calibration error:

- 50, 80, 90: held-out losses inside intervals of that level;
- worst target: the same of the target with the least of them, at 90 %;
- width: half the width at 90 %; × plain: over that of plain quantiles of the absolute errors of
  each mixture without which the law was fitted (conformal, pooled over budgets);
- runs: held-out runs of which all losses of a target lie inside simultaneous 90 % intervals, and
  inside the usual ones, which hold one loss each;
- if true: held-out losses inside the 90 % intervals of `Bootstrap.interval`, which assume the law;
- pairs of held-out runs; sure: of them with a probability above 0.95 that one is better; wrong: of
  those; and the expected calibration error.
"""

import argparse
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.accuracy import domains_of, regmix_train, sweeps
from benchmarks.report import report
from bimix_jax.judging.automatic import fit_train_part
from bimix_jax.judging.compare import JUDGED
from bimix_jax.uncertainty.calibration import LEVELS, case_of

PICKED = "picked"
EVERY = (*(law.label for law in JUDGED), PICKED)
RESAMPLES = 100
SUBSET = 60
LEVEL = 0.9


class Case(NamedTuple):
    """One law on one split."""

    found: bx.Calibration
    plain: np.ndarray
    """(cases, targets) half the width of plain quantiles at 90 %"""
    if_true: np.ndarray
    """(cases, targets) 1 where the loss lies in the interval that assumes the law"""
    runs: np.ndarray
    """(2, runs, targets) 1 where all losses of a run lie in simultaneous 90 % intervals, and in
    those of one loss each; nan where none is measured"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", default=["mixtures", "budgets", "both"])
    parser.add_argument("--sweeps", default="", help="pattern of the names of those measured")
    parser.add_argument("--laws", nargs="+", help=f"only these; {PICKED!r} is one of them")
    parser.add_argument("--name", default="calibration")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    cases: dict[tuple[str, str, str], list[Case]] = {}
    for kind in arguments.kinds:
        for name, sweep in every(arguments.folder, arguments.files):
            few = kind != "mixtures" and len(np.unique(sweep.budget)) < 6
            if few or not re.search(arguments.sweeps, name):
                continue
            laws = arguments.laws or EVERY
            for law, case in measured(sweep, kind, arguments.draws, laws):
                cases.setdefault((kind, law, name), []).append(case)
            rows = [
                {"held out": key[0], "law": key[1], "sweep": key[2], **summary(of_key)}
                for key, of_key in [*pooled(cases), *cases.items()]
            ]
            table = pd.DataFrame(rows).set_index("held out")
            title = "Calibration on held-out parts of real sweeps, %"
            report(arguments.name, table, title, draws=arguments.draws)


def every(folder: Path, files: list[Path]) -> Iterator[tuple[str, bx.Sweep]]:
    """Iterate over all sweeps, of RegMix a part."""
    yield from sweeps(folder)
    for model in ("1.3M", "11.5M"):
        yield f"debian {model}", bx.read_sweep(bx.datasets.debian_sweep(model))
    for name, sweep in regmix_train(folder):
        groups = np.unique(sweep.mixture_group)
        some = np.random.default_rng(0).choice(groups, SUBSET, replace=False)
        yield f"{name}, {SUBSET} mixtures", sweep.take(np.isin(sweep.mixture_group, some))
    for path in files:
        yield path.stem, bx.read_sweep(path)


def measured(
    sweep: bx.Sweep, kind: str, draws: int, laws: Sequence[str]
) -> Iterator[tuple[str, Case]]:
    """Laws, by their names, and the pick of the part that is fitted, on every split of a kind."""
    for split in bx.standard_splits(sweep, kind, draws):
        asked = list(laws)
        if PICKED in laws:
            asked[asked.index(PICKED)] = picked = picked_by_judge(sweep, split)
        for law in dict.fromkeys(asked):
            case = of_resamples(fitted_to(sweep, split, law), sweep.take(split.test))
            if law in laws:
                yield law, case
            if PICKED in laws and law == picked:
                yield PICKED, case


def picked_by_judge(sweep: bx.Sweep, split: bx.Split) -> str:
    """Name of the law that the judge picks for such a split from the part that is fitted."""
    train = sweep.take(split.train)
    judged = bx.compare(train, splits=[split.kind], repeats=3, targets=domains_of(sweep))
    return judged.best_of(split.kind)


def fitted_to(sweep: bx.Sweep, split: bx.Split, law: str) -> bx.Bootstrap:
    """One law on one split, and its resamples."""
    fitted = fit_train_part(sweep, split, bx.law_named(law), targets=domains_of(sweep))
    return bx.bootstrap(sweep.take(split.train), fitted, RESAMPLES)


def of_resamples(drawn: bx.Bootstrap, test: bx.Sweep) -> Case:
    """A fit and its resamples on runs, or budgets, that it did not see."""
    found = case_of(drawn, test)
    errors = np.abs(drawn.held_out_rows.take(drawn.held_out_rows.within).error)
    plain = np.array([conformal(column[np.isfinite(column)]) for column in errors.T])
    low, high = drawn.interval(drawn.predict_points(test.mixture, test.budget), LEVEL)
    loss = drawn.fitted.predict_points(test.mixture, test.budget) * np.exp(found.error)
    inside = np.where(np.isfinite(found.error), (low <= loss) & (loss <= high), np.nan)
    simultaneous = drawn.half_widths(test.mixture, test.budget, LEVEL, simultaneous=True)[0]
    whole = [_whole(found.error, half, test.run) for half in (simultaneous, found.half_width[-1])]
    return Case(found, np.broadcast_to(plain, found.error.shape), inside, np.stack(whole))


def _whole(error: np.ndarray, half: np.ndarray, run: np.ndarray) -> np.ndarray:
    """1 where all errors of a run (runs, targets) lie inside, nan where there is none."""
    inside = np.where(np.isfinite(error + half), np.abs(error) <= half, np.nan)
    return np.stack([np.fmin.reduce(inside[run == each]) for each in np.unique(run)])


def conformal(errors: np.ndarray) -> float:
    """Quantile of absolute errors (n,) of rank ⌈0.9 (n + 1)⌉."""
    rank = min(int(np.ceil(LEVEL * (len(errors) + 1))), len(errors))
    return float(np.sort(errors)[rank - 1]) if len(errors) else float("nan")


def pooled(cases: dict[tuple[str, str, str], list[Case]]) -> Iterator[tuple[tuple, list[Case]]]:
    """All sweeps of a kind of split and a law together."""
    for kind, law in dict.fromkeys(key[:2] for key in cases):
        those = [one for key, each in cases.items() if key[:2] == (kind, law) for one in each]
        yield (kind, law, "all"), those


def summary(cases: list[Case]) -> dict[str, object]:
    """One row of the table; every case counts alike."""
    covered = np.array([one.found.coverage()["covered"] for one in cases])
    by_target = [np.nanmean(one.found.inside[-1], axis=0) for one in cases]
    same = len({len(each) for each in by_target}) == 1
    widths = np.array([np.nanmean(one.found.half_width[-1]) for one in cases])
    plain = np.array([np.nanmean(one.plain) for one in cases])
    claims = bx.Calibration(
        (),
        np.zeros((0, 0)),
        np.zeros((1, 0, 0)),
        *(
            np.concatenate([getattr(one.found, name) for one in cases])
            for name in ("claimed", "right")
        ),
    )
    pairs = len(claims.claimed)
    whole = np.nanmean([np.nanmean(one.runs, axis=(1, 2)) for one in cases], axis=0)
    level = {f"{100 * at:g}": 100 * c for at, c in zip(LEVELS, np.nanmean(covered, 0), strict=True)}
    return {
        **level,
        "worst target": 100 * np.nanmin(np.nanmean(by_target, axis=0)) if same else np.nan,
        "width": 100 * np.nanmean(widths),
        "× plain": np.nanmean(widths / plain),
        "if true": 100 * np.nanmean([np.nanmean(one.if_true) for one in cases]),
        "runs, simultaneous": 100 * whole[0],
        "runs, pointwise": 100 * whole[1],
        "pairs": pairs,
        "sure": 100 * claims.sure_pairs / max(pairs, 1),
        "wrong": 100 * claims.wrong_when_sure,
        "calibration error": claims.calibration_error,
        "draws": len(cases),
    }


if __name__ == "__main__":
    main()
