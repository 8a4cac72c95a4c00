"""Report: everything that a decision consists of, and its files."""

import copy
import dataclasses
import datetime
import functools
from pathlib import Path
from typing import Any

import pandas as pd

from bimix_jax.design.propose import Proposal
from bimix_jax.diagnosis.diagnose import Diagnosis
from bimix_jax.files import as_path
from bimix_jax.fitting.fitted import Fit
from bimix_jax.judging.comparison import Comparison
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.mixture.sensitivity import Sensitivity
from bimix_jax.quantities import budget_text
from bimix_jax.report._baselines import reference_name
from bimix_jax.report._files import document_of, write_files
from bimix_jax.report.plan import Plan
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty.calibration import Calibration
from bimix_jax.uncertainty.certainty import Certainty
from bimix_jax.uncertainty.path import OptimalPath

NOTHING = 5e-4
"""Share that is 0 in percent with one decimal."""
SHOWN, FEW = 7, 3
"""Number of domains in the sentence, and of those that are named for getting nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """Everything that a decision consists of; made by `decide`."""

    plan: Plan
    """the request"""
    sweep: Sweep
    """what was measured"""
    diagnosis: Diagnosis
    """its checks"""
    comparison: Comparison | None
    """laws on held-out parts of it; None where there are too few runs for that"""
    fitted: Fit | None
    """the judge's pick, fitted with the judge's settings; None without a comparison"""
    optimum: Optimum | None = None
    """the recommendation; None where the sweep is not enough to decide"""
    certainty: Certainty | None = None
    """how sure the recommendation is"""
    calibration: Calibration | None = None
    """how often intervals and probabilities hold at mixtures that were left out"""
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
        """Return the recommendation with gain, interval and probability; or what is missing."""
        if self.optimum is None or self.certainty is None:
            return f"Not enough to decide: {self.missing}"
        best = self.optimum
        at = "" if best.unit == "run" else f"At {budget_text(best.budget, best.unit)}, "
        said = f"{at}train on {_listed(best.mixture)}: {self._gain(self.certainty)}."
        return said[0].upper() + said[1:]

    def _gain(self, sure: Certainty) -> str:
        low, high = map(sure.gain_text, sure.gain_interval())
        return (
            f"the predicted gain over {self.reference_name} is {sure.gain_text(sure.gain)} "
            f"({100 * sure.level:g} % interval {low} to {high}), and it is better with probability "
            f"{sure.shown_probability()}"
        )

    @property
    def reference_name(self) -> str:
        """Name of the mixture that gains are over, as in `baselines`."""
        if self.optimum is None:
            raise ValueError("reference_name: the report has no optimum, so nothing is compared.")
        return reference_name(self.plan, self.optimum.decision)

    def to_dict(self) -> dict[str, Any]:
        """Return every number of the decision as JSON types: the content of decision.json."""
        return copy.deepcopy(self._document)

    @functools.cached_property
    def _document(self) -> dict[str, Any]:
        return document_of(self)

    def save(self, folder: str | Path, command: str = "bimix_jax.decide") -> list[Path]:
        """Write the files of the decision to a folder, which is made if it does not exist.

        They are decision.json, index.html, plan.toml, and where there is a mixture mixture.csv and
        the recipe in every form of the plan; and fit.json.

        Args:
            folder: the folder.
            command: the command line, for the stamp of recipes.

        Returns:
            The files that were written, the page first.

        Raises:
            ValueError: if a form of the plan needs paths that are not there.
            OSError: if the folder or a file cannot be written.
        """
        return write_files(self, as_path(folder), command)


def _listed(mixture: pd.Series) -> str:
    """Shares in percent, the largest first, and the number of those that are not listed.

    >>> _listed(pd.Series({"web": 0.25, "code": 0.75, "books": 0.0}))
    '75.0 % code, 25.0 % web, nothing of books'
    """
    largest = mixture[mixture >= NOTHING].sort_values(ascending=False, kind="stable")
    left = len(largest) - SHOWN
    listed = largest if left <= 1 else largest[:SHOWN]
    more = "" if left <= 1 else f" and {left} others"
    none = [str(name) for name in mixture.index if name not in largest.index]
    if none:
        more += f", nothing of {', '.join(none) if len(none) <= FEW else f'{len(none)} others'}"
    return ", ".join(f"{100 * share:.1f} % {name}" for name, share in listed.items()) + more
