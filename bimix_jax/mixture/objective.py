"""The objective of a mixture, and the problem of minimising it."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.laws.law import Law
from bimix_jax.mixture.feasible import FeasibleSet

Objective = Literal["mean", "worst"] | Callable[[Array], Array]
OBJECTIVES = ("mean", "worst")
UNUSED = 0.1
"""Exponent of all kinds given to unused targets: within the bounds of every law of the package, so
that no power overflows."""


class MixtureArguments(NamedTuple):
    """Arguments of a mixture problem besides the mixture."""

    coefficients: Coefficients
    """with axis (targets,)"""
    budget: Any
    """() in the unit of the coefficients' scale"""
    weights: Any
    """(targets,) ≥ 0"""
    feasible: FeasibleSet


def used_coefficients(arguments: MixtureArguments) -> Coefficients:
    """Replace the coefficients of targets without weight and guardrail by harmless ones.

    Their loss is then 0 at every mixture; otherwise it could be infinite, or nan where the fit
    failed.
    """
    c, guard_limit = arguments.coefficients, arguments.feasible.guard_limit
    used = jnp.asarray(arguments.weights) > 0
    if guard_limit is not None:
        used |= jnp.isfinite(guard_limit)
    return c._replace(
        amplitudes=jnp.where(used[:, None], c.amplitudes, 0.0),
        exponents=jnp.where(used[:, None], c.exponents, UNUSED),
    )


@dataclasses.dataclass(frozen=True)
class MixtureProblem:
    """The least objective over a feasible set; equal for equal laws, to share compilations.

    Objectives are the weighted mean of the losses; the worst of weight times loss, with a further
    variable as the upper bound of all; or a function of the losses (targets,).
    """

    law: Law
    objective: Objective = "mean"

    @property
    def extra(self) -> int:
        """Number of variables beside the mixture."""
        return int(self.objective == "worst")

    @property
    def convex(self) -> bool:
        """True where a minimum is proven to be global."""
        return self.law.convex and not callable(self.objective)

    def start(self, arguments: MixtureArguments, mixture: Array) -> Array:
        """Variables of the start: the mixture, and a bound above the worst loss there."""
        if not self.extra:
            return mixture
        worst = jnp.max(arguments.weights * self.losses(mixture, arguments))
        # A tenth above the worst loss, so that the rows start strictly inside their limit.
        return jnp.append(mixture, worst + 0.1 * jnp.abs(worst))

    def _scale(self, arguments: MixtureArguments) -> Array:
        """() the worst loss at the start, which brings all rows to the order of 1."""
        # A constant of the problem: derivatives of the optimum must not go through its unit.
        start = jnp.asarray(arguments.feasible.start)
        return jax.lax.stop_gradient(jnp.max(arguments.weights * self.losses(start, arguments)))

    def losses(self, mixture: Array, arguments: MixtureArguments) -> Array:
        """Losses (targets,) of a mixture (domains,); 0 for weights of 0."""
        # At 0 some laws are infinite, and an infinite loss that does not count has nan derivatives.
        # The root of the least number, 1.5e-154, leaves powers down to r⁻² finite.
        barely = jnp.where(mixture > 0, 0.0, jnp.sqrt(jnp.finfo(mixture.dtype).tiny))
        losses = predict_losses(
            self.law, used_coefficients(arguments), (mixture + barely)[None], arguments.budget
        )[0]
        return jnp.where(arguments.weights > 0, losses, 0.0)

    def objective_of(self, mixture: Array, arguments: MixtureArguments) -> Array:
        """() objective of a mixture, without its KL term."""
        return self.of_losses(self.losses(mixture, arguments), arguments.weights)

    def of_losses(self, losses: Array, weights: Array) -> Array:
        """() objective of losses (targets,); losses of weight 0 may be infinite or nan."""
        counting = jnp.where(weights > 0, losses, 0.0)
        if callable(self.objective):
            return self.objective(counting)
        if self.objective == "worst":
            return jnp.max(jnp.where(weights > 0, weights * counting, -jnp.inf))
        # Divided by the sum, so that a KL term weighs the same for weights of any scale.
        return jnp.sum(weights * counting) / jnp.sum(weights)

    def value(self, variables: Array, arguments: MixtureArguments) -> Array:
        """() objective of the mixture and the further variable, with the KL term."""
        mixture = variables[: len(variables) - self.extra]
        own = variables[-1] if self.extra else self.objective_of(mixture, arguments)
        return own + kl_of(mixture, arguments.feasible)

    def rows(self, variables: Array, arguments: MixtureArguments) -> Array:
        """Rows that must be at most 0: group sums, guardrails, losses below the worst one."""
        mixture = variables[: len(variables) - self.extra]
        rows = [*_group_rows(mixture, arguments.feasible)]
        if arguments.feasible.guard_limit is not None:
            rows.append(guardrail_rows(self.law, mixture, arguments))
        if self.extra:
            losses = arguments.weights * self.losses(mixture, arguments)
            # Targets of weight 0 get a row of −1, which is far from its limit and without a slope.
            above = (losses - variables[-1]) / self._scale(arguments)
            rows.append(jnp.where(arguments.weights > 0, above, -1.0))
        return jnp.concatenate(rows)


def _group_rows(mixture: Array, feasible: FeasibleSet) -> tuple[Array, Array]:
    """(groups,) each: excess of the sums above their most, and shortfall below their least.

    A group with one possible sum is an equation of the set; its rows are −1.
    """
    sums = jnp.asarray(feasible.groups) @ mixture
    exact = jnp.asarray(feasible.most) <= jnp.asarray(feasible.least)
    above, below = sums - feasible.most, feasible.least - sums
    return jnp.where(exact, -1.0, above), jnp.where(exact, -1.0, below)


def guardrail_rows(law: Law, mixture: Array, arguments: MixtureArguments) -> Array:
    """(targets,) excess of losses over the limits of their guardrails, as a fraction of these."""
    feasible = arguments.feasible
    both = jnp.stack([mixture, jnp.asarray(feasible.guard_reference, mixture.dtype)])
    # At an exact 0 derivatives of powers would be infinite or nan.
    both = both + jnp.where(both > 0, 0.0, jnp.sqrt(jnp.finfo(both.dtype).tiny))
    losses, reference = predict_losses(law, used_coefficients(arguments), both, arguments.budget)
    # The inner `where` keeps ∞ · 0 out of the derivatives of targets without a guardrail.
    bounded = jnp.isfinite(feasible.guard_limit)
    limit = jnp.where(bounded, reference * (1 + jnp.where(bounded, feasible.guard_limit, 0.0)), 1.0)
    return jnp.where(bounded, losses / limit - 1, -1.0)


def kl_of(mixture: Array, feasible: FeasibleSet) -> Array:
    """() κ · KL(mixture ‖ `kl_to`); 0 without a KL term."""
    if feasible.kl is None:
        return jnp.zeros((), mixture.dtype)
    to = jnp.asarray(feasible.kl_to)
    # r log(r/q) → 0 as r → 0; the inner `where` keeps the derivative finite there.
    both = (mixture > 0) & (to > 0)
    ratio = jnp.where(both, mixture, 1.0) / jnp.where(both, to, 1.0)
    return feasible.kl * jnp.sum(jnp.where(both, mixture * jnp.log(ratio), 0.0))
