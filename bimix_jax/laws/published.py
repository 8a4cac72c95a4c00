"""Laws of other publications: data mixing laws, the additive law, log-linear."""

import dataclasses
import itertools
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array

from bimix_jax.laws.law import Law

STEEPEST = 30.0
"""Bound on |t|: a loss does not change by e^30 across the simplex."""


@dataclasses.dataclass(frozen=True)
class DataMixingLaw(Law):
    """L_i = (c_i + k_i exp(Σ_j t_ij r_j)) · (ω_i s^−β_i + 1 − ω_i): the budget multiplies.

    Source: Ye et al., "Data Mixing Laws", arXiv 2403.16952, for the mixture; ω is the share of the
    loss at the sweep's largest budget that more training removes. Exponents (β, ω, t_i1 … t_im),
    amplitudes (c, k). A constant added to all t changes only k; reported t have mean 0.

    The law is finite everywhere on the simplex, so it allows zeros and targets that are not
    domains; it is convex in the mixture. Returns at small proportions diminish only as the
    exponential does, and the m slopes are not shrunk where runs are few.

    >>> DataMixingLaw().names(["code", "text"])
    ('beta', 'reducible', 't_code', 't_text')
    """

    name: ClassVar[str] = "DataMixingLaw"
    backward: ClassVar[bool] = True
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta", "reducible")
    amplitude_names: ClassVar[tuple[str, ...]] = ("c", "k")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("t",)
    convex: ClassVar[bool] = True
    log_convex: ClassVar[bool] = True

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, 0 ≤ ω ≤ 1, |t| ≤ 30."""
        return [(1e-3, 10.0), (0.0, 1.0), *_slope_bounds(domains)]

    def starts(self, domains: int) -> Any:
        """Starts in which one domain each lowers the loss; at t = 0 the two amplitudes merge."""
        return [[0.5, 0.2, *slopes] for slopes in _slopes(domains)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, log of the budget)."""
        return mixture, jnp.log(budget)

    def log_worth(self, exponents: Array, features: Any) -> Array:
        """() −t·r."""
        return -jnp.sum(exponents[2:] * features[0])

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """(budget term, budget term · e^(t·r))."""
        # ω is an exponent, because the product (c + k e^(t·r))(ω s^−β + 1 − ω) is linear in (c, k)
        # only once ω is given.
        beta, reducible = exponents[:2]
        of_budget = reducible * jnp.exp(-beta * features[-1]) + 1 - reducible
        return of_budget, of_budget * jnp.exp(-log_worth)

    def gauges(self, own: Array) -> Array:
        """1: a constant added to all t changes no prediction."""
        return jnp.array(1)

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """Shift the t to mean 0; k takes the constant."""
        return _centred(exponents, amplitudes, len(self.exponent_names))


@dataclasses.dataclass(frozen=True)
class DataMixingLawPlus(Law):
    """L_i = c_i + k_i exp(Σ_j t_ij r_j) + B_i s^−β_i: the term of the budget adds.

    Source: Ye et al., "Data Mixing Laws", arXiv 2403.16952, for the mixture. Exponents (β, t_i1 …
    t_im), amplitudes (c, k, B). The mixture's effect is the same at all budgets; otherwise as
    `DataMixingLaw`.

    >>> DataMixingLawPlus().names(["code", "text"])
    ('beta', 't_code', 't_text')
    """

    name: ClassVar[str] = "DataMixingLawPlus"
    backward: ClassVar[bool] = True
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("c", "k", "B")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("t",)
    convex: ClassVar[bool] = True
    log_convex: ClassVar[bool] = True

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, |t| ≤ 30."""
        return [(1e-3, 10.0), *_slope_bounds(domains)]

    def starts(self, domains: int) -> Any:
        """Starts in which one domain each lowers the loss."""
        return [[0.5, *slopes] for slopes in _slopes(domains)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, log of the budget)."""
        return mixture, jnp.log(budget)

    def log_worth(self, exponents: Array, features: Any) -> Array:
        """() −t·r."""
        return -jnp.sum(exponents[1:] * features[0])

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """(1, e^(t·r), s^−β)."""
        return 1.0, jnp.exp(-log_worth), jnp.exp(-exponents[0] * features[-1])

    def gauges(self, own: Array) -> Array:
        """1: a constant added to all t changes no prediction."""
        return jnp.array(1)

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """Shift the t to mean 0; k takes the constant."""
        return _centred(exponents, amplitudes, len(self.exponent_names))


def _slope_bounds(domains: int) -> list[tuple[float, float]]:
    return [(-STEEPEST, STEEPEST)] * domains


def _slopes(domains: int) -> list[list[float]]:
    # e^−2: all of a domain instead of nothing divides the exponential by 7.
    return [[-2.0 if i == j else 0.0 for j in range(domains)] for i in range(domains)]


def _centred(exponents: Array, amplitudes: Array, named: int) -> tuple[Array, Array]:
    # Proportions sum to 1, so e^(Σ (t − mean) r) = e^(Σ t r) · e^(−mean): k takes the factor.
    mean = jnp.mean(exponents[named:])
    shifted = jnp.concatenate([exponents[:named], exponents[named:] - mean])
    return shifted, amplitudes.at[1].multiply(jnp.exp(mean))


UNSEEN = 1e-15
"""Constant added to the sum over domains, so that the law is finite at mixtures of domains with c =
0; beside the largest c of 1 it is rounding."""


