"""The additive law: a floor, a term of the mixture and a term of the budget."""

import dataclasses
import itertools
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array

from bimix_jax.laws.law import Law

UNSEEN = 1e-15
"""Beside the sum over domains, so that the law has a value at mixtures of those whose c is 0."""


@dataclasses.dataclass(frozen=True)
class AdditiveLaw(Law):
    """L_i = E_i + K_i / Σ_j c_ij r_j^γ_ij + B_i s^−β_i.

    Source: Shukor et al., "Scaling Laws for Optimal Data Mixtures", arXiv 2507.09404, with the
    scale of its C_ij written as K_i. Exponents (β, c_i1 … c_im, γ_i1 … γ_im), amplitudes (E, K, B).
    The scale of all c is free; the largest reported c is 1.

    It expresses zeros and any target, and the mixture's effect is the same at all budgets. With
    2m + 1 exponents it needs many runs, and only a part of its starts reaches the best optimum
    (`Fit.agreement`). Not convex in the mixture.

    >>> AdditiveLaw().names(["code", "text"])
    ('beta', 'c_code', 'c_text', 'gamma_code', 'gamma_text')
    """

    name: ClassVar[str] = "AdditiveLaw"
    backward: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("E", "K", "B")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("c", "gamma")

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, 0 ≤ c ≤ 1000, .01 ≤ γ ≤ 3."""
        return [(1e-3, 10.0), *[(0.0, 1000.0)] * domains, *[(0.01, 3.0)] * domains]

    def starts(self, domains: int) -> Any:
        """All domains alike, or one of them ahead; flat and steep in the proportions."""
        alike = [1.0] * domains
        ahead = [[1.0 if i == j else 0.1 for j in range(domains)] for i in range(domains)]
        return [
            [0.5, *weights, *[gamma] * domains]
            for weights, gamma in itertools.product([alike, *ahead], (0.2, 0.7))
        ]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, its logs where there are any, log of the budget)."""
        return mixture, jnp.log(jnp.where(mixture > 0, mixture, 1.0)), jnp.log(budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(1, 1/Σ_j c_j r_j^γ_j, s^−β)."""
        mixture, log_mixture, log_budget = features
        weights, powers = jnp.split(exponents[1:], 2)
        terms = jnp.where(mixture > 0, weights * jnp.exp(powers * log_mixture), 0.0)
        return 1.0, 1.0 / (jnp.sum(terms) + UNSEEN), jnp.exp(-exponents[0] * log_budget)

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """Whether the mixture holds something of a domain that is worth something."""
        return jnp.sum(jnp.split(exponents[1:], 2)[0] * mixture) > UNSEEN

    def gauges(self, own: Array) -> Array:
        """The scale of all c."""
        return jnp.array(1)

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """The largest c is 1, K taking the scale."""
        weights, powers = jnp.split(exponents[1:], 2)
        scale = jnp.max(weights)
        scaled = jnp.concatenate([exponents[:1], weights / scale, powers])
        return scaled, amplitudes.at[1].divide(scale)
