"""Several laws as one: each is fitted by itself, and their predictions are combined."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.bimix import BiMix
from bimix_jax.laws.law import Law, check_law
from bimix_jax.laws.model_size import WithModelSize
from bimix_jax.laws.published import AdditiveLaw
from bimix_jax.laws.transfer import SplitSubstitutionBiMix, SubstitutionBiMix
from bimix_jax.laws.wrappers import WithWarmUp

SCALE = 0.001
"""Difference of log losses up to which laws agree: a fifth of what they are off by on real sweeps.
Towards 0 the centre is a median, whose slopes jump; with 0.002 and 0.005 it predicts a little
worse."""
USUAL: tuple[Law, ...] = (
    BiMix(),
    WithWarmUp(SubstitutionBiMix()),
    WithWarmUp(SplitSubstitutionBiMix()),
    AdditiveLaw(),
)
"""Laws of a stack unless others are given: unlike each other, from the simplest to the richest, so
that no error is common to most of them."""
_AT_ONE_BUDGET = tuple(getattr(law, "base", law) for law in USUAL)
"""What `WithWarmUp` leaves of them in a sweep of one budget."""
HALVINGS, STEPS = 20, 3
"""Number of halvings of the interval of a centre, and of Newton steps after them. The halvings
leave a thousandth of the scale where laws differ by a factor of e, and each step doubles the number
of digits."""


@dataclasses.dataclass(frozen=True)
class Stacked(Law):
    """log L is the robust centre of the log losses log L_m of several laws, each fitted by itself.

    The centre μ solves Σ_m ψ((log L_m − μ)/τ) = 0 with ψ(u) = u/√(1 + u²): near the mean of laws
    that agree to within τ, and near the median where they do not, so that a law which extrapolates
    wildly moves it little. It is smooth, and so has slopes for the search of a mixture. Sources:
    Wolpert, "Stacked Generalization", Neural Networks 1992, for the name; Huber, "Robust Estimation
    of a Location Parameter", Annals of Mathematical Statistics 1964, with ψ of Charbonnier et al.
    1994 for the centre.

    Which law predicts best is hardly seen in the runs at hand: the centre of good laws is about as
    good as the law that turns out to be the best one. It need not be convex in the mixture, though
    its laws be. With `scale=None` it is the mean of the losses, which is convex where all laws are,
    so that an optimum is proven, but which a wild law moves.

    Args:
        laws: two or more, of different names; default four that predict well on most sweeps.
        scale: τ > 0, a difference of log losses; None for the mean.

    >>> Stacked((BiMix(), AdditiveLaw())).amplitude_names[1:3]
    ('AC(BiMix)', 'E(AdditiveLaw)')
    """

    laws: tuple[Law, ...] = USUAL
    scale: float | None = SCALE

    name: ClassVar[str] = "Stacked"

    def __post_init__(self) -> None:
        given: Any = self.laws
        laws = tuple(map(check_law, given if isinstance(given, Sequence) else (given,)))
        labels = [law.label for law in laws]
        if len(laws) < 2 or len(set(labels)) < len(laws):
            raise ValueError(
                f"laws are {', '.join(labels) or 'none'}; expected two or more of different names."
            )
        nested = [law.label for law in laws if law.members]
        if nested:
            raise ValueError(f"laws: {nested[0]} is a stack itself; give its laws instead.")
        linked = [law.label for law in laws if law.of_losses]
        if linked:
            raise ValueError(f"laws: {linked[0]} cannot be in a stack; compare it with the stack.")
        if self.scale is not None and not 0 < self.scale < np.inf:
            raise ValueError(
                f"scale is {self.scale}; expected a difference of log losses above 0, or None."
            )
        object.__setattr__(self, "laws", laws)

    @property
    def members(self) -> tuple[Law, ...]:
        """The laws, which are fitted apart."""
        return self.laws

    @property
    def label(self) -> str:
        """Name, with those of the laws unless they are the usual ones."""
        scale = {SCALE: "", None: ", mean"}.get(self.scale, f", {self.scale}")
        if self.laws in (USUAL, _AT_ONE_BUDGET):
            return f"{self.name}({scale[2:]})" if scale else self.name
        if self.laws == tuple(WithModelSize(law) for law in USUAL):
            return f"WithModelSize({self.name}{scale})"
        return f"{self.name}({', '.join(law.label for law in self.laws)}{scale})"

    @property
    def exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Exponents of all laws but those per domain, each with the name of its law."""
        return tuple(_of(law, name) for law in self.laws for name in law.exponent_names)

    @property
    def amplitude_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Amplitudes of all laws, each with the name of its law."""
        return tuple(_of(law, name) for law in self.laws for name in law.amplitude_names)

    @property
    def signed(self) -> tuple[str, ...]:  # type: ignore[override]
        """Amplitudes that some law allows to be negative."""
        return tuple(_of(law, name) for law in self.laws for name in law.signed)

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """True for a mean of convex laws."""
        return self.scale is None and all(law.convex for law in self.laws)

    @property
    def log_convex(self) -> bool:  # type: ignore[override]
        """True for a mean of laws with convex logarithms, whose sum has one, too."""
        return self.scale is None and all(law.log_convex for law in self.laws)

    @property
    def needs_own(self) -> bool:  # type: ignore[override]
        """True where all laws need an own proportion; one that has none does not count."""
        return all(law.needs_own for law in self.laws)

    @property
    def needs_size(self) -> bool:  # type: ignore[override]
        """True where the size of the model is a variable of a law."""
        return any(law.needs_size for law in self.laws)

    @property
    def curve(self) -> int:  # type: ignore[override]
        """Number of budgets that determine the curves of all laws."""
        return max(law.curve for law in self.laws)

    @property
    def size(self) -> float | None:
        """Size of the model that predictions are for, of laws with a size."""
        return next((law.size for law in self.laws if law.needs_size), None)  # type: ignore[attr-defined]

    @property
    def goes_backward(self) -> bool:
        """True where all laws do."""
        return all(law.goes_backward for law in self.laws)

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """Names of all exponents, law by law."""
        return tuple(_of(law, name) for law in self.laws for name in law.names(domains))

    def split(self, exponents: Any, amplitudes: Any) -> list[tuple[Any, Any]]:
        """Exponents (…, exponents) and amplitudes (…, amplitudes) of every law."""
        of_laws = _cut(amplitudes, [len(law.amplitude_names) for law in self.laws])
        return list(zip(self.split_exponents(exponents), of_laws, strict=True))

    def split_exponents(self, values: Any) -> list[Any]:
        """Values (…, exponents) of the exponents of every law."""
        named = [len(law.exponent_names) for law in self.laws]
        further = [len(law.domain_exponent_names) for law in self.laws]
        # Each further name stands for one exponent per domain.
        domains = (values.shape[-1] - sum(named)) // max(sum(further), 1)
        return _cut(values, [n + domains * m for n, m in zip(named, further, strict=True)])

    def combined(self, losses: Array) -> Array:
        """The centre (…) of losses (laws, …); losses that are not above 0 do not count."""
        return _centre(losses, self.scale)

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """Stack the laws as prepared for that sweep."""
        return self._with(law.for_sweep(sweep, budget_scale) for law in self.laws)

    def at_size(self, size: float) -> Law:
        """Stack the laws as they predict for models of `size` parameters."""
        return self._with(law.at_size(size) for law in self.laws)

    def assumptions(self) -> tuple[str, ...]:
        """Assumptions of all laws, once each."""
        return tuple(dict.fromkeys(said for law in self.laws for said in law.assumptions()))

    def bounds(self, domains: int) -> Any:
        """Bounds of the exponents of all laws."""
        return [tuple(pair) for law in self.laws for pair in law.bounds(domains)]

    def starts(self, domains: int) -> Any:
        """The first start of every law, together: a stack is never searched itself."""
        return [[number for law in self.laws for number in law.starts(domains)[0]]]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """Features of every law."""
        return tuple(law.features(mixture, _some(law, own), budget) for law in self.laws)

    def features_at_size(self, mixture: Array, own: Array, budget: Array, size: Any) -> Any:
        """Features of every law for a model of `size` parameters."""
        return tuple(
            law.features_at_size(mixture, _some(law, own), budget, size) for law in self.laws
        )

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """The bases of all laws, one after another."""
        parts = self.split_exponents(exponents)
        each = zip(self.laws, parts, features, strict=True)
        return tuple(column for law, part, of in each for column in law.basis(part, of))

    def total(self, amplitudes: Any, columns: Sequence[Any]) -> Any:
        """The centre of the losses of the laws."""
        ends = np.cumsum([0] + [len(law.amplitude_names) for law in self.laws])
        each = zip(self.laws, ends, ends[1:], strict=False)
        losses = [law.total(amplitudes[a:b], columns[a:b]) for law, a, b in each]
        return self.combined(jnp.stack(jnp.broadcast_arrays(*losses)))

    def fixed(self, own: Array) -> Array:
        """Fixed exponents of all laws."""
        return jnp.concatenate([law.fixed(own) for law in self.laws])

    def least(self, own: Array) -> Array:
        """Lower bounds of all laws."""
        return jnp.concatenate([law.least(own) for law in self.laws])

    def gauges(self, own: Array) -> Array:
        """Sum over the laws."""
        return jnp.sum(jnp.stack([law.gauges(own) for law in self.laws]))

    def reduced(self, exponents: np.ndarray, own: np.ndarray) -> Law:
        """The one law to which all laws reduce, if they do; their centre is that law."""
        parts = self.split_exponents(exponents)
        each = zip(self.laws, parts, strict=True)
        found = {law.reduced(part, own) for law, part in each}
        return found.pop() if len(found) == 1 else self

    def usable(self, mixture: Array, own: Array) -> Array:
        """True where a law is finite."""
        return jnp.any(jnp.stack([law.usable(mixture, own) for law in self.laws]))

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """True where at least half of the laws are defined: others hardly move the centre."""
        parts = self.split_exponents(exponents)
        each = zip(self.laws, parts, strict=True)
        defined = jnp.stack([law.has_value(part, mixture, own) for law, part in each])
        return 2 * jnp.sum(defined) >= len(self.laws)

    def unusable_reason(self) -> str:
        """The reasons of the laws."""
        return "; ".join(dict.fromkeys(law.unusable_reason() for law in self.laws))

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Coefficients of every law, each with the name of its law."""
        each = zip(self.laws, self.split(exponents, amplitudes), strict=True)
        return {
            _of(law, name): value
            for law, part in each
            for name, value in law.report(*part, budget_scale).items()
        }

    def _with(self, laws: Any) -> "Stacked":
        return dataclasses.replace(self, laws=tuple(laws))


