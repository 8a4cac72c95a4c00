"""A wrapper that makes the model's size a third variable of any law."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law
from bimix_jax.laws.wrappers import WrappedLaw

# Beyond a loss at one size the multiplicative form has δ alone, the others δ and an amplitude.
SIZE_FORMS = {"multiplicative": 2, "additive": 3, "floor": 3}
"""Form → number of model sizes that determine its coefficients."""
AMPLITUDES = {"multiplicative": (), "additive": ("K",), "floor": ("G",)}
"""Form → names of its amplitudes beside those of the base."""
EFFECTS = {
    "multiplicative": "divides the loss by one factor",
    "additive": "takes one number of nats off the loss",
    "floor": "takes one number off the floor, which the mixture then multiplies,",
}
"""Form → words on its effect, for the notes of a fit."""


@dataclasses.dataclass(frozen=True)
class WithModelSize(WrappedLaw):
    """A law L(r, s) of mixture and budget with a term of the model's size N, in one of three forms.

    Several proxy sizes are fitted together and a larger one is predicted. N₀ is the largest size of
    the sweep.

    - "multiplicative": L(r, s)·(N/N₀)^−δ. A larger model lowers every loss by the same factor. It
      needs two sizes.
    - "additive": L(r, s) + K·(N/N₀)^−δ, with a separate term of N as in Hoffmann et al. 2022
      (arXiv 2203.15556). A larger model lowers every loss by the same number of nats at every
      mixture and budget. It needs three sizes.
    - "floor": the term is inside of the mixture's factor, beside the floor: where the base is
      q^−α·(B·s^−β + C), the law is q^−α·(B·s^−β + C + G·(N/N₀)^−δ). A larger model lowers the loss
      more at mixtures that are worse for the target. It needs three sizes, and a base of this kind
      (BiMix, CrossBiMix, the transfer and substitution laws). Source: this project.

    For one target, the mixture with the lowest loss is the same at every N in the first two forms;
    a mean of several targets moves with N in each.

    Args:
        base: the law of mixture and budget.
        form: "multiplicative", "additive" or "floor".
        reference: N₀; set by `fit`.
        size: the size that predictions are for; set by `Fit.at_model_size`.

    >>> from bimix_jax.laws.bimix import BiMix
    >>> WithModelSize(BiMix()).exponent_names
    ('delta', 'alpha', 'beta')
    """

    form: str = "multiplicative"
    reference: float | None = None
    size: float | None = None

    name: ClassVar[str] = "WithModelSize"
    layer: ClassVar[int] = 3
    needs_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in SIZE_FORMS:
            raise ValueError(f"form is {self.form!r}; expected one of {', '.join(SIZE_FORMS)}.")
        if self.form == "floor" and not self.base.has_floor:
            raise ValueError(
                f"law: WithModelSize, floor, is around {self.base.label}, which has no floor that "
                'the mixture multiplies; use form="additive", or a base like BiMix or '
                "SubstitutionBiMix."
            )

    @property
    def label(self) -> str:
        """Name of the wrapper and of the base, and the form unless it is multiplicative."""
        further = "" if self.form == "multiplicative" else f", {self.form}"
        return f"{self.name}({self.base.label}{further})"

    @property
    def exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """δ, then the exponents of the base."""
        return ("delta", *self.base.exponent_names)

    @property
    def amplitude_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Amplitudes of the base, then K in the additive form and G in that of the floor."""
        return (*self.base.amplitude_names, *AMPLITUDES[self.form])

    def for_sweep(self, sweep: Any, budget_scale: float) -> Law:
        """Set N₀ to the sweep's largest size."""
        sizes = np.unique(sweep.size) if sweep.size is not None else np.array([])
        if len(sizes) < SIZE_FORMS[self.form]:
            raise ValueError(
                f"law: WithModelSize, {self.form}, needs {SIZE_FORMS[self.form]} model sizes or "
                "more, "
                f"and the sweep has {len(sizes) or 'none'}. Read it with model_size= naming their "
                "column, or stack_sizes several sweeps."
            )
        # At N₀ the size term is 1, so that the base's amplitudes are those of the largest model.
        base = self.base.for_sweep(sweep, budget_scale)
        return dataclasses.replace(self, base=base, reference=float(sizes[-1]))

    def at_size(self, size: float) -> Law:
        """Set the size that predictions are for."""
        return dataclasses.replace(self, size=float(size))

    def assumptions(self) -> tuple[str, ...]:
        """Assumption that δ is the only effect of a larger model."""
        far = (
            ()
            if self.size is None or self.reference is None
            else (
                f"For a model of {self.size:g} parameters, {self.size / self.reference:.3g} × the "
                "largest that was fitted.",
            )
        )
        return (
            *self.base.assumptions(),
            *far,
            f"Model size {EFFECTS[self.form]} for each target, the same at every mixture and "
            "budget; the best mixture moves with size only through the balance of the targets.",
        )

    def bounds(self, domains: int) -> Any:
        """0 ≤ δ ≤ 2, then the bounds of the base."""
        # δ ≥ 0, as a larger model is not worse; at 2 a tenfold size would divide a loss by 100.
        return [(0.0, 2.0), *self.base.bounds(domains)]

    def starts(self, domains: int) -> Any:
        """δ = 0.1 before each start of the base."""
        # 10^0.1 = 1.26: a tenfold size takes a fifth off a loss.
        return [[0.1, *start] for start in self.base.starts(domains)]

    def features(self, mixture: Array, own: Array, budget: Array) -> Any:
        """Compute the features at the size that predictions are for."""
        size = jnp.asarray(self._size(), budget.dtype)
        return self.features_at_size(mixture, own, budget, size)

    def _size(self) -> float:
        """Size that predictions are for; ValueError if it is not set."""
        if self.size is None:
            raise ValueError(
                "law: WithModelSize predicts for one model size; say which by model_size= "
                "(--model-size 7B), or in Python by fitted.at_model_size(7e9), which bootstrap "
                "takes too."
            )
        return self.size

    def features_at_size(self, mixture: Array, own: Array, budget: Array, size: Any) -> Any:
        """(log of N/N₀, features of the base)."""
        if self.reference is None:
            raise ValueError("law: WithModelSize has no reference; fit it, or set reference=N₀.")
        return jnp.log(size / self.reference), self.base.features(mixture, own, budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """Basis of the base times (N/N₀)^−δ, or followed by it, times the last term for "floor"."""
        return self._beside(self.base.basis(exponents[1:], features[1]), exponents, features)

    def log_worth(self, exponents: Array, features: Any) -> Any:
        """As the base."""
        return self.base.log_worth(exponents[1:], features[1])

    def basis_at(self, exponents: Array, log_worth: Array, features: Any) -> tuple[Any, ...]:
        """As `basis`, of that of the base."""
        of_base = self.base.basis_at(exponents[1:], log_worth, features[1])
        return self._beside(of_base, exponents, features)

    def _beside(self, basis: tuple[Any, ...], exponents: Array, features: Any) -> tuple[Any, ...]:
        """Put the term of the size beside the basis of the base."""
        of_size = jnp.exp(-exponents[0] * features[0])
        if self.form == "additive":
            return (*basis, of_size)
        if self.form == "floor":
            return (*basis, of_size * basis[-1])
        return tuple(of_size * column for column in basis)

    def canonical(self, exponents: Array, amplitudes: Array, own: Array) -> tuple[Array, Array]:
        """Gauge of the base; G changes as the last amplitude of the base does, δ and K stay."""
        inner, scaled = super().canonical(exponents, amplitudes, own)
        if self.form != "floor":
            return inner, scaled
        # A gauge multiplies each amplitude by a factor of its own, and G has that of the floor.
        in_place = amplitudes[:-1].at[-1].set(amplitudes[-1])
        _, moved = self.base.canonical(exponents[1:], in_place, own)
        return inner, scaled.at[-1].set(moved[-1])

    def power_of_own(self, exponents: Array, amplitudes: Array, budget: Array) -> Any:
        """K of the base times (N/N₀)^−δ, or plus G·(N/N₀)^−δ, and its α."""
        count = len(self.base.amplitude_names)
        scale, exponent = self.base.power_of_own(exponents[1:], amplitudes[:count], budget)
        of_size = (self._size() / self.reference) ** -exponents[0]  # type: ignore[operator]
        if self.form == "floor":
            return scale + amplitudes[count] * of_size, exponent
        return scale * of_size, exponent

    @property
    def is_power_of_own(self) -> bool:
        """True where the base has this form and no term stands beside it."""
        # A summand K·(N/N₀)^−δ beside K r^−α would not be a power of r any more.
        return self.form != "additive" and self.base.is_power_of_own

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Coefficients of the base, at N₀ unless the size has a term; delta; and K or G."""
        count = len(self.base.amplitude_names)
        found = self.base.report(exponents[..., 1:], amplitudes[..., :count], budget_scale)
        further = {
            name: amplitudes[..., count + i] for i, name in enumerate(self.amplitude_names[count:])
        }
        return found | {"delta": exponents[..., 0]} | further
