"""The verb and its result: from a fit and a budget to the best mixture by name."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.fitting.fitted import FEW, Fit
from bimix_jax.mixture._certificate import Certificate, binding_table, certify
from bimix_jax.mixture._flatness import TOLERANCE, as_good, far_apart, flat_range
from bimix_jax.mixture._notes import (
    flatness_note,
    gain_note,
    observed_range,
    proof_note,
    scope_notes,
)
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.decision import Decision, Request, Solution
from bimix_jax.mixture.proportions import Method, Objective
from bimix_jax.printable import Drawn, html_summary
from bimix_jax.quantities import quantity_text
from bimix_jax.reading.names import SHOWN
from bimix_jax.reading.targets import are_scores, as_measured, predicted_text

REACH = float(np.log(1000))
"""Half-width of the search for a budget, in its logarithm."""
GRID, ZOOMS = 64, 4
"""Budgets per mixture of a grid, and grids: the first has steps of 24 %, the last of 1e-6."""
AT_ONCE = FEW // 2
"""Budgets per mixture that are predicted together."""

DOCUMENTED = (
    "mixture",
    "losses",
    "objective",
    "reference_objective",
    "gap",
    "proven",
    "budget",
    "unit",
    "method",
    "weights",
    "reference",
    "reference_losses",
    "observed",
    "unconstrained",
    "binding",
    "epochs",
    "saved",
    "flatness",
    "alternatives",
    "constraints",
    "notes",
    "objective_name",
    "objective_unit",
    "intervals",
)
"""Names of the entries of `Optimum.document`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Optimum(Drawn):
    """The mixture with the least predicted loss, or the largest score, and its evidence.

    Made by `optimize_mixture` and `least_budget`. All attributes but the mixture, its losses and
    its objective are computed on first access.
    """

    decision: Decision = dataclasses.field(repr=False)
    """the request"""
    solution: Solution = dataclasses.field(repr=False)
    """the answer as arrays in the order of the fit"""
    objective_name: str = "mean"
    """mean, worst, budget (of `least_budget`), or the name of a function"""
    intervals: pd.DataFrame | None = None
    """low and high of the optimal proportion by domain, filled in by `certainty`"""

    @classmethod
    def of(cls, decision: Decision) -> "Optimum":
        """Solve a decision; raises as `Decision.solve`."""
        objective = decision.objective
        return cls(decision, decision.solve(), getattr(objective, "__name__", str(objective)))

    def __repr__(self) -> str:
        shares = [f"{name} {share:.4f}" for name, share in self.mixture.items()]
        more = ", …" * (len(shares) > SHOWN)
        goal = "" if self._of_goals else f"; {self.objective_text} {self.objective:.4g}"
        return (
            f"Optimum({', '.join(shares[:SHOWN])}{more} at {quantity_text(self.budget)} "
            f"{self.unit}{goal})"
        )

    def _repr_html_(self) -> str:
        return html_summary(repr(self), self.shown_tables(), self.notes)

    def shown_tables(self) -> dict[str, pd.DataFrame]:
        """Tables of a notebook: the proportions and the losses, beside those of the reference."""
        shares = pd.DataFrame({"proportion": self.mixture, "reference": self.reference})
        what = "score" if self.decision.of_scores else "loss"
        losses = pd.DataFrame({what: self.losses, "of the reference": self.reference_losses})
        if self.intervals is not None:
            shares = shares.join(self.intervals)
        return {"proportions": shares, self.losses_text: losses}

    @property
    def objective_text(self) -> str:
        """Name of the objective: "mean loss", "worst score" or the like."""
        return f"{self.objective_name} {'score' if self.decision.of_scores else 'loss'}"

    @property
    def objective_unit(self) -> str:
        """Unit of the objective: "points" of scores, else "nats"; the unit of the budget where
        that is the objective."""
        return self.unit if self._of_goals else self.decision.objective_unit

    @property
    def losses_text(self) -> str:
        """Title of the table of losses, with their unit, such as "Predicted losses, nats"."""
        return predicted_text(self.decision.fitted.described)

    @property
    def improvements(self) -> pd.Series:
        """Predicted gain over the reference by target, above 0 where the mixture is better: less
        nats, or more of a score."""
        scores = are_scores(self.decision.fitted.described)
        change = self.losses - self.reference_losses
        return change.where(scores, -change).rename("improvement")

    @functools.cached_property
    def mixture(self) -> pd.Series:
        """Proportion by domain."""
        return self._by_domain(self.solution.mixture, "proportion")

    @functools.cached_property
    def losses(self) -> pd.Series:
        """Predicted loss, or score, by target."""
        return self._by_target(self._as_measured(self.solution.losses[0]), "loss")

    @property
    def objective(self) -> float:
        """Weighted mean of the losses, or the value of another objective; of scores in points
        between chance, 0, and the maximum, 100."""
        return self.budget if self._of_goals else self._shown(0)

    @property
    def reference_objective(self) -> float:
        """Objective of the reference."""
        # For goals the objective is the budget: saved = 1 − budget/(budget of the reference).
        if self._of_goals:
            return self.budget / (1 - self.saved)
        return self._shown(1)

    def _shown(self, place: int) -> float:
        return float(self.decision.shown(self.solution.values[place]))

    @functools.cached_property
    def certificate(self) -> Certificate:
        """Proof of the optimum, as arrays."""
        at = self.decision
        return certify(at.problem, self.solution.mixture, at.arguments)

    @property
    def gap(self) -> float:
        """Bound on the gain of any other mixture, if `proven`, in the unit of the objective."""
        return float(self.decision.shown_gain(self.certificate.gap))

    @property
    def proven(self) -> bool:
        """True where the law is convex in the mixture, so that the gap proves a global optimum."""
        return self.decision.problem.convex

    @property
    def budget(self) -> float:
        """Budget at which the mixture is optimal, in `unit`."""
        return self.decision.budget

    @property
    def unit(self) -> str:
        """Unit of the budget."""
        return self.decision.fitted.unit

    @property
    def method(self) -> Method:
        """Method that found it: "exact" or "gradient"."""
        return self.decision.method

    @property
    def constraints(self) -> Constraints:
        """Constraints of the request, with names as the fit spells them."""
        return self.decision.asked

    @functools.cached_property
    def weights(self) -> pd.Series:
        """Weight by target."""
        return self._by_target(self.decision.weights, "weight")

    @functools.cached_property
    def reference(self) -> pd.Series:
        """Mixture for comparison, by domain."""
        return self._by_domain(self.decision.reference, "reference")

    @functools.cached_property
    def reference_losses(self) -> pd.Series:
        """Predicted loss, or score, of the reference, by target."""
        return self._by_target(self._as_measured(self.solution.losses[1]), "reference_loss")

    @functools.cached_property
    def observed(self) -> pd.DataFrame:
        """Least and largest proportion in the sweep (columns min, max), by domain, and a flag."""
        return observed_range(self.decision.fitted, self.mixture)

    @functools.cached_property
    def unconstrained(self) -> pd.Series:
        """The best mixture without constraints, for the same objective, by domain."""
        alone = dataclasses.replace(self.decision.within(Constraints()), asked_method="auto")
        return self._by_domain(alone.over(alone.fitted.coefficients).mixture, "unconstrained")

    @functools.cached_property
    def binding(self) -> pd.DataFrame:
        """Constraints that limit the optimum: bound, multiplier and gain.

        The multiplier is the slope of the optimum in the bound. The gain is the decrease of the
        objective (the KL term included) if that limit alone were relaxed by 1 % of itself: the
        share, the existing tokens, or the loss that a guardrail allows.
        """
        at = self.decision
        table = binding_table(at.fitted, at.asked, at.arguments, self.certificate)
        gain = [self._gain_of(asked) for asked in table.pop("relaxed")]
        return table.assign(gain=np.array(gain, float))

    def _gain_of(self, relaxed: Constraints) -> float:
        """Decrease of the objective within other constraints."""
        wider = self.decision.within(relaxed)
        found = wider.over(wider.fitted.coefficients)
        if self._of_goals:
            beside = dataclasses.replace(wider, reference=self.solution.mixture)
            return self.budget * _budget_saving(beside, found.mixture, to_goals=True)
        less = self.decision.least_value(self.solution) - wider.least_value(found)
        return float(self.decision.shown_gain(less))

    @functools.cached_property
    def epochs(self) -> pd.Series | None:
        """Times each token is seen, by domain with known tokens; or None."""
        return self.constraints.repeats(self.decision.fitted, self.budget, self.mixture)

    @functools.cached_property
    def saved(self) -> float:
        """Fraction of the budget saved.

        With that much less budget the recommended mixture reaches the reference's objective (of
        `least_budget`: the goals). Negative if it needs more; nan if no budget within a factor of
        1000 does or the sweep has a single one.
        """
        return _budget_saving(self.decision, self.solution.mixture, self._of_goals)

    @functools.cached_property
    def flatness(self) -> pd.DataFrame:
        """Range of each proportion within 0.1 % of the best objective, by domain.

        Columns flat_low and flat_high; nan where the search did not converge.
        """
        low, high = flat_range(self.solution.mixture, self._as_good)
        return pd.DataFrame({"flat_low": low, "flat_high": high}, index=self.mixture.index)

    @functools.cached_property
    def alternatives(self) -> pd.DataFrame:
        """Mixtures within 0.1 % of the best objective and as different as possible, one per row."""
        others = far_apart(self.solution.mixture, self._as_good)
        return pd.DataFrame(others, columns=self.mixture.index)

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """Notes beside the number: scope, extrapolation, targets that do not count."""
        decision, fitted = self.decision, self.decision.fitted
        return (
            *scope_notes(fitted, self.budget),
            *fitted.notes_on_mixtures(self.solution.mixture[None]),
            *decision.notes,
            *self.gain_notes,
            *proof_note(decision.problem),
            *flatness_note(self.flatness),
            *fitted.messages(),
        )

    @property
    def gain_notes(self) -> tuple[str, ...]:
        """Notes that question the gain over the reference."""
        return gain_note(self.decision, *map(float, self.solution.values[:2]))

    def document(self) -> dict[str, Any]:
        """All results as nested dictionaries, for JSON."""
        return {name: _plain(getattr(self, name)) for name in DOCUMENTED}

    def table(self) -> pd.DataFrame:
        """Table with a row per domain, then a row per target that is not a domain.

        Columns: proportion (with low and high, where intervals are known), reference and
        unconstrained (shares), flat_low and flat_high (range within 0.1 % of the best objective),
        epochs where tokens are known, observed_min and observed_max in the sweep, flag where the
        proportion lies outside of them ("below", "above") or of the hull of the sweep's mixtures
        ("hull"), and the predicted loss and reference_loss, or scores, of the target of that name.
        """
        table = pd.DataFrame({"proportion": self.mixture})
        if self.intervals is not None:
            table[["low", "high"]] = self.intervals[["low", "high"]]
        table["reference"] = self.reference
        if len(self.binding):
            table["unconstrained"] = self.unconstrained
        table[["flat_low", "flat_high"]] = self.flatness
        if self.epochs is not None:
            table["epochs"] = self.epochs
        table[["observed_min", "observed_max"]] = self.observed[["min", "max"]]
        table["flag"] = self.observed["flag"]
        names = [*table.index, *(t for t in self.losses.index if t not in table.index)]
        table = table.reindex(pd.Index(names, name="domain"))
        table["flag"] = table["flag"].fillna("")
        table["loss"] = self.losses.reindex(names)
        table["reference_loss"] = self.reference_losses.reindex(names)
        return table

    @functools.cached_property
    def _as_good(self) -> np.ndarray:
        return self.within((TOLERANCE,))

    def within(self, tolerances: Sequence[float]) -> np.ndarray:
        """(tolerances·2·domains, domains) mixtures with the least, then the largest, value of each
        proportion whose objective exceeds the best by at most a relative tolerance, for one
        tolerance after another; nan where none was found.
        """
        at = self.decision
        return as_good(at.problem, at.arguments, self.solution.mixture, tolerances)

    def _as_measured(self, losses: np.ndarray) -> np.ndarray:
        return as_measured(losses, self.decision.fitted.described)

    @property
    def _of_goals(self) -> bool:
        return self.objective_name == "budget"

    def _by_domain(self, values: np.ndarray, name: str) -> pd.Series:
        return pd.Series(values, index=list(self.decision.fitted.domains), name=name)

    def _by_target(self, values: np.ndarray, name: str) -> pd.Series:
        return pd.Series(values, index=list(self.decision.fitted.targets), name=name)


