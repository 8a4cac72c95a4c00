"""Splits of a sweep into a part to fit and a held-out part to judge laws on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bimix_jax.names import did_you_mean
from bimix_jax.sweeps.sweep import CURVE, Sweep

KINDS = ("mixtures", "budgets", "both")
"""Unseen mixtures, later budgets, and later budgets of unseen mixtures."""


class Split(NamedTuple):
    """One way to hold out a part of a sweep."""

    kind: str
    """splits of one kind are repetitions of each other"""
    train: np.ndarray
    """(points,) bool"""
    test: np.ndarray
    """(points,) bool; no point is also in `train`"""


def standard_splits(
    sweep: Sweep,
    kinds: Sequence[str] | None = None,
    repeats: int = 5,
    runs: float = 0.3,
    budgets: float = 0.5,
    seed: int = 0,
    least: int = CURVE,
) -> list[Split]:
    """Hold out mixtures, later budgets, and both.

    Args:
        sweep: the measurements.
        kinds: some of "mixtures", "budgets", "both"; default all that the sweep allows: later
            budgets are held out of sweeps of four or more.
        repeats: how many random draws of mixtures; the cut in budget is one.
        runs: share of the mixtures held out.
        budgets: share of the budgets held out, the later ones; fewer where `least` would not be
            left, and the last one at least.
        seed: of the first draw; draw i is that of `Sweep.split_runs` with seed + i.
        least: budgets to be left to fit, as many as a law's curve of budget has coefficients.

    Raises:
        ValueError: on an unknown kind, or one with an empty part to fit or to judge.

    >>> from bimix_jax import datasets, read_sweep
    >>> splits = standard_splits(read_sweep(datasets.proxy_sweep()), repeats=1)
    >>> [(split.kind, int(split.train.sum()), int(split.test.sum())) for split in splits]
    [('mixtures', 132, 44), ('budgets', 80, 96), ('both', 60, 24)]
    """
    kinds = [kinds] if isinstance(kinds, str) else kinds
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        raise ValueError(
            f"splits names {', '.join(unknown)}; expected some of {', '.join(KINDS)}."
            f"{did_you_mean(unknown[0], KINDS)}"
        )
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; expected 1 or more.")
    count = len(np.unique(sweep.budget))
    asked = (KINDS if judges_later(sweep) else KINDS[:1]) if kinds is None else tuple(kinds)
    if not judges_later(sweep) and set(asked) != {"mixtures"}:
        raise ValueError(
            f"splits: the sweep has {'a single budget' if count == 1 else f'{count} budgets'}, and "
            f"a curve of budget takes {CURVE} beside those held out; expected 'mixtures' only. "
            "Measure at more budgets to judge later ones."
        )
    everything = np.ones(len(sweep.budget), bool)
    later = sweep.budget >= sweep.budget_cut(budgets, least) if count > 1 else everything
    found: list[Split] = []
    for kind in asked:
        if kind == "budgets":
            found.append(Split(kind, ~later, later))
            continue
        for draw in range(repeats):
            unseen = sweep.draw_mixtures(runs, seed + draw)
            cut = later if kind == "both" else everything
            # Unseen mixtures at early budgets and seen ones at later budgets are in neither part,
            # because each would tell a law half of the answer.
            train = ~unseen & ~later if kind == "both" else ~unseen
            found.append(Split(kind, train, unseen & cut))
    check_splits(sweep, found)
    return found


def judges_later(sweep: Sweep) -> bool:
    """True where enough budgets remain for a curve after the last one is held out."""
    return len(np.unique(sweep.budget)) > CURVE


def check_splits(sweep: Sweep, splits: Sequence[Split]) -> None:
    """Raise ValueError for a split with an empty train or test part, or with points in both."""
    if not splits:
        raise ValueError("splits is empty; expected at least one.")
    size = (len(sweep.budget),)
    for number, (kind, train, test) in enumerate(splits):
        where = f"splits[{number}] ({kind})"
        if train.shape != size or test.shape != size:
            raise ValueError(f"{where}: masks of {train.shape} and {test.shape}; expected {size}.")
        if not train.any() or not test.any():
            part = "no run to judge on" if train.any() else "no run to fit"
            raise ValueError(f"{where} leaves {part}; hold out another part, or measure more runs.")
        if np.any(train & test):
            raise ValueError(f"{where}: {int(np.sum(train & test))} points are in both parts.")