def _cut(values: Any, counts: list[int]) -> list[Any]:
    """Parts of values (…, all) with these counts."""
    ends = np.cumsum(counts)
    return [values[..., end - count : end] for end, count in zip(ends, counts, strict=True)]


def _some(law: Law, own: Array) -> Array:
    """The own domain (domains,); all of them for a law that needs one where there is none.

    Such a law has no fit and does not count, but its infinite slopes would.
    """
    return jnp.where(jnp.any(own > 0), own, 1.0) if law.needs_own else own


def _of(law: Law, name: str) -> str:
    return f"{name}({law.label})"


def _centre(losses: Array, scale: float | None) -> Array:
    """Robust centre (…) of losses (laws, …), see `Stacked`; their mean for a scale of None.

    Losses that are not finite or not above 0 do not count; nan where none does.

    >>> print(_centre(jnp.array([[2.0], [2.002], [2.003], [3.0]]), 0.001).round(3))
    [2.003]
    """
    known = jnp.isfinite(losses) & (losses > 0)
    # Harmless values in place of the others, as even an untaken branch has derivatives.
    safe = jnp.where(known, losses, 1.0)
    some = jnp.any(known, axis=0)
    if scale is None:
        mean = jnp.sum(jnp.where(known, safe, 0.0), axis=0) / jnp.sum(known, axis=0)
        return jnp.where(some, mean, jnp.nan)
    # Relative to the first loss that counts, so that nothing is lost where all are alike.
    return jnp.where(some, jnp.exp(_middle(jnp.log(safe), known, scale)), jnp.nan)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _middle(logs: Array, known: Array, scale: float) -> Array:
    """Robust centre (…) of the known logs (laws, …)."""
    middle = _halved(logs, known, scale)
    for _ in range(STEPS):
        middle = middle + _newton(logs, known, middle, scale)
    return middle


