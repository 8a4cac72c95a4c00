"""What a law around another law hands through to it."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.laws.law import Law


@dataclasses.dataclass(frozen=True)
class WrappedLaw(Law):
    """A law around `base`, whose exponents are those of the base after some of its own."""

    base: Law

    layer: ClassVar[int] = 0
    """Which goes around which: the one with the larger number, so that each finds what it needs."""

    def __post_init__(self) -> None:
        if not isinstance(self.base, Law):
            raise ValueError(
                f"law: {self.name} is around {self.base!r}; expected an instance of a law, "
                f"{self.name}(BiMix()) for example."
            )
        if isinstance(self.base, WrappedLaw) and self.base.layer >= self.layer:
            raise ValueError(
                f"law: {self.name} is around {self.base.label}; expected {self.base.name} only once"
                f" and outside, as in {self.base.name}({self.name}(BiMix()))."
            )

    @property
    def exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the base."""
        return self.base.exponent_names

    @property
    def label(self) -> str:
        """Its name and, in parentheses, the base's."""
        return f"{self.name}({self.base.label})"

    @property
    def shared(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the base."""
        return self.base.shared

    @property
    def amplitude_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the base."""
        return self.base.amplitude_names

    @property
    def signed(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the base."""
        return self.base.signed

    @property
    def domain_exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the base."""
        return self.base.domain_exponent_names

    @property
    def curve(self) -> int:  # type: ignore[override]
        """As the base."""
        return self.base.curve

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.convex

    @property
    def needs_own(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.needs_own

    @property
    def goes_backward(self) -> bool:
        """As the base."""
        return self.base.goes_backward

    @property
    def is_power_of_own(self) -> bool:
        """No, unless the law around it says so."""
        return False

    @property
    def further(self) -> int:
        """How many exponents stand before those of the base."""
        return len(self.exponent_names) - len(self.base.exponent_names)

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """With the base for that sweep."""
        return dataclasses.replace(self, base=self.base.for_sweep(sweep, budget_scale))

    def assumptions(self) -> tuple[str, ...]:
        """Those of the base."""
        return self.base.assumptions()

    def fixed(self, own: Array) -> Array:
        """As the base."""
        return jnp.concatenate([jnp.zeros(self.further, bool), self.base.fixed(own)])

    def least(self, own: Array) -> Array:
        """As the base."""
        inner = self.base.least(own)
        return jnp.concatenate([jnp.full(self.further, -jnp.inf, inner.dtype), inner])

    def gauges(self, own: Array) -> Array:
        """As the base."""
        return self.base.gauges(own)

    def restraint(self, own: Array) -> tuple[Array, Array] | None:
        """As the base; nothing restrains what comes before."""
        inner = self.base.restraint(own)
        if inner is None:
            return None
        centre, weight = (jnp.concatenate([jnp.zeros(self.further), part]) for part in inner)
        return centre, weight

    def refutes_centre(self, mixture: Array, own: Array) -> Array:
        """As the base."""
        return self.base.refutes_centre(mixture, own)

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> Law:
        """Around what the base is reduced to."""
        return dataclasses.replace(self, base=self.base.reduced(exponents[:, self.further :], own))

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """As the base."""
        count = len(self.base.amplitude_names)
        inner, scaled = self.base.canonical(exponents[self.further :], amplitudes[:count], own)
        return (
            jnp.concatenate([exponents[: self.further], inner]),
            jnp.concatenate([scaled, amplitudes[count:]]),
        )

    def usable(self, mixture: Array, own: Array) -> Array:
        """As the base."""
        return self.base.usable(mixture, own)

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """As the base."""
        return self.base.has_value(exponents[self.further :], mixture, own)

    def unusable_reason(self) -> str:
        """As the base."""
        return self.base.unusable_reason()
