"""The contract of a law: a basis that is linear in the amplitudes once the exponents are given."""

import abc
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
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
    """Names of further exponents after `exponent_names`: each stands for one exponent per
    domain."""
    convex: ClassVar[bool] = False
    """True where the loss is convex in the mixture for all coefficients, so that optima are
    global."""
    log_convex: ClassVar[bool] = False
    """True where the log of the loss is convex in the mixture for all coefficients, as a sum of
    products of powers and exponentials is. The loss to any power b ≥ 0 is then convex, too."""
    needs_own: ClassVar[bool] = False
    """True where the law has a value only for targets that are train domains."""
    signed: ClassVar[tuple[str, ...]] = ()
    """Amplitudes of either sign; all others are at least 0."""
    shared: ClassVar[tuple[str, ...]] = ()
    """Exponents with one value for all targets, because they describe the training run."""
    needs_size: ClassVar[bool] = False
    """True where the size of the model is a variable of the law."""
    curve: ClassVar[int] = 3
    """Number of distinct budgets that determine the loss of a target along the budget, which is the
    number of coefficients of that curve."""
    backward: ClassVar[bool] = False
    """True where `basis` also has reverse-mode derivatives: it has no loop of unknown length, and
    the untaken branches of `where` are finite. Derivatives by many exponents then take one pass."""
    one_sum: ClassVar[bool] = False
    """True where the loss depends on the mixture through one sum Σ_j φ_j(r_j) of a function per
    domain. Its Hessian by the mixture is then a diagonal plus a multiple of the outer product of
    its gradient, which takes two passes instead of one per domain."""
    separable: ClassVar[bool] = False
    """True where log L = −θ₀·x + (a term of the budget and the other coefficients), where θ₀ is the
    first exponent and x, the first of a tuple of features, depends on the mixture only. Batches
    then sum the log losses of runs that share a budget."""

    last_is_floor: ClassVar[bool] = False
    """True where the basis of the last amplitude is the factor by which the mixture multiplies the
    loss that no budget removes. `WithModelSize` can then add a term of the size to that loss."""

    @abc.abstractmethod
    def bounds(self, domains: int) -> Any:
        """Lower and upper bound of every exponent, (exponents, 2), for a mixture of `domains`."""

    @abc.abstractmethod
    def starts(self, domains: int) -> Any:
        """Exponents from which the search starts, (starts, exponents)."""

    def further_starts(self, domains: int) -> Any:
        """Starts (searches, starts, exponents) for unidentified or poor fits or fits on a bound.

        Such a fit is searched again from each of these sets, each with as many starts as `starts`
        gives, and the best result is kept. None by default.
        """
        return ()

    @abc.abstractmethod
    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """Compute the part of the basis that needs no exponents, once per point (e.g. logarithms).

        `mixture` (domains,) holds proportions, `own` (domains,) is 1 at the target's own domain and
        0 elsewhere (all 0 for a target that is not a domain), `budget` () is in budget scales.
        """

    def features_at_size(self, mixture: Array, own: Array, budget: Array, size: Any) -> Any:
        """Compute `features` for a model of `size` () parameters; laws without a size ignore it."""
        return self.features(mixture, own, budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """Compute one number per amplitude at one point, smooth in the exponents (exponents,).

        By default it is `basis_at` the `log_worth`; other laws state it as one.
        """
        return self.basis_at(exponents, self.log_worth(exponents, features), features)

    def total(self, amplitudes: Any, columns: Sequence[Any]) -> Any:
        """Loss of amplitudes and their columns of the basis, Σ_k amplitude_k · column_k.

        Another sum than this one is for laws with `members`, which are not fitted themselves.
        """
        return sum(a * c for a, c in zip(amplitudes, columns, strict=True))

    def log_worth(self, exponents: Array, features: Any) -> Any:
        """() number through which alone the mixture acts on `basis`, for laws that state it.

        It depends on features of the mixture only, so that the points of one mixture share it, and
        `basis_at` is the rest of `basis`. A fit to many budgets then differentiates the part of the
        mixture, the larger one in laws with exponents per domain, once per mixture.
        """
        raise NotImplementedError(f"{self.label} states neither basis nor log_worth and basis_at.")

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """`basis` at a `log_worth` (), of the named exponents and features of the budget only."""
        raise NotImplementedError(f"{self.label} states log_worth without basis_at.")

    def log_basis(self, exponents: Array, features: Any) -> tuple[Any, ...] | None:
        """Logarithms of `basis`, where the law has them in closed form; None by default.

        Batches then need one exponential per amplitude and none for derivatives.
        """
        return None

    @property
    def label(self) -> str:
        """Name of the law in tables, pictures and notes."""
        return self.name

    @property
    def members(self) -> tuple["Law", ...]:
        """Laws that are fitted apart and whose coefficients follow one another in those of this
        law; none for a law that is fitted itself."""
        return ()

    @property
    def of_losses(self) -> "Law | None":
        """Law of the losses through which this one predicts scores (`ThroughLosses`); it is fitted
        by itself. None for all others."""
        return None

    @property
    def is_signed(self) -> np.ndarray:
        """(amplitudes,) bool: True for the amplitudes that may be negative."""
        unknown = sorted(set(self.signed) - set(self.amplitude_names))
        if unknown:
            raise ValueError(
                f"signed of {self.label} names {', '.join(unknown)}; expected some of its "
                f"amplitude_names: {', '.join(self.amplitude_names)}."
            )
        return np.isin(self.amplitude_names, self.signed)

    def known_exponents(self, targets: Sequence[str]) -> np.ndarray | None:
        """Exponents (targets, exponents) that a target's name determines, nan elsewhere; None, the
        default, where none is. They must be `fixed`.
        """
        return None

    def expresses(self, target: str, domains: Sequence[str]) -> bool:
        """True for a target that the law can have a value for, given the names of the domains."""
        return target in domains or not self.needs_own

    def not_expressed(self, targets: Sequence[str], domains: Sequence[str]) -> str:
        """Words on why it has no value for targets."""
        return (
            "looks at the share of the domain that a target is, and none of "
            f"{', '.join(targets)} is among the domains {', '.join(domains)}"
        )

    def seen_mixtures(self, mixtures: np.ndarray) -> np.ndarray:
        """Distinct mixtures (mixtures, domains) that a fit knows, of those of its sweep; these
        alone by default."""
        return mixtures

    def ties(self, tied: Sequence[str]) -> tuple[str, ...]:
        """Names of the exponents that targets share: those of `shared` and those in `tied`."""
        return tuple(dict.fromkeys((*self.shared, *tied)))

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """Name of every exponent, for the domains of a sweep."""
        further = (f"{name}_{domain}" for name in self.domain_exponent_names for domain in domains)
        return (*self.exponent_names, *further)

    def for_sweep(self, sweep: Any, budget_scale: float) -> "Law":
        """Return the law with what it needs of a sweep beyond its points; itself by default."""
        return self

    def at_size(self, size: float) -> "Law":
        """Return the law as it predicts for models of `size` parameters; itself by default."""
        return self

    def assumptions(self) -> tuple[str, ...]:
        """Sentences that accompany every number of the law; none by default."""
        return ()

    def fixed(self, own: Array) -> Array:
        """(exponents,) bool: True for exponents that stay at their start; none by default."""
        # By the shape of `own`, which a law has inside compiled programs, where names are absent.
        further = len(self.domain_exponent_names) * own.shape[0]
        return jnp.zeros(len(self.exponent_names) + further, bool)

    def least(self, own: Array) -> Array:
        """Lower bounds (exponents,) for a target, where above `bounds`; −∞ by default."""
        return jnp.full(self.fixed(own).shape, -jnp.inf, own.dtype)

    def gauges(self, own: Array) -> Array:
        """() int: number of directions of a target's exponents that change no prediction."""
        return jnp.zeros((), int)

    def shrinkage(self, own: Array) -> tuple[Array, Array] | None:
        """Centre and weight, each (exponents,), of the shrinkage of a target's exponents.

        A fit adds ½·strength·Σ_k weight_k·(exponent_k − centre_k)² to half its mean squared
        residual, and chooses the strength by cross-validation. None, the default, means no
        shrinkage.
        """
        return None

    @property
    def shrunk(self) -> tuple[str, ...]:
        """Names of the exponents that shrinkage moves: by default those per domain."""
        return self.domain_exponent_names

    def held_at_centre(self) -> str:
        """Words, for a note, on what cross-validation found where shrinkage holds the exponents at
        its centre, and on what to add in order to estimate them."""
        return (
            f"no cross-domain effect above the noise, so the {' and '.join(self.shrunk)} "
            "coefficients are held where they change nothing. Add mixtures"
        )

    def refutes_centre(self, mixture: Array, own: Array) -> Array:
        """() bool: a loss measured at a mixture proves that the exponents are not at the centre.

        An example is a mixture at which the law at the centre of `shrinkage` is infinite. While a
        target has such a loss, shrinkage never holds the exponents at the centre. False by default.
        """
        return jnp.array(False)

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> "Law":
        """Find the simplest law with the same predictions at these exponents (targets, exponents).

        `own` (targets, domains) is as in `features`. The law itself by default.
        """
        return self

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """Transform coefficients to the law's gauge, without a change of any prediction."""
        return exponents, amplitudes

    def usable(self, mixture: Array, own: Array) -> Array:
        """True where the law is finite at a mixture (domains,); a fit leaves out other rows."""
        return jnp.array(True)

    def unusable_reason(self) -> str:
        """Reason that `usable` refuses a row, for the notes of a fit."""
        return f"{self.label} has no value there"

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """() bool: True where the law with these exponents is defined at a mixture (domains,).

        It is undefined where it is infinite, or is finite only by a safeguard such as `UNSEEN`. As
        `usable` by default.
        """
        return self.usable(mixture, own)

    def power_of_own(self, exponents: Array, amplitudes: Array, budget: Array) -> Any:
        """(K, α) where the law is K·r_own^−α at a budget () in budget scales; None for other laws.

        Laws of this form have an exact optimal mixture (`mixture/_exact.py`).
        """
        return None

    @property
    def is_power_of_own(self) -> bool:
        """True where the law defines `power_of_own`."""
        return type(self).power_of_own is not Law.power_of_own

    @property
    def has_log_basis(self) -> bool:
        """True where `log_basis` belongs to this `basis`, not to one that a subclass replaced."""
        return self._states("log_basis", "basis")

    @property
    def is_separable(self) -> bool:
        """True where `separable` is declared for this `basis` and these `features`."""
        return self.separable and self._states("separable", "basis", "features")

    @property
    def is_of_one_sum(self) -> bool:
        """True where `one_sum` is declared for this `basis` and these `features`."""
        return self.one_sum and self._states("one_sum", "basis", "features")

    @property
    def has_log_worth(self) -> bool:
        """True where a law of one sum states it by `log_worth`."""
        return self.is_of_one_sum and type(self).log_worth is not Law.log_worth

    @property
    def goes_backward(self) -> bool:
        """True where `backward` is declared for this `basis`."""
        return self.backward and self._states("backward", "basis")

    @property
    def has_floor(self) -> bool:
        """True where `last_is_floor` is declared for this `basis`."""
        return self.last_is_floor and self._states("last_is_floor", "basis")

    def _states(self, name: str, *of: str) -> bool:
        """True where the class that sets `name` is, or extends, those that define `of`."""
        # A flag that a class inherits is about the methods it inherited; a subclass that replaced
        # one of them has to repeat the flag.
        stated, *those = (
            next(kind for kind in type(self).__mro__ if each in vars(kind)) for each in (name, *of)
        )
        return stated is not Law and all(issubclass(stated, kind) for kind in those)

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Coefficients as publications quote them; by default exponents and amplitudes by name.

        `exponents` (…, exponents) and `amplitudes` (…, amplitudes), `budget_scale` (…) in the
        sweep's unit; each coefficient has the axes (…). Exponents per domain are left to
        `Fit.by_domain`.
        """
        named = {name: amplitudes[..., i] for i, name in enumerate(self.amplitude_names)}
        return named | {name: exponents[..., i] for i, name in enumerate(self.exponent_names)}


def check_law(law: object) -> "Law":
    """Return `law`, after a check that it is an instance of a law; ValueError if it is not."""
    if isinstance(law, Law):
        return law
    if isinstance(law, type) and issubclass(law, Law):
        raise ValueError(
            f"law is the class {law.__name__}; expected {law.__name__}(), an instance."
        )
    raise ValueError(f"law is {law!r}; expected an instance of a law, BiMix() for example.")


@functools.lru_cache
def check_parts(law: Law, domains: int) -> None:
    """Raise ValueError where the parts of a law do not agree; they are named, with their sizes."""
    count, label = len(law.names([""] * domains)), law.label
    bounds, starts = (np.asarray(part(domains), float) for part in (law.bounds, law.starts))
    for name, found, expected in (
        ("bounds", bounds.shape, (count, 2)),
        ("starts", starts.shape, (len(starts), count)),
    ):
        if found != expected:
            raise ValueError(
                f"law: {label}.{name} has the shape {found} for {domains} domains; expected "
                f"{expected}, for {count} exponents."
            )
    outside = (starts < bounds[:, 0]) | (starts > bounds[:, 1])
    if outside.any():
        start, exponent = np.argwhere(outside)[0]
        raise ValueError(
            f"law: {label}.starts begins exponent {exponent} at {starts[start, exponent]:g}, "
            f"outside of its bounds {bounds[exponent].tolist()}."
        )
    terms = len(_terms(law, domains, count))
    if terms != len(law.amplitude_names):
        raise ValueError(
            f"law: {label}.basis returns {terms} terms, but amplitude_names has "
            f"{len(law.amplitude_names)}; expected one term per amplitude."
        )
    if law.has_log_worth and not _worth_is_of_mixture(law, domains):
        raise ValueError(
            f"law: {label}.log_worth changes with the budget or the model size; expected a number "
            "of the mixture alone, which all points of a mixture share. Move the rest to basis_at, "
            "or state basis instead of both."
        )


@functools.lru_cache(maxsize=256)
def _worth_is_of_mixture(law: Law, domains: int) -> bool:
    """True where `log_worth` is the same at three budgets and model sizes of one mixture."""
    lower, upper = np.asarray(law.bounds(domains), float).T
    # Not quite a start, at which an exponent may be 0 and hide what it multiplies.
    moved = np.asarray(law.starts(domains), float)[0] + np.linspace(0.01, 0.1, len(lower))
    exponents = jnp.asarray(np.clip(moved, lower, upper))
    mixture = np.arange(1.0, domains + 1) / (domains * (domains + 1) / 2)
    own = jnp.asarray(np.eye(domains)[0])

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0))
    def worth(budget: Array, size: Array) -> Any:
        features = law.features_at_size(jnp.asarray(mixture), own, budget, size)
        return law.log_worth(exponents, features)

    with jax.ensure_compile_time_eval():  # also where a caller is traced
        found = np.asarray(worth(np.array([0.5, 1.0, 0.5]), np.array([0.5, 0.5, 1.0])))
    return bool(np.allclose(found, found[0], rtol=1e-5, equal_nan=True))


def _terms(law: Law, domains: int, exponents: int) -> tuple[Any, ...]:
    """Return the shapes of the basis at one point."""

    def terms(mixture: Array, at: Array, theta: Array) -> tuple[Any, ...]:
        return tuple(law.basis(theta, law.features_at_size(mixture, mixture, at, at)))

    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((domains,), (), (exponents,))]
    return jax.eval_shape(terms, *shapes)
