"""Calibration: how often intervals and probabilities of a law hold on runs held out of the fit."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.judging.automatic import fit_train_part
from bimix_jax.laws.law import Law
from bimix_jax.mixture.decision import Decision
from bimix_jax.printable import Drawn
from bimix_jax.quantities import counted
from bimix_jax.reading.settings import check_made
from bimix_jax.sweeps.splits import Split, check_splits, standard_splits
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty._differences import better
from bimix_jax.uncertainty.bootstrap import Bootstrap, bootstrap

LEVELS = (0.5, 0.8, 0.9)
"""Levels of the intervals that are counted."""
SURE = 0.95
"""Probability from which on a claim is counted as sure."""
BINS = 10
"""Number of bins of probabilities between 0.5 and 1."""


@dataclasses.dataclass(frozen=True)
class Calibration(Drawn):
    """Intervals and probabilities beside what was measured; made by `calibration`, and from the
    mixtures that a bootstrap left out by `Certainty.calibration`."""

    targets: tuple[str, ...]
    error: np.ndarray
    """(cases, targets) ln y − ln ŷ of held-out losses, nan where there is none"""
    half_width: np.ndarray
    """(levels, cases, targets) half the width of the intervals of ln y, nan without an interval"""
    claimed: np.ndarray
    """(pairs,) probability, 0.5 or more, that the run that is predicted to be better is so"""
    right: np.ndarray
    """(pairs,) bool: it was"""
    levels: tuple[float, ...] = LEVELS
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        targets = counted(len(self.targets), "target")
        return f"Calibration({targets}, {counted(len(self.claimed), 'pair')} of held-out runs)"

    @property
    def inside(self) -> np.ndarray:
        """(levels, cases, targets) 1 where the measured loss lies in the interval, else 0."""
        known = np.isfinite(self.error) & np.isfinite(self.half_width)
        return np.where(known, np.abs(self.error) <= self.half_width, np.nan)

    def coverage(self) -> pd.DataFrame:
        """Table of the intervals with a row per level.

        Columns: `covered` the share of held-out losses inside, `worst_target` and its share
        `worst`, `width` the mean of half the width, a fraction of the loss, and `losses`.
        """
        by_target = _mean(self.inside, axis=1)
        worst = [int(np.nanargmin(row)) if np.isfinite(row).any() else 0 for row in by_target]
        return pd.DataFrame(
            {
                "covered": _mean(self.inside, axis=(1, 2)),
                "worst_target": [self.targets[i] for i in worst],
                "worst": by_target[range(len(worst)), worst],
                "width": _mean(self.half_width, axis=(1, 2)),
                "losses": np.isfinite(self.inside).sum(axis=(1, 2)),
            },
            index=pd.Index(self.levels, name="level"),
        )

    def reliability(self) -> pd.DataFrame:
        """Table of pairs of held-out runs, by the probability that one is better.

        Columns: `claimed` mean probability, `right` share of the pairs in which the run that is
        predicted to be better is so, `pairs`.
        """
        known = np.isfinite(self.claimed)
        claimed, right = self.claimed[known], self.right[known]
        step = 0.5 / BINS
        number = np.minimum(((claimed - 0.5) / step).astype(int), BINS - 1)
        table = pd.DataFrame({"claimed": claimed, "right": right.astype(float)})
        found = table.groupby(np.round(0.5 + step * number, 9)).agg(
            claimed=("claimed", "mean"), right=("right", "mean"), pairs=("right", "size")
        )
        return found.rename_axis("from")

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean |claimed − right| over the bins, weighted by pairs."""
        table = self.reliability()
        apart = (table["claimed"] - table["right"]).abs()
        return float((apart * table["pairs"]).sum() / max(table["pairs"].sum(), 1))

    @property
    def sure_pairs(self) -> int:
        """Number of pairs with a probability above 0.95."""
        return int(np.sum(self.claimed > SURE))

    @property
    def wrong_when_sure(self) -> float:
        """Share of wrong claims among those above 0.95; nan without any."""
        sure = self.claimed > SURE
        return float(np.mean(~self.right[sure])) if sure.any() else float("nan")

    def verdict(self) -> str:
        """Sentences on the coverage and on the claims."""
        pairs = int(np.isfinite(self.claimed).sum())
        parts = []
        covered = self.coverage()["covered"]
        if covered.notna().any():
            shares, levels = (
                ", ".join(f"{100 * each:.0f}" for each in part) for part in (covered, self.levels)
            )
            parts.append(f"Of the held-out values, {shares} % lie inside intervals of {levels} %.")
        if pairs:
            wrong = "" if not self.sure_pairs else f", {100 * self.wrong_when_sure:.1f} % wrongly"
            parts.append(
                f"Of {pairs} pairs of held-out runs {self.sure_pairs} are claimed with a "
                f"probability above {SURE:g}{wrong}; the calibration error is "
                f"{self.calibration_error:.3f}."
            )
        return " ".join(parts) or "There are too few mixtures for intervals and probabilities."


