"""Laws in which tokens of other domains count for a target: transfer and substitution."""

import dataclasses
import itertools
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.bimix import BiMix
from bimix_jax.laws.law import Law

UNSEEN = 1e-15
"""Worth that every token has beside its t, too little to matter where the own proportion is above
0; so that the law has a value where it is 0, even if no run shows what the other domains are worth.
"""


class Further(NamedTuple):
    """A coefficient beside α, β and t, with which a law is `TransferBiMix` where it is 1."""

    bounds: tuple[float, float]
    starts: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class TransferBiMix(Law):
    """L_i = (Σ_j t_ij r_j)^−α_i · (B_i s^−β_i + C_i), a token of j being worth t_ij of domain i.

    t_ii = 1 and t_ij ≥ 0; for a target that is no train domain the largest t_ij is 1. With t = 0
    it is BiMix, and few runs draw it there, but for runs with r_i = 0, at which BiMix is infinite:
    a loss measured there shows that some t_ij is above 0. Finite at r_i = 0, and
    convex in the mixture, so that an optimum is global. Source: this project. Exponents
    (α, β, t_i1 … t_im), amplitudes (A·B, A·C), basis (q^−α s^−β, q^−α) with q = Σ_j t_ij r_j.
    Reported A, B, C have BiMix's gauge: A is the loss at q = 1 and the sweep's largest budget.

    It cannot express a domain that does harm.

    >>> TransferBiMix().names(["code", "text"])
    ('alpha', 'beta', 'transfer_code', 'transfer_text')
    """

    name: ClassVar[str] = "TransferBiMix"
    backward: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    amplitude_names: ClassVar[tuple[str, ...]] = ("AB", "AC")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("transfer",)
    convex: ClassVar[bool] = True

    further: ClassVar[tuple[Further, ...]] = ()
    """What laws built on this one add to α and β, in the order of `exponent_names`."""

    def bounds(self, domains: int) -> Any:
        """BiMix's for α and β, but α ≤ .5 beside further coefficients; 0 ≤ t ≤ 100.

        With more of them free, a few runs are matched by extremes of either.
        """
        alpha, beta = BiMix().bounds(domains)
        alpha = (alpha[0], 0.5) if self.further else alpha
        return [alpha, beta, *(each.bounds for each in self.further), *[(0.0, 100.0)] * domains]

    def starts(self, domains: int) -> Any:
        """Much and little transfer, slow and fast saturation in budget, α where `BiMix` starts."""
        further = (each.starts for each in self.further)
        return [
            [0.1, beta, *rest, *[transfer] * domains]
            for transfer, beta, *rest in itertools.product((0.3, 0.02), (0.5, 1.5), *further)
        ]

    def fixed(self, own: Array) -> Array:
        """The worth of the own domain, which is 1."""
        return jnp.concatenate([jnp.zeros(len(self.exponent_names), bool), own > 0])

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, own, log of the budget)."""
        return mixture, own, jnp.log(budget)

    def log_worth(self, exponents: Array, features: Any) -> Array:
        """() log q, q = Σ_j t_j r_j, the own t being 1."""
        mixture, own, _ = features
        return jnp.log(jnp.sum(self._transfer(exponents, own) * mixture))

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(q^−α s^−β, q^−α)."""
        of_mixture = jnp.exp(-exponents[0] * self.log_worth(exponents, features))
        return of_mixture * jnp.exp(-exponents[1] * features[-1]), of_mixture

    def gauges(self, own: Array) -> Array:
        """Without an own domain the scale of all t is free."""
        return jnp.where(jnp.any(own > 0), 0, 1)

    def shrinkage(self, own: Array) -> tuple[Array, Array]:
        """Towards BiMix, t = 0; without an own domain towards t = 1, all domains worth the same.

        Further coefficients are drawn to 1.
        """
        further = jnp.zeros(len(self.exponent_names)).at[2:].set(1.0)
        centre = jnp.broadcast_to(jnp.where(jnp.any(own > 0), 0.0, 1.0), own.shape)
        return jnp.concatenate([further, centre]), jnp.concatenate([further, 1.0 - own])

    def refutes_centre(self, mixture: Array, own: Array) -> Array:
        """Where the own proportion is 0, a finite loss shows that other domains count."""
        return jnp.any(own > 0) & (own @ mixture == 0)

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """Whether the mixture holds something of a domain that is worth something."""
        transfer = jnp.where(own > 0, 1.0, exponents[len(self.exponent_names) :])
        return jnp.sum(transfer * mixture) > UNSEEN

    def unusable_reason(self) -> str:
        """No run shows what the domains of the mixture do for the target."""
        return (
            f"{self.label} was fitted to runs that do not show what the domains of this mixture do "
            "for that loss"
        )

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> Law:
        """`BiMix` without transfer; `TransferBiMix` where further coefficients are 1."""
        transfer = np.where(own > 0, 0.0, exponents[:, len(self.exponent_names) :])
        alone, free = own.any(axis=1).all() and not transfer.any(), self._apart_from_one(exponents)
        if alone and "shift" not in free:
            return BiMix()  # a domain by itself substitutes for none
        return self if free else TransferBiMix()

    def _apart_from_one(self, exponents: np.ndarray) -> set[str]:
        """The further coefficients that are not 1 for every target."""
        named = enumerate(self.exponent_names)
        return {name for i, name in named if i > 1 and np.any(exponents[:, i] != 1)}

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """t_ii = 1; without an own domain the largest t is 1, the amplitudes taking the scale."""
        transfer = jnp.where(own > 0, 1.0, exponents[len(self.exponent_names) :])
        scale = jnp.where(jnp.any(own > 0), 1.0, jnp.max(transfer))
        scaled = jnp.concatenate([exponents[: len(self.exponent_names)], transfer / scale])
        worth = self.worth_of_scale(exponents, own, scale)
        return scaled, amplitudes * self.at_worth(exponents, worth)

    def worth_of_scale(self, exponents: Array, own: Array, scale: Array) -> Array:
        """() by what q grows when all t do by `scale`."""
        return scale

    def at_worth(self, exponents: Array, worth: Array) -> Array:
        """What a worth () multiplies the amplitudes by."""
        return worth ** -exponents[0]

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """A, B, C, alpha and beta as `BiMix` reports them."""
        return BiMix().report(exponents[..., :2], amplitudes, budget_scale)

    def _transfer(self, exponents: Array, own: Array) -> Array:
        return jnp.where(own > 0, 1.0, exponents[len(self.exponent_names) :] + UNSEEN)


