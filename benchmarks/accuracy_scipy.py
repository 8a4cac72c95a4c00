"""Held-out error of every law as SciPy fits it, beside the judge's law as the package fits it.

    python -m benchmarks.accuracy_scipy FOLDER

The splits are those of `benchmarks.accuracy`, whose committed results give the judge's pick: run
that one first. SciPy fits every target alone, by the best of 20 starts, without shrinkage and with
equal weights, where the package weights points by their budget if later budgets are held out. With
--laws or --sweeps only those are fitted and the rest is copied from the last report; with --laws
and no name only the judge's pick is read again.
"""

import argparse
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks import scipy_fit
from benchmarks.accuracy import (
    MEASURED,
    PICKED,
    domains_of,
    end_to_end,
    regmix_pairs,
    relative_errors,
    sweeps,
)
from benchmarks.report import RESULTS, report
from bimix_jax.sweeps.sweep import Sweep

REGMIX = "regmix 1M"
NAMES = list(MEASURED)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--laws", nargs="*", default=NAMES, choices=NAMES, metavar="LAW")
    parser.add_argument("--sweeps", nargs="*", help="names of those to fit; all by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    last, before = last_report(), rows_in("accuracy_scipy")
    for name, sweep, splits in parted(arguments.folder, arguments.seeds):
        laws = arguments.laws if name in (arguments.sweeps or [name]) else ()
        with jax.enable_x64(True):
            found = pd.DataFrame(
                [
                    {"split": split.kind, **errors(sweep, split, laws, arguments.starts)}
                    for split in splits
                ]
            )
        rows += list(rows_of(name, found, last, picked_errors()))
        title = "Held-out mean relative error, %, each law by SciPy's best start, and the pick"
        done = {row["sweep"] for row in rows}
        # What is not reached yet stays, should this run be cut off.
        rest = [row for row in before if row["sweep"] not in done]
        table = pd.DataFrame([*rows, *rest]).set_index("sweep")
        report("accuracy_scipy", table, title, seeds=arguments.seeds, starts=arguments.starts)


def parted(folder: Path, seeds: int) -> Iterator[tuple[str, Sweep, list[bx.Split]]]:
    """Iterate over sweeps with their splits; RegMix, if it exists, with its own test part."""
    for name, sweep in sweeps(folder):
        yield name, sweep, bx.standard_splits(sweep, repeats=seeds)
    pairs = regmix_pairs(folder)
    if pairs is not None:
        sweep, split = end_to_end(*pairs)
        yield REGMIX, sweep, [split]


def errors(sweep: Sweep, split: bx.Split, laws: Sequence[str], starts: int) -> dict[str, float]:
    """Mean over targets of the mean relative error of the laws, %, where they have a value."""
    return {name: law_error(sweep, split, MEASURED[name], starts) for name in laws}


def law_error(sweep: Sweep, split: bx.Split, law: bx.Law, starts: int) -> float:
    """Error as in `accuracy.law_error`, with SciPy's coefficients and without budget_power."""
    train, each = sweep.take(split.train), []
    for target in domains_of(sweep):
        params = scipy_fit.best_of_starts(law, train, target, starts)[1]
        own = np.array([float(domain == target) for domain in sweep.domains])
        budget = sweep.budget / train.largest_budget
        features = scipy_fit.features_of(law, sweep.mixture, own, budget)
        predicted = scipy_fit.losses(law, params, features)
        usable = jax.vmap(law.usable, in_axes=(0, None))(sweep.mixture, own)
        predicted = np.where(np.asarray(usable), predicted, np.nan)
        each.append(_mean(relative_errors(sweep, target, predicted)[split.test]))
    return float(np.mean(each))


def _mean(errors: np.ndarray) -> float:
    """Mean of the known errors, nan without any."""
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan")


def picked_errors() -> dict[tuple[str, str], float]:
    """Mean error of the judge's pick by sweep and kind of split, from the results of `accuracy`."""
    picked = {
        (row["sweep"], row["held out"]): float(row[PICKED].split()[0])
        for row in rows_in("accuracy") if PICKED in row
    }  # fmt: skip
    for row in rows_in("accuracy_regmix"):
        if row["method"].startswith(PICKED):
            picked[REGMIX, "256 others"] = row["mre %"]
    return picked


def rows_in(name: str) -> list[dict[str, Any]]:
    """Rows of the last results of a benchmark, empty before its first run."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return list(found.get("rows", ()))


Cells = dict[tuple[str, str], dict[str, float]]


def last_report() -> Cells:
    """Mean error of the laws by sweep and kind of split, from the last results."""
    return {
        (row["sweep"], row["held out"]): {
            law: row[law] for law in MEASURED if row.get(law) is not None
        }
        for row in rows_in("accuracy_scipy")
    }


def rows_of(
    name: str, found: pd.DataFrame, last: Cells, picked: dict[tuple[str, str], float]
) -> Iterator[dict[str, object]]:
    """One row per kind of split: every law, the best one, the judge's pick, and its excess."""
    for kind, rows in found.groupby("split", sort=False):
        anew = rows.drop(columns="split").mean().to_dict()
        each = last.get((name, str(kind)), {}) | anew
        means = pd.Series({law: each.get(law, np.nan) for law in MEASURED})
        pick = picked.get((name, str(kind)), np.nan)
        if means.isna().all():
            continue
        yield {
            "sweep": name, "held out": kind, **means.round(4).to_dict(), "best": means.idxmin(),
            PICKED: pick, "pick above best": round(pick - means.min(), 4),
        }  # fmt: skip


if __name__ == "__main__":
    main()
