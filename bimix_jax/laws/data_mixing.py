"""Data Mixing Laws: exponential in the mixture, with a step term that multiplies or adds."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array

from bimix_jax.laws.law import Law

STEEPEST = 30.0
"""Bound on |t|: a loss does not change by e^30 across the simplex."""


@dataclasses.dataclass(frozen=True)
class DataMixingLaw(Law):
    """L_i = (c_i + k_i exp(Σ_j t_ij r_j)) · (ω_i s^−β_i + 1 − ω_i): the step term multiplies.

    Source: Ye et al., "Data Mixing Laws", arXiv 2403.16952, for the mixture; ω is the share of the
    loss at the sweep's largest budget that more training removes. Exponents (β, ω, t_i1 … t_im),
    amplitudes (c, k). A constant added to all t changes nothing but k; reported t have mean 0.

    Finite everywhere on the simplex, so zeros and targets that are no domain are no obstacle;
    convex in the mixture. It has no diminishing return at small proportions beyond the
    exponential's, and nothing restrains its m slopes where runs are few.

    >>> DataMixingLaw().names(["code", "text"])
    ('beta', 'reducible', 't_code', 't_text')
    """

    name: ClassVar[str] = "DataMixingLaw"
    backward: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta", "reducible")
    amplitude_names: ClassVar[tuple[str, ...]] = ("c", "k")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("t",)
    convex: ClassVar[bool] = True

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, 0 ≤ ω ≤ 1, |t| ≤ 30."""
        return [(1e-3, 10.0), (0.0, 1.0), *_slope_bounds(domains)]

    def starts(self, domains: int) -> Any:
        """Each domain in turn as the one that lowers the loss; at t = 0 the amplitudes merge."""
        return [[0.5, 0.2, *slopes] for slopes in _slopes(domains)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, log of the budget)."""
        return mixture, jnp.log(budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(step term, step term · e^(t·r))."""
        mixture, log_budget = features
        beta, reducible = exponents[:2]
        of_budget = reducible * jnp.exp(-beta * log_budget) + 1 - reducible
        return of_budget, of_budget * jnp.exp(jnp.sum(exponents[2:] * mixture))

    def gauges(self, own: Array) -> Array:
        """A constant added to all t."""
        return jnp.array(1)

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """t of mean 0, k taking the constant."""
        return _centred(exponents, amplitudes, len(self.exponent_names))


@dataclasses.dataclass(frozen=True)
class DataMixingLawPlus(Law):
    """L_i = c_i + k_i exp(Σ_j t_ij r_j) + B_i s^−β_i: the step term adds.

    Source: Ye et al., "Data Mixing Laws", arXiv 2403.16952, for the mixture. Exponents
    (β, t_i1 … t_im), amplitudes (c, k, B). The mixture's effect is the same at all budgets; else
    as `DataMixingLaw`.

    >>> DataMixingLawPlus().names(["code", "text"])
    ('beta', 't_code', 't_text')
    """

    name: ClassVar[str] = "DataMixingLawPlus"
    backward: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("c", "k", "B")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("t",)
    convex: ClassVar[bool] = True

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, |t| ≤ 30."""
        return [(1e-3, 10.0), *_slope_bounds(domains)]

    def starts(self, domains: int) -> Any:
        """Each domain in turn as the one that lowers the loss."""
        return [[0.5, *slopes] for slopes in _slopes(domains)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, log of the budget)."""
        return mixture, jnp.log(budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(1, e^(t·r), s^−β)."""
        mixture, log_budget = features
        return 1.0, jnp.exp(jnp.sum(exponents[1:] * mixture)), jnp.exp(-exponents[0] * log_budget)

    def gauges(self, own: Array) -> Array:
        """A constant added to all t."""
        return jnp.array(1)

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """t of mean 0, k taking the constant."""
        return _centred(exponents, amplitudes, len(self.exponent_names))


def _slope_bounds(domains: int) -> list[tuple[float, float]]:
    return [(-STEEPEST, STEEPEST)] * domains


def _slopes(domains: int) -> list[list[float]]:
    return [[-2.0 if i == j else 0.0 for j in range(domains)] for i in range(domains)]


def _centred(exponents: Array, amplitudes: Array, named: int) -> tuple[Array, Array]:
    mean = jnp.mean(exponents[named:])
    shifted = jnp.concatenate([exponents[:named], exponents[named:] - mean])
    return shifted, amplitudes.at[1].multiply(jnp.exp(mean))
