"""A law from small models to large ones: a fit to small runs, mapped to losses of large ones."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import jit

STEEPEST = 3.0
"""Largest slope: a difference of 1 % between small models is one of 3 % between large ones."""
PRIOR = 1e-3
"""Shrinkage of the slopes while the ratio of budgets is chosen; that of the fit is chosen later."""
REACH = 2.0
"""Multiple of the small runs' largest budget up to which their law is asked at the same budget
where the large runs have a single budget, and so cannot say which ratio is right."""


@dataclasses.dataclass(frozen=True)
class Bridged(Law):
    """L_i = e^a_i · L_small,i(r, c·s)^b_i: a fit to small models, mapped to large ones.

    So log L = a + b·log L_small, with a and b per target and one ratio c of budgets. L_small is a
    fit to runs of a smaller model, whose coefficients stay as they are. It knows how losses depend
    on the mixture; a few runs of the large model show how its losses differ from that. Shrinkage
    pulls b to 1, where a larger model divides all losses of a target by one factor. Source: this
    project.

    The small fit is asked at c times the budget. Where losses are E + f(N) + g(s), at any mixture,
    a model of another size N differs by a constant at the same budget, c = 1. If g depends on the
    tokens per parameter instead, c is the ratio of the sizes. And where the large runs go far
    beyond the small ones, the law of the small ones is a guess at the same budget, so that c is the
    ratio of the largest budgets. Large runs of several budgets decide between these three, by the
    least squares that a map leaves, its shrinkage included: their curves do so if runs are few.

    L is convex in the mixture where log L_small is, because b is not negative: then an optimum is
    proven, as of the laws with q^−α and their sums. It has a value where L_small has one.

    Args:
        base: law of the small fit.
        domains: names of its domains.
        targets: names of its targets.
        coefficients: exponents, then amplitudes, of every target.
        scale: its budget scale.
        budgets: least and largest budget of the small runs.
        mixtures: the mixtures of the small runs.
        unit: unit of their budgets.
        stated: what is stated of their metadata, names and values.
        ratio: c; chosen by `fit` unless it is given.
        order: place of every domain in the large sweep; set by `fit`.
        large_scale: budget scale of the large sweep; set by `fit`.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep())
    >>> Bridged.of(bx.fit(sweep, "BiMix")).label
    'Bridged(BiMix)'
    """

    base: Law
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    coefficients: tuple[tuple[float, ...], ...]
    scale: float
    budgets: tuple[float, float]
    mixtures: tuple[tuple[float, ...], ...]
    unit: str
    stated: tuple[tuple[str, Any], ...] = ()
    ratio: float | None = None
    order: tuple[int, ...] | None = None
    large_scale: float | None = None

    name: ClassVar[str] = "Bridged"
    exponent_names: ClassVar[tuple[str, ...]] = ("slope", "target")
    amplitude_names: ClassVar[tuple[str, ...]] = ("factor",)
    curve: ClassVar[int] = 2
    shrunk: ClassVar[tuple[str, ...]] = ("slope",)

    @classmethod
    def of(cls, fitted: Any, ratio: float | None = None) -> "Bridged":
        """Build the law from a `Fit` to small runs, without the targets whose fit failed."""
        of = fitted.coefficients
        both: Any = np.concatenate([of.exponents, of.amplitudes], axis=1)
        good = np.flatnonzero(np.isfinite(both).all(axis=1))
        seen = fitted.observed_mixtures
        seen = fitted.observed_proportions if seen is None else seen
        stated = fitted.metadata.stated()
        stated.pop("lower_is_better", None)
        return cls(
            base=fitted.law,
            domains=tuple(fitted.domains),
            targets=tuple(fitted.targets[i] for i in good),
            coefficients=_nested(both[good]),
            scale=float(of.budget_scale[0]),
            budgets=tuple(map(float, fitted.observed_budgets)),  # type: ignore[arg-type]
            mixtures=_nested(seen),
            unit=fitted.unit,
            stated=tuple(stated.items()),
            ratio=ratio,
        )

    def __post_init__(self) -> None:
        if self.ratio is not None and not 0 < self.ratio < np.inf:
            raise ValueError(f"ratio is {self.ratio}; expected a number above 0, or None.")

    @property
    def label(self) -> str:
        """Name of the law and, in parentheses, of that of the small fit."""
        return f"{self.name}({self.base.label})"

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """True where the logarithm of the small losses is convex in the mixture."""
        return self.base.log_convex

    @property
    def log_convex(self) -> bool:  # type: ignore[override]
        """As that of the small losses, of which it is a multiple."""
        return self.base.log_convex

    @property
    def needs_own(self) -> bool:  # type: ignore[override]
        """As the law of the small fit."""
        return self.base.needs_own

    @property
    def goes_backward(self) -> bool:
        """As the law of the small fit."""
        return self.base.goes_backward

    @property
    def is_of_one_sum(self) -> bool:
        """As the law of the small fit, of which it is a function."""
        return self.base.is_of_one_sum

    @property
    def is_power_of_own(self) -> bool:
        """As the law of the small fit."""
        return self.base.is_power_of_own

    @property
    def size(self) -> float | None:
        """Parameters of the model that the small fit predicts, None where unknown."""
        given: Any = self.base
        return given.size if given.needs_size else dict(self.stated).get("model_size")

    def expresses(self, target: str, domains: Sequence[str]) -> bool:
        """True for the targets of the small fit."""
        return target in self.targets and super().expresses(target, domains)

    def not_expressed(self, targets: Sequence[str], domains: Sequence[str]) -> str:
        """Words on targets that the small fit lacks."""
        return (
            f"maps the losses of the small fit, and none of {', '.join(targets)} is among its "
            f"targets {', '.join(self.targets)}"
        )

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """Set names as the large sweep spells them, its order and its budget scale, and the ratio
        unless it is given.

        Raises:
            ValueError: if domains or metadata differ, a model size is not known, or a ratio cannot
                be chosen.
        """
        # They bring tables, which no pure fit needs.
        from bimix_jax.reading.metadata import Metadata
        from bimix_jax.reading.names import check_names, respelled

        stated = Metadata(**dict(self.stated))
        sweep.metadata.check_like(stated, "the large runs", "the small fit", but=("model_size",))
        domains = check_names("law: domains of the small fit", self.domains, sweep.domains)
        spelled = respelled("targets of the small fit", self.targets, sweep.targets)
        bound = dataclasses.replace(
            self,
            base=self._at_size_of(sweep),
            domains=tuple(domains),
            targets=tuple(spelled.get(target, target) for target in self.targets),
            order=tuple(map(sweep.domains.index, domains)),
            large_scale=budget_scale,
        )
        if self.ratio is not None:
            return bound
        ratios = _ratios(bound, sweep)
        # Without a common target there is nothing to map, which `fit` refuses later.
        names = [target for target in sweep.targets if target in bound.targets]
        errors = _misfits(bound, sweep, names, ratios) if len(ratios) > 1 and names else [0.0]
        return dataclasses.replace(bound, ratio=ratios[int(np.argmin(errors))])

    def _at_size_of(self, sweep: Any) -> Law:
        """The law of the small fit, for the model of the large sweep unless another is set."""
        if not self.base.needs_size or self.size is not None:
            return self.base
        if sweep.metadata.model_size is None:
            raise ValueError(
                f"law: {self.base.label}, of the small fit, predicts for one model size; say which "
                "by fitted.at_model_size(7e9), or state that of the large runs (--metadata "
                "model_size=7e9)."
            )
        return self.base.at_size(sweep.metadata.model_size)

    def known_exponents(self, targets: Sequence[str]) -> np.ndarray:
        """The number of every target among those of the small fit."""
        return np.array([[np.nan, self.targets.index(target)] for target in targets])

    def seen_mixtures(self, mixtures: np.ndarray) -> np.ndarray:
        """The mixtures, and those of the small fit."""
        small = np.empty((len(self.mixtures), mixtures.shape[1]))
        small[:, list(self.order or ())] = self.mixtures
        return np.unique(np.concatenate([mixtures, small]), axis=0)

    def assumptions(self) -> tuple[str, ...]:
        """Assumption of the map, the ratio of budgets, and the assumptions of the small fit."""
        same = self.ratio is None or np.isclose(self.ratio, 1)
        asked = "at the same budget" if same else f"at {self.ratio:.3g} × the budget"
        return (
            *self.base.assumptions(),
            f"Losses are those of {self.base.label}, fitted to {self._small()}, by log L = a + "
            f"b·log L_small for each target; the small fit is asked {asked}. Its own uncertainty "
            "counts only as far as it is off at the large runs.",
        )

    def _small(self) -> str:
        """Words on the small model."""
        return "smaller models" if self.size is None else f"models of {self.size:.4g} parameters"

    def bounds(self, domains: int) -> Any:
        """0 ≤ b ≤ 3; and the numbers of the targets."""
        # A large model does not reverse what a small one finds better.
        return [(0.0, STEEPEST), (0.0, float(len(self.targets)))]

    def starts(self, domains: int) -> Any:
        """b = 1; `known_exponents` has the rest."""
        return [[1.0, np.nan]]

    def fixed(self, own: Array) -> Array:
        """True for the number of the target."""
        return jnp.array([False, True])

    def shrinkage(self, own: Array) -> tuple[Array, Array]:
        """Centre and weight that shrink b to 1."""
        return jnp.array([1.0, 0.0]), jnp.array([1.0, 0.0])

    def held_at_centre(self) -> str:
        """Words on b = 1."""
        return "no slopes b that predict better than 1, so that they are 1. Add large runs"

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """Features of the law of the small fit, at the budget at which it is asked."""
        if self.order is None or self.large_scale is None:
            raise ValueError("law: Bridged knows no large sweep; fit it, as bx.bridge does.")
        places = np.array(self.order)
        ratio = 1.0 if self.ratio is None else self.ratio
        asked = budget * (ratio * self.large_scale / self.scale)
        return self.base.features(mixture[places], own[places], asked)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """(L_small^b,)."""
        small_exponents, amplitudes = self._small_coefficients(exponents[1])
        columns = self.base.basis(small_exponents, features)
        loss = self.base.total(amplitudes, columns)
        return (jnp.exp(exponents[0] * jnp.log(loss)),)

    def _small_coefficients(self, target: Array) -> tuple[Array, Array]:
        """Exponents and amplitudes of the small fit of a target with number () target."""
        every = jnp.asarray(self.coefficients, target.dtype)
        # A sum instead of an index, so that the number may be a float among exponents.
        here = jnp.arange(len(every)) == target
        found = jnp.sum(jnp.where(here[:, None], every, 0.0), axis=0)
        count = len(self.base.amplitude_names)
        return found[:-count], found[-count:]

    def usable(self, mixture: Array, own: Array) -> Array:
        """As the law of the small fit."""
        return self.base.usable(*self._in_order(mixture, own))

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """As the law of the small fit."""
        small_exponents, _ = self._small_coefficients(exponents[1])
        return self.base.has_value(small_exponents, *self._in_order(mixture, own))

    def _in_order(self, mixture: Array, own: Array) -> tuple[Array, Array]:
        """Both (domains,) in the order of the small fit."""
        places = np.arange(len(self.domains)) if self.order is None else np.array(self.order)
        return mixture[places], own[places]

    def unusable_reason(self) -> str:
        """As the law of the small fit."""
        return self.base.unusable_reason()

    def power_of_own(self, exponents: Array, amplitudes: Array, budget: Array) -> Any:
        """(e^a·K^b, b·α) of the K and α of the small fit."""
        asked = budget * (self.ratio * self.large_scale / self.scale)  # type: ignore[operator]
        scale, power = self.base.power_of_own(*self._small_coefficients(exponents[1]), asked)
        return amplitudes[0] * scale ** exponents[0], exponents[0] * power

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """a and b."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"a": np.log(amplitudes[..., 0]), "b": exponents[..., 0]}