def _plain(value: Any) -> Any:
    if isinstance(value, Constraints):
        return value.to_dict()
    if isinstance(value, pd.DataFrame):
        return value.to_dict("index")
    return value.to_dict() if isinstance(value, pd.Series) else value


def optimize_mixture(
    fitted: Fit,
    budget: float | None = None,
    weights: Any = None,
    method: Method = "auto",
    reference: Any = None,
    *,
    constraints: Constraints | None = None,
    objective: Objective = "mean",
) -> Optimum:
    """Find the best mixture among those that the constraints allow.

    Args:
        fitted: from `fit`; targets whose fit failed do not count, which is noted.
        budget: in the fit's unit; default the sweep's largest.
        weights: by target, a mapping, Series or array, ≥ 0; names left out count 0. Default those
            of the constraints, or 1.
        method: "exact" (scalar roots; laws of the form K·r_own^−α), "gradient" (any law), or
            "auto", which picks.
        reference: one mixture to compare with, naming every domain; or "uniform" (default),
            "available" (proportional to the tokens of the constraints), "best-run" (of the least
            weighted mean measured loss) or "run:NAME".
        constraints: bounds, tokens, groups, a KL term, guardrails; default none.
        objective: "mean", the weighted mean of the losses; "worst", the largest weight · loss;
            or a function of the losses (targets,) that JAX can differentiate. A score counts by
            its distance to the maximum (`Target`), so that more of it is better in each.

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints (what conflicts is
            named).
        ValueError: on unknown names, a budget that is not positive, several references, or a
            method the law lacks.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.BiMix())
    >>> few = bx.Constraints(available={"latex": 4e5}, epochs=2, lower={"c": 0.2})
    >>> best = bx.optimize_mixture(fitted, 2 * 2867200, constraints=few)
    >>> round(float(best.mixture["latex"]), 4), best.binding.index.tolist()
    (0.1395, ['c ≥ 0.2', 'latex ≤ 0.1395 (2 epochs of 400K tokens)'])
    """
    request = Request(constraints, reference, objective, method)
    return Optimum.of(Decision.of(fitted, budget, weights, request))


