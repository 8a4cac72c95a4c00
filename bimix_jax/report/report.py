"""Report: everything that a decision consists of, and its files."""

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bimix_jax import __version__
from bimix_jax.design.propose import Proposal
from bimix_jax.diagnosis.diagnose import Diagnosis
from bimix_jax.files import write_atomically
from bimix_jax.fitting.fitted import Fit
from bimix_jax.judging.comparison import Comparison
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.mixture.path import OptimalPath
from bimix_jax.mixture.sensitivity import Sensitivity
from bimix_jax.printable import json_text, plain
from bimix_jax.quantities import quantity_text
from bimix_jax.report.plan import Plan
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty.calibration import Calibration
from bimix_jax.uncertainty.certainty import Certainty

DECISION, PAGE, FIT, MIXTURE, PLAN = (
    "decision.json",
    "index.html",
    "fit.json",
    "mixture.csv",
    "plan.toml",
)
"""Files of a report."""


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """Everything that a decision consists of; made by `decide`."""

    plan: Plan
    """the request"""
    sweep: Sweep
    """what was measured"""
    diagnosis: Diagnosis
    """its checks"""
    comparison: Comparison
    """laws on held-out parts of it"""
    fitted: Fit
    """the judge's pick, fitted with the judge's settings"""
    optimum: Optimum | None = None
    """the recommendation; None where the sweep is not enough to decide"""
    certainty: Certainty | None = None
    """how sure the recommendation is"""
    calibration: Calibration | None = None
    """how often intervals and probabilities held on runs that were held out"""
    path: OptimalPath | None = None
    """the best mixture along the budget; None for a sweep with a single budget"""
    sensitivity: Sensitivity | None = None
    """what one more point of a domain does to every loss"""
    baselines: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    """a row per mixture, the recommended one first; columns (share, domain), (loss, target), (low,
    target), (high, target), (epochs, domain) where tokens are known, and (summary, objective),
    (summary, gain) over the reference, (summary, probability) that the recommended one is better"""
    next_runs: Proposal | None = None
    """the runs to do next"""
    missing: str | None = None
    """why the sweep is not enough to decide, and what to run"""
    made: str = ""
    """date of the decision"""

    def __post_init__(self) -> None:
        """Date the report."""
        if not self.made:
            object.__setattr__(self, "made", datetime.date.today().isoformat())

    def __repr__(self) -> str:
        return f"Report({self.sentence()})"

    def sentence(self) -> str:
        """The recommendation with its gain, interval and probability; or what is missing."""
        if self.optimum is None or self.certainty is None:
            return f"Not enough to decide: {self.missing}"
        best = self.optimum
        shares = ", ".join(
            f"{100 * share:.0f} % {name}"
            for name, share in best.mixture.sort_values(ascending=False, kind="stable").items()
        )
        at = f"{quantity_text(best.budget)} {best.unit}"
        return f"At {at} train on {shares}. {self.certainty.verdict()}"

    def to_dict(self) -> dict[str, Any]:
        """Every number of the decision as JSON types: the content of decision.json."""
        sweep, compared = self.sweep, self.comparison
        return plain(
            {
                "kind": "bimix_jax decision",
                "version": __version__,
                "made": self.made,
                "recommendation": self.sentence(),
                "missing": self.missing,
                "plan": self.plan.to_dict(),
                "sweep": {
                    "summary": sweep.summary(),
                    "digest": sweep.digest(),
                    "runs": sweep.runs,
                    "domains": sweep.domains,
                    "targets": sweep.targets,
                    "unit": sweep.unit,
                    "budgets": sorted(set(sweep.budget.tolist())),
                    "mixtures": sweep.mixtures,
                    "metadata": sweep.metadata.stated(),
                    "notes": sweep.notes,
                },
                "check": self.diagnosis.document(),
                "laws": {
                    "best": compared.best,
                    "verdict": compared.verdict(),
                    "splits": {kind: compared.table_of(kind) for kind in compared.kinds},
                    "noise": dataclasses.asdict(compared.noise),
                    "notes": compared.notes,
                },
                "fit": {
                    "law": self.fitted.label,
                    "options": dataclasses.asdict(self.fitted.options),
                    "table": self.fitted.table(),
                    "notes": [*self.fitted.notes, *self.fitted.messages()],
                },
                "decision": None if self.certainty is None else self.certainty.document(),
                "calibration": _calibration(self.calibration),
                "path": None if self.path is None else self.path.document(),
                "sensitivity": None
                if self.sensitivity is None
                else dataclasses.asdict(self.sensitivity),
                "baselines": _by_part(self.baselines),
                "next_runs": None if self.next_runs is None else self.next_runs.document(),
            }
        )

    def save(self, folder: str | Path) -> list[Path]:
        """Write the files of the decision to a folder, which is made if it does not exist.

        Returns:
            The files: decision.json, fit.json and, where there is a mixture, mixture.csv.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_atomically(place / DECISION, json_text(self.to_dict(), 1))
        self.fitted.save(place / FIT)
        written = [place / DECISION, place / FIT]
        if self.optimum is not None:
            table = self.optimum.mixture.rename_axis("domain").to_csv()
            write_atomically(place / MIXTURE, table)
            written.append(place / MIXTURE)
        return written


def _calibration(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "verdict": found.verdict(),
        "coverage": found.coverage(),
        "reliability": found.reliability(),
        "calibration_error": found.calibration_error,
    }


def _by_part(baselines: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Baselines as {mixture: {part: {name: value}}}."""
    return {
        str(name): {part: row[part] for part in baselines.columns.unique(0)}
        for name, row in baselines.iterrows()
    }
