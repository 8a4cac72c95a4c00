"""The verb: properties of a sweep that limit its fits, found before any fit."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.diagnosis.laws import identifiable_laws
from bimix_jax.diagnosis.measurements import (
    FEW_BUDGETS,
    Observation,
    Severity,
    observe_budgets,
    observe_losses,
    observe_mixtures,
    observe_targets,
    rank_and_condition,
    some_of,
)
from bimix_jax.fitting.fit import fit
from bimix_jax.laws import BiMix, Law, LogLinear
from bimix_jax.sweeps.scores import scores_among
from bimix_jax.sweeps.sweep import Sweep

GAIN, LEAST_GAIN = 1.25, 0.002
"""Factor and amount by which the error has to fall before a cut is advised."""
CLOSE = 1.05
"""Factor of the least error within which the earliest cut is advised."""


def observe_early(sweep: Sweep) -> Iterator[Observation]:
    """Observe whether the later half of the points fits much better without the first budgets.

    All fits are judged on the same points, those of the later half, so that an error does not fall
    only because there are fewer points.
    """
    cuts, errors = errors_by_first_budget(sweep)
    if not len(errors):
        return
    best = int(np.argmax(errors <= CLOSE * errors.min()))
    if errors[0] < GAIN * errors[best] or errors[0] - errors[best] < LEAST_GAIN:
        return
    law = _law(sweep).label
    yield Observation(
        Severity.WARNING,
        f"Budgets before {cuts[best]:g} {sweep.unit} do not follow the law: without them {law} is "
        f"off by {100 * errors[best]:.2f} % at the later budgets, with them by "
        f"{100 * errors[0]:.2f} %",
        f"Checkpoints inside the warm-up follow no law; leave them out with --from-budget "
        f"{cuts[best]:.10g}, or fit WithWarmUp.",
    )


def errors_by_first_budget(sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """First budgets (cuts,), and the mean error (cuts,) at the later half of fits from each on.

    Both are empty where there are too few budgets, or no target that can be fitted.
    """
    budgets, scores = np.unique(sweep.budget), scores_among(sweep, sweep.targets)
    law = _law(sweep)
    able = [t for t in sweep.targets if not law.needs_own or t in sweep.domains]
    targets = [t for t in able if t not in scores]
    most = min(len(budgets) // 2, len(budgets) - FEW_BUDGETS)
    if most < 1 or not targets or sweep.size is not None:
        return np.zeros(0), np.zeros(0)
    cuts = budgets[: most + 1]
    later = sweep.budget >= budgets[len(budgets) // 2]
    return cuts, np.array([_error(sweep, law, targets, cut, later) for cut in cuts])


def _law(sweep: Sweep) -> Law:
    """Choose the default law, or another where it cannot express a target."""
    return BiMix() if set(sweep.targets) & set(sweep.domains) else LogLinear()


def _error(sweep: Sweep, law: Law, targets: list[str], cut: float, later: np.ndarray) -> float:
    """Mean relative error at the later points of a fit to the points from a budget on."""
    weight = (sweep.budget >= cut).astype(float)
    fitted = fit(sweep, law, targets=targets, weight=weight)
    measured = sweep.loss[:, [sweep.targets.index(t) for t in targets]][later]
    errors = np.abs(fitted.predict_points(sweep.mixture, sweep.budget)[later] / measured - 1)
    known = np.isfinite(errors)
    return float(errors[known].mean()) if known.any() else np.inf


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Observations on a sweep, with the laws that it can identify."""

    observations: tuple[Observation, ...]
    """observations, worst first"""
    laws: pd.DataFrame
    """laws that the sweep can identify, see `identifiable_laws`"""
    domains: pd.DataFrame
    """share of every domain over the mixtures: min, median, max, and the number of zeros"""
    rank: int
    """rank of the mixtures: the number of domains they can tell apart"""
    condition: float
    """ratio of their largest singular value to the least; inf where some are collinear"""

    @property
    def severity(self) -> Severity:
        """Severity of the worst observation."""
        return max((o.severity for o in self.observations), default=Severity.NOTE)

    def table(self) -> pd.DataFrame:
        """Table with a row per observation: severity, what, advice."""
        rows = [(o.severity.name.lower(), o.what, o.advice) for o in self.observations]
        return pd.DataFrame(rows, columns=["severity", "what", "advice"])

    def document(self) -> dict[str, Any]:
        """All results as nested dictionaries, for JSON."""
        return {
            "severity": self.severity.name.lower(),
            "observations": self.table().to_dict("records"),
            "laws": self.laws.to_dict("index"),
            "domains": self.domains.to_dict("index"),
            "rank": self.rank,
            "condition": self.condition,
        }


def diagnose(sweep: Sweep) -> Diagnosis:
    """Look for properties of a sweep that limit the meaning of its fits.

    Targets (domains without losses, scores), mixtures (zeros, ranges, collinear domains), budgets,
    losses (units, gaps, rises, jumps, the noise of replicates), and the laws that the points
    identify.

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
