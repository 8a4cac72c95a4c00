"""The least budget at which every goal is reached, where what is allowed may depend on it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bimix_jax.compilation import jit
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.decision import Decision
from bimix_jax.mixture.feasible import InfeasibleError
from bimix_jax.mixture.proportions import Method, least_budget

STEP, STEPS, HALVINGS = 1.03, 400, 40
UNREACHED = "raise some, or relax the constraints."


def budget_for_goals(decision: Decision) -> float:
    """The least budget with a mixture that reaches all goals, of a decision made for goals.

    Raises:
        InfeasibleError: if no budget reaches the goals.
    """
    fitted, asked = decision.fitted, decision.asked
    with np.errstate(divide="ignore"):
        goals = 1 / decision.weights
    largest = float(fitted.observed_budgets[1])
    free = decision.within(dataclasses.replace(asked, available={})).at(largest)
    with jax.enable_x64(True):
        found = _reaching(fitted.law, free.method, fitted.coefficients, goals, free.feasible)
    if not np.isfinite(found.budget):
        raise InfeasibleError(
            "goals: no budget reaches all of them, even without end, with any mixture allowed; "
            + UNREACHED
        )
    least = float(fitted.check_budget(float(found.budget)))
    if not asked.available:
        return least

    def reached(budget: float) -> bool | None:
        """None where nothing is allowed, the data being too few."""
        try:
            mixture = decision.at(budget).solve()
        except InfeasibleError:
            return None
        losses = fitted.predict_points(mixture[None], budget)[0]
        return bool(np.all(losses[np.isfinite(goals)] <= goals[np.isfinite(goals)] * (1 + 1e-9)))

    return _first_reached(reached, least)


def _first_reached(reached: Callable[[float], bool | None], least: float) -> float:
    """The least budget from `least` on, to which more data than there are make no mixture."""
    below, budget = least, least
    for _ in range(STEPS):
        found = reached(budget)
        if found:
            return _halved(reached, below, budget)
        if found is None:
            break
        below, budget = budget, budget * STEP
    raise InfeasibleError(
        f"goals: no budget reaches all of them with the tokens available; from {least:.6g}, the "
        f"least without that limit, to {budget:.6g} none does; " + UNREACHED
    )


def _halved(reached: Callable[[float], bool | None], below: float, above: float) -> float:
    for _ in range(HALVINGS if above > below else 0):
        middle = np.sqrt(below * above)
        below, above = (below, middle) if reached(middle) else (middle, above)
    return float(above)


def _reach(law: Law, method: Method, coefficients: Coefficients, goals: Any, feasible: Any) -> Any:
    return least_budget(law, coefficients, goals, method=method, constraints=feasible)


_reaching = jit(_reach, static_argnums=(0, 1))
