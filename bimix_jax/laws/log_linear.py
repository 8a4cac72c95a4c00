"""A loss whose logarithm is linear in the proportions."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array

from bimix_jax.laws.data_mixing import STEEPEST
from bimix_jax.laws.law import Law


@dataclasses.dataclass(frozen=True)
class LogLinear(Law):
    """L_i = exp(Σ_j t_ij r_j) · (B_i s^−β_i + C_i): log loss is linear in the mixture.

    The simplest law of all domains; few runs draw it to no effect of the mixture. Log-linear
    regression with a constant beside the exponential, as Olmix fits it at one budget, is
    `DataMixingLaw`. Exponents (β, t_i1 … t_im), amplitudes (B, C). A constant added to all t
    changes nothing but the amplitudes; reported t have mean 0.

    Finite everywhere on the simplex, for any target, convex in the mixture. Its optimum for one
    target is always a corner: it knows no diminishing return.

    >>> LogLinear().names(["code", "text"])
    ('beta', 't_code', 't_text')
    """

    name: ClassVar[str] = "LogLinear"
    backward: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("B", "C")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("t",)
    convex: ClassVar[bool] = True

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, |t| ≤ 30."""
        return [(1e-3, 10.0), *[(-STEEPEST, STEEPEST)] * domains]

    def starts(self, domains: int) -> Any:
        """Slow and fast saturation in budget; the slopes are found from 0."""
        return [[beta, *[0.0] * domains] for beta in (0.5, 1.5, 0.1, 4.0)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, log of the budget)."""
        return mixture, jnp.log(budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(e^(t·r) s^−β, e^(t·r))."""
        mixture, log_budget = features
        of_mixture = jnp.exp(jnp.sum(exponents[1:] * mixture))
        return of_mixture * jnp.exp(-exponents[0] * log_budget), of_mixture

    def gauges(self, own: Array) -> Array:
        """A constant added to all t."""
        return jnp.array(1)

    def restraint(self, own: Array) -> tuple[Array, Array]:
        """Towards no effect of the mixture."""
        return jnp.zeros(1 + own.shape[0]), jnp.concatenate([jnp.zeros(1), jnp.ones_like(own)])

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """t of mean 0, the amplitudes taking the constant."""
        mean = jnp.mean(exponents[1:])
        shifted = jnp.concatenate([exponents[:1], exponents[1:] - mean])
        return shifted, amplitudes * jnp.exp(mean)
