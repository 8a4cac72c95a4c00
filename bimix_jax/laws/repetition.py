"""Any law of effective data: what the tenth epoch is worth."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law
from bimix_jax.laws.wrapped import WrappedLaw

HALF_LIFE = 15.4
"""R*_D of Muennighoff et al. 2023: repeated epochs up to which data keep most of their worth."""


@dataclasses.dataclass(frozen=True)
class WithRepetition(WrappedLaw):
    """L(r', s'), for any law L(r, s), where data beyond the first epoch count less.

    Of domain j, s·r_j tokens are seen and U_j exist. Beyond one epoch they count as
    D'_j = U_j + U_j R* (1 − exp(−(s r_j/U_j − 1)/R*)); s' = Σ_j D'_j and r'_j = D'_j/s'. Source:
    Muennighoff et al., "Scaling Data-Constrained Language Models", arXiv 2305.16264, who found
    R* = 15.4 for one mixed corpus; that it holds for each domain alone is our assumption. Nothing
    is fitted for it, and it is off unless this law is used. Not convex in the mixture.

    Args:
        base: the law of mixture and budget.
        available: tokens that exist, by domain, in the unit of the sweep's budgets; domains not
            named never run out.
        decay: R*.
        capacities: U in budget scales in the order of the domains; set by `fit`.

    >>> from bimix_jax.laws.bimix import BiMix
    >>> law = WithRepetition(BiMix(), {"code": 1e9})
    >>> law.available
    (('code', 1000000000.0),)
    """

    available: Any = ()
    decay: float = HALF_LIFE
    capacities: tuple[float, ...] | None = None

    name: ClassVar[str] = "WithRepetition"
    layer: ClassVar[int] = 2
    convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = self.available.items() if isinstance(self.available, Mapping) else self.available
        tokens = tuple((str(domain), float(count)) for domain, count in pairs)
        wrong = [f"{domain}: {count:g}" for domain, count in tokens if not 0 < count < np.inf]
        if wrong or not self.decay > 0:
            what = f"available holds {', '.join(wrong)}" if wrong else f"decay is {self.decay}"
            raise ValueError(f"law: {what}; expected numbers above 0.")
        object.__setattr__(self, "available", tokens)

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """With the capacities of the sweep's domains."""
        from bimix_jax.names import as_expected  # brings tables, which no pure fit needs

        known = as_expected("law: available", dict(self.available), sweep.domains)
        capacities = tuple(known.get(d, np.inf) / budget_scale for d in sweep.domains)
        base = self.base.for_sweep(sweep, budget_scale)
        return dataclasses.replace(self, base=base, capacities=capacities)

    def assumptions(self) -> tuple[str, ...]:
        """What repeated data are taken to be worth."""
        offered = ", ".join(f"{domain} {count:g}" for domain, count in self.available)
        return (
            *self.base.assumptions(),
            f"Repeated data count less (R* = {self.decay:g} epochs, Muennighoff et al. 2023, taken "
            f"to hold for each domain alone); available, in the unit of budgets: {offered}.",
        )

    def bounds(self, domains: int) -> Any:
        """Those of the base."""
        return self.base.bounds(domains)

    def starts(self, domains: int) -> Any:
        """Those of the base."""
        return self.base.starts(domains)

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """Those of the base at the effective mixture and budget."""
        if self.capacities is None:
            raise ValueError("law: WithRepetition has no capacities; fit it, or set capacities=.")
        capacities = jnp.asarray(self.capacities, mixture.dtype)
        effective = effective_tokens(mixture * budget, capacities, self.decay)
        total = jnp.sum(effective)
        return self.base.features(effective / total, own, total)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """That of the base."""
        return self.base.basis(exponents, features)

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Those of the base."""
        return self.base.report(exponents, amplitudes, budget_scale)


def effective_tokens(seen: Array, capacity: Array, decay: float) -> Array:
    """Tokens (domains,) as if never repeated: D below U, else U + U R* (1 − e^(−(D/U − 1)/R*)).

    >>> print(effective_tokens(jnp.array([0.5, 1.0, 11.0]), jnp.ones(3), 15.4).round(2))
    [0.5  1.   8.36]
    """
    finite = jnp.isfinite(capacity)
    offered = jnp.where(finite, capacity, 1.0)
    repeated = jnp.maximum(seen / offered - 1, 0.0)
    worth = offered * (1 + decay * -jnp.expm1(-repeated / decay))
    return jnp.where(finite & (seen > offered), worth, seen)
