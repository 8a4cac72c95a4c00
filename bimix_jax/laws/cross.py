"""BiMix with an exponent for every domain."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array

from bimix_jax.laws.law import Law


@dataclasses.dataclass(frozen=True)
class CrossBiMix(Law):
    """L_i = Π_j r_j^−α_ij · (B_i s^−β_i + C_i): every domain acts on loss i by a power.

    With α_ij = 0 for j ≠ i it is BiMix, and few runs draw it there. A negative α_ij says that
    domain j does harm; the own one is not negative. Source: Ge et al., arXiv 2405.14908, with all
    cross terms. Exponents (β, α_i1 … α_im), amplitudes (B, C), basis (s^−β Π, Π).

    It expresses any target. It cannot express a proportion of 0 of any domain: such rows are left
    out. Not convex where an α_ij is negative, so that an optimum may be a local one.

    >>> CrossBiMix().names(["code", "text"])
    ('beta', 'alpha_code', 'alpha_text')
    """

    name: ClassVar[str] = "CrossBiMix"
    backward: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("B", "C")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("alpha",)

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, −5 ≤ α ≤ 5."""
        return [(1e-3, 10.0), *[(-5.0, 5.0)] * domains]

    def least(self, own: Array) -> Array:
        """α_ii ≥ 0, as in BiMix."""
        return jnp.concatenate([super().least(own)[:1], jnp.where(own > 0, 0.0, -jnp.inf)])

    def starts(self, domains: int) -> Any:
        """Slow and fast saturation in budget; the α are found from anywhere."""
        return [[beta, *[0.1] * domains] for beta in (0.5, 1.5, 0.1, 4.0)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(logs of the mixture where there are any, where there are, log of the budget)."""
        present = mixture > 0
        return jnp.log(jnp.where(present, mixture, 1.0)), present, jnp.log(budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(Π_j r_j^−α_j s^−β, Π_j r_j^−α_j)."""
        log_mixture, present, log_budget = features
        undefined = jnp.any(~present & (exponents[1:] != 0))
        of_mixture = jnp.where(undefined, jnp.inf, jnp.exp(-jnp.sum(exponents[1:] * log_mixture)))
        return of_mixture * jnp.exp(-exponents[0] * log_budget), of_mixture

    def usable(self, mixture: Array, own: Array) -> Array:
        """Whether the own proportion is positive; those whose α is 0 do not matter."""
        return jnp.all(jnp.where(own > 0, mixture > 0, True))

    def unusable_reason(self) -> str:
        """A power of 0 is 0 or infinite."""
        return "CrossBiMix has no value where a proportion that acts on the loss is 0"

    def restraint(self, own: Array) -> tuple[Array, Array]:
        """Towards BiMix: α_ij = 0 for all but the own domain."""
        nothing = jnp.zeros(1)
        return jnp.zeros(1 + own.shape[0]), jnp.concatenate([nothing, 1.0 - own])
