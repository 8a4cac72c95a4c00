"""TransferBiMix whose reducible part has a mixture exponent of its own."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.bimix import BiMix
from bimix_jax.laws.transfer import TransferBiMix


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
    exponent_names: ClassVar[tuple[str, ...]] = ("alpha", "beta", "shift")

    def bounds(self, domains: int) -> Any:
        """α ≤ 1 and 0 ≤ κ ≤ 20: with both free, a few runs are matched by extremes of either."""
        _, beta, *transfer = super().bounds(domains)
        return [(1e-9, 1.0), beta, (0.0, 20.0), *transfer]

    def starts(self, domains: int) -> Any:
        """Those of `TransferBiMix`, with κ at 1."""
        return [[alpha, beta, 1.0, *rest] for alpha, beta, *rest in super().starts(domains)]

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(s^−β q^−κα, q^−α)."""
        mixture, own, log_budget = features
        log_worth = jnp.log(self.worth(exponents, mixture, own))
        alpha, beta, shift = exponents[:3]
        reducible = jnp.exp(-shift * alpha * log_worth - beta * log_budget)
        return reducible, jnp.exp(-alpha * log_worth)

    def restraint(self, own: Array) -> tuple[Array, Array]:
        """That of `TransferBiMix`, and κ towards 1."""
        centre, weight = super().restraint(own)
        return centre.at[2].set(1.0), weight.at[2].set(1.0)

    def of_scale(self, exponents: Array, scale: Array) -> Array:
        """What multiplies (B, C) when all t are divided by `scale`."""
        alpha, _, shift = exponents[:3]
        return jnp.stack([scale ** (-shift * alpha), scale**-alpha])

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """A, B, C, alpha and beta as `BiMix` reports them, at q = 1, and gamma."""
        common = BiMix().report(exponents[..., :2], amplitudes, budget_scale)
        return common | {"gamma": exponents[..., 2] * exponents[..., 0]}
