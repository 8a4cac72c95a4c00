"""The best mixture along the budget."""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.compilation import jit
from bimix_jax.fitted import FAR, Fit
from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.laws.law import Law
from bimix_jax.mixture.counted import counted_weights
from bimix_jax.mixture.proportions import Method, optimal_proportions, resolve_method
from bimix_jax.mixture.remarks import SCOPE

if TYPE_CHECKING:
    from bimix_jax.mixture.constraints import Constraints
    from bimix_jax.uncertainty.bootstrap import Bootstrap

STEPS = 25
"""Budgets of a path, where none are given."""
STILL = 0.005
"""A mixture whose proportions move by less along the path is said to stay."""


@dataclasses.dataclass(frozen=True)
class OptimalPath:
    """The best mixture at each of several budgets, with its predicted losses."""

    mixtures: pd.DataFrame
    """(budgets, domains) proportions; the index is the budget"""
    losses: pd.DataFrame
    """(budgets, targets) predicted there"""
    objective: pd.Series
    """by budget, the weighted mean loss"""
    low: pd.DataFrame | None
    """(budgets, domains) lower ends of the intervals of the proportions; None without resamples"""
    high: pd.DataFrame | None
    """(budgets, domains) upper ends"""
    level: float
    """of the intervals"""
    observed_budget: float
    """the largest in the sweep"""
    unit: str
    notes: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """One row a budget: the proportion of every domain, then the mean loss `objective`."""
        return self.mixtures.assign(objective=self.objective)

    def document(self) -> dict[str, Any]:
        """Everything as nested dictionaries, for JSON."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def optimal_path(
    fitted: Fit,
    budgets: ArrayLike | None = None,
    weights: Any = None,
    *,
    constraints: "Constraints | None" = None,
    bootstrap: "Bootstrap | None" = None,
    level: float = 0.9,
) -> OptimalPath:
    """The mixture with the least weighted mean of the predicted losses at each of many budgets.

    Args:
        fitted: from `fit`.
        budgets: (budgets,) in the fit's unit; default 25 from the least in the sweep to twice its
            largest, evenly in logarithms.
        weights: by target, as `optimize_mixture` takes them.
        constraints: likewise; what depends on the budget, epochs for example, does so here.
        bootstrap: of the same law and sweep, for intervals of the proportions.
        level: of those intervals, pointwise.

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints at some budget.
        ValueError: if the sweep has a single budget, a budget is not positive, or the bootstrap is
            of another law or other names.

    >>> import bimix_jax as bx
    >>> path = optimal_path(bx.fit(bx.read_sweep(bx.datasets.proxy_sweep())))
    >>> path.mixtures.shape, bool(path.objective.is_monotonic_decreasing)
    ((25, 7), True)
    """
    at = _budgets(fitted, budgets)
    counted, uncounted = counted_weights(fitted, weights)
    found = _solved(fitted, fitted.coefficients, at, counted, constraints)
    index = pd.Index(at, name=fitted.unit)
    domains = list(fitted.domains)
    mixtures = pd.DataFrame(found[0], index=index, columns=domains)
    losses = pd.DataFrame(found[1], index=index, columns=list(fitted.targets))
    low, high = _bands(fitted, bootstrap, at, counted, constraints, level)
    return OptimalPath(
        mixtures=mixtures,
        losses=losses,
        objective=pd.Series(
            np.average(found[1][:, counted > 0], axis=1, weights=counted[counted > 0]), index,
            name="objective",
        ),
        low=None if low is None else pd.DataFrame(low, index=index, columns=domains),
        high=None if high is None else pd.DataFrame(high, index=index, columns=domains),
        level=level,
        observed_budget=float(fitted.observed_budgets[1]),
        unit=fitted.unit,
        notes=(
            *([] if fitted.law.needs_size else [SCOPE]), *fitted.law.assumptions(),
            *fitted.notes_on_budget(float(at.max())), *_movement(mixtures), *uncounted,
            *fitted.messages(),
        ),
    )  # fmt: skip


def _budgets(fitted: Fit, budgets: ArrayLike | None) -> np.ndarray:
    least, largest = fitted.observed_budgets
    if least == largest and budgets is None:
        raise ValueError(
            f"fitted: the sweep has the single budget {largest:g} {fitted.unit}, so how the best "
            "mixture moves with it is unknown. Measure at two budgets or more."
        )
    if budgets is None:
        return np.geomspace(least, FAR * largest, STEPS)
    return np.atleast_1d(fitted.check_budget(budgets))


def _movement(mixtures: pd.DataFrame) -> tuple[str, ...]:
    """How far the proportions move, in words, so that a flat picture is no riddle."""
    width = mixtures.max() - mixtures.min()
    if width.max() < STILL:
        return (
            f"No proportion moves by more than {100 * width.max():.2g} points along the path: one "
            "mixture serves all budgets.",
        )
    return ()


def _bands(
    fitted: Fit,
    bootstrap: "Bootstrap | None",
    at: np.ndarray,
    weights: np.ndarray,
    constraints: "Constraints | None",
    level: float,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if bootstrap is None:
        return None, None
    theirs = bootstrap.fitted
    if (theirs.law, theirs.domains, theirs.targets) != (fitted.law, fitted.domains, fitted.targets):
        raise ValueError(
            f"bootstrap: of {theirs.law.label} on {', '.join(theirs.targets)}; expected "
            f"{fitted.law.label} on {', '.join(fitted.targets)}, as fitted."
        )
    drawn = _solved(fitted, bootstrap.resampled.coefficients, at, weights, constraints)[0]
    lost = np.any(bootstrap.failed & (weights > 0), axis=1)
    return bootstrap.interval(np.where(lost[:, None, None], np.nan, drawn), level)


def _solved(
    fitted: Fit, coefficients: Coefficients, budgets: np.ndarray, weights: np.ndarray,
    constraints: "Constraints | None" = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Mixtures (…, budgets, domains) and losses (…, budgets, targets) of coefficients (…,)."""
    found = []
    for budget in map(float, budgets):
        # The set of mixtures may change its form along the path, so each budget is a call.
        allowed = None if constraints is None else constraints.resolve(fitted, budget)
        method = resolve_method(fitted.law, "auto", feasible=allowed)
        with jax.enable_x64(True):
            both = _at_budget(
                fitted.law, method, coefficients, np.asarray(budget), weights, allowed
            )
            found.append(jax.tree.map(np.asarray, both))
    mixtures, losses = (np.stack(values, axis=-2) for values in zip(*found, strict=True))
    return mixtures, losses


def _optimum_at(
    law: Law, method: Method, coefficients: Coefficients, budget: Array, weights: Array,
    allowed: Any,
) -> tuple[Array, Array]:  # fmt: skip
    def best(one: Coefficients) -> tuple[Array, Array]:
        counted = one._replace(amplitudes=jnp.where(weights[:, None] > 0, one.amplitudes, 0.0))
        mixture = optimal_proportions(
            law, counted, budget, weights, method=method, constraints=allowed
        )
        return mixture, predict_losses(law, one, mixture[None], budget)[0]

    if coefficients.exponents.ndim == 2:
        return best(coefficients)
    return jax.lax.map(best, coefficients, batch_size=64)


_at_budget = jit(_optimum_at, static_argnums=(0, 1))
