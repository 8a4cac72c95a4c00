"""Splits of a sweep into a part to fit and a held-out part to judge laws on."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, TypedDict, Unpack

import numpy as np

from bimix_jax.reading.settings import check_made, did_you_mean, settings_of
from bimix_jax.sweeps.sweep import CURVE, Sweep

SPLIT_TITLES = {
    "mixtures": "unseen mixtures",
    "budgets": "later budgets",
    "both": "later budgets of unseen mixtures",
}
"""Kind of a split → what it holds out."""
KINDS = tuple(SPLIT_TITLES)
FEWEST, MOST, ENOUGH = 2, 5, 90
"""Numbers of draws, and the held-out mixtures of all of them that are enough. Of 300 RegMix runs,
errors of laws by draws of 90 mixtures lie within 5 % of each other, and those by two draws within
1 % of those by five; the laws differ by 30 %."""


class Split(NamedTuple):
    """One way to hold out a part of a sweep."""

    kind: str
    """splits of one kind are repetitions of each other"""
    train: np.ndarray
    """(points,) bool"""
    test: np.ndarray
    """(points,) bool; no point is also in `train`"""


class _SplitSettings(TypedDict, total=False):
    """The keywords of `standard_splits`."""

    runs: float
    budgets: float
    seed: int
    least: int


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The keywords of `standard_splits`."""

    runs: float = 0.3
    budgets: float = 0.5
    seed: int = 0
    least: int = CURVE


def standard_splits(
    sweep: Sweep,
    kinds: Sequence[str] | None = None,
    repeats: int | None = None,
    **settings: Unpack[_SplitSettings],
) -> list[Split]:
    """Hold out mixtures, later budgets, and both.

    Args:
        sweep: the measurements.
        kinds: some of "mixtures", "budgets", "both"; default all that the sweep allows: later
            budgets are held out of sweeps of four or more.
        repeats: number of random draws of mixtures; the cut in budget is one. Default 5, but no
            more than it takes to hold out 90 mixtures, and at least 2: of 300 runs, two draws give
            each law's error to 1 %.
        settings: what is held out.

            - runs: share of the mixtures held out, 0.3 by default.
            - budgets: share of the budgets held out, the later ones, 0.5 by default; fewer where
              `least` would not be left, and the last one at least.
            - seed: of the first draw; draw i is that of `Sweep.split_runs` with seed + i.
            - least: budgets to be left to fit, as many as a law's curve of budget has coefficients.

    Raises:
        ValueError: on an unknown kind, or one with an empty part to fit or to judge.
        TypeError: on a setting that does not exist; the message names the nearest one.

    >>> from bimix_jax import datasets, read_sweep
    >>> splits = standard_splits(read_sweep(datasets.proxy_sweep()), repeats=1)
    >>> [(split.kind, int(split.train.sum()), int(split.test.sum())) for split in splits]
    [('mixtures', 132, 44), ('budgets', 80, 96), ('both', 60, 24)]
    """
    check_made(sweep, Sweep, "sweep")
    asked = settings_of(_Asked, standard_splits, settings)
    chosen = _checked_kinds(sweep, kinds)
    if repeats is not None and repeats < 1:
        raise ValueError(f"repeats is {repeats}; expected 1 or more.")
    everything = np.ones(len(sweep.budget), bool)
    single = len(np.unique(sweep.budget)) == 1
    later = everything if single else sweep.budget >= sweep.budget_cut(asked.budgets, asked.least)
    found: list[Split] = []
    for kind in chosen:
        if kind == "budgets":
            found.append(Split(kind, ~later, later))
            continue
        for draw in range(repeats or _draws(sweep, asked.runs)):
            unseen = sweep.draw_mixtures(asked.runs, asked.seed + draw)
            cut = later if kind == "both" else everything
            # Unseen mixtures at early budgets and seen ones at later budgets are in neither part,
            # because each would tell a law half of the answer.
            train = ~unseen & ~later if kind == "both" else ~unseen
            found.append(Split(kind, train, unseen & cut))
    check_splits(sweep, found)
    return found


def _draws(sweep: Sweep, runs: float) -> int:
    """Number of draws of mixtures that is enough for an error of a law."""
    drawn = runs * len(np.unique(sweep.mixture_group))
    return int(np.clip(np.ceil(ENOUGH / max(drawn, 1.0)), FEWEST, MOST))


def _checked_kinds(sweep: Sweep, kinds: Sequence[str] | None) -> tuple[str, ...]:
    """Return the kinds asked for, or else all that the sweep allows."""
    given = (kinds,) if isinstance(kinds, str) else tuple(kinds or ())
    unknown = sorted(set(given) - set(KINDS))
    if unknown:
        raise ValueError(
            f"splits names {', '.join(unknown)}; expected some of {', '.join(KINDS)}."
            f"{did_you_mean(unknown[0], KINDS)}"
        )
    if judges_later(sweep):
        return KINDS if kinds is None else given
    asked = KINDS[:1] if kinds is None else given
    if set(asked) != {"mixtures"}:
        count = len(np.unique(sweep.budget))
        raise ValueError(
            f"splits: the sweep has {'a single budget' if count == 1 else f'{count} budgets'}, and "
            f"a curve of budget takes {CURVE} beside those held out; expected 'mixtures' only. "
            "Measure at more budgets to judge later ones."
        )
    return asked


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
