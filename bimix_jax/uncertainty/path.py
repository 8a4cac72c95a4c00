"""The best mixture as a function of the budget."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from jax.typing import ArrayLike

from bimix_jax.fitting.fitted import FAR, Fit
from bimix_jax.mixture._notes import hull_note, scope_notes
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.decision import Decision, Request
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.printable import Drawn
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.reading.settings import check_made
from bimix_jax.reading.targets import as_measured
from bimix_jax.uncertainty._differences import Differences
from bimix_jax.uncertainty._near_best import check_same_law, indistinct_range
from bimix_jax.uncertainty.bootstrap import Bootstrap

STEPS = 25
"""Number of budgets of a path by default."""
BANDS = 7
"""Largest number of budgets whose range of the proportions is searched; it takes up to a second of
each, and changes little along the path."""
STILL = 0.005
"""Movement of every proportion along the path below which the mixture is called constant."""


@dataclasses.dataclass(frozen=True)
class OptimalPath(Drawn):
    """The best mixture at each of several budgets, with its predicted losses."""

    mixtures: pd.DataFrame
    """(budgets, domains) proportions; the index is the budget"""
    losses: pd.DataFrame
    """(budgets, targets) predicted losses and scores"""
    objective: pd.Series
    """by budget, the weighted mean loss, or the mean score in points"""
    low: pd.DataFrame | None
    """(budgets, domains) least share among the mixtures that cannot be told from the best one; nan
    with too few mixtures for a probability, None without resamples"""
    high: pd.DataFrame | None
    """(budgets, domains) largest share"""
    level: float
    """probability from which on the best mixture is told from another"""
    observed_budget: float
    """the largest budget in the sweep"""
    unit: str
    notes: tuple[str, ...]
    objective_text: str = "mean loss, nats"
    """name and unit of the objective"""

    def __repr__(self) -> str:
        first, last = (quantity_text(float(budget)) for budget in self.mixtures.index[[0, -1]])
        count = counted(len(self.mixtures), "budget")
        domains = counted(self.mixtures.shape[1], "domain")
        return f"OptimalPath({count} from {first} to {last} {self.unit}, {domains})"

    def table(self) -> pd.DataFrame:
        """Table with a row per budget: proportion of every domain, then the mean loss
        `objective`."""
        return self.mixtures.assign(objective=self.objective)

    def document(self) -> dict[str, Any]:
        """All results as nested dictionaries, for JSON."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def optimal_path(
    fitted: Fit,
    budgets: ArrayLike | None = None,
    weights: Any = None,
    *,
    reference: Any = None,
    constraints: Constraints | None = None,
    bootstrap: Bootstrap | None = None,
    level: float = 0.9,
) -> OptimalPath:
    """Find the mixture with the least weighted mean of the predicted losses at many budgets.

    Args:
        fitted: from `fit`.
        budgets: (budgets,) in the fit's unit; default 25 from the least in the sweep to twice its
            largest, evenly in logarithms.
        weights: by target, as `optimize_mixture` takes them.
        reference: likewise, the mixture that a KL term and guardrails refer to; default uniform.
        constraints: likewise; limits that depend on the budget, epochs for example, follow it.
        bootstrap: of the same law and sweep, for the range of each proportion among the mixtures
            that cannot be told from the best one, as `Certainty.indistinct` has it: sampling and
            the errors of the law are in it. Between 7 budgets it is interpolated.
        level: probability from which on the best mixture is told from another.

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints at some budget.
        ValueError: if the sweep has a single budget, a budget is not positive, or the bootstrap is
            of another law or other names.

    >>> import bimix_jax as bx
    >>> path = optimal_path(bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.BiMix()))
    >>> path.mixtures.shape, bool(path.objective.is_monotonic_decreasing)
    ((25, 7), True)
    """
    at = _budgets(fitted, budgets)
    decision = Decision.of(fitted, float(at[0]), weights, Request(constraints, reference))
    # The set of mixtures may change its form along the path, so each budget is a call.
    steps = [decision.at(float(budget)) for budget in at]
    found = [step.solve() for step in steps]
    index = pd.Index(at, name=fitted.unit)
    shares = [one.mixture for one in found]
    mixtures = pd.DataFrame(shares, index=index, columns=list(fitted.domains))
    predicted = [one.losses[0] for one in found]
    low, high = _bands(steps, bootstrap, level, mixtures)
    return OptimalPath(
        mixtures=mixtures,
        losses=pd.DataFrame(
            as_measured(np.array(predicted), fitted.described), index, list(fitted.targets)
        ),
        objective=pd.Series(
            decision.shown(np.array([one.values[0] for one in found])), index, name="objective"
        ),
        low=low,
        high=high,
        level=level,
        observed_budget=float(fitted.observed_budgets[1]),
        unit=fitted.unit,
        notes=_notes(decision, mixtures),
        objective_text=decision.mean_text,
    )