def calibration(
    sweep: Sweep,
    law: Law | str | None = None,
    splits: str | Sequence[Split] = "mixtures",
    n: int = 200,
    seed: int = 0,
    **options: Any,
) -> Calibration:
    """Count how often intervals and probabilities hold on parts of a sweep that are held out.

    Args:
        sweep: what was measured.
        law: a law or its name; default "auto", chosen within each train part.
        splits: what is held out: "mixtures", later "budgets" of all mixtures or "both", five times
            as in `standard_splits`, or splits of your own.
        n: number of resamples of each fit.
        seed: of the resamples.
        options: `budget_power` and further ones of `fit`, as `compare` fits: where later budgets
            are held out, points are weighted by their budget.

    Returns:
        A `Calibration`; see its `coverage`, `reliability` and `verdict`. Pairs are those of
        held-out runs at their last common budget, compared by the mean of their losses.

    Raises:
        ValueError: as `standard_splits`, `fit` and `bootstrap`.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> found = bx.calibration(sweep, bx.BiMix(), splits=bx.standard_splits(sweep, "mixtures", 2))
    >>> bool(found.coverage().loc[0.9, "covered"] > 0.75)
    True
    """
    check_made(sweep, Sweep, "sweep")
    chosen = standard_splits(sweep, splits) if isinstance(splits, str) else list(splits)
    check_splits(sweep, chosen)
    cases = []
    for split in chosen:
        fitted = fit_train_part(sweep, split, law, **options)
        drawn = bootstrap(sweep.take(split.train), fitted, n, seed)
        cases.append(case_of(drawn, sweep.take(split.test)))
    return Calibration(
        cases[0].targets,
        np.concatenate([case.error for case in cases]),
        np.concatenate([case.half_width for case in cases], axis=1),
        np.concatenate([case.claimed for case in cases]),
        np.concatenate([case.right for case in cases]),
    )


def case_of(drawn: Bootstrap, test: Sweep) -> Calibration:
    """Intervals and probabilities of one fit beside the measurements of runs that it did not see.

    Args:
        drawn: the fit and its resamples.
        test: runs with the domains of the fit, in its order.
    """
    fitted = drawn.fitted
    measured = test.loss[:, [test.targets.index(target) for target in fitted.targets]]
    predicted = fitted.predict_points(test.mixture, test.budget, test.size)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.log(measured) - np.log(predicted)
    error = np.where(np.isfinite(error), error, np.nan)
    each = [drawn.half_widths(test.mixture, test.budget, level)[0] for level in LEVELS]
    return Calibration(fitted.targets, error, np.stack(each), *_pairs(drawn, test, measured))


def _pairs(drawn: Bootstrap, test: Sweep, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Claimed probabilities of pairs at one budget, and whether they were right."""
    at_last = np.isclose(test.budget, test.last_common_budget(), rtol=1e-9)
    valued = np.isfinite(drawn.fitted.known_points(test.mixture, test.budget))
    rows = np.flatnonzero(at_last & np.isfinite(losses).all(axis=1) & valued.all(axis=1))
    one, other = (rows[part] for part in np.triu_indices(len(rows), 1))
    if not len(one):
        return np.zeros(0), np.zeros(0, bool)
    decision = Decision.of(drawn.fitted, float(test.budget[rows[0]]))
    above = better(drawn, decision, test.mixture[one], test.mixture[other])
    mean = losses.mean(axis=1)
    first = above >= 0.5
    right = np.where(first, mean[one] < mean[other], mean[other] < mean[one])
    return np.maximum(above, 1 - above), right


def _mean(values: np.ndarray, axis: Any) -> np.ndarray:
    """Mean without nan; nan where nothing is left."""
    count = np.isfinite(values).sum(axis=axis)
    total = np.nansum(values, axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
