"""The least budget at which some mixture reaches every goal, in arrays and by name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.fitting.fitted import Fit
from bimix_jax.laws.law import Law
from bimix_jax.mixture._exact import bracketed_roots, decreasing_root
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.decision import Decision, Request
from bimix_jax.mixture.feasible import FeasibleSet, InfeasibleError, simplex
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.mixture.proportions import (
    Method,
    MixtureArguments,
    MixtureProblem,
    optimal_proportions,
)
from bimix_jax.quantities import budget_text, number_of
from bimix_jax.reading.settings import check_made

# e^20 = 5e8: no law extrapolates that far from the budgets to which it was fitted.
REACH = 20.0
"""Half-width of the search in log budget: from e^−20 to e^20 budget scales."""
OFF = 1e-6
"""Logarithm of the largest ratio of loss to goal below which all goals count as reached."""
# 1.03^400 = 1.4e5 times the least budget; 40 halvings of a step of 3 % reach 3e-14.
STEP, STEPS, HALVINGS = 1.03, 400, 40
"""Factor between budgets that are tried, their largest number, and the bisections of one factor."""
UNREACHED = "raise some, or relax the constraints."


class LeastBudget(NamedTuple):
    """The least budget that reaches the goals, and the mixture that reaches them."""

    mixture: Array
    """(domains,)"""
    budget: Array
    """() in the unit of the coefficients' scale; nan where no budget suffices"""


def least_budget_arrays(
    law: Law,
    coefficients: Coefficients,
    goals: ArrayLike,
    *,
    method: Method = "auto",
    constraints: FeasibleSet | None = None,
) -> LeastBudget:
    """Find the least budget at which some mixture reaches the goal of every target.

    The inner search minimises the largest ratio of loss to goal over mixtures at one budget; the
    result is the budget where that ratio is 1. Pure arrays as in `optimal_proportions`; `goals`
    (targets,) are losses above 0, infinite for targets without one.
    """
    # Weighted by 1/goal, the worst loss is 1 exactly where the last goal is reached.
    weights = jnp.where(jnp.isfinite(goals), 1 / jnp.asarray(goals), 0.0)

    def best(log_budget: Array, c: Coefficients) -> Array:
        return optimal_proportions(
            law,
            c,
            jnp.exp(log_budget),
            weights,
            method=method,
            constraints=constraints,
            objective="worst",
        )

    def excess(log_budget: Array, c: Coefficients) -> Array:
        feasible = simplex(c.own.shape[1]) if constraints is None else constraints
        arguments = MixtureArguments(c, jnp.exp(log_budget), weights, feasible)
        return jnp.log(MixtureProblem(law, "worst").objective_of(best(log_budget, c), arguments))

    # At every mixture the losses fall with the budget, so their least largest ratio falls, too.
    middle = jnp.log(jnp.max(coefficients.budget_scale))
    root = decreasing_root(excess, coefficients, middle - REACH, middle + REACH)
    mixture = best(root, coefficients)
    # Where no budget reaches the goals the search ends at an end of its bracket, off by more.
    reached = jnp.abs(excess(root, coefficients)) < OFF
    return LeastBudget(
        jnp.where(reached, mixture, jnp.nan), jnp.where(reached, jnp.exp(root), jnp.nan)
    )


