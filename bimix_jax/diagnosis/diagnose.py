"""The verb: a sweep in, what is doubtful about it out, worst first."""

import dataclasses
from typing import Any

import pandas as pd

from bimix_jax.diagnosis.budgets import observe_budgets
from bimix_jax.diagnosis.early import observe_early
from bimix_jax.diagnosis.laws import identifiable_laws
from bimix_jax.diagnosis.losses import observe_losses
from bimix_jax.diagnosis.mixtures import observe_mixtures, rank_and_condition
from bimix_jax.diagnosis.observation import Observation, Severity, some_of
from bimix_jax.diagnosis.targets import observe_targets
from bimix_jax.sweeps.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is doubtful about a sweep."""

    observations: tuple[Observation, ...]
    """worst first"""
    laws: pd.DataFrame
    """which laws the sweep can identify, see `identifiable_laws`"""
    domains: pd.DataFrame
    """share of every domain over the mixtures: min, median, max, and how many are 0"""
    rank: int
    """of the mixtures: how many domains they can tell apart"""
    condition: float
    """ratio of their largest singular value to the least; inf where some cannot be told apart"""

    @property
    def severity(self) -> Severity:
        """That of the worst."""
        return max((o.severity for o in self.observations), default=Severity.NOTE)

    def table(self) -> pd.DataFrame:
        """One row an observation: severity, what, advice."""
        rows = [(o.severity.name.lower(), o.what, o.advice) for o in self.observations]
        return pd.DataFrame(rows, columns=["severity", "what", "advice"])

    def document(self) -> dict[str, Any]:
        """Everything as nested dictionaries, for JSON."""
        return {
            "severity": self.severity.name.lower(),
            "observations": self.table().to_dict("records"),
            "laws": self.laws.to_dict("index"),
            "domains": self.domains.to_dict("index"),
            "rank": self.rank,
            "condition": self.condition,
        }


def diagnose(sweep: Sweep) -> Diagnosis:
    """Look for what makes a fit to a sweep mean less than it seems.

    Targets (domains without losses, scores), mixtures (zeros, ranges, what they cannot tell apart),
    budgets, losses (units, gaps, rises, jumps, the noise that replicates show), and which laws the
    points determine.

    >>> import bimix_jax as bx
    >>> found = diagnose(bx.read_sweep(bx.datasets.proxy_sweep()))
    >>> found.severity.name, found.observations[0].what.split(" do not")[0]
    ('WARNING', 'Budgets before 573440 tokens')
    """
    laws = identifiable_laws(sweep)
    seen = [
        *observe_targets(sweep),
        *observe_losses(sweep),
        *observe_mixtures(sweep),
        *observe_budgets(sweep),
        *observe_early(sweep),
        *_about_laws(laws),
    ]
    worst_first = sorted(seen, key=lambda o: -o.severity)
    return Diagnosis(tuple(worst_first), laws, _domains(sweep), *rank_and_condition(sweep))


def _about_laws(laws: pd.DataFrame) -> list[Observation]:
    short = laws[laws["verdict"] == "undetermined"]
    if short.empty:
        return []
    names = [f"{n} ({r['determined']} of {r['coefficients']})" for n, r in short.iterrows()]
    return [
        Observation(
            Severity.NOTE,
            f"Laws with coefficients that these points do not determine: {some_of(names)}",
            "Fit another, or measure as many mixtures and budgets as the table below says that "
            "they need.",
        )
    ]


def _domains(sweep: Sweep) -> pd.DataFrame:
    shares = sweep.mixtures
    table = shares.describe().T[["min", "50%", "max"]].rename(columns={"50%": "median"})
    return table.assign(zeros=(shares == 0).sum()).rename_axis("domain")
