"""A wrapper that makes the model's size a third variable of any law."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.laws.law import Law
from bimix_jax.laws.wrappers import WrappedLaw

# Beyond a loss at one size the multiplicative form has δ alone, the additive one δ and K.
SIZE_FORMS = {"multiplicative": 2, "additive": 3}
"""Form → number of model sizes that determine its coefficients."""


@dataclasses.dataclass(frozen=True)
class WithModelSize(WrappedLaw):
    """L(r, s, N) = L(r, s)·(N/N₀)^−δ, or L(r, s) + K·(N/N₀)^−δ, for any law L(r, s).

    Several proxy sizes are fitted together and a larger one is predicted. N₀ is the largest size of
    the sweep. In the multiplicative form a larger model lowers every loss by the same factor; it
    needs two sizes. In the additive form, with a separate term of N as in Hoffmann et al. 2022
    (arXiv 2203.15556), a larger model lowers every loss by the same number of nats at every mixture
    and budget; it needs three. In neither does the best mixture change with N.

    Args:
        base: the law of mixture and budget.
        form: "multiplicative" or "additive".
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

    @property
    def label(self) -> str:
        """Name of the wrapper and of the base, and the form if it is additive."""
        further = ", additive" if self.form == "additive" else ""
        return f"{self.name}({self.base.label}{further})"

    @property
    def exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """δ, then the exponents of the base."""
        return ("delta", *self.base.exponent_names)

    @property
    def amplitude_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Amplitudes of the base, then K in the additive form."""
        further = ("K",) if self.form == "additive" else ()
        return (*self.base.amplitude_names, *further)

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

    def assumptions(self) -> tuple[str, ...]:
        """Assumption that δ is the only effect of a larger model."""
        how = "divides the loss by" if self.form == "multiplicative" else "takes off the loss"
        what = "one factor" if self.form == "multiplicative" else "one number of nats"
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
            f"Model size {how} {what} a target, the same at every mixture and budget; the best "
            "mixture moves with size only through the weights of the targets.",
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
                "law: WithModelSize predicts for one model size; say which by "
                "fitted.at_model_size(7e9), which bootstrap takes too, or pass size=."
            )
        return self.size

    def features_at_size(self, mixture: Array, own: Array, budget: Array, size: Any) -> Any:
        """(log of N/N₀, features of the base)."""
        if self.reference is None:
            raise ValueError("law: WithModelSize has no reference; fit it, or set reference=N₀.")
        return jnp.log(size / self.reference), self.base.features(mixture, own, budget)

    def basis(self, exponents: Array, features: Any) -> tuple[Any, ...]:
        """Basis of the base times (N/N₀)^−δ, or basis of the base followed by (N/N₀)^−δ."""
        log_size, of_base = features
        of_size = jnp.exp(-exponents[0] * log_size)
        basis = self.base.basis(exponents[1:], of_base)
        if self.form == "additive":
            return (*basis, of_size)
        return tuple(of_size * column for column in basis)

    def power_of_own(self, exponents: Array, amplitudes: Array, budget: Array) -> Any:
        """K of the base times (N/N₀)^−δ, and its α."""
        scale, exponent = self.base.power_of_own(exponents[1:], amplitudes, budget)
        return scale * (self._size() / self.reference) ** -exponents[0], exponent  # type: ignore[operator]

    @property
    def is_power_of_own(self) -> bool:
        """True where the base has this form and the size multiplies it."""
        # A summand K·(N/N₀)^−δ beside K r^−α would not be a power of r any more.
        return self.form == "multiplicative" and self.base.is_power_of_own

    def report(
        self, exponents: np.ndarray, amplitudes: np.ndarray, budget_scale: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Coefficients of the base at N₀, delta, and K in the additive form."""
        count = len(self.base.amplitude_names)
        found = self.base.report(exponents[..., 1:], amplitudes[..., :count], budget_scale)
        further = {
            name: amplitudes[..., count + i] for i, name in enumerate(self.amplitude_names[count:])
        }
        return found | {"delta": exponents[..., 0]} | further
