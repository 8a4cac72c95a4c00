"""How much a point counts by its budget: what is asked for lies beyond the largest ones."""

import numbers
from typing import Any

import numpy as np

from bimix_jax.sweeps.sweep import Sweep

LATER = 2.0
"""For budgets beyond those measured: a law of budget is least true of the first checkpoints, and
what it is off by at the last ones is carried on."""
FEWER = 0.7
"""Share of the mixtures that must be left in effect for nothing to be said of it."""


def check_emphasis(emphasis: float) -> None:
    """Raise ValueError unless it is a power ≥ 0."""
    if not isinstance(emphasis, numbers.Real) or not 0 <= float(emphasis) < np.inf:
        raise ValueError(
            f"budget_power is {emphasis!r}; expected a power of the budget ≥ 0, {LATER:g} for "
            "later budgets or 0 for points that all count alike."
        )


def emphasised(budget: Any, largest: Any, emphasis: float) -> Any:
    """(s/s_max)^emphasis, by which points of a budget (…) count, 1 at the largest.

    >>> emphasised(np.array([1.0, 2.0, 4.0]), 4.0, 2.0).tolist()
    [0.0625, 0.25, 1.0]
    """
    return (budget / largest) ** emphasis


def about_emphasis(sweep: Sweep, emphasis: float) -> tuple[str, ...]:
    """What has to be said beside a fit: nothing, or how its points counted."""
    if emphasis == 0:
        return ()
    note = f"Points count by the power {emphasis:g} of their budget, as asked."
    even, late = (_mixtures_in_effect(sweep, power) for power in (0.0, emphasis))
    if late >= FEWER * even:
        return (note,)
    return (
        note,
        f"Runs end at unlike budgets, so that this is like {late:.1f} mixtures instead of "
        f"{even:.1f}, which intervals do not know; leave emphasis out, or train the others on.",
    )


def _mixtures_in_effect(sweep: Sweep, emphasis: float) -> float:
    """(Σw)²/Σw² of the weights of mixtures (Kish, Survey Sampling, 1965)."""
    weight = emphasised(sweep.budget, sweep.largest_budget, emphasis)
    of_mixture = np.bincount(sweep.mixture_group, weight)
    return float(of_mixture.sum() ** 2 / np.sum(of_mixture**2))