def _nested(values: Any) -> Any:
    """Nested tuples of floats, which a law can hold."""
    array = np.asarray(values, float)
    return tuple(map(_nested, array)) if array.ndim else float(array)


def _ratios(law: Bridged, sweep: Any) -> list[float]:
    """Ratios of budgets between which a large sweep decides; a single one where it cannot.

    Raises:
        ValueError: if the small fit has one budget, and the large sweep several.
    """
    least, largest = law.budgets
    reached, single = largest / sweep.largest_budget, len(np.unique(sweep.budget)) == 1
    if least == largest:
        if not single:
            raise ValueError(
                "law: the small fit has a single budget, so that it is unknown how its losses "
                "change along the budgets of the large runs; select one of these "
                "(--endpoints-only, or sweep.take)."
            )
        return [reached]
    if sweep.unit != law.unit:
        return [reached]
    if single:
        return [1.0 if reached * REACH >= 1 else reached]
    size = sweep.metadata.model_size
    by_size = [law.size / size] if law.size and size else []
    return list(dict.fromkeys([1.0, *by_size, reached]))


def _misfits(
    law: Bridged, sweep: Any, names: Sequence[str], ratios: Sequence[float]
) -> list[float]:
    """Means over targets of `_misfit`, at each ratio of budgets."""
    numbers = law.known_exponents(names)[:, 1]
    own = np.array([[float(d == name) for d in sweep.domains] for name in names])
    budget = sweep.budget / law.large_scale
    with np.errstate(divide="ignore", invalid="ignore"):
        large = np.log(sweep.loss[:, [sweep.targets.index(name) for name in names]]).T

    def mean_misfit(ratio: float) -> float:
        small = np.asarray(_log_small(law, sweep.mixture, ratio * budget, own, numbers))
        return float(np.nanmean([_misfit(*pair) for pair in zip(small, large, strict=True)]))

    return [mean_misfit(ratio) for ratio in ratios]


def _misfit(small: np.ndarray, large: np.ndarray) -> float:
    """Mean squared residual of a target's best map, and its shrinkage; nan without any loss."""
    known = np.isfinite(small) & np.isfinite(large)
    if not known.any():
        return float("nan")
    x, y = (part[known] - part[known].mean() for part in (small, large))
    slope = (np.mean(x * y) + PRIOR) / (np.mean(x**2) + PRIOR)
    # Without the shrinkage, slopes far from 1 make up for a wrong ratio where runs are few.
    return float(np.mean((y - slope * x) ** 2) + PRIOR * (slope - 1) ** 2)


@functools.partial(jit, static_argnums=0, x64=True)
def _log_small(law: Bridged, mixture: Array, budget: Array, own: Array, number: Array) -> Array:
    """(targets, points) log losses of the small fit."""

    def of_point(own: Array, number: Array, mixture: Array, budget: Array) -> Array:
        (loss,) = law.basis(jnp.array([1.0, number]), law.features(mixture, own, budget))
        return jnp.log(loss)

    by_point = jax.vmap(of_point, in_axes=(None, None, 0, 0))
    return jax.vmap(by_point, in_axes=(0, 0, None, None))(own, number, mixture, budget)