def least_budget(
    fitted: Fit,
    goals: Mapping[str, float],
    *,
    method: Method = "auto",
    reference: Any = None,
    constraints: Constraints | None = None,
) -> Optimum:
    """Find the least budget at which some mixture reaches the goal of every target.

    Args:
        fitted: from `fit`.
        goals: losses or scores to reach, by target; targets without a goal are ignored.
        method: as `optimize_mixture` takes it.
        reference: likewise; the budget of this mixture for the same goals is the
            `reference_objective`.
        constraints: likewise; limits that depend on the budget, epochs for example, follow it.

    Returns:
        An `Optimum` whose objective is the budget.

    Raises:
        InfeasibleError: a ValueError, if no budget reaches the goals within the constraints.
        ValueError: as `optimize_mixture`, on goals that are not losses above 0, or if the sweep had
            a single budget.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.BiMix())
    >>> best = bx.least_budget(fitted, {"latex": 4.6, "c": 5.0})
    >>> best.losses[["latex", "c"]].round(6).to_dict()
    {'latex': 4.6, 'c': 5.0}
    """
    check_made(fitted, Fit, "fitted")
    least, largest = map(float, fitted.observed_budgets)
    if least == largest:
        raise ValueError(
            f"goals: the sweep has the single budget {budget_text(largest, fitted.unit)}, so how "
            "targets change with the budget is unknown. Measure more, or limit what a target may "
            "lose at this budget by a guardrail."
        )
    request = Request(constraints, reference, "worst", method)
    decision = Decision.of(fitted, None, _weights_of(goals, fitted), request)
    decision = decision.at(_reaching_all(decision))
    if decision.left_out:
        free = ", ".join(decision.left_out)
        note = f"Targets without a goal, whose losses may rise: {free}; a guardrail limits them."
        decision = dataclasses.replace(decision, notes=(note, *decision.notes))
    return Optimum(decision, decision.solve(), "budget")


def _weights_of(goals: Mapping[str, float], fitted: Fit) -> dict[str, float]:
    """Weights 1 / goal by target, so that the largest ratio of loss to goal must be 1.

    The goal of a score is its distance to the maximum.
    """
    named = {
        str(target): number_of(value, f"goals: {target}", "a loss above 0, or a score")
        for target, value in goals.items()
    }
    least = {t.name: float(t.distance(named[t.name])) for t in fitted.described if t.name in named}
    named |= least
    if not named or not all(value > 0 for value in named.values()):
        raise ValueError(
            f"goals are {goals}; expected a loss above 0, or a score below its maximum, for at "
            "least one target."
        )
    return {target: 1 / value for target, value in named.items()}


def _reaching_all(decision: Decision) -> float:
    """Least budget with a mixture that reaches all goals, where weights are their inverses."""
    fitted, asked = decision.fitted, decision.asked
    with np.errstate(divide="ignore"):
        goals = 1 / decision.weights
    largest = float(fitted.observed_budgets[1])
    free = decision.within(dataclasses.replace(asked, available={})).at(largest)
    found = _reaching(free)
    if not np.isfinite(found):
        free.solve()  # where guardrails conflict, that is the reason
        raise InfeasibleError(
            "goals: no budget reaches all of them, even without end, with any mixture allowed; "
            + UNREACHED
        )
    # A lower bound: fewer available tokens can only make the goals harder.
    least = float(fitted.check_budget(found))
    if not asked.available:
        return least

    def reached(budget: float) -> bool | None:
        """True where all goals are reached; None where the available tokens allow no mixture."""
        try:
            losses = decision.at(budget).solve().losses[0]
        except InfeasibleError:
            return None
        # The least budget without limits meets the goals with equality: 1e-9 is for its rounding.
        return bool(np.all(losses[np.isfinite(goals)] <= goals[np.isfinite(goals)] * (1 + 1e-9)))

    return _first_reached(reached, least)


def _first_reached(reached: Callable[[float], bool | None], least: float) -> float:
    """Least budget from `least` on that reaches the goals, before the available tokens run out."""
    # Not monotone: more budget lowers losses, but the same tokens are a smaller share of it. So
    # small steps look for the first success, which bisection alone could miss.
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


def _reaching(decision: Decision) -> float:
    """Least budget of `least_budget_arrays` for one fit, within a set that does not follow it."""
    coefficients = decision.fitted.coefficients

    def excess(log_budget: np.ndarray) -> np.ndarray:
        at = dataclasses.replace(decision, budget=float(np.exp(log_budget)))
        return np.log(at.over(coefficients).values[0])

    middle = np.log(np.max(coefficients.budget_scale))
    with np.errstate(all="ignore"):
        root = bracketed_roots(excess, middle - REACH, middle + REACH)
        # Where no budget reaches the goals the search ends at an end of its bracket, off by more.
        return float(np.exp(root)) if np.abs(excess(root)) < OFF else np.nan
