"""What each law recommends from a sweep alone, what it predicts of that, and which one to trust."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import bimix_jax as bx
from bimix_jax.sweep import Sweep

BUDGETS = {"1x": 1, "2x": 2}
"""Name → budget as a multiple of the sweep's last."""


class Recommended(NamedTuple):
    """A law's optimum at one budget."""

    mixture: np.ndarray
    """(domains,) proportions"""
    predicted: tuple[float, ...]
    """mean losses over targets at each of `BUDGETS`"""


def judged_best(sweep: Sweep) -> tuple[str, list[str]]:
    """The law that `compare` would trust, and what has to be said; no name if it cannot judge."""
    try:
        judged = bx.compare(sweep)
    except ValueError as error:
        return "", [f"No law was judged the best: {error}"]
    return judged.best, [f"{judged.best} is the law that the judge picks. {judged.verdict()}"]


def recommended_by(
    sweep: Sweep, laws: Sequence[str]
) -> tuple[dict[str, Recommended], tuple[str, ...]]:
    """Name, such as BiMix-2x, → optimum, and notes on laws that were left out."""
    found, notes = dict[str, Recommended](), []
    for law in laws:
        try:
            found |= _of_law(sweep, law)
        except ValueError as error:
            notes.append(f"{law} is left out: {error}")
    return found, tuple(notes)


def _of_law(sweep: Sweep, law: str) -> dict[str, Recommended]:
    fitted = bx.fit(sweep, bx.law_named(law))
    last = sweep.last_common_budget()
    found = {}
    for name, times in BUDGETS.items():
        mixture = bx.optimize_mixture(fitted, last * times).mixture.to_numpy()
        found[f"{law}-{name}"] = Recommended(mixture, _mean_losses(fitted, mixture, last))
    return found


def _mean_losses(fitted: bx.Fit, mixture: np.ndarray, last: float) -> tuple[float, ...]:
    budgets = np.array([last * times for times in BUDGETS.values()])
    losses = fitted.predict_points(np.tile(mixture, (len(budgets), 1)), budgets)
    return tuple(float(loss) for loss in losses.mean(axis=1))
