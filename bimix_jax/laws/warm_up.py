"""Any law of a budget that counts what passes while the learning rate rises for less."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law
from bimix_jax.laws.wrapped import WrappedLaw

LONGEST = 0.1
"""Most that warm-up may cost, as a share of the sweep's largest budget."""
START = 0.02
NOTHING = 1e-6
"""A warm-up that costs less of the largest budget is none: it moves no loss by 1e-4."""


@dataclasses.dataclass(frozen=True)
class WithWarmUp(WrappedLaw):
    """L(r, s'), for any law L(r, s), with s' = s²(1 + w)/(s + w) in largest budgets of the sweep.

    While the learning rate rises in a line from 0 a token moves the model the less the earlier it
    comes: the sum of rates grows as s², then as s less a constant, which is what s²/(s + w) does.
    So w is the budget that warm-up costs. It belongs to the training and not to a target: all
    targets share it. s' = s at the sweep's largest budget, where amplitudes are as without, and
    w = 0 is the law itself. Convex where that is. Source: this project.

    It cannot express how the rate decays at the end.

    Args:
        base: the law of mixture and budget.

    >>> from bimix_jax.laws.bimix import BiMix
    >>> WithWarmUp(BiMix()).exponent_names
    ('warm_up', 'alpha', 'beta')
    """

    name: ClassVar[str] = "WithWarmUp"
    layer: ClassVar[int] = 1

    @property
    def exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """w, then those of the base."""
        return ("warm_up", *self.base.exponent_names)

    @property
    def shared(self) -> tuple[str, ...]:  # type: ignore[override]
        """w, and those of the base."""
        return ("warm_up", *self.base.shared)

    @property
    def curve(self) -> int:  # type: ignore[override]
        """One more than the base."""
        return self.base.curve + 1

    def bounds(self, domains: int) -> Any:
        """0 ≤ w ≤ .1, then those of the base."""
        return [(0.0, LONGEST), *self.base.bounds(domains)]

    def starts(self, domains: int) -> Any:
        """w = .02 before each start of the base."""
        return [[START, *start] for start in self.base.starts(domains)]

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> Law:
        """What the base is reduced to, alone where w is 0."""
        around: Any = super().reduced(exponents, own)
        return around if np.any(exponents[:, 0] > NOTHING) else around.base

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """Those of the base, and what they are made of, as they change with w."""
        return self.base.features(mixture, own, budget), mixture, own, budget

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """That of the base at s'."""
        of_base, mixture, own, budget = features
        moved = self.base.features(mixture, own, effective_budget(budget, exponents[0]))
        # Where there is no value a fit has put a harmless one, which has to stay.
        kept = jax.tree.map(lambda new, old: jnp.where(jnp.isfinite(new), new, old), moved, of_base)
        return self.base.basis(exponents[1:], kept)

    def power_of_own(self, exponents: Array, amplitudes: Array, budget: Array) -> Any:
        """That of the base at s'."""
        moved = effective_budget(budget, exponents[0])
        return self.base.power_of_own(exponents[1:], amplitudes, moved)

    @property
    def is_power_of_own(self) -> bool:
        """As the base."""
        return self.base.is_power_of_own

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Those of the base, of s' instead of s, and w in the unit of budgets."""
        found = self.base.report(exponents[..., 1:], amplitudes, budget_scale)
        return found | {"warm_up": exponents[..., 0] * budget_scale}


def effective_budget(budget: Array, warm_up: Array) -> Array:
    """s' of budgets s, both in largest budgets of the sweep.

    >>> import jax.numpy as jnp
    >>> print(effective_budget(jnp.array([0.01, 0.1, 1.0]), 0.02).round(4))
    [0.0034 0.085  1.    ]
    """
    return budget**2 * (1 + warm_up) / (budget + warm_up)