def _notes(decision: Decision, mixtures: pd.DataFrame) -> tuple[str, ...]:
    """Notes on a path, each once."""
    fitted, at = decision.fitted, mixtures.index
    notes = (
        *scope_notes(fitted, float(at.min()), float(at.max())),
        *fitted.notes_on_mixtures(mixtures.to_numpy()),
        *hull_note(fitted, mixtures),
        *_movement(mixtures),
        *decision.notes,
        *fitted.messages(),
    )
    return tuple(dict.fromkeys(notes))


def _budgets(fitted: Fit, budgets: ArrayLike | None) -> np.ndarray:
    check_made(fitted, Fit, "fitted")
    least, largest = fitted.observed_budgets
    if least == largest and budgets is None:
        raise ValueError(
            f"fitted: the sweep has the single budget {quantity_text(largest)} {fitted.unit}, so "
            "how the best mixture moves with it is unknown. Measure at two budgets or more."
        )
    if budgets is None:
        return np.geomspace(least, FAR * largest, STEPS)
    return np.atleast_1d(fitted.check_budget(budgets))


def _movement(mixtures: pd.DataFrame) -> tuple[str, ...]:
    """Note where the proportions hardly move along the path, which explains a flat picture."""
    width = mixtures.max() - mixtures.min()
    if width.max() < STILL:
        return (
            f"No proportion moves by more than {100 * width.max():.2g} points along the path: one "
            "mixture serves all budgets.",
        )
    return ()


def _bands(
    steps: list[Decision], bootstrap: Bootstrap | None, level: float, mixtures: pd.DataFrame
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Ranges of the shares, as two tables like `mixtures`; None without resamples."""
    if bootstrap is None:
        return None, None
    check_same_law(bootstrap, steps[0].fitted)
    order = np.argsort(mixtures.index.to_numpy())
    some = order[np.unique(np.linspace(0, len(order) - 1, BANDS).round().astype(int))]
    ends = np.array([_range_at(steps[place], bootstrap, level) for place in some])
    low, high = (_interpolated(mixtures, some, of) for of in (ends[:, 0], ends[:, 1]))
    # Between two budgets the path itself need not lie between the lines.
    best = mixtures.to_numpy()
    return low.where(~(low > best), mixtures), high.where(~(high < best), mixtures)


def _interpolated(mixtures: pd.DataFrame, some: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """Interpolate values (some, domains), of some rows in order of their budgets, to all."""
    budgets = np.log(mixtures.index.to_numpy())
    every = [np.interp(budgets, budgets[some], of_domain) for of_domain in values.T]
    return pd.DataFrame(np.transpose(every), mixtures.index, mixtures.columns)


def _range_at(step: Decision, bootstrap: Bootstrap, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Range of each share (domains,) at one budget."""
    return indistinct_range(bootstrap, Optimum.of(step), Differences.of(bootstrap, step), level)
