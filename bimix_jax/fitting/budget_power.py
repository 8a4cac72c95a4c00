"""Weights of points by their budget, for predictions beyond the largest budgets."""

import numbers
from typing import Any

import numpy as np

from bimix_jax.sweeps.sweep import Sweep

LATER = 2.0
"""Power for budgets beyond those measured: a law of budget is least accurate at the first
checkpoints, and extrapolation carries on the error at the last budgets."""
FEWER = 0.7
"""Share of the mixtures that must stay in effect, or a note is given."""


def check_budget_power(budget_power: float) -> None:
    """Raise ValueError unless it is a power ≥ 0."""
    if not isinstance(budget_power, numbers.Real) or not 0 <= float(budget_power) < np.inf:
        raise ValueError(
            f"budget_power is {budget_power!r}; expected a power of the budget ≥ 0, {LATER:g} for "
            "later budgets or 0 for points that all count alike."
        )


def budget_weight(budget: Any, largest: Any, budget_power: float) -> Any:
    """(s/s_max)^budget_power, by which points of a budget (…) count, 1 at the largest.

    >>> budget_weight(np.array([1.0, 2.0, 4.0]), 4.0, 2.0).tolist()
    [0.0625, 0.25, 1.0]
    """
    return (budget / largest) ** budget_power


def note_of_budget_power(sweep: Sweep, budget_power: float) -> tuple[str, ...]:
    """Note on the weights of the points; none at a power of 0."""
    if budget_power == 0:
        return ()
    note = f"Points are weighted by budget^{budget_power:g}, so the largest budgets count most."
    # Relative to equal weights, because mixtures may have different numbers of points anyway.
    even, late = (_mixtures_in_effect(sweep, power) for power in (0.0, budget_power))
    if late >= FEWER * even:
        return (note,)
    return (
        note,
        f"Runs stop at different budgets, so budget_power={budget_power:g} lets the longest "
        f"dominate: effectively {late:.1f} mixtures instead of {even:.1f}. Intervals ignore this. "
        "Use budget_power=0, or continue the shorter runs.",
    )


def _mixtures_in_effect(sweep: Sweep, budget_power: float) -> float:
    """(Σw)²/Σw² of the weights of mixtures (Kish, Survey Sampling, 1965)."""
    weight = budget_weight(sweep.budget, sweep.largest_budget, budget_power)
    # By mixture and not by point: checkpoints of one run are not independent.
    of_mixture = np.bincount(sweep.mixture_group, weight)
    return float(of_mixture.sum() ** 2 / np.sum(of_mixture**2))
