"""The static part of a fit, and the map from the unknowns of the search to the coefficients."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.residual import RESIDUALS, Residual, needs_full
from bimix_jax.fitting.search import DEFAULT_OPTIMIZER
from bimix_jax.laws.law import Law, check_law
from bimix_jax.xla.arrow import Layout

if TYPE_CHECKING:
    import optax


class Asked(TypedDict, total=False):
    """The fields of `Settings` as keyword arguments."""

    residual: Residual
    huber: float | None
    tied: str | tuple[str, ...]
    optimizer: "optax.GradientTransformation | None"
    max_steps: int | None
    tolerance: ArrayLike | None


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a search, static under jit except for the tolerance."""

    residual: Residual = "relative"
    huber: float | None = None
    tied: str | tuple[str, ...] = ()
    optimizer: "optax.GradientTransformation | None" = None
    max_steps: int | None = None
    tolerance: ArrayLike | None = None

    def problem(self, law: Law, domains: int, targets: int) -> "Problem":
        """Check everything, and return the problem of a law: that of one target unless tied.

        Raises:
            ValueError: on a value that a setting cannot have, or a tied name that is no exponent.
        """
        tied = self._ties_of(law)
        return Problem(
            law,
            domains,
            targets if tied else 1,
            tied,
            self.residual,
            self.huber,
            self.optimizer or DEFAULT_OPTIMIZER,
            self.max_steps,
            law.shrinkage(jnp.zeros(domains)) is not None,
        )

    def _ties_of(self, law: Law) -> tuple[str, ...]:
        """Check all settings, and return the exponents that all targets share."""
        if check_law(law).members:
            raise ValueError(
                f"law: {law.label} is several laws that are fitted apart, by fit and compare only; "
                f"here fit one of them, {law.members[0].label} for example."
            )
        if law.of_losses:
            raise ValueError(
                f"law: {law.label} is fitted by fit and compare only; here fit the losses, by "
                f"{law.of_losses.label}, or the scores, by another law."
            )
        if self.residual not in RESIDUALS:
            raise ValueError(
                f"residual is {self.residual!r}; expected one of {', '.join(RESIDUALS)}."
            )
        for name in ("huber", "max_steps", "tolerance"):
            value = getattr(self, name)
            # Under jit a tolerance may have no value yet.
            if isinstance(value, float | int) and not value > 0:
                raise ValueError(f"{name} is {value}; expected a number above 0, or None.")
        tied = (self.tied,) if isinstance(self.tied, str) else tuple(self.tied)
        unknown = sorted(set(tied) - set(law.exponent_names))
        if unknown:
            raise ValueError(
                f"tied names {', '.join(unknown)}, but the exponents of {law.label} are "
                f"{', '.join(law.exponent_names)}."
            )
        return law.ties(tied)


def default_tolerance(dtype: Any) -> float:
    """Default tolerance on the scaled gradient."""
    return 1e-7 if jnp.finfo(dtype).bits == 64 else 1e-4


