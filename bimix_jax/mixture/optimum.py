"""The best mixture by name, beside a reference."""

import dataclasses
from typing import Any

import pandas as pd

from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.proportions import Method


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The mixture with the least predicted loss at a budget, and what it rests on."""

    mixture: pd.Series
    """proportion by domain"""
    losses: pd.Series
    """predicted loss by target"""
    objective: float
    """the weighted mean of the losses, or what the objective is"""
    reference_objective: float
    """the same of the reference"""
    gap: float
    """no mixture is better by more than this, if `proven`"""
    proven: bool
    """the law is convex in the mixture, so that the gap proves the optimum global"""
    budget: float
    unit: str
    method: Method
    weights: pd.Series
    """by target"""
    reference: pd.Series
    """the mixture it is compared with, by domain"""
    reference_losses: pd.Series
    """predicted, by target"""
    observed: pd.DataFrame
    """least and largest proportion in the sweep (columns min, max), by domain"""
    unconstrained: pd.Series
    """the best mixture without constraints, for the same objective, by domain"""
    binding: pd.DataFrame
    """what holds the optimum, by constraint: bound, multiplier, and gain, by how much the objective
    would fall if the bound were relaxed by 1 % of itself"""
    epochs: pd.Series | None
    """how often each token of a domain is seen, by domain with known tokens; None if none is"""
    saved: float
    """fraction of the budget saved: the recommended mixture reaches the reference's objective with
    so much less (for the objective "budget": the goals); negative if it needs more, nan if no
    budget within a factor of 1000 does or the sweep has a single one"""
    flatness: pd.DataFrame
    """low and high by domain: how far each proportion can go within .1 % of the best objective;
    nan where that was not found"""
    alternatives: pd.DataFrame
    """mixtures as different as possible that are within .1 %, one a row"""
    constraints: Constraints
    notes: tuple[str, ...]
    """what has to be said beside the number: scope, extrapolation, targets not counted"""
    objective_name: str = "mean"
    """mean, worst, budget, or the name of a function"""
    intervals: pd.DataFrame | None = None
    """low and high of the optimal proportion by domain, where `bootstrap` has filled them in"""

    def document(self) -> dict[str, Any]:
        """Everything as nested dictionaries, for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in values.items()}

    def table(self) -> pd.DataFrame:
        """One row a domain, then one a target that is no domain.

        Columns: proportion (with low and high, where intervals are known), reference and
        unconstrained (shares), flat_low and flat_high (how far it can go within .1 % of the best
        objective), epochs where tokens are known, observed_min and observed_max in the sweep, flag
        where the proportion lies outside of them ("below", "above") or of the hull of the sweep's
        mixtures ("hull"), and the predicted loss and reference_loss of the target of that name.
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


def _plain(value: Any) -> Any:
    if isinstance(value, Constraints):
        return value.to_dict()
    if isinstance(value, pd.DataFrame):
        return value.to_dict("index")
    return value.to_dict() if isinstance(value, pd.Series) else value
