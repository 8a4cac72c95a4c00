"""The number that a mixture is judged by, and the problem of making it least."""

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
"""The exponents of a target that is not used, at which every law is finite."""


class MixtureArguments(NamedTuple):
    """What a mixture problem depends on, besides the mixture."""

    coefficients: Coefficients
    """with axis (targets,)"""
    budget: Any
    """() in the unit of the coefficients' scale"""
    weights: Any
    """(targets,) ≥ 0"""
    feasible: FeasibleSet


def used_coefficients(arguments: MixtureArguments) -> Coefficients:
    """Coefficients in which a target that neither counts nor is guarded is no obstacle.

    Its loss is 0 at every mixture; else it might be infinite, or nan where its fit failed.
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
    """The least objective over a feasible set; equal for equal laws, so compilations are shared.

    Objectives are the weighted mean of the losses; the worst of them, each times its weight, which
    takes a further variable that none of them exceeds; or a function of the losses (targets,).
    """

    law: Law
    objective: Objective = "mean"

    @property
    def extra(self) -> int:
        """Variables beside the mixture."""
        return int(self.objective == "worst")

    @property
    def convex(self) -> bool:
        """Whether what is found is the global optimum."""
        return self.law.convex and not callable(self.objective)

    def start(self, arguments: MixtureArguments, mixture: Array) -> Array:
        """The mixture, and the worst loss there."""
        if not self.extra:
            return mixture
        worst = jnp.max(arguments.weights * self.losses(mixture, arguments))
        return jnp.append(mixture, worst + 0.1 * jnp.abs(worst))

    def _scale(self, arguments: MixtureArguments) -> Array:
        """() of the worst loss, so that all rows are of the order of 1."""
        start = jnp.asarray(arguments.feasible.start)
        return jax.lax.stop_gradient(jnp.max(arguments.weights * self.losses(start, arguments)))

    def losses(self, mixture: Array, arguments: MixtureArguments) -> Array:
        """(targets,) of a mixture (domains,); 0 for weights of 0."""
        # At 0 some laws are infinite, and an infinite loss that does not count has nan derivatives.
        barely = jnp.where(mixture > 0, 0.0, jnp.sqrt(jnp.finfo(mixture.dtype).tiny))
        losses = predict_losses(
            self.law, used_coefficients(arguments), (mixture + barely)[None], arguments.budget
        )[0]
        return jnp.where(arguments.weights > 0, losses, 0.0)

    def objective_of(self, mixture: Array, arguments: MixtureArguments) -> Array:
        """() of a mixture, without its KL term."""
        return self.of_losses(self.losses(mixture, arguments), arguments.weights)

    def of_losses(self, losses: Array, weights: Array) -> Array:
        """() of losses (targets,), of which those of weight 0 may be infinite or unknown."""
        counting = jnp.where(weights > 0, losses, 0.0)
        if callable(self.objective):
            return self.objective(counting)
        if self.objective == "worst":
            return jnp.max(jnp.where(weights > 0, weights * counting, -jnp.inf))
        return jnp.sum(weights * counting) / jnp.sum(weights)

    def value(self, variables: Array, arguments: MixtureArguments) -> Array:
        """() of the mixture and what is beside it, with the KL term."""
        mixture = variables[: len(variables) - self.extra]
        own = variables[-1] if self.extra else self.objective_of(mixture, arguments)
        return own + pull_of(mixture, arguments.feasible)

    def rows(self, variables: Array, arguments: MixtureArguments) -> Array:
        """At most 0: sums of groups, guarded losses, and losses beside the worst one."""
        mixture = variables[: len(variables) - self.extra]
        rows = [*group_rows(mixture, arguments.feasible)]
        if arguments.feasible.guard_limit is not None:
            rows.append(guarded_rows(self.law, mixture, arguments))
        if self.extra:
            losses = arguments.weights * self.losses(mixture, arguments)
            above = (losses - variables[-1]) / self._scale(arguments)
            rows.append(jnp.where(arguments.weights > 0, above, -1.0))
        return jnp.concatenate(rows)


def group_rows(mixture: Array, feasible: FeasibleSet) -> tuple[Array, Array]:
    """(groups,) each: how far sums are above their most and below their least.

    Sums of one possible value are equations of the set, and no rows.
    """
    sums = jnp.asarray(feasible.groups) @ mixture
    exact = jnp.asarray(feasible.most) <= jnp.asarray(feasible.least)
    above, below = sums - feasible.most, feasible.least - sums
    return jnp.where(exact, -1.0, above), jnp.where(exact, -1.0, below)


def guarded_rows(law: Law, mixture: Array, arguments: MixtureArguments) -> Array:
    """(targets,) how far losses are above what is allowed, as a fraction of it."""
    feasible = arguments.feasible
    both = jnp.stack([mixture, jnp.asarray(feasible.guard_reference, mixture.dtype)])
    both = both + jnp.where(both > 0, 0.0, jnp.sqrt(jnp.finfo(both.dtype).tiny))
    losses, guarded = predict_losses(law, used_coefficients(arguments), both, arguments.budget)
    bounded = jnp.isfinite(feasible.guard_limit)
    limit = jnp.where(bounded, guarded * (1 + jnp.where(bounded, feasible.guard_limit, 0.0)), 1.0)
    return jnp.where(bounded, losses / limit - 1, -1.0)


def pull_of(mixture: Array, feasible: FeasibleSet) -> Array:
    """() strength · KL(mixture ‖ the mixture it is drawn to); 0 without a KL term."""
    if feasible.kl is None:
        return jnp.zeros((), mixture.dtype)
    to = jnp.asarray(feasible.kl_to)
    both = (mixture > 0) & (to > 0)
    ratio = jnp.where(both, mixture, 1.0) / jnp.where(both, to, 1.0)
    return feasible.kl * jnp.sum(jnp.where(both, mixture * jnp.log(ratio), 0.0))
