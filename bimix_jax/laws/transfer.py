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
"""Value of every token beside its t: negligible where the own proportion is positive, it keeps the
law finite where that is 0 and no run shows the value of the other domains.
"""


class Further(NamedTuple):
    """A coefficient beside α, β and t; where it is 1 the law is `TransferBiMix`."""

    bounds: tuple[float, float]
    starts: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class TransferBiMix(Law):
    """L_i = (Σ_j t_ij r_j)^−α_i · (B_i s^−β_i + C_i): a token of j is worth t_ij tokens of i.

    t_ii = 1 and t_ij ≥ 0; for a target that is not a train domain the largest t_ij is 1. With t = 0
    the law is BiMix, and shrinkage pulls a fit of few runs to it, except with runs at r_i = 0,
    where BiMix is infinite: a loss measured there proves that some t_ij is above 0. The law is
    finite at r_i = 0 and convex in the mixture, so an optimum is global. Source: this project.
    Exponents (α, β, t_i1 … t_im), amplitudes (A·B, A·C), basis (q^−α s^−β, q^−α) with q = Σ_j t_ij
    r_j. Reported A, B, C have BiMix's gauge: A is the loss at q = 1 and the sweep's largest budget.

    The law cannot express a domain that raises the loss.

    >>> TransferBiMix().names(["code", "text"])
    ('alpha', 'beta', 'transfer_code', 'transfer_text')
    """

    name: ClassVar[str] = "TransferBiMix"
    last_is_floor: ClassVar[bool] = True
    backward: ClassVar[bool] = True
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    amplitude_names: ClassVar[tuple[str, ...]] = ("AB", "AC")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("transfer",)
    convex: ClassVar[bool] = True
    log_convex: ClassVar[bool] = True

    further: ClassVar[tuple[Further, ...]] = ()
    """Coefficients that subclasses add to α and β, in the order of `exponent_names`."""

    def bounds(self, domains: int) -> Any:
        """Bounds of BiMix for α and β, but α ≤ 0.5 beside further coefficients; 0 ≤ t ≤ 100.

        With α and the further coefficients both free, extremes of either match a few runs.
        """
        alpha, beta = BiMix().bounds(domains)
        # Only ratios of t to the own t, 1, or to the largest matter: 100 is far beyond both starts.
        alpha = (alpha[0], 0.5) if self.further else alpha
        return [alpha, beta, *(each.bounds for each in self.further), *[(0.0, 100.0)] * domains]

    def starts(self, domains: int) -> Any:
        """Starts of much and little transfer, slow and fast saturation in budget, and BiMix's α."""
        further = (each.starts for each in self.further)
        return [
            [0.1, beta, *rest, *[transfer] * domains]
            for transfer, beta, *rest in itertools.product((0.3, 0.02), (0.5, 1.5), *further)
        ]

    def fixed(self, own: Array) -> Array:
        """True for the t of the own domain, which is 1."""
        return jnp.concatenate([jnp.zeros(len(self.exponent_names), bool), own > 0])

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, own, log of the budget)."""
        return mixture, own, jnp.log(budget)

    def log_worth(self, exponents: Array, features: Any) -> Array:
        """() log q, q = Σ_j t_j r_j, the own t being 1."""
        mixture, own, _ = features
        return jnp.log(jnp.sum(self._transfer(exponents, own) * mixture))

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """(q^−α s^−β, q^−α)."""
        of_mixture = jnp.exp(-exponents[0] * log_worth)
        return of_mixture * jnp.exp(-exponents[1] * features[-1]), of_mixture

    def gauges(self, own: Array) -> Array:
        """1 for a target without an own domain, where the scale of all t is free; else 0."""
        return jnp.where(jnp.any(own > 0), 0, 1)

    def shrinkage(self, own: Array) -> tuple[Array, Array]:
        """Centre and weight: t shrinks to 0 (BiMix), without an own domain to 1 (equal domains).

        Further coefficients shrink to 1.
        """
        # One vector for both: α and β have weight 0, so that their centre does not matter, and the
        # further coefficients have centre 1 and weight 1.
        further = jnp.zeros(len(self.exponent_names)).at[2:].set(1.0)
        centre = jnp.broadcast_to(jnp.where(jnp.any(own > 0), 0.0, 1.0), own.shape)
        return jnp.concatenate([further, centre]), jnp.concatenate([further, 1.0 - own])

    def refutes_centre(self, mixture: Array, own: Array) -> Array:
        """True where the own proportion is 0: a finite loss there proves that others count."""
        # Without an own domain the centre is "all domains alike", which is finite everywhere.
        return jnp.any(own > 0) & (own @ mixture == 0)

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """True where the mixture has a positive proportion of a domain whose t is above 0."""
        transfer = jnp.where(own > 0, 1.0, exponents[len(self.exponent_names) :])
        # Not > 0: a t below the `UNSEEN` that is added to it is no finding.
        return jnp.sum(transfer * mixture) > UNSEEN

    def unusable_reason(self) -> str:
        """Reason for the notes: no run shows the effect of the mixture's domains on the target."""
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
        """Names of the further coefficients that are not 1 for every target."""
        named = enumerate(self.exponent_names)
        return {name for i, name in named if i > 1 and np.any(exponents[:, i] != 1)}

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """Set t_ii = 1, or the largest t to 1 without an own domain; amplitudes take the scale."""
        transfer = jnp.where(own > 0, 1.0, exponents[len(self.exponent_names) :])
        # All t times a factor change q by a factor, which the amplitudes can absorb exactly.
        scale = jnp.where(jnp.any(own > 0), 1.0, jnp.max(transfer))
        scaled = jnp.concatenate([exponents[: len(self.exponent_names)], transfer / scale])
        worth = self.worth_of_scale(exponents, own, scale)
        return scaled, amplitudes * self.at_worth(exponents, worth)

    def worth_of_scale(self, exponents: Array, own: Array, scale: Array) -> Array:
        """() factor by which q grows when all t grow by `scale`."""
        return scale

    def at_worth(self, exponents: Array, worth: Array) -> Array:
        """Factor of the amplitudes at a worth q ()."""
        # (q·worth)^−α = q^−α · worth^−α, in both terms of the basis.
        return worth ** -exponents[0]

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """A, B, C, alpha and beta as `BiMix` reports them."""
        return BiMix().report(exponents[..., :2], amplitudes, budget_scale)

    def _transfer(self, exponents: Array, own: Array) -> Array:
        # Added, not a maximum, so that the derivative by t is 1 at t = 0, too.
        return jnp.where(own > 0, 1.0, exponents[len(self.exponent_names) :] + UNSEEN)


