"""TransferBiMix in which domains substitute for each other imperfectly."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law
from bimix_jax.laws.split_transfer import SHIFT, SplitTransferBiMix
from bimix_jax.laws.transfer import Further, TransferBiMix

SUBSTITUTION = Further(bounds=(0.05, 1.0), starts=(0.9, 0.5))
OF_OTHERS = SUBSTITUTION._replace(starts=(0.7,))


@dataclasses.dataclass(frozen=True)
class SubstitutionBiMix(TransferBiMix):
    """L_i = q^−α_i · (B_i s^−β_i + C_i), q = (Σ_j t_ij r_j^ρ_i)^(1/ρ_i): variety is worth more.

    q is the aggregate with constant elasticity of substitution 1/(1 − ρ) (Arrow, Chenery, Minhas,
    Solow, "Capital-Labor Substitution and Economic Efficiency", 1961). With ρ = 1, where few runs
    draw it, domains replace each other at a fixed rate and the law is `TransferBiMix`, whose t,
    zeros and targets it shares; towards ρ = 0 it is `CrossBiMix` without harm; and with t = 0 it is
    BiMix whatever ρ is. In between the first per cent of a domain does more than the next one.
    Source of the law: this project. Exponents (α, β, ρ, t_i1 … t_im), amplitudes (A·B, A·C), basis
    (q^−α s^−β, q^−α). Convex in the mixture, so that an optimum is global.

    It cannot express a domain that does harm.

    >>> SubstitutionBiMix().names(["code", "text"])
    ('alpha', 'beta', 'substitution', 'transfer_code', 'transfer_text')
    """

    name: ClassVar[str] = "SubstitutionBiMix"
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta", "substitution")
    further: ClassVar[tuple[Further, ...]] = (SUBSTITUTION,)

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, own, log of the mixture where there is any, log of the budget)."""
        return mixture, own, jnp.log(jnp.where(mixture > 0, mixture, 1.0)), jnp.log(budget)

    def log_worth(self, exponents: Array, features: Any) -> Array:
        """() log q, q = (Σ_j t_j r_j^ρ)^(1/ρ), the own t being 1."""
        mixture, own, log_mixture, _ = features
        whole, each = self._powers(exponents, own)
        terms = self._transfer(exponents, own) * jnp.exp(each * log_mixture)
        return jnp.log(jnp.sum(jnp.where(mixture > 0, terms, 0.0))) / whole

    def worth_of_scale(self, exponents: Array, own: Array, scale: Array) -> Array:
        """() by what q grows when all t do by `scale`."""
        return scale ** (1 / self._powers(exponents, own)[0])

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """As the law without substitution, and the powers by name."""
        common = super().report(exponents, amplitudes, budget_scale)
        named = enumerate(self.exponent_names)
        powers = {n: exponents[..., i] for i, n in named if n.startswith("substitution")}
        return common | powers

    def _powers(self, exponents: Array, own: Array) -> tuple[Array, Array]:
        """That of q, () and those of the proportions, () or (domains,)."""
        return exponents[2], exponents[2]


@dataclasses.dataclass(frozen=True)
class SplitSubstitutionBiMix(SubstitutionBiMix, SplitTransferBiMix):
    """L_i = C_i q^−α_i + B_i s^−β_i q^−κ_i·α_i, q = (r_i^ρ_i + Σ_j≠i t_ij r_j^σ_i)^(1/ρ_i).

    What is split: the mixture's effect on the two parts of the loss, as in `SplitTransferBiMix`,
    and the power of the own proportion from that of the others. A target without an own domain has
    ρ = σ. With κ = ρ = σ = 1, where few runs draw it, it is `TransferBiMix`. Exponents (α, β, κ, ρ,
    σ, t_i1 … t_im), amplitudes (B, C). For sweeps of many runs; convex in the mixture.

    >>> SplitSubstitutionBiMix().names(["code", "text"])[2:5]
    ('shift', 'substitution', 'substitution_of_others')
    """

    name: ClassVar[str] = "SplitSubstitutionBiMix"
    exponent_names: ClassVar[tuple[str, ...]] = (
        "alpha", "beta", "shift", "substitution", "substitution_of_others",
    )  # fmt: skip
    further: ClassVar[tuple[Further, ...]] = (SHIFT, SUBSTITUTION, OF_OTHERS)

    def fixed(self, own: Array) -> Array:
        """The own t, which is 1; without an own domain ρ, of which there is none."""
        return super().fixed(own).at[3].set(jnp.all(own == 0))

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> Law:
        """As `TransferBiMix`, and without substitution `SplitTransferBiMix`."""
        found = super().reduced(exponents, own)
        unlike = self._apart_from_one(exponents) - {"shift"}
        return found if found != self or unlike else SplitTransferBiMix()

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """As `TransferBiMix`, and ρ = σ without an own domain."""
        whole = self._powers(exponents, own)[0]
        return super().canonical(exponents.at[3].set(whole), amplitudes, own)

    def _powers(self, exponents: Array, own: Array) -> tuple[Array, Array]:
        of_own, of_others = exponents[3], exponents[4]
        whole = jnp.where(jnp.any(own > 0), of_own, of_others)
        return whole, jnp.where(own > 0, of_own, of_others)