def _budget_saving(decision: Decision, mixture: np.ndarray, to_goals: bool) -> float:
    """Compute 1 − (budget of the mixture)/(budget of the reference) for the same objective.

    The objective is the reference's at the budget, or, for goals, 1.
    """
    least, largest = decision.fitted.observed_budgets
    if least == largest:
        return float("nan")
    both = np.stack([mixture, decision.reference])
    goal = 1.0 if to_goals else float(decision.values_of(both, decision.budget)[1])
    # Logarithms of factors; where no budget reaches the goal the bracket is nan.
    ends = np.tile([-REACH, REACH], (2, 1))
    for _ in range(ZOOMS):
        ends = _bracket(decision, both, ends, goal)
    ours, theirs = ends.mean(axis=1)
    return float(1 - np.exp(ours - theirs))


def _bracket(decision: Decision, mixtures: np.ndarray, ends: np.ndarray, goal: float) -> np.ndarray:
    """Ends (mixtures, 2) of the first step of a grid in which values fall to the goal, as logs."""
    logs = np.linspace(ends[:, 0], ends[:, 1], GRID, axis=-1)
    # A few budgets at a time, for which the losses of the optimum have compiled a program.
    parts = np.split(decision.budget * np.exp(logs), GRID // AT_ONCE, axis=1)
    rows = np.repeat(mixtures, AT_ONCE, axis=0)
    values = [decision.values_of(rows, part.ravel()).reshape(part.shape) for part in parts]
    # argmax is 0 where no budget reaches the goal, and where already the least one does.
    first = np.argmax(np.hstack(values) <= goal, axis=1)
    found = np.take_along_axis(logs, np.stack([first - 1, first], axis=1), axis=1)
    return np.where(first[:, None] > 0, found, np.nan)
