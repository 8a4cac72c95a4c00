"""The verb: a fit and a budget in, the best mixture out."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bimix_jax.compilation import jit
from bimix_jax.fitted import Fit
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.binding import binding_table
from bimix_jax.mixture.certificate import certify
from bimix_jax.mixture.constraints import Constraints, mixture_of
from bimix_jax.mixture.counted import counted_coefficients, counted_weights, goal_weights
from bimix_jax.mixture.feasible import FeasibleSet, InfeasibleError, simplex
from bimix_jax.mixture.flatness import as_good, far_apart
from bimix_jax.mixture.goals import budget_for_goals
from bimix_jax.mixture.objective import MixtureArguments, MixtureProblem, Objective, guarded_rows
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.mixture.proportions import (
    Method,
    optimal_proportions,
    powers_of_own,
    resolve_method,
)
from bimix_jax.mixture.remarks import (
    SCOPE,
    flatness_note,
    gain_note,
    observed_range,
    outside_note,
    proof_note,
)
from bimix_jax.mixture.saved import budget_saved, objective_values


def optimize_mixture(
    fitted: Fit,
    budget: float | None = None,
    weights: Any = None,
    method: Method = "auto",
    reference: Any = None,
    *,
    constraints: Constraints | None = None,
    objective: Objective | str = "mean",
    goals: Mapping[str, float] | None = None,
) -> Optimum:
    """The best mixture among those that the constraints allow.

    Args:
        fitted: from `fit`; targets whose fit failed do not count, which is noted.
        budget: in the fit's unit; default the sweep's largest. Found, not given, for "budget".
        weights: by target, a mapping, Series or array, ≥ 0; names left out count 0. Default those
            of the constraints, or 1.
        method: "exact" (scalar roots; laws of the form K·r_own^−α), "gradient" (any law), or
            "auto", which picks.
        reference: one mixture to compare with, naming every domain; default uniform.
        constraints: bounds, tokens, groups, a pull, guardrails; default none.
        objective: "mean", the weighted mean of the losses; "worst", the largest weight · loss;
            "budget", the least budget at which every goal is reached; or a function of the losses
            (targets,) that JAX can differentiate.
        goals: losses to reach, by target, for the objective "budget".

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints (what conflicts is
            named), or no budget reaches the goals.
        ValueError: on unknown names, a budget that is not positive, several references, or a
            method the law lacks.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()))
    >>> few = bx.Constraints(available={"latex": 4e5}, epochs=2, lower={"c": 0.2})
    >>> best = bx.optimize_mixture(fitted, 2 * 2867200, constraints=few)
    >>> round(float(best.mixture["latex"]), 4), best.binding.index.tolist()
    (0.1395, ['c ≥ 0.2', 'latex ≤ 0.1395 (2 epochs of 4e+05 tokens)'])
    """
    asked = (constraints or Constraints()).spelled_as(fitted.domains, fitted.targets)
    beside = mixture_of("reference", reference, fitted.domains)
    weights = asked.weights if weights is None else weights
    if objective == "budget":
        counted, uncounted = goal_weights(fitted, goals)
        kind: Objective = "worst"
    else:
        counted, uncounted = counted_weights(fitted, weights)
        kind = objective  # type: ignore[assignment]
    at = float(fitted.check_budget(budget))
    problem = MixtureProblem(fitted.law, kind)
    coefficients = counted_coefficients(fitted, counted, asked)
    feasible = _resolved(fitted, asked, at, beside)
    chosen = resolve_method(fitted.law, method, False, feasible, kind)
    if objective == "budget":
        at = _at_goals(fitted, asked, problem, coefficients, counted, chosen, beside)
        feasible = _resolved(fitted, asked, at, beside)
    arguments = MixtureArguments(coefficients, np.asarray(at), counted, feasible)
    mixture = _solve(problem, chosen, arguments)
    _refuse_infeasible(fitted, asked, problem, arguments, mixture)
    return _described(
        fitted, asked, problem, arguments, chosen, mixture, beside, uncounted,
        getattr(objective, "__name__", str(objective)),
    )  # fmt: skip


def _at_goals(
    fitted: Fit, asked: Constraints, problem: MixtureProblem, coefficients: Coefficients,
    weights: np.ndarray, method: Method, reference: np.ndarray,
) -> float:  # fmt: skip
    """The least budget at which some mixture reaches every goal."""

    def resolve(within: Constraints, budget: float) -> FeasibleSet:
        return _resolved(fitted, within, budget, reference)

    def solve(budget: float, feasible: FeasibleSet) -> np.ndarray:
        arguments = MixtureArguments(coefficients, np.asarray(budget), weights, feasible)
        return _solve(problem, method, arguments)

    with np.errstate(divide="ignore"):
        goals = 1 / weights
    return budget_for_goals(fitted, coefficients, goals, method, asked, resolve, solve)


def _described(
    fitted: Fit, asked: Constraints, problem: MixtureProblem, arguments: MixtureArguments,
    method: Method, mixture: np.ndarray, beside: np.ndarray, uncounted: tuple[str, ...], name: str,
) -> Optimum:  # fmt: skip
    """Everything that belongs beside the best mixture."""
    domains, targets, at = list(fitted.domains), list(fitted.targets), float(arguments.budget)
    weights = np.asarray(arguments.weights)
    proof = certify(problem, mixture, arguments)
    binding = binding_table(fitted, asked, arguments, proof, mixture)
    alone = arguments._replace(feasible=simplex(len(domains)))
    free = _solve(problem, resolve_method(problem.law, "auto", objective=problem.objective), alone)
    losses, reference_losses = fitted.predict_points(np.stack([mixture, beside]), at)
    value, reference_value = objective_values(
        problem, np.stack([losses, reference_losses]), weights
    )
    saved = budget_saved(fitted, problem, weights, mixture, beside, at, name == "budget")
    shares = pd.Series(mixture, index=domains, name="proportion")
    observed = observed_range(fitted, shares)
    flatness, alternatives = _flatness(problem, arguments, mixture, domains)
    return Optimum(
        mixture=shares,
        losses=pd.Series(losses, index=targets, name="loss"),
        objective=at if name == "budget" else value,
        reference_objective=at / (1 - saved) if name == "budget" else reference_value,
        gap=proof.gap,
        proven=problem.convex,
        budget=at,
        unit=fitted.unit,
        method=method,
        weights=pd.Series(weights, index=targets, name="weight"),
        reference=pd.Series(beside, index=domains, name="reference"),
        reference_losses=pd.Series(reference_losses, index=targets, name="reference_loss"),
        observed=observed,
        unconstrained=pd.Series(free, index=domains, name="unconstrained"),
        binding=binding,
        epochs=_epochs(fitted, asked, at, shares),
        saved=saved,
        flatness=flatness,
        alternatives=alternatives,
        constraints=asked,
        objective_name=name,
        notes=(
            *([] if fitted.law.needs_size else [SCOPE]), *fitted.law.assumptions(),
            *fitted.notes_on_budget(at), *outside_note(shares, observed), *uncounted,
            *gain_note(fitted, weights, value, reference_value), *proof_note(problem),
            *flatness_note(flatness),
            *fitted.messages(),
        ),
    )  # fmt: skip


def _epochs(fitted: Fit, asked: Constraints, budget: float, mixture: pd.Series) -> pd.Series | None:
    if not asked.available:
        return None
    planned = asked.planned_tokens(fitted.unit, budget)
    known = pd.Series(asked.available, dtype=float).reindex(mixture.index)
    return (mixture * planned / known.where(known > 0)).rename("epochs")


def _flatness(
    problem: MixtureProblem, arguments: MixtureArguments, mixture: np.ndarray, domains: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    with jax.enable_x64(True):
        best = float(problem.value(
            jnp.append(mixture, problem.objective_of(jnp.asarray(mixture), arguments))[
                : len(mixture) + problem.extra], arguments))  # fmt: skip
        ends = as_good(problem, arguments, best)
    count = len(domains)
    own = np.stack([np.diag(ends[:count]), np.diag(ends[count:])], axis=1)
    # The best mixture is as good as itself, so that no range excludes it.
    low, high = np.minimum(own[:, 0], mixture), np.maximum(own[:, 1], mixture)
    flatness = pd.DataFrame({"flat_low": low, "flat_high": high}, index=domains)
    others = pd.DataFrame(far_apart(mixture, ends), columns=domains)
    return flatness, others


def _resolved(fitted: Fit, asked: Constraints, budget: float, reference: np.ndarray) -> FeasibleSet:
    """The set allowed; guardrails on targets that know no proportion are an error."""
    feasible = asked.resolve(fitted, budget, reference)
    if feasible.allowed is None or not fitted.law.is_power_of_own:
        return feasible
    with jax.enable_x64(True):
        alpha = np.asarray(powers_of_own(fitted.law, fitted.coefficients, budget)[1])
    floors = {
        target: float(feasible.guarded[fitted.domains.index(target)] * (1 + more) ** (-1 / a))
        for target, more, a in zip(fitted.targets, feasible.allowed, alpha, strict=True)
        if np.isfinite(more) and a > 0
    }
    try:
        asked.tightened(floors).resolve(fitted, budget, reference)
    except InfeasibleError as error:
        raise InfeasibleError(f"with the floors that the guardrails come to, {error}") from error
    return feasible


def _solve(problem: MixtureProblem, method: Method, arguments: MixtureArguments) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(_optimum(problem.law, method, problem.objective, arguments))


def _best(law: Law, method: Method, objective: Objective, arguments: MixtureArguments) -> Any:
    coefficients, budget, weights, feasible = arguments
    return optimal_proportions(
        law, coefficients, budget, weights, method=method, constraints=feasible,
        objective=objective,
    )  # fmt: skip


_optimum = jit(_best, static_argnums=(0, 1, 2))


def _refuse_infeasible(
    fitted: Fit, asked: Constraints, problem: MixtureProblem, arguments: MixtureArguments,
    mixture: np.ndarray,
) -> None:  # fmt: skip
    """Raise unless there is a mixture, naming the guardrails that cannot be kept together."""
    if np.all(np.isfinite(mixture)):
        return
    if arguments.feasible.allowed is None:
        raise ValueError("no finite optimum: a counted target has no finite loss in the set.")
    losses = fitted.predict_points(np.asarray(arguments.feasible.guarded)[None], arguments.budget)
    counted = np.isfinite(arguments.feasible.allowed)
    limit = np.where(counted, losses[0] * (1 + np.where(counted, arguments.feasible.allowed, 0)), 1)
    closest = _solve(
        MixtureProblem(fitted.law, "worst"), "gradient",
        arguments._replace(
            weights=np.where(counted, 1 / limit, 0.0),
            feasible=dataclasses.replace(arguments.feasible, allowed=None, guarded=None, pull=None,
                                         pull_to=None),
        ),
    )  # fmt: skip
    with jax.enable_x64(True):
        rows = np.asarray(guarded_rows(fitted.law, jnp.asarray(closest), arguments))
    broken = [f"{t} {100 * r:.2g} %" for t, r in zip(fitted.targets, rows, strict=True) if r > 1e-9]
    raise InfeasibleError(
        "guardrail: no mixture within the other constraints keeps them all; the closest exceeds "
        f"what is allowed of {', '.join(broken)}. Allow more, or relax the other constraints."
    )