# Up to 20 times the exponent, for targets whose floor hardly depends on the mixture.
SHIFT = Further(bounds=(0.0, 20.0), starts=(1.0,))


@dataclasses.dataclass(frozen=True)
class SplitTransferBiMix(TransferBiMix):
    """L_i = C_i q^−α_i + B_i s^−β_i q^−κ_i·α_i, q = Σ_j t_ij r_j: the effect depends on budget.

    Where κ < 1 the mixture matters more at larger budgets, where κ > 1 less. With κ = 1, to which
    shrinkage pulls a fit of few runs, the law is `TransferBiMix`; t, zeros and targets are as
    there. Source: this project. Exponents (α, β, κ, t_i1 … t_im), amplitudes (B, C), basis (s^−β
    q^−κα, q^−α); κα is reported as gamma. Convex in the mixture.

    >>> SplitTransferBiMix().names(["code", "text"])
    ('alpha', 'beta', 'shift', 'transfer_code', 'transfer_text')
    """

    name: ClassVar[str] = "SplitTransferBiMix"
    last_is_floor: ClassVar[bool] = True
    backward: ClassVar[bool] = True
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta", "shift")
    further: ClassVar[tuple[Further, ...]] = (SHIFT,)

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """(s^−β q^−κα, q^−α)."""
        alpha, beta, shift = exponents[:3]
        reducible = jnp.exp(-shift * alpha * log_worth - beta * features[-1])
        return reducible, jnp.exp(-alpha * log_worth)

    def at_worth(self, exponents: Array, worth: Array) -> Array:
        """Factors of (B, C) at a worth q ()."""
        alpha, _, shift = exponents[:3]
        return jnp.stack([worth ** (-shift * alpha), worth**-alpha])

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """A, B, C, alpha and beta as `BiMix` reports them, at q = 1, and gamma."""
        common = super().report(exponents, amplitudes, budget_scale)
        return common | {"gamma": exponents[..., 2] * exponents[..., 0]}


# Above 1 the worth q is convex in the mixture, so that q^−α need not be. At 0 the power 1/ρ is
# infinite; at 0.05 it is 20.
SUBSTITUTION = Further(bounds=(0.05, 1.0), starts=(0.9, 0.5))
OF_OTHERS = SUBSTITUTION._replace(starts=(0.7,))


