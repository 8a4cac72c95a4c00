"""TransferBiMix whose reducible part has a mixture exponent of its own."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.laws.bimix import BiMix
from bimix_jax.laws.transfer import TransferBiMix


@dataclasses.dataclass(frozen=True)
class SplitTransferBiMix(TransferBiMix):
    """L_i = C_i q^−α_i + B_i s^−β_i q^−γ_i, q = Σ_j t_ij r_j: the mixture's effect may shift.

    Where γ < α the mixture matters more the longer a run is, where γ > α less. With γ = α it is
    `TransferBiMix`, whose t, zeros and targets it shares. Source: this project. Exponents
    (α, β, γ, t_i1 … t_im), amplitudes (B, C), basis (s^−β q^−γ, q^−α). Convex in the mixture.

    >>> SplitTransferBiMix().names(["code", "text"])
    ('alpha', 'beta', 'gamma', 'transfer_code', 'transfer_text')
    """

    name: ClassVar[str] = "SplitTransferBiMix"
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta", "gamma")

    def bounds(self, domains: int) -> Any:
        """Those of α for γ too."""
        alpha, beta, *transfer = super().bounds(domains)
        return [alpha, beta, alpha, *transfer]

    def starts(self, domains: int) -> Any:
        """Those of `TransferBiMix`, with γ at α."""
        return [[alpha, beta, alpha, *rest] for alpha, beta, *rest in super().starts(domains)]

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(s^−β q^−γ, q^−α)."""
        mixture, own, log_budget = features
        log_worth = jnp.log(self.worth(exponents, mixture, own))
        alpha, beta, gamma = exponents[:3]
        return jnp.exp(-gamma * log_worth - beta * log_budget), jnp.exp(-alpha * log_worth)

    def of_scale(self, exponents: Array, scale: Array) -> Array:
        """What multiplies (B, C) when all t are divided by `scale`."""
        return jnp.stack([scale ** -exponents[2], scale ** -exponents[0]])

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: float
    ) -> dict[str, float]:
        """A, B, C, alpha and beta as `BiMix` reports them, at q = 1, and gamma."""
        common = BiMix().report(exponents[:2], amplitudes, budget_scale)
        return common | {"gamma": float(exponents[2])}
