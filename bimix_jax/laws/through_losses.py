"""Scores through losses: a law for the losses, and a link from a few of them to each score."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law
from bimix_jax.laws.transfer import SubstitutionBiMix

MOST = 3
"""Largest number of losses in the link of a score."""
USUAL = SubstitutionBiMix()
"""Law of the losses unless another one is given."""


@dataclasses.dataclass(frozen=True)
class ThroughLosses(Law):
    """score = chance + (maximum − chance)·sigmoid(a − Σ_j w_j·L_j), w_j ≥ 0, of at most 3 losses.

    The losses L_j of the mixture and the budget follow the law `base`. The distance of the score to
    its maximum is e = sigmoid(Σ_j w_j·L_j − a), in parts of the range. The links are fitted to the
    measured losses and scores of all runs and checkpoints, and the losses of a link are chosen by
    cross-validation over mixtures. A target that is a loss has the loss of the base. Sources: Gadre
    et al., "Language models scale reliably with over-training and on downstream tasks", 2024, for
    the way from the loss to the error; Dubey et al., "The Llama 3 Herd of Models", 2024, for the
    sigmoid.

    A link knows nothing of the mixture: two runs of equal losses have equal scores. It is not
    convex in the mixture.

    Args:
        base: law of the losses.
        losses: the targets of the sweep that are losses; set by `fit`.
        own: column of the domain that each loss is measured on, −1 for none; set by `fit`.

    >>> from bimix_jax.laws.bimix import BiMix
    >>> ThroughLosses(BiMix()).label
    'ThroughLosses(BiMix)'
    """

    base: Law = USUAL
    losses: tuple[str, ...] = ()
    own: tuple[int, ...] = ()

    name: ClassVar[str] = "ThroughLosses"
    exponent_names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.base, Law):
            raise ValueError(
                f"law: {self.name} is around {self.base!r}; expected an instance of a law, "
                f"{self.name}(SubstitutionBiMix()) for example."
            )
        if self.base.members or self.base.of_losses or self.base.known_exponents(()) is not None:
            raise ValueError(
                f"law: {self.name} is around {self.base.label}; expected a law that is fitted by "
                "itself, SubstitutionBiMix for example."
            )

    @property
    def label(self) -> str:
        """Name, and in parentheses that of the law of the losses."""
        return f"{self.name}({self.base.label})"

    @property
    def of_losses(self) -> Law | None:
        """The law of the losses."""
        return self.base

    @property
    def amplitude_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Amplitudes of every loss of the link, then a, its weights, and 1 of a score."""
        each = [f"{name}({i + 1})" for i in range(MOST) for name in self.base.amplitude_names]
        return (*each, "a", *(f"w({i + 1})" for i in range(MOST)), "linked")

    @property
    def signed(self) -> tuple[str, ...]:  # type: ignore[override]
        """a, and amplitudes that the base allows to be negative."""
        return ("a", *(f"{name}({i + 1})" for i in range(MOST) for name in self.base.signed))

    @property
    def needs_size(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.needs_size

    @property
    def size(self) -> float | None:
        """Size of the model that predictions are for, of a base with a size."""
        return self.base.size if self.needs_size else None  # type: ignore[attr-defined]

    @property
    def curve(self) -> int:  # type: ignore[override]
        """As the base."""
        return self.base.curve

    @property
    def goes_backward(self) -> bool:
        """As the base."""
        return self.base.goes_backward

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """The number of each loss of the link, and the exponents of its law."""
        inner = ("loss", *self.base.names(domains))
        return tuple(f"{name}({i + 1})" for i in range(MOST) for name in inner)

    def parts(self, exponents: Any, amplitudes: Any) -> tuple[Any, Any, Any, Any]:
        """Numbers (…, 3) of the losses, their exponents (…, 3, exponents) and amplitudes (…, 3,
        amplitudes), and the coefficients (…, 5) of the link: a, the weights, and 1 of a score."""
        first = MOST * len(self.base.amplitude_names)
        inner = exponents.reshape(*exponents.shape[:-1], MOST, -1)
        each = amplitudes[..., :first].reshape(*amplitudes.shape[:-1], MOST, -1)
        return inner[..., 0], inner[..., 1:], each, amplitudes[..., first:]

    def expresses(self, target: str, domains: Sequence[str]) -> bool:
        """True for the losses that the base can express, and for scores."""
        # What is a score, only a sweep says, and `for_sweep` has seen it.
        return not self.losses or target in self.losses or target not in domains

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """Set the losses of the sweep.

        Raises:
            ValueError: if it has no scores, or no losses that the base can express.
        """
        described = sweep.metadata.described(sweep.targets)
        every = [target.name for target in described if not target.is_score]
        losses = tuple(name for name in every if self.base.expresses(name, sweep.domains))
        if len(every) == len(described):
            raise ValueError(
                f"law: {self.label} predicts scores, and the sweep has none; fit "
                f"{self.base.label} to its losses."
            )
        if not losses:
            raise ValueError(
                f"law: {self.label} predicts scores through losses, and the sweep has "
                f"{'none that ' + self.base.label + ' can express' if every else 'scores only'}. "
                "Add columns of losses, or fit the scores directly (LogLinear, TransferBiMix)."
            )
        own = tuple(sweep.domains.index(t) if t in sweep.domains else -1 for t in losses)
        base = self.base.for_sweep(sweep, budget_scale)
        return dataclasses.replace(self, base=base, losses=losses, own=own)

    def at_size(self, size: float) -> Law:
        """The law as it predicts for models of `size` parameters."""
        return dataclasses.replace(self, base=self.base.at_size(size))

    def assumptions(self) -> tuple[str, ...]:
        """Assumptions of the base, and that of the links."""
        return (
            *self.base.assumptions(),
            "Scores are predicted from predicted losses, by links that were fitted to the measured "
            "ones: runs of equal losses are taken to have equal scores.",
        )

    def bounds(self, domains: int) -> Any:
        """The numbers of the losses, and the bounds of the base, of every loss of the link."""
        inner = [(0.0, float(max(len(self.losses), 1))), *self.base.bounds(domains)]
        return [tuple(pair) for _ in range(MOST) for pair in inner]

    def starts(self, domains: int) -> Any:
        """The first start of the base: a link is never searched itself."""
        return [[0.0, *self.base.starts(domains)[0]] * MOST]

    def fixed(self, own: Array) -> Array:
        """True for the numbers of the losses."""
        inner = jnp.concatenate([jnp.ones(1, bool), self.base.fixed(own)])
        return jnp.tile(inner, MOST)

    def least(self, own: Array) -> Array:
        """Lower bounds of the base."""
        inner = self.base.least(own)
        return jnp.tile(jnp.concatenate([jnp.zeros(1, inner.dtype), inner]), MOST)

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """(mixture, budget): the domains of the losses are known to the exponents only."""
        return mixture, budget

    def features_at_size(self, mixture: Array, own: Array, budget: Array, size: Any) -> Any:
        """(mixture, budget, size)."""
        return mixture, budget, size

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """The bases of all losses of the link, then 1 for each coefficient of the link."""
        mixture, budget, *size = features
        inner = exponents.reshape(MOST, -1)

        def columns(numbered: Array) -> Any:
            own = self.own_of(numbered[0], mixture.shape[0]).astype(mixture.dtype)
            at = (
                self.base.features_at_size(mixture, own, budget, *size)
                if size
                else self.base.features(mixture, own, budget)
            )
            return jnp.stack([jnp.asarray(c) for c in self.base.basis(numbered[1:], at)])

        every = jnp.concatenate([columns(inner[i]) for i in range(MOST)])
        return (*every, *jnp.ones(MOST + 2, every.dtype))

    def own_of(self, number: Array, domains: int) -> Array:
        """(domains,) bool: the domain that the loss with number () is measured on."""
        # A sum instead of an index, so that the number may be a float among exponents.
        here = jnp.arange(len(self.own)) == number
        place = jnp.sum(jnp.where(here, jnp.array(self.own, int), 0))
        return jnp.arange(domains) == place

    def total(self, amplitudes: Any, columns: Sequence[Any]) -> Any:
        """The distance of a score, or the loss of a target that is one."""
        count = len(self.base.amplitude_names)
        losses = [
            self.base.total(amplitudes[i : i + count], columns[i : i + count])
            for i in range(0, MOST * count, count)
        ]
        a, *weights, linked = amplitudes[MOST * count :]
        # The last columns are 1; with them the result has the shape of the points.
        inside = sum(w * loss for w, loss in zip(weights, losses, strict=True)) - a * columns[-1]
        return jnp.where(linked > 0, jax.nn.sigmoid(inside), losses[0])

    def usable(self, mixture: Array, own: Array) -> Array:
        """True where the base is finite for every loss."""
        numbers = range(len(self.own))
        each = [self.base.usable(mixture, self.own_of(jnp.array(i), len(mixture))) for i in numbers]
        return jnp.all(jnp.array(each)) if each else jnp.array(True)

    def has_value(self, exponents: Array, mixture: Array, own: Array) -> Array:
        """True where the base is defined for every loss of the link."""
        each = [
            self.base.has_value(one[1:], mixture, self.own_of(one[0], len(mixture)))
            for one in exponents.reshape(MOST, -1)
        ]
        return jnp.all(jnp.stack(each))

    def unusable_reason(self) -> str:
        """As the base."""
        return self.base.unusable_reason()

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Return the base's coefficients for a loss, or a and the weights of losses for a score."""
        numbers, inner, each, link = self.parts(exponents, amplitudes)
        scores = np.asarray(link[..., -1] > 0)
        if not scores.any():
            return self.base.report(inner[..., 0, :], each[..., 0, :], budget_scale)
        names = [self.losses[int(i)] for i in numbers.reshape(-1, MOST)[0]]
        # A loss of several places has the weight of all: those that are not needed repeat another.
        return {"a": link[..., 0]} | {
            f"w({name})": sum(link[..., 1 + i] for i, at in enumerate(names) if at == name)
            for name in dict.fromkeys(names)
        }