@dataclasses.dataclass(frozen=True)
class AdditiveLaw(Law):
    """L_i = E_i + K_i / Σ_j c_ij r_j^γ_ij + B_i s^−β_i.

    Source: Shukor et al., "Scaling Laws for Optimal Data Mixtures", arXiv 2507.09404, with the
    scale of its C_ij written as K_i. Exponents (β, c_i1 … c_im, γ_i1 … γ_im), amplitudes (E, K, B).
    The scale of all c is free; the largest reported c is 1.

    The law allows zeros and any target, and the mixture's effect is the same at all budgets. With
    2m + 1 exponents it needs many runs, and few of its 2m + 2 starts reach the best optimum; only
    the most promising ones are searched to their end (`Fit.agreement` is of those). It is not
    convex in the mixture.

    >>> AdditiveLaw().names(["code", "text"])
    ('beta', 'c_code', 'c_text', 'gamma_code', 'gamma_text')
    """

    name: ClassVar[str] = "AdditiveLaw"
    backward: ClassVar[bool] = True
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("E", "K", "B")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("c", "gamma")

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, 0 ≤ c ≤ 1000, 0.01 ≤ γ ≤ 3."""
        # Only ratios of c matter, so that its upper bound is no limit but of ratios. At γ = 0 every
        # share above 0 would count the same.
        return [(1e-3, 10.0), *[(0.0, 1000.0)] * domains, *[(0.01, 3.0)] * domains]

    def starts(self, domains: int) -> Any:
        """Starts with equal c, or one domain's c ahead; each flat and steep in the proportions."""
        alike = [1.0] * domains
        ahead = [[1.0 if i == j else 0.1 for j in range(domains)] for i in range(domains)]
        return [
            [0.5, *weights, *[gamma] * domains]
            for weights, gamma in itertools.product([alike, *ahead], (0.2, 0.7))
        ]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, its logs with 0 where a proportion is 0, log of the budget)."""
        return mixture, jnp.log(jnp.where(mixture > 0, mixture, 1.0)), jnp.log(budget)

    def log_worth(self, exponents: Array, features: Any) -> Array:
        """() log Σ_j c_j r_j^γ_j."""
        mixture, log_mixture, _ = features
        weights, powers = jnp.split(exponents[1:], 2)
        # The features hold log 1 at a proportion of 0, so its term r^0 has to be masked here.
        terms = jnp.where(mixture > 0, weights * jnp.exp(powers * log_mixture), 0.0)
        return jnp.log(jnp.sum(terms) + UNSEEN)

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """(1, 1/Σ_j c_j r_j^γ_j, s^−β)."""
        return 1.0, jnp.exp(-log_worth), jnp.exp(-exponents[0] * features[-1])

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """True where the mixture has a positive proportion of a domain whose c is above 0."""
        return jnp.sum(jnp.split(exponents[1:], 2)[0] * mixture) > UNSEEN

    def gauges(self, own: Array) -> Array:
        """1: the scale of all c changes no prediction."""
        return jnp.array(1)

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """Scale the c to a largest of 1; K takes the scale."""
        weights, powers = jnp.split(exponents[1:], 2)
        # K / Σ c r^γ = (K/scale) / Σ (c/scale) r^γ: the prediction stays.
        scale = jnp.max(weights)
        scaled = jnp.concatenate([exponents[:1], weights / scale, powers])
        return scaled, amplitudes.at[1].divide(scale)


@dataclasses.dataclass(frozen=True)
class LogLinear(Law):
    """L_i = exp(Σ_j t_ij r_j) · (B_i s^−β_i + C_i): log loss is linear in the mixture.

    The simplest law of all domains; shrinkage pulls a fit of few runs to no effect of the mixture.
    Log-linear regression with a constant beside the exponential, as Olmix fits it at one budget, is
    `DataMixingLaw`. Exponents (β, t_i1 … t_im), amplitudes (B, C). A constant added to all t
    changes only the amplitudes; reported t have mean 0.

    The law is finite everywhere on the simplex, for any target, and convex in the mixture. Its
    optimum for one target is always a corner, because its returns do not diminish.

    >>> LogLinear().names(["code", "text"])
    ('beta', 't_code', 't_text')
    """

    name: ClassVar[str] = "LogLinear"
    backward: ClassVar[bool] = True
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("B", "C")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("t",)
    convex: ClassVar[bool] = True
    log_convex: ClassVar[bool] = True

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, |t| ≤ 30."""
        return [(1e-3, 10.0), *_slope_bounds(domains)]

    def starts(self, domains: int) -> Any:
        """Starts of slow and fast saturation in budget; the slopes start at 0."""
        # Slopes of 0 are the centre of the shrinkage, and log L is linear in them.
        return [[beta, *[0.0] * domains] for beta in (0.5, 1.5, 0.1, 4.0)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, log of the budget)."""
        return mixture, jnp.log(budget)

    def log_worth(self, exponents: Array, features: Any) -> Array:
        """() −t·r."""
        return -jnp.sum(exponents[1:] * features[0])

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """(e^(t·r) s^−β, e^(t·r))."""
        of_mixture = jnp.exp(-log_worth)
        return of_mixture * jnp.exp(-exponents[0] * features[-1]), of_mixture

    def gauges(self, own: Array) -> Array:
        """1: a constant added to all t changes only the amplitudes."""
        return jnp.array(1)

    def shrinkage(self, own: Array) -> tuple[Array, Array]:
        """Centre and weight that shrink the law to no effect of the mixture."""
        return jnp.zeros(1 + own.shape[0]), jnp.concatenate([jnp.zeros(1), jnp.ones_like(own)])

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """Shift the t to mean 0; the amplitudes take the constant."""
        # Proportions sum to 1, so e^(Σ (t − mean) r) = e^(Σ t r) · e^(−mean): (B, C) take the
        # factor.
        mean = jnp.mean(exponents[1:])
        shifted = jnp.concatenate([exponents[:1], exponents[1:] - mean])
        return shifted, amplitudes * jnp.exp(mean)
