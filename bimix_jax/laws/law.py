"""The contract of a law: a basis that is linear in the amplitudes once the exponents are given."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


class Law(abc.ABC):
    """A function (mixture, budget) → loss of one target, L = Σ_k amplitude_k · basis_k(exponents).

    A law states its names, bounds, start points and basis for *one* target at *one* point;
    fitting, batching, saving and drawing are common to all laws. Write a law as a frozen dataclass
    (`@dataclasses.dataclass(frozen=True)`), so that equal laws share one compilation; its fields
    must be hashable and are saved with a fit.

    Amplitudes are never negative, except those named in `signed`. Budgets reach a law divided by
    the budget scale, so they are dimensionless and about 1.

    >>> import dataclasses, jax.numpy as jnp
    >>> @dataclasses.dataclass(frozen=True)
    ... class PowerLaw(Law):
    ...     name = "PowerLaw"
    ...     exponent_names = ("beta",)
    ...     amplitude_names = ("reducible", "floor")
    ...     def bounds(self, domains): return [(0.0, 5.0)]
    ...     def starts(self, domains): return [[0.3], [1.0]]
    ...     def features(self, mixture, own, budget): return jnp.log(budget)
    ...     def basis(self, exponents, log_budget): return jnp.exp(-exponents[0] * log_budget), 1.0
    """

    name: ClassVar[str]
    exponent_names: ClassVar[tuple[str, ...]]
    amplitude_names: ClassVar[tuple[str, ...]]
    domain_exponent_names: ClassVar[tuple[str, ...]] = ()
    """Further exponents, after the named ones: for each of these names one a domain."""
    convex: ClassVar[bool] = False
    """Whether the loss is convex in the mixture whatever the coefficients: optima are global."""
    needs_own: ClassVar[bool] = False
    """Whether a target must be a train domain for the law to say anything about it."""
    signed: ClassVar[tuple[str, ...]] = ()
    """Amplitudes of either sign; all others are at least 0."""
    shared: ClassVar[tuple[str, ...]] = ()
    """Exponents that are one number for all targets, as they belong to the training."""
    needs_size: ClassVar[bool] = False
    """Whether the size of the model is a variable of the law."""
    curve: ClassVar[int] = 3
    """Budgets that determine how the loss of a target falls with them: as many as that curve has
    coefficients."""
    backward: ClassVar[bool] = False
    """Whether `basis` has derivatives backward, too: no loop of unknown length in it, and nothing
    that is not finite in a branch of `where` that is not taken. Slopes by many exponents are then
    found in one pass."""
    separable: ClassVar[bool] = False
    """Whether log L = −θ₀·x + (what budget and the other coefficients give), where θ₀ is the first
    exponent and x, the first of a tuple of features, depends on the mixture only. Log losses of
    runs that share their budgets are then summed by budget in batches."""

    @abc.abstractmethod
    def bounds(self, domains: int) -> Any:
        """Lower and upper bound of every exponent, (exponents, 2), for a mixture of `domains`."""

    @abc.abstractmethod
    def starts(self, domains: int) -> Any:
        """Exponents to start the search from, (starts, exponents)."""

    def further_starts(self, domains: int) -> Any:
        """(searches, starts, exponents) for fits that end on a bound, open or poor; default none.

        Such a fit is searched once more from each of these, as many starts as `starts` gives, and
        the best end is kept.
        """
        return ()

    @abc.abstractmethod
    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """What the basis needs of one point, computed once before the search (logarithms, mostly).

        `mixture` (domains,) holds proportions, `own` (domains,) is 1 at the target's own domain
        and 0 elsewhere (all 0 for a target that is no domain), `budget` () is in budget scales.
        """

    def features_at_size(self, mixture: Array, own: Array, budget: Array, size: Any) -> Any:
        """`features` for a model of `size` () parameters; laws that know no size ignore it."""
        return self.features(mixture, own, budget)

    @abc.abstractmethod
    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """One number an amplitude, at one point; must be smooth in the exponents (exponents,)."""

    def log_basis(self, exponents: Array, features: Any) -> tuple[Any, ...] | None:
        """Logarithms of `basis`, where the law has them without computing it; None by default.

        Batches then need one exponential an amplitude and none for slopes.
        """
        return None

    @property
    def label(self) -> str:
        """What tables, pictures and notes call the law."""
        return self.name

    @property
    def is_signed(self) -> np.ndarray:
        """(amplitudes,) bool: which amplitudes may be negative."""
        unknown = sorted(set(self.signed) - set(self.amplitude_names))
        if unknown:
            raise ValueError(
                f"signed of {self.label} names {', '.join(unknown)}; expected some of its "
                f"amplitude_names: {', '.join(self.amplitude_names)}."
            )
        return np.isin(self.amplitude_names, self.signed)

    def ties(self, tied: Sequence[str]) -> tuple[str, ...]:
        """The exponents that targets share where a fit ties these."""
        return tuple(dict.fromkeys((*self.shared, *tied)))

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """The name of every exponent, for a sweep's domains."""
        further = (f"{name}_{domain}" for name in self.domain_exponent_names for domain in domains)
        return (*self.exponent_names, *further)

    def for_sweep(self, sweep: Any, budget_scale: float) -> "Law":
        """The law with what it must know of a sweep beyond its points; itself by default."""
        return self

    def assumptions(self) -> tuple[str, ...]:
        """Sentences that belong beside every number the law gives; none by default."""
        return ()

    def fixed(self, own: Array) -> Array:
        """(exponents,) bool: what stays where the starts put it, for a target; none by default."""
        further = len(self.domain_exponent_names) * own.shape[0]
        return jnp.zeros(len(self.exponent_names) + further, bool)

    def least(self, own: Array) -> Array:
        """(exponents,) lower bounds for a target where they are above `bounds`; none by default."""
        return jnp.full(self.fixed(own).shape, -jnp.inf, own.dtype)

    def gauges(self, own: Array) -> Array:
        """() int: how many directions of the exponents change no prediction, for a target."""
        return jnp.zeros((), int)

    def shrinkage(self, own: Array) -> tuple[Array, Array] | None:
        """(centre, weight), each (exponents,): where few runs draw the exponents of a target.

        A fit adds ½·strength·Σ_k weight_k·(exponent_k − centre_k)² to half its mean squared
        residual, and finds the strength by leaving runs out. None, the default, for a law whose
        exponents need none.
        """
        return None

    def refutes_centre(self, mixture: Array, own: Array) -> Array:
        """() bool: a loss measured at a mixture shows that the exponents are not at the centre.

        Where the law that `shrinkage` draws to is infinite, for example. While a target has such a
        loss no shrinkage holds the exponents at the centre. False by default.
        """
        return jnp.array(False)

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> "Law":
        """The simplest law that says the same with these exponents (targets, exponents).

        `own` (targets, domains) is as in `features`. The law itself by default.
        """
        return self

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """The same prediction in the law's gauge, where the exponents leave one free."""
        return exponents, amplitudes

    def usable(self, mixture: Array, own: Array) -> Array:
        """Whether the law is finite at a mixture (domains,); other rows are left out of a fit."""
        return jnp.array(True)

    def unusable_reason(self) -> str:
        """Why `usable` refuses a row, for the notes of a fit."""
        return f"{self.label} has no value there"

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """() bool: with these exponents the law says something of a mixture (domains,).

        It does not where it is infinite, or would be without what only keeps it finite. As `usable`
        by default.
        """
        return self.usable(mixture, own)

    def power_of_own(self, exponents: Array, amplitudes: Array, budget: Array) -> Any:
        """(K, α) where the law is K·r_own^−α at a budget () in budget scales; None if it is not.

        Laws of this form have an exact optimal mixture (`mixture/exact.py`).
        """
        return None

    @property
    def is_power_of_own(self) -> bool:
        """Whether `power_of_own` says anything."""
        return type(self).power_of_own is not Law.power_of_own

    @property
    def has_log_basis(self) -> bool:
        """Whether `log_basis` says anything, and of this `basis`, not of one that it replaced."""
        return self._states("log_basis", "basis")

    @property
    def is_separable(self) -> bool:
        """Whether `separable` is stated of this `basis` and these `features`."""
        return self.separable and self._states("separable", "basis", "features")

    @property
    def goes_backward(self) -> bool:
        """Whether `backward` is stated of this `basis`."""
        return self.backward and self._states("backward", "basis")

    def _states(self, name: str, *of: str) -> bool:
        """Whether `name` is stated by the class that has these, or one that builds on it."""
        stated, *those = (
            next(kind for kind in type(self).__mro__ if each in vars(kind)) for each in (name, *of)
        )
        return stated is not Law and all(issubclass(stated, kind) for kind in those)

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """The coefficients as people quote them; by default exponents and amplitudes by name.

        `exponents` (…, exponents) and `amplitudes` (…, amplitudes), `budget_scale` (…) in the
        sweep's unit; each coefficient has the axes (…). Exponents that are one a domain are left
        to `Fit.by_domain`.
        """
        named = {name: amplitudes[..., i] for i, name in enumerate(self.amplitude_names)}
        return named | {name: exponents[..., i] for i, name in enumerate(self.exponent_names)}


def check_law(law: object) -> "Law":
    """The same, after making sure that it is an instance of a law; ValueError if not."""
    if isinstance(law, Law):
        return law
    hint = " A name is found by law_named." if isinstance(law, str) else ""
    raise ValueError(f"law is {law!r}; expected an instance of a law, BiMix() for example.{hint}")
