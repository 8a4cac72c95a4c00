"""Recommendations of the laws from a sweep alone, their predictions, and the judge's law."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import bimix_jax as bx
from bimix_jax.sweeps.sweep import Sweep

TIMES = (1, 2)
"""Budgets as multiples of the sweep's last."""


class Recommended(NamedTuple):
    """A law's optimum at one budget."""

    mixture: np.ndarray
    """(domains,) proportions"""
    predicted: tuple[float, ...]
    """mean losses over targets at each of the budgets"""


def judged_best(sweep: Sweep) -> tuple[str, list[str]]:
    """The law that `compare` would trust, and what has to be said; no name if it cannot judge."""
    try:
        judged = bx.compare(sweep)
    except ValueError as error:
        return "", [f"No law was judged the best: {error}"]
    return judged.best, [f"{judged.best} is the law that the judge picks. {judged.verdict()}"]


def recommended_by(
    sweep: Sweep, laws: Sequence[str], times: Sequence[int] = TIMES
) -> tuple[dict[str, Recommended], tuple[str, ...]]:
    """Name, such as BiMix-2x, → optimum, and notes on laws that were left out."""
    found, notes = dict[str, Recommended](), []
    for law in laws:
        try:
            found |= _of_law(sweep, law, times)
        except ValueError as error:
            notes.append(f"{law} is left out: {error}")
    return found, tuple(notes)


def _of_law(sweep: Sweep, law: str, times: Sequence[int]) -> dict[str, Recommended]:
    fitted = bx.fit(sweep, bx.law_named(law))
    budgets = [sweep.last_common_budget() * multiple for multiple in times]
    found = {}
    for multiple, budget in zip(times, budgets, strict=True):
        mixture = bx.optimize_mixture(fitted, budget).mixture.to_numpy()
        found[f"{law}-{multiple}x"] = Recommended(mixture, _mean_losses(fitted, mixture, budgets))
    return found


def _mean_losses(fitted: bx.Fit, mixture: np.ndarray, budgets: list[float]) -> tuple[float, ...]:
    losses = fitted.predict_points(np.tile(mixture, (len(budgets), 1)), np.array(budgets))
    return tuple(float(loss) for loss in losses.mean(axis=1))
