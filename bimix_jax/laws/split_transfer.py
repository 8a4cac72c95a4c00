"""TransferBiMix whose reducible part has a mixture exponent of its own."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.transfer import Further, TransferBiMix

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
