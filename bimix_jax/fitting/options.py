"""Options of a fit: one carrier, checked once, and the weights by budget."""

import dataclasses
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np

from bimix_jax.fitting.problem import Asked
from bimix_jax.fitting.residual import RESIDUALS, Residual
from bimix_jax.reading.settings import settings_of
from bimix_jax.sweeps.sweep import Sweep

Purpose = Literal["mixtures", "budgets"]
"""Purpose of the predictions: mixtures that were never run, or later budgets of those that were."""
PURPOSES: tuple[Purpose, ...] = ("mixtures", "budgets")
DTYPES = ("float64", "float32")
LATER = 2.0
"""Power for budgets beyond those measured: a law of budget is least accurate at the first
checkpoints, and extrapolation carries on the error at the last budgets."""
FEWER = 0.7
"""Share of the mixtures that must stay in effect, or a note is given."""


class Given(TypedDict, total=False):
    """The fields of `FitOptions` as the keyword arguments of a verb."""

    residual: Residual
    huber: float | None
    tied: str | Sequence[str]
    budget_power: float
    shrinkage: float | Purpose
    max_steps: int | None
    dtype: str


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """Options of a fit; hashable, so that equal options share compiled programs.

    `fit`, `fit_many` and `compare` take these fields as keyword arguments; a `Fit` holds the
    options that it was made with.

    Raises:
        ValueError: on a value that an option cannot have.

    >>> FitOptions(tied="beta").tied
    ('beta',)
    """

    residual: Residual = "relative"
    """"relative" (ŷ−y)/y, "log" ln ŷ − ln y, or "absolute" ŷ−y"""
    huber: float | None = None
    """residuals beyond this size count linearly: 0.02 is 2 % with relative residuals"""
    tied: tuple[str, ...] = ()
    """exponents that all targets share, ("beta",) for example"""
    budget_power: float = 0.0
    """power ≥ 0 of the budget that weights points; 2 for budgets beyond the sweep's. The choice of
    the shrinkage weights the errors of all points left out equally."""
    shrinkage: float | Purpose = "mixtures"
    """strength ≥ 0 of the shrinkage of the law's further coefficients (transfer weights, cross
    exponents) to the simpler law, 0 for none; or the purpose for which cross-validation chooses it:
    "mixtures" that were never run, with folds of runs, or later "budgets" of the mixtures that were
    run"""
    max_steps: int | None = None
    """largest number of evaluations per start; the default depends on the optimizer"""
    dtype: str = "float64"
    """or "float32", for screening"""

    def __post_init__(self) -> None:
        names = (self.tied,) if isinstance(self.tied, str) else tuple(self.tied)
        object.__setattr__(self, "tied", names)
        self._check()

    @classmethod
    def of(cls, verb: Callable[..., Any], given: Mapping[str, Any]) -> "FitOptions":
        """Select the options among the keyword arguments of a verb.

        Raises:
            TypeError: on a name that is not an option; the message names the nearest one.
            ValueError: on a value that an option cannot have.
        """
        return settings_of(cls, verb, given)

    @property
    def static(self) -> "FitOptions":
        """Options without those that change only weights and strengths, not the program.

        >>> FitOptions(budget_power=2.0).static == FitOptions().static
        True
        """
        return dataclasses.replace(self, budget_power=0.0, shrinkage="mixtures")

    @property
    def settings(self) -> Asked:
        """Return the options that the search itself takes, for `fit_arrays`.

        >>> sorted(FitOptions().settings)
        ['huber', 'max_steps', 'residual', 'tied']
        """
        return Asked(
            residual=self.residual, huber=self.huber, tied=self.tied, max_steps=self.max_steps
        )

    @property
    def is_plain(self) -> bool:
        """True where the search of single targets in scalars applies."""
        return not self.tied and self.max_steps is None

    def _check(self) -> None:
        if self.residual not in RESIDUALS:
            raise ValueError(
                f"residual is {self.residual!r}; expected one of {', '.join(RESIDUALS)}."
            )
        if self.huber is not None and not self.huber > 0:
            raise ValueError(
                f"huber is {self.huber}; expected a size of residual above 0, or None."
            )
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; expected one of {', '.join(DTYPES)}.")
        _check_budget_power(self.budget_power)
        self._check_shrinkage()

    def _check_shrinkage(self) -> None:
        asked = self.shrinkage
        strength = isinstance(asked, numbers.Real) and float(asked) >= 0
        if not (asked in PURPOSES if isinstance(asked, str) else strength):
            raise ValueError(
                f"shrinkage is {asked!r}; expected a strength ≥ 0, or one of {', '.join(PURPOSES)}."
            )


def _check_budget_power(budget_power: float) -> None:
    """Raise ValueError unless it is a power ≥ 0."""
    if not isinstance(budget_power, numbers.Real) or not 0 <= float(budget_power) < np.inf:
        raise ValueError(
            f"budget_power is {budget_power!r}; expected a power of the budget ≥ 0, {LATER:g} for "
            "later budgets or 0 for points that all count alike."
        )


def budget_weight(budget: Any, largest: Any, budget_power: float) -> Any:
    """(s/s_max)^budget_power, by which points of a budget (…) count, 1 at the largest.

    >>> budget_weight(np.array([1.0, 2.0, 4.0]), 4.0, 2.0).tolist()
    [0.0625, 0.25, 1.0]
    """
    return (budget / largest) ** budget_power


def note_of_budget_power(sweep: Sweep, budget_power: float) -> tuple[str, ...]:
    """Note on the weights of the points; none at a power of 0."""
    if budget_power == 0:
        return ()
    note = f"Points are weighted by budget^{budget_power:g}, so the largest budgets count most."
    # Relative to equal weights, because mixtures may have different numbers of points anyway.
    even, late = (_mixtures_in_effect(sweep, power) for power in (0.0, budget_power))
    if late >= FEWER * even:
        return (note,)
    return (
        note,
        f"Runs stop at different budgets, so budget_power={budget_power:g} lets the longest "
        f"dominate: effectively {late:.1f} mixtures instead of {even:.1f}. Intervals ignore this. "
        "Use budget_power=0, or continue the shorter runs.",
    )


def _mixtures_in_effect(sweep: Sweep, budget_power: float) -> float:
    """(Σw)²/Σw² of the weights of mixtures (Kish, Survey Sampling, 1965)."""
    weight = budget_weight(sweep.budget, sweep.largest_budget, budget_power)
    # By mixture and not by point: checkpoints of one run are not independent.
    of_mixture = np.bincount(sweep.mixture_group, weight)
    return float(of_mixture.sum() ** 2 / np.sum(of_mixture**2))
