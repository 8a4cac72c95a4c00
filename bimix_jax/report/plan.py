"""Plan: everything that a decision is asked for, as one object and as one TOML file."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bimix_jax.mixture.constraints import Constraints
from bimix_jax.quantities import number_of
from bimix_jax.sweeps.sweep import Sweep

FILES = ("sweep", "losses", "mixtures", "paths", "entropy")
"""Fields that name files; in a plan's file they are relative to its folder."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a decision is asked for; every field is optional.

    >>> Plan(budget="5e6", constraints=Constraints(lower={"code": 0.2})).budget
    5000000.0
    """

    sweep: tuple[str, ...] = ()
    """the file of the sweep, or files and folders of logs"""
    losses: str | None = None
    """the second file of a pair"""
    mixtures: str | None = None
    """the table of runs that logs belong to"""
    read: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """further arguments of `read_sweep`, or of `read_logs` where there are logs"""
    exclude: tuple[str, ...] = ()
    """runs that are left out"""
    from_budget: float | None = None
    """the least budget whose points are kept"""
    budget: float | None = None
    """budget of the decision, in the sweep's unit; None for twice the sweep's largest"""
    constraints: Constraints = dataclasses.field(default_factory=Constraints)
    """allowed mixtures, and weights of the targets"""
    reference: Any = None
    """mixture to compare with: a word or a mixture, as `optimize_mixture` takes it; None for the
    best measured run"""
    laws: tuple[str, ...] = ()
    """laws that are compared; the judge's own choice where there are none"""
    level: float = 0.9
    """level of the intervals"""
    resamples: int = 200
    """number of resamples"""
    propose: int = 4
    """number of runs to propose; 0 for none"""
    seed: int = 0
    """of the held-out mixtures, the resamples and the proposal"""
    emit: tuple[str, ...] = ()
    """forms of the recipe that are written, beside the table of the mixture"""
    paths: str | None = None
    """TOML file of domain = path, for forms that name the data"""
    entropy: str | None = None
    """table of a mixture made from entropies, as one more baseline"""

    def __post_init__(self) -> None:
        """Convert numbers that are written as text, and single names to tuples."""
        for field in ("sweep", "exclude", "laws", "emit"):
            given: Any = getattr(self, field)
            names = (given,) if isinstance(given, (str, Path)) else tuple(given)
            object.__setattr__(self, field, tuple(map(str, names)))
        for field in ("budget", "from_budget"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, number_of(getattr(self, field), field))

    def budget_for(self, sweep: Sweep) -> float:
        """Budget of the decision for a sweep: the one asked for, or twice the sweep's largest."""
        return 2 * sweep.largest_budget if self.budget is None else self.budget

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        document = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        document["constraints"] = self.constraints.to_dict()
        return {name: _plain(value) for name, value in document.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value