@dataclasses.dataclass(frozen=True)
class SubstitutionBiMix(TransferBiMix):
    """L_i = q^−α_i · (B_i s^−β_i + C_i), q = (Σ_j t_ij r_j^ρ_i)^(1/ρ_i): variety is worth more.

    q is the aggregate with constant elasticity of substitution 1/(1 − ρ) (Arrow, Chenery, Minhas,
    Solow, "Capital-Labor Substitution and Economic Efficiency", 1961). With ρ = 1, to which
    shrinkage pulls a fit of few runs, domains replace each other at a fixed rate and the law is
    `TransferBiMix`; t, zeros and targets are as there. Towards ρ = 0 it is `CrossBiMix` without
    harm, and with t = 0 it is BiMix for every ρ. In between, the first per cent of a domain lowers
    the loss more than the next. Source of the law: this project. Exponents (α, β, ρ, t_i1 … t_im),
    amplitudes (A·B, A·C), basis (q^−α s^−β, q^−α). Convex in the mixture, so an optimum is global.

    The law cannot express a domain that raises the loss.

    >>> SubstitutionBiMix().names(["code", "text"])
    ('alpha', 'beta', 'substitution', 'transfer_code', 'transfer_text')
    """

    name: ClassVar[str] = "SubstitutionBiMix"
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta", "substitution")
    further: ClassVar[tuple[Further, ...]] = (SUBSTITUTION,)

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, own, log of the mixture with 0 where a proportion is 0, log of the budget)."""
        return mixture, own, jnp.log(jnp.where(mixture > 0, mixture, 1.0)), jnp.log(budget)

    def log_worth(self, exponents: Array, features: Any) -> Array:
        """() log q, q = (Σ_j t_j r_j^ρ)^(1/ρ), the own t being 1."""
        mixture, own, log_mixture, _ = features
        whole, each = self._powers(exponents, own)
        terms = self._transfer(exponents, own) * jnp.exp(each * log_mixture)
        # The features hold log 1 at a proportion of 0, so its term e^0 has to be masked here.
        return jnp.log(jnp.sum(jnp.where(mixture > 0, terms, 0.0))) / whole

    def worth_of_scale(self, exponents: Array, own: Array, scale: Array) -> Array:
        """() factor by which q grows when all t grow by `scale`."""
        # q = (Σ t r^ρ)^(1/ρ): the factor of all t comes out of the sum with the power 1/ρ.
        return scale ** (1 / self._powers(exponents, own)[0])

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Coefficients as without substitution, and the powers by name."""
        common = super().report(exponents, amplitudes, budget_scale)
        named = enumerate(self.exponent_names)
        powers = {n: exponents[..., i] for i, n in named if n.startswith("substitution")}
        return common | powers

    def _powers(self, exponents: Array, own: Array) -> tuple[Array, Array]:
        """Power of q, (), and powers of the proportions, () or (domains,)."""
        return exponents[2], exponents[2]


@dataclasses.dataclass(frozen=True)
class SplitSubstitutionBiMix(SubstitutionBiMix, SplitTransferBiMix):
    """L_i = C_i q^−α_i + B_i s^−β_i q^−κ_i·α_i, q = (r_i^ρ_i + Σ_j≠i t_ij r_j^σ_i)^(1/ρ_i).

    The law splits the mixture's effect on the two parts of the loss, as `SplitTransferBiMix` does,
    and the power of the own proportion from that of the others. A target without an own domain has
    ρ = σ. With κ = ρ = σ = 1, to which shrinkage pulls a fit of few runs, it is `TransferBiMix`.
    Exponents (α, β, κ, ρ, σ, t_i1 … t_im), amplitudes (B, C). For sweeps of many runs; convex in
    the mixture.

    >>> SplitSubstitutionBiMix().names(["code", "text"])[2:5]
    ('shift', 'substitution', 'substitution_of_others')
    """

    name: ClassVar[str] = "SplitSubstitutionBiMix"
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = (
        "alpha",
        "beta",
        "shift",
        "substitution",
        "substitution_of_others",
    )
    further: ClassVar[tuple[Further, ...]] = (SHIFT, SUBSTITUTION, OF_OTHERS)

    def fixed(self, own: Array) -> Array:
        """True for the own t, which is 1; without an own domain for ρ, which is unused."""
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
        # Without an own domain q^−α = (Σ t r^σ)^(−α/ρ) shows α/ρ alone: ρ = σ settles α.
        of_own, of_others = exponents[3], exponents[4]
        whole = jnp.where(jnp.any(own > 0), of_own, of_others)
        return whole, jnp.where(own > 0, of_own, of_others)