@dataclasses.dataclass(frozen=True)
class Problem:
    """Everything that is static in a compilation.

    The search runs over unknowns: the exponents of one target, or of all targets at once where
    some are tied, a tied one being a single unknown. Parameters are the unknowns, then the
    amplitudes of every target.
    """

    law: Law
    domains: int
    targets: int = 1
    tied: tuple[str, ...] = ()
    residual: Residual = "relative"
    huber: float | None = None
    optimizer: Any = DEFAULT_OPTIMIZER
    max_steps: int | None = None
    shrunk: bool = False

    def bounds(self, dtype: Any) -> tuple[Array, Array]:
        """Lower and upper bounds (exponents,) of one target."""
        lower, upper = np.asarray(self.law.bounds(self.domains), float).T
        return jnp.asarray(lower, dtype), jnp.asarray(upper, dtype)

    @functools.cached_property
    def layout(self) -> Layout:
        """Place of every exponent of every target among the unknowns."""
        names = self.law.names(["" for _ in range(self.domains)])
        # Domain names do not matter: tied names are named exponents only.
        counts = np.array([1 if name in self.tied else self.targets for name in names])
        first = np.cumsum(counts) - counts
        each = first + np.arange(self.targets)[:, None] * (counts > 1)
        return Layout(tuple(map(tuple, each.tolist())))

    @functools.cached_property
    def full_layout(self) -> Layout:
        """`layout` with the amplitudes, which are never tied, after all unknowns."""
        count = len(self.law.amplitude_names)
        first = self.unknown_count + count * np.arange(self.targets)[:, None]
        both = np.concatenate([self.layout.owners, first + np.arange(count)], axis=1)
        return Layout(tuple(map(tuple, both.tolist())))

    def layout_of(self, size: int) -> Layout:
        """Layout of vectors of this size: of the unknowns, or with the amplitudes."""
        return self.layout if size == self.unknown_count else self.full_layout

    @property
    def most_steps(self) -> int:
        """Largest number of evaluations per start; more for tied targets, which wait for others."""
        default = 300 if self.tied else 100
        # Other optimizers use slopes only and need many more evaluations.
        return self.max_steps or (default if self.optimizer is DEFAULT_OPTIMIZER else 5000)

    @property
    def needs_full(self) -> bool:
        """True where residuals are not linear in the amplitudes, so that projection only starts."""
        return needs_full(self.residual, self.huber)

    @property
    def projected_residual(self) -> Residual:
        """The residual of the search over exponents alone, linear in the amplitudes."""
        # For small residuals ln ŷ − ln y ≈ (ŷ − y)/y, so it is close enough to start from.
        return "relative" if self.residual == "log" else self.residual

    @functools.cached_property
    def unknown_count(self) -> int:
        """Number of unknowns."""
        return 1 + max(map(max, self.layout.owners))

    def unknown_bounds(self, least: Array) -> tuple[Array, Array]:
        """Lower and upper bounds (unknowns,), not below `least` (targets, exponents)."""
        bounds = self.bounds(least.dtype)
        lower, upper = (jnp.broadcast_to(x, least.shape) for x in bounds)
        highest, shared = jnp.maximum(lower, least), self.layout.shared
        joined = self.layout.joined
        return (
            joined(highest[:, ~shared], highest[:, shared].max(axis=0, initial=-jnp.inf)),
            joined(upper[:, ~shared], upper[0, shared]),
        )

    def start_unknowns(self, starts: Array) -> Array:
        """Starts (targets, starts, exponents) as unknowns (starts, unknowns), means where tied."""
        number = self.collected(jnp.ones_like(starts[:, 0]))
        return jax.vmap(lambda start: self.collected(start) / number, in_axes=1)(starts)

    def fixed_unknowns(self, fixed: Array) -> Array:
        """(unknowns,) bool from (targets, exponents) bool: fixed in some target."""
        return self.collected(fixed.astype(float)) > 0

    def collected(self, values: Array) -> Array:
        """Sums (unknowns,) of (targets, exponents) over what each unknown stands for."""
        return self.layout.summed(values)

    def exponents(self, unknowns: Array) -> Array:
        """Exponents (targets, exponents) of unknowns (unknowns,)."""
        if not self.tied:
            return unknowns[None]
        return unknowns[np.array(self.layout.owners)]

    def unpack(self, params: Array) -> tuple[Array, Array]:
        """Exponents (targets, exponents) and amplitudes (targets, amplitudes) of all parameters."""
        count = self.targets * len(self.law.amplitude_names)
        return self.exponents(params[:-count]), params[-count:].reshape(self.targets, -1)

    def least_amplitudes(self, dtype: Any) -> Array:
        """Lower bounds (targets·amplitudes,): 0, or −∞ of those that may be negative."""
        of_target = np.where(self.law.is_signed, -np.inf, 0.0)
        return jnp.asarray(np.tile(of_target, self.targets), dtype)
