"""What is decided: the best mixture at a budget, of all that the constraints allow."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.compilation import jit
from bimix_jax.fitted import Fit
from bimix_jax.fitting.codes import FAILED
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.constraints import Constraints, mixture_of
from bimix_jax.mixture.counted import counted_weights, goal_weights
from bimix_jax.mixture.feasible import FeasibleSet, InfeasibleError
from bimix_jax.mixture.measured import refuse_unmeasured
from bimix_jax.mixture.objective import MixtureArguments, MixtureProblem, Objective, guarded_rows
from bimix_jax.mixture.proportions import (
    Method,
    optimal_proportions,
    powers_of_own,
    resolve_method,
)
from bimix_jax.names import align_weights

CHUNK = 64
"""Resamples whose optima are searched side by side."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """A fit, and what makes one mixture better than another at a budget; made by `Decision.of`.

    Every verb that looks for a best mixture asks this object, so that in all of them the same
    targets count, the same mixtures are allowed, and the same one is best.
    """

    fitted: Fit
    asked: Constraints
    """with names as the fit spells them"""
    budget: float
    weights: np.ndarray
    """(targets,), 0 for targets that do not count"""
    reference: np.ndarray
    """(domains,) the mixture that pull and guardrails refer to unless they name one"""
    feasible: FeasibleSet
    """at the budget"""
    objective: Objective
    asked_method: Method
    left_out: tuple[str, ...]
    """targets that somebody gave no weight"""
    notes: tuple[str, ...]
    """which targets do not count, or are not guarded, and why"""

    @classmethod
    def of(
        cls, fitted: Fit, budget: float | None = None, weights: Any = None,
        constraints: Constraints | None = None, *, reference: Any = None,
        objective: Objective = "mean", method: Method = "auto",
        goals: Mapping[str, float] | None = None,
    ) -> "Decision":  # fmt: skip
        """What `optimize_mixture` was asked for, checked and in the order of the fit.

        With `goals` the objective is the largest ratio of loss to goal.

        Raises:
            InfeasibleError: if no mixture satisfies the bounds, sums and tokens.
            ValueError: as `optimize_mixture`.
        """
        _refuse_damaged(fitted)
        asked = (constraints or Constraints()).spelled_as(fitted.domains, fitted.targets)
        beside = mixture_of("reference", reference, fitted.domains)
        weights = asked.weights if weights is None else weights
        given = weights if goals is None else goal_weights(goals)
        counted, uncounted = counted_weights(fitted, given)
        at = float(fitted.check_budget(budget))
        return cls(
            fitted, asked, at, counted, beside, _resolved(fitted, asked, at, beside),
            objective if goals is None else "worst", method,
            left_out=_without_weight(fitted, align_weights(given, fitted.targets)),
            notes=(*uncounted, *asked.guards(fitted)[1], *asked.idle(fitted.unit, at)),
        )  # fmt: skip

    def at(self, budget: float) -> "Decision":
        """The same at another budget, on which what is allowed may depend."""
        feasible = _resolved(self.fitted, self.asked, budget, self.reference)
        return dataclasses.replace(self, budget=budget, feasible=feasible)

    def within(self, constraints: Constraints) -> "Decision":
        """The same with other constraints."""
        return dataclasses.replace(self, asked=constraints).at(self.budget)

    def counting(self, weights: np.ndarray) -> "Decision":
        """The same with other weights (targets,), which somebody gave."""
        left_out = _without_weight(self.fitted, weights)
        return dataclasses.replace(self, weights=weights, left_out=left_out)

    @property
    def problem(self) -> MixtureProblem:
        """What is made least."""
        return MixtureProblem(self.fitted.law, self.objective)

    @property
    def arguments(self) -> MixtureArguments:
        """What it depends on, besides the mixture."""
        return MixtureArguments(
            self.fitted.coefficients, np.asarray(self.budget), self.weights, self.feasible
        )

    @property
    def method(self) -> Method:
        """How it is made least: "exact" or "gradient"."""
        return resolve_method(
            self.fitted.law, self.asked_method, False, self.feasible, self.objective
        )

    def solve(self) -> np.ndarray:
        """The best mixture (domains,).

        Raises:
            InfeasibleError: if no mixture keeps the guardrails.
            ValueError: if no mixture has a finite objective, or a domain would get nothing only
                because no target that counts depends on it.
        """
        mixture = self.over(self.fitted.coefficients)
        self.check(mixture)
        return mixture

    def over(self, coefficients: Coefficients) -> np.ndarray:
        """The best mixtures (…, domains) by coefficients (…,) of the law, unchecked.

        nan where no mixture keeps the guardrails, or a target that counts failed.
        """
        with jax.enable_x64(True):
            return np.asarray(_optima(
                self.fitted.law, self.method, self.objective, coefficients,
                np.asarray(self.budget), self.weights, self.feasible,
            ))  # fmt: skip

    def along(self, weights: np.ndarray) -> np.ndarray:
        """The best mixtures (points, domains) for weights (points, targets), checked."""
        with jax.enable_x64(True):
            mixtures = np.asarray(_front(
                self.fitted.law, self.method, self.objective, self.fitted.coefficients,
                np.asarray(self.budget), weights, self.feasible,
            ))  # fmt: skip
        for counted, mixture in zip(weights, mixtures, strict=True):
            self.counting(counted).check(mixture)
        return mixtures

    def check(self, mixture: np.ndarray) -> None:
        """Refuse a mixture (domains,) that is no optimum, with the reasons `solve` gives."""
        if not np.all(np.isfinite(mixture)):
            raise self._why_not()
        losses = self.fitted.known_points(mixture[None], self.budget)[0]
        self._refuse_infinite(losses)
        refuse_unmeasured(self, mixture)

    def _refuse_infinite(self, losses: np.ndarray) -> None:
        lost = ~np.isfinite(losses) & (self.weights > 0)
        if lost.any():
            raise ValueError(
                f"no finite optimum: within the constraints {self.fitted.law.label} has no finite "
                f"loss for {', '.join(np.array(self.fitted.targets)[lost])}, as a share of 0 is "
                "all that they leave. Leave a share to each, or leave these targets out of the "
                "weights."
            )

    def _why_not(self) -> ValueError:
        """Which guardrails cannot be kept together."""
        feasible, targets = self.feasible, self.fitted.targets
        if feasible.allowed is None:
            return ValueError("no finite optimum: a counted target has no finite loss in the set.")
        losses = self.fitted.predict_points(np.asarray(feasible.guarded)[None], self.budget)[0]
        counted = np.isfinite(feasible.allowed)
        limit = np.where(counted, losses * (1 + np.where(counted, feasible.allowed, 0)), 1)
        free = dataclasses.replace(feasible, allowed=None, guarded=None, pull=None, pull_to=None)
        closest = dataclasses.replace(
            self, weights=np.where(counted, 1 / limit, 0.0), feasible=free, objective="worst",
            asked_method="gradient",
        ).over(self.fitted.coefficients)  # fmt: skip
        with jax.enable_x64(True):
            rows = np.asarray(guarded_rows(self.fitted.law, jnp.asarray(closest), self.arguments))
        broken = [f"{t} {100 * r:.2g} %" for t, r in zip(targets, rows, strict=True) if r > 1e-9]
        return InfeasibleError(
            "guardrail: no mixture within the other constraints keeps them all; the closest "
            f"exceeds what is allowed of {', '.join(broken)}. Allow more, or relax the other "
            "constraints."
        )


def _refuse_damaged(fitted: Fit) -> None:
    """Refuse coefficients that give no loss where every law has one, whether they count or not."""
    domains = len(fitted.domains)
    even = np.full((1, domains), 1 / domains)
    losses = fitted.predict_points(even, fitted.observed_budgets[1])[0]
    lost = ~np.isfinite(losses) & ~np.isin(fitted.code, FAILED)
    if lost.any():
        raise ValueError(
            f"fitted: the coefficients of {', '.join(np.array(fitted.targets)[lost])} give no "
            "finite loss at the uniform mixture, though no code says that the fit failed: they "
            "were changed or damaged. Fit the sweep again."
        )


def _without_weight(fitted: Fit, weights: np.ndarray) -> tuple[str, ...]:
    return tuple(t for t, weight in zip(fitted.targets, weights, strict=True) if weight == 0)


def _resolved(fitted: Fit, asked: Constraints, budget: float, reference: np.ndarray) -> FeasibleSet:
    """The set allowed at a budget; guardrails that have no meaning there are refused."""
    feasible = asked.resolve(fitted, budget, reference)
    if feasible.allowed is None:
        return feasible
    guarded, bounded = np.asarray(feasible.guarded), np.isfinite(feasible.allowed)
    lost = bounded & ~np.isfinite(fitted.known_points(guarded[None], budget)[0])
    if lost.any():
        raise ValueError(
            f"guardrail: {fitted.law.label} has no finite loss for "
            f"{', '.join(np.array(fitted.targets)[lost])} at the mixture that is guarded, which "
            "has nothing of what they depend on. Guard a mixture that has (guarded, or "
            "--reference), or name the targets to guard."
        )
    if fitted.law.is_power_of_own:
        _refuse_floors(fitted, asked, feasible, budget, reference)
    return feasible


def _refuse_floors(
    fitted: Fit, asked: Constraints, feasible: FeasibleSet, budget: float, reference: np.ndarray
) -> None:
    """Guardrails on powers of the own share are floors, whose conflicts can be named."""
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


def _best(
    law: Law, method: Method, objective: Objective, coefficients: Coefficients, budget: Array,
    weights: Array, feasible: FeasibleSet,
) -> Array:  # fmt: skip
    return optimal_proportions(
        law, coefficients, budget, weights, method=method, constraints=feasible,
        objective=objective,
    )  # fmt: skip


@functools.partial(jit, static_argnums=(0, 1, 2))
def _optima(
    law: Law, method: Method, objective: Objective, coefficients: Coefficients, budget: Array,
    weights: Array, feasible: FeasibleSet,
) -> Array:  # fmt: skip
    def best(one: Coefficients) -> Array:
        return _best(law, method, objective, one, budget, weights, feasible)

    if coefficients.exponents.ndim == 2:
        return best(coefficients)
    return jax.lax.map(best, coefficients, batch_size=CHUNK)


@functools.partial(jit, static_argnums=(0, 1, 2))
def _front(
    law: Law, method: Method, objective: Objective, coefficients: Coefficients, budget: Array,
    weights: Array, feasible: FeasibleSet,
) -> Array:  # fmt: skip
    return jax.vmap(
        lambda counted: _best(law, method, objective, coefficients, budget, counted, feasible)
    )(weights)
