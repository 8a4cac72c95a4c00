"""BiMix: the loss from the own proportion and the budget; CrossBiMix: from all proportions."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law
from bimix_jax.xla.logarithm import log


@dataclasses.dataclass(frozen=True)
class BiMix(Law):
    """L_i = A_i / r_i^α_i · (B_i / s^β_i + C_i): own proportion times a power law with a floor.

    Source: Ge et al., "BiMix: A Bivariate Data Mixing Law for Language Model Pretraining",
    arXiv 2405.14908. As a basis: exponents (α, β), amplitudes (A·B, A·C) and basis
    (r^−α s^−β, r^−α).

    The law has no value at r_i = 0 (rows with it are left out of that target's fit) nor for a
    target that is not a train domain, and it ignores the influence of the other domains on loss i.
    Four numbers per target are identifiable; the gauge of the reported A, B, C is that A is the
    loss at r = 1 and the sweep's largest budget, B·s_max^−β + C = 1.

    >>> BiMix().exponent_names, BiMix().amplitude_names
    (('alpha', 'beta'), ('AB', 'AC'))
    """

    name: ClassVar[str] = "BiMix"
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    amplitude_names: ClassVar[tuple[str, ...]] = ("AB", "AC")
    convex: ClassVar[bool] = True
    log_convex: ClassVar[bool] = True
    needs_own: ClassVar[bool] = True
    separable: ClassVar[bool] = True
    last_is_floor: ClassVar[bool] = True
    backward: ClassVar[bool] = True
    one_sum: ClassVar[bool] = True

    def bounds(self, domains: int) -> Any:
        """1e-9 ≤ α ≤ 5 and 1e-3 ≤ β ≤ 10.

        The loss falls in both; at α = 0 it would be undefined at r = 0, at β = 0 the basis is
        singular.
        """
        # At the upper bounds twice the share would divide the loss by 32, and twice the budget its
        # term by 1024: steeper than any training run.
        return [(1e-9, 5.0), (1e-3, 10.0)]

    def starts(self, domains: int) -> Any:
        """Starts of slow and fast saturation in budget, a factor of 3 apart; any α will do."""
        # log L is linear in α, whereas β bends a curve: only β needs several starts.
        return [(0.1, 0.3), (0.1, 0.9), (0.1, 0.1), (0.1, 2.7)]

    def further_starts(self, domains: int) -> Any:
        """Starts that are steep in budget, as for losses over decades, or in the own proportion."""
        return [
            [(0.1, 1.8), (1.0, 4.5), (0.3, 7.0), (0.3, 9.5)],
            [(2.0, 3.0), (0.03, 5.5), (2.0, 9.0), (1.0, 0.05)],
            [(3.0, 0.5), (3.0, 5.0), (4.5, 9.5), (5.0, 3.5)],
            [(4.0, 1.5), (5.0, 7.0), (1.0, 1.5), (3.5, 9.5)],
        ]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(log of the own proportion, log of the budget); −∞ where the proportion is 0."""
        return log(own @ mixture), log(budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(r^−α s^−β, r^−α)."""
        both, of_mixture = self.log_basis(exponents, features)
        return jnp.exp(both), jnp.exp(of_mixture)

    def log_basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(−α log r − β log s, −α log r)."""
        log_own, log_budget = features
        of_mixture = -exponents[0] * log_own
        return of_mixture - exponents[1] * log_budget, of_mixture

    def usable(self, mixture: Array, own: Array) -> Array:
        """True where the own proportion is positive."""
        return own @ mixture > 0

    def unusable_reason(self) -> str:
        """Reason for the notes: the law is infinite at r = 0."""
        return "BiMix is infinite where the own proportion is 0"

    def power_of_own(self, exponents: Array, amplitudes: Array, budget: Array) -> Any:
        """K = A·(B/s^β + C) and α."""
        reducible, floor = amplitudes
        return reducible * budget ** -exponents[1] + floor, exponents[0]

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """A, B, C in the gauge B·s_max^−β + C = 1, then alpha and beta."""
        alpha, beta = exponents[..., 0], exponents[..., 1]
        # Budgets are fitted in scales s/s_max, so at s_max the loss at r = 1 is A·B + A·C = A.
        loss_at_scale = np.sum(amplitudes, axis=-1)
        # A target whose amplitudes are both 0 has no shares of the loss.
        whole = np.where(loss_at_scale == 0, np.nan, loss_at_scale)
        reducible, floor = amplitudes[..., 0] / whole, amplitudes[..., 1] / whole
        # Without β (a single budget) the split of the loss into B and C is not identified either.
        open_ = np.isnan(beta) & (reducible > 0)
        at_one = np.where(reducible > 0, reducible * budget_scale**beta, reducible)
        return {
            "A": loss_at_scale,
            "B": np.where(open_, np.nan, at_one),
            "C": np.where(open_, np.nan, floor),
            "alpha": alpha,
            "beta": beta,
        }


@dataclasses.dataclass(frozen=True)
class CrossBiMix(Law):
    """L_i = Π_j r_j^−α_ij · (B_i s^−β_i + C_i): every domain acts on loss i by a power.

    With α_ij = 0 for j ≠ i the law is BiMix, and shrinkage pulls a fit of few runs to it. A
    negative α_ij means that domain j raises the loss; the own exponent is never negative. Source:
    Ge et al., arXiv 2405.14908, with all cross terms. Exponents (β, α_i1 … α_im), amplitudes (B,
    C), basis (s^−β Π, Π).

    The target may be any loss. A row with a proportion of 0 of any domain has no value and is left
    out. The law is not convex where an α_ij is negative, so an optimum may be local.

    >>> CrossBiMix().names(["code", "text"])
    ('beta', 'alpha_code', 'alpha_text')
    """

    name: ClassVar[str] = "CrossBiMix"
    last_is_floor: ClassVar[bool] = True
    backward: ClassVar[bool] = True
    one_sum: ClassVar[bool] = True
    exponent_names: ClassVar[tuple[str, ...]] = ("beta",)
    amplitude_names: ClassVar[tuple[str, ...]] = ("B", "C")
    domain_exponent_names: ClassVar[tuple[str, ...]] = ("alpha",)

    def bounds(self, domains: int) -> Any:
        """1e-3 ≤ β ≤ 10, −5 ≤ α ≤ 5."""
        return [(1e-3, 10.0), *[(-5.0, 5.0)] * domains]

    def least(self, own: Array) -> Array:
        """α_ii ≥ 0, as in BiMix."""
        # Less of its own domain never lowers a loss; of the others some do.
        return jnp.concatenate([super().least(own)[:1], jnp.where(own > 0, 0.0, -jnp.inf)])

    def starts(self, domains: int) -> Any:
        """Starts of slow and fast saturation in budget; the start of the α does not matter."""
        return [[beta, *[0.1] * domains] for beta in (0.5, 1.5, 0.1, 4.0)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(log proportions with 0 for absent domains, mask of present domains, log budget)."""
        present = mixture > 0
        return jnp.log(jnp.where(present, mixture, 1.0)), present, jnp.log(budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(Π_j r_j^−α_j s^−β, Π_j r_j^−α_j)."""
        log_mixture, present, log_budget = features
        # With α = 0 a proportion of 0 drops out of the product (0^0 = 1 as the limit of r^−0).
        undefined = jnp.any(~present & (exponents[1:] != 0))
        of_mixture = jnp.where(undefined, jnp.inf, jnp.exp(-jnp.sum(exponents[1:] * log_mixture)))
        return of_mixture * jnp.exp(-exponents[0] * log_budget), of_mixture

    def usable(self, mixture: Array, own: Array) -> Array:
        """True where the own proportion is positive; others matter only where their α is not 0."""
        return jnp.all(jnp.where(own > 0, mixture > 0, True))

    def unusable_reason(self) -> str:
        """Reason for the notes: a power of 0 is 0 or infinite."""
        return "CrossBiMix has no value where a proportion that acts on the loss is 0"

    def shrinkage(self, own: Array) -> tuple[Array, Array]:
        """Centre and weight that shrink the law to BiMix: α_ij = 0 for all but the own domain."""
        # β is not shrunk: what the budget does is measured by every run.
        nothing = jnp.zeros(1)
        return jnp.zeros(1 + own.shape[0]), jnp.concatenate([nothing, 1.0 - own])
