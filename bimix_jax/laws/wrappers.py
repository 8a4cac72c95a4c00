"""Laws around another law: the common base class, a warm-up, repeated tokens."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law


@dataclasses.dataclass(frozen=True)
class WrappedLaw(Law):
    """A law around `base`, whose own exponents stand before those of the base."""

    base: Law

    layer: ClassVar[int] = 0
    """Place in a nesting: the law with the larger number is outside, so that each finds what it
    needs."""

    def __post_init__(self) -> None:
        if not isinstance(self.base, Law):
            raise ValueError(
                f"law: {self.name} is around {self.base!r}; expected an instance of a law, "
                f"{self.name}(BiMix()) for example."
            )
        if self.base.members:
            raise ValueError(
                f"law: {self.name} is around {self.base.label}; put it around each of its laws."
            )
        if self.base.of_losses:
            raise ValueError(
                f"law: {self.name} is around {self.base.label}; expected "
                f"{self.base.name}({self.name}({self.base.of_losses.label}))."
            )
        if self.base.known_exponents(()) is not None:
            raise ValueError(
                f"law: {self.name} is around {self.base.label}; put it around the law of the small "
                "fit."
            )
        # Only the outermost law is given a size, and a warm-up acts on the budget that repetition
        # leaves.
        if isinstance(self.base, WrappedLaw) and self.base.layer >= self.layer:
            raise ValueError(
                f"law: {self.name} is around {self.base.label}; expected {self.base.name} only once"
                f" and outside, as in {self.base.name}({self.name}(BiMix()))."
            )

    @property
    def exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Exponents of the base."""
        return self.base.exponent_names

    @property
    def label(self) -> str:
        """Name of the wrapper and, in parentheses, of the base."""
        return f"{self.name}({self.base.label})"

    @property
    def shared(self) -> tuple[str, ...]:  # type: ignore[override]
        """Shared exponents of the base."""
        return self.base.shared

    @property
    def amplitude_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Amplitudes of the base."""
        return self.base.amplitude_names

    @property
    def signed(self) -> tuple[str, ...]:  # type: ignore[override]
        """Signed amplitudes of the base."""
        return self.base.signed

    @property
    def domain_exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Exponents per domain of the base."""
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
    def log_convex(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.log_convex

    @property
    def needs_own(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.needs_own

    @property
    def goes_backward(self) -> bool:
        """As the base."""
        return self.base.goes_backward

    @property
    def is_of_one_sum(self) -> bool:
        """As the base."""
        return self.base.is_of_one_sum

    @property
    def has_log_worth(self) -> bool:
        """True where the base has, and the mixture acts through one sum here, too."""
        return self.is_of_one_sum and self.base.has_log_worth

    @property
    def has_floor(self) -> bool:
        """As the base."""
        return self.base.has_floor

    @property
    def is_power_of_own(self) -> bool:
        """False, unless a subclass overrides it."""
        return False

    @property
    def further(self) -> int:
        """Number of exponents before those of the base."""
        return len(self.exponent_names) - len(self.base.exponent_names)

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """Wrap the base as prepared for that sweep."""
        return dataclasses.replace(self, base=self.base.for_sweep(sweep, budget_scale))

    def assumptions(self) -> tuple[str, ...]:
        """Assumptions of the base."""
        return self.base.assumptions()

    def fixed(self, own: Array) -> Array:
        """Fixed exponents of the base; the own ones are free."""
        return jnp.concatenate([jnp.zeros(self.further, bool), self.base.fixed(own)])

    def least(self, own: Array) -> Array:
        """Lower bounds of the base; none for the own exponents."""
        inner = self.base.least(own)
        return jnp.concatenate([jnp.full(self.further, -jnp.inf, inner.dtype), inner])

    def gauges(self, own: Array) -> Array:
        """As the base."""
        return self.base.gauges(own)

    def shrinkage(self, own: Array) -> tuple[Array, Array] | None:
        """Shrinkage of the base, or None; the own exponents are not shrunk."""
        inner = self.base.shrinkage(own)
        if inner is None:
            return None
        centre, weight = (jnp.concatenate([jnp.zeros(self.further), part]) for part in inner)
        return centre, weight

    def refutes_centre(self, mixture: Array, own: Array) -> Array:
        """As the base."""
        return self.base.refutes_centre(mixture, own)

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> Law:
        """Wrap the law to which the base reduces."""
        return dataclasses.replace(self, base=self.base.reduced(exponents[:, self.further :], own))

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """Gauge of the base; the own exponents stay."""
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


LONGEST = 0.1
"""Largest cost of the warm-up, as a share of the sweep's largest budget."""
START = 0.02
"""Cost of the warm-up from which a search starts, as a share of the largest budget."""
# log s' − log s is about −w/s, −1e-4 at a hundredth of the largest budget; a log loss moves by at
# most β times that.
NOTHING = 1e-6
"""Cost of a warm-up, as a share of the largest budget, that counts as 0: it moves no loss by
1e-4."""


@dataclasses.dataclass(frozen=True)
class WithWarmUp(WrappedLaw):
    """L(r, s'), for any law L(r, s), with s' = s²(1 + w)/(s + w) in largest budgets of the sweep.

    While the learning rate rises linearly from 0, an earlier token moves the model less: the sum of
    rates grows as s², then as s less a constant, and s²/(s + w) has both limits. So w is the budget
    that the warm-up costs. It belongs to the training and not to a target: all targets share it. s'
    = s at the sweep's largest budget, where amplitudes are as without, and w = 0 is the base
    itself. Convex where the base is. Source: this project.

    The law cannot express how the rate decays at the end.

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
        """w, then the exponents of the base."""
        return ("warm_up", *self.base.exponent_names)

    @property
    def shared(self) -> tuple[str, ...]:  # type: ignore[override]
        """w, and the shared exponents of the base."""
        return ("warm_up", *self.base.shared)

    @property
    def curve(self) -> int:  # type: ignore[override]
        """One budget more than the base."""
        return self.base.curve + 1

    def bounds(self, domains: int) -> Any:
        """0 ≤ w ≤ 0.1, then the bounds of the base."""
        return [(0.0, LONGEST), *self.base.bounds(domains)]

    def starts(self, domains: int) -> Any:
        """w = 0.02 before each start of the base."""
        return [[START, *start] for start in self.base.starts(domains)]

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> Law:
        """The reduced base, wrapped only where w is above 0."""
        # w is shared, so that one target speaks for all.
        around: Any = super().reduced(exponents, own)
        return around if np.any(exponents[:, 0] > NOTHING) else around.base

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """The base alone for a sweep of one budget, whose losses do not show what w is."""
        bound: Any = super().for_sweep(sweep, budget_scale)
        return bound.base if len(np.unique(sweep.budget)) == 1 else bound

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(features of the base, mixture, own, budget); the last three, as s' moves with w."""
        return self.base.features(mixture, own, budget), mixture, own, budget

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """Basis of the base at s'."""
        return self.base.basis(exponents[1:], self._moved(exponents, features))

    def log_worth(self, exponents: Array, features: Any) -> Any:
        """As the base: a warm-up costs budget alone."""
        return self.base.log_worth(exponents[1:], features[0])

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """That of the base at s'."""
        return self.base.basis_at(exponents[1:], log_worth, self._moved(exponents, features))

    def _moved(self, exponents: Array, features: Any) -> Any:
        """Features of the base at s'."""
        of_base, mixture, own, budget = features
        moved = self.base.features(mixture, own, _effective_budget(budget, exponents[0]))
        # A fit replaces missing values by harmless ones, which have to stay.
        return jax.tree.map(lambda new, old: jnp.where(jnp.isfinite(new), new, old), moved, of_base)

    def power_of_own(self, exponents: Array, amplitudes: Array, budget: Array) -> Any:
        """K and α of the base at s'."""
        moved = _effective_budget(budget, exponents[0])
        return self.base.power_of_own(exponents[1:], amplitudes, moved)

    @property
    def is_power_of_own(self) -> bool:
        """As the base."""
        return self.base.is_power_of_own

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Coefficients of the base in s', and w in the unit of budgets."""
        found = self.base.report(exponents[..., 1:], amplitudes, budget_scale)
        return found | {"warm_up": exponents[..., 0] * budget_scale}


def _effective_budget(budget: Array, warm_up: Array) -> Array:
    """Convert budgets s to s', both in largest budgets of the sweep.

    >>> import jax.numpy as jnp
    >>> print(_effective_budget(jnp.array([0.01, 0.1, 1.0]), 0.02).round(4))
    [0.0034 0.085  1.    ]
    """
    # The factor 1 + w makes s' = 1 at s = 1, so that amplitudes keep their meaning there.
    return budget**2 * (1 + warm_up) / (budget + warm_up)


HALF_LIFE = 15.4
"""R*_D of Muennighoff et al. 2023: repeated epochs up to which tokens keep most of their value."""


@dataclasses.dataclass(frozen=True)
class WithRepetition(WrappedLaw):
    """L(r', s'), for any law L(r, s), where tokens beyond the first epoch count less.

    From domain j, s·r_j tokens are seen and U_j exist. Beyond one epoch they count as D'_j = U_j +
    U_j R* (1 − exp(−(s r_j/U_j − 1)/R*)); s' = Σ_j D'_j and r'_j = D'_j/s'. Source: Muennighoff et
    al., "Scaling Data-Constrained Language Models", arXiv 2305.16264, who found R* = 15.4 for one
    mixed corpus; that it holds for each domain alone is our assumption. R* is not fitted, and
    repetition is ignored unless this law is used. Not convex in the mixture.

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
    log_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = self.available.items() if isinstance(self.available, Mapping) else self.available
        tokens = tuple((str(domain), float(count)) for domain, count in pairs)
        wrong = [f"{domain}: {count:g}" for domain, count in tokens if not 0 < count < np.inf]
        if wrong or not self.decay > 0:
            what = f"available holds {', '.join(wrong)}" if wrong else f"decay is {self.decay}"
            raise ValueError(f"law: {what}; expected numbers above 0.")
        object.__setattr__(self, "available", tokens)

    @property
    def is_of_one_sum(self) -> bool:
        """False, as each effective share depends on all shares."""
        return False

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """Set the capacities of the sweep's domains."""
        from bimix_jax.reading.names import as_expected  # brings tables, which no pure fit needs

        known = as_expected("law: available", dict(self.available), sweep.domains)
        capacities = tuple(known.get(d, np.inf) / budget_scale for d in sweep.domains)
        # In budget scales, like the budgets that reach a law.
        base = self.base.for_sweep(sweep, budget_scale)
        return dataclasses.replace(self, base=base, capacities=capacities)

    def assumptions(self) -> tuple[str, ...]:
        """Assumption about the value of repeated tokens."""
        offered = ", ".join(f"{domain} {count:g}" for domain, count in self.available)
        return (
            *self.base.assumptions(),
            f"Repeated data count less (R* = {self.decay:g} epochs, Muennighoff et al. 2023, taken "
            f"to hold for each domain alone); available, in the unit of budgets: {offered}.",
        )

    def bounds(self, domains: int) -> Any:
        """Bounds of the base."""
        return self.base.bounds(domains)

    def starts(self, domains: int) -> Any:
        """Starts of the base."""
        return self.base.starts(domains)

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """Features of the base at the effective mixture and budget."""
        if self.capacities is None:
            raise ValueError("law: WithRepetition has no capacities; fit it, or set capacities=.")
        capacities = jnp.asarray(self.capacities, mixture.dtype)
        effective = _effective_tokens(mixture * budget, capacities, self.decay)
        # Shares and budget both shrink: repeated tokens cost training, but teach less.
        total = jnp.sum(effective)
        return self.base.features(effective / total, own, total)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """Basis of the base."""
        return self.base.basis(exponents, features)

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Coefficients of the base."""
        return self.base.report(exponents, amplitudes, budget_scale)


def _effective_tokens(seen: Array, capacity: Array, decay: float) -> Array:
    """Tokens (domains,) as if never repeated: D below U, else U + U R* (1 − e^(−(D/U − 1)/R*)).

    >>> print(_effective_tokens(jnp.array([0.5, 1.0, 11.0]), jnp.ones(3), 15.4).round(2))
    [0.5  1.   8.36]
    """
    finite = jnp.isfinite(capacity)
    offered = jnp.where(finite, capacity, 1.0)
    # Clipped at 0, so that the untaken branch of `where` below has finite derivatives, too.
    repeated = jnp.maximum(seen / offered - 1, 0.0)
    # −expm1(−x) is 1 − e^−x without cancellation just beyond the first epoch, where x is small.
    worth = offered * (1 + decay * -jnp.expm1(-repeated / decay))
    return jnp.where(finite & (seen > offered), worth, seen)