@_middle.defjvp
def _middle_moved(scale: float, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Derivative of the centre: 0 = Σ ψ((log L_m − μ)/τ) gives dμ = Σ ψ′ d log L_m / Σ ψ′."""
    logs, known = primals
    middle = _middle(logs, known, scale)
    weight = jnp.where(known, (1 + ((logs - middle) / scale) ** 2) ** -1.5, 0.0)
    total = jnp.sum(weight, axis=0)
    return middle, jnp.sum(weight * tangents[0], axis=0) / jnp.where(total > 0, total, 1.0)


def _pull(logs: Array, known: Array, middle: Array, scale: float) -> Array:
    """Σ ψ (…) of logs (laws, …) around a middle (…)."""
    away = (logs - middle) / scale
    return jnp.sum(jnp.where(known, away / jnp.sqrt(1 + away**2), 0.0), axis=0)


def _halved(logs: Array, known: Array, scale: float) -> Array:
    """Middle (…) of an interval with the centre, after all halvings."""

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        above = _pull(logs, known, middle, scale) > 0
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    ends = (
        jnp.min(jnp.where(known, logs, jnp.inf), axis=0),
        jnp.max(jnp.where(known, logs, -jnp.inf), axis=0),
    )
    some = jnp.any(known, axis=0)
    low, high = (jnp.where(some, end, 0.0) for end in ends)
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
    return (low + high) / 2


def _newton(logs: Array, known: Array, middle: Array, scale: float) -> Array:
    """Step (…) towards the centre."""
    away = (logs - middle) / scale
    weight = jnp.where(known, (1 + away**2) ** -0.5, 0.0)
    # ψ′ = (1 + u²)^(−3/2) is the cube of ψ/u; without any law the step is 0.
    slope = jnp.sum(weight**3, axis=0)
    pull = jnp.sum(weight * jnp.where(known, away, 0.0), axis=0)
    return scale * pull / jnp.where(slope > 0, slope, 1.0)
