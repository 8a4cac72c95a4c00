"""The verb: a fit and a budget in, the best mixture out."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bimix_jax.fitted import Fit
from bimix_jax.mixture.binding import binding_table
from bimix_jax.mixture.certificate import certify
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.decision import Decision
from bimix_jax.mixture.flatness import as_good, far_apart
from bimix_jax.mixture.goals import budget_for_goals
from bimix_jax.mixture.objective import MixtureArguments, MixtureProblem, Objective
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.mixture.proportions import Method
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
    name = getattr(objective, "__name__", str(objective))
    if goals and objective != "budget":
        raise ValueError(
            f'goals go with the objective "budget", but the objective is {name!r}; give one of '
            "them."
        )
    if objective != "budget":
        return optimum_of(Decision.of(
            fitted, budget, weights, constraints, reference=reference,
            objective=objective, method=method,  # type: ignore[arg-type]
        ), name)  # fmt: skip
    decision = Decision.of(
        fitted, budget, None, constraints, reference=reference, method=method, goals=goals or {}
    )
    return optimum_of(decision.at(budget_for_goals(decision)), name)


def optimum_of(decision: Decision, name: str) -> Optimum:
    """Everything that belongs beside the best mixture; `name` is that of the objective."""
    fitted, problem, arguments = decision.fitted, decision.problem, decision.arguments
    mixture, beside, at = decision.solve(), decision.reference, decision.budget
    weights, domains, targets = decision.weights, list(fitted.domains), list(fitted.targets)
    proof = certify(problem, mixture, arguments)
    binding = binding_table(fitted, decision.asked, arguments, proof, mixture)
    alone = dataclasses.replace(decision.within(Constraints()), asked_method="auto")
    free = alone.over(fitted.coefficients)
    losses, reference_losses = fitted.known_points(np.stack([mixture, beside]), at)
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
        method=decision.method,
        weights=pd.Series(weights, index=targets, name="weight"),
        reference=pd.Series(beside, index=domains, name="reference"),
        reference_losses=pd.Series(reference_losses, index=targets, name="reference_loss"),
        observed=observed,
        unconstrained=pd.Series(free, index=domains, name="unconstrained"),
        binding=binding,
        epochs=_epochs(fitted, decision.asked, at, shares),
        saved=saved,
        flatness=flatness,
        alternatives=alternatives,
        constraints=decision.asked,
        objective_name=name,
        notes=(
            *([] if fitted.law.needs_size else [SCOPE]), *fitted.law.assumptions(),
            *fitted.notes_on_budget(at), *outside_note(shares, observed), *decision.notes,
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