SHIFT = Further(bounds=(0.0, 20.0), starts=(1.0,))


@dataclasses.dataclass(frozen=True)
class SplitTransferBiMix(TransferBiMix):
    """L_i = C_i q^−α_i + B_i s^−β_i q^−κ_i·α_i, q = Σ_j t_ij r_j: the mixture's effect may shift.

    Where κ < 1 the mixture matters more the longer a run is, where κ > 1 less. With κ = 1, where
    few runs draw it, it is `TransferBiMix`, whose t, zeros and targets it shares. Source: this
    project. Exponents (α, β, κ, t_i1 … t_im), amplitudes (B, C), basis (s^−β q^−κα, q^−α); κα is
    reported as gamma. Convex in the mixture.

    >>> SplitTransferBiMix().names(["code", "text"])
    ('alpha', 'beta', 'shift', 'transfer_code', 'transfer_text')
    """

    name: ClassVar[str] = "SplitTransferBiMix"
    backward: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta", "shift")
    further: ClassVar[tuple[Further, ...]] = (SHIFT,)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(s^−β q^−κα, q^−α)."""
        log_worth, (alpha, beta, shift) = self.log_worth(exponents, features), exponents[:3]
        reducible = jnp.exp(-shift * alpha * log_worth - beta * features[-1])
        return reducible, jnp.exp(-alpha * log_worth)

    def at_worth(self, exponents: Array, worth: Array) -> Array:
        """What a worth () multiplies (B, C) by."""
        alpha, _, shift = exponents[:3]
        return jnp.stack([worth ** (-shift * alpha), worth**-alpha])

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """A, B, C, alpha and beta as `BiMix` reports them, at q = 1, and gamma."""
        common = super().report(exponents, amplitudes, budget_scale)
        return common | {"gamma": exponents[..., 2] * exponents[..., 0]}


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
