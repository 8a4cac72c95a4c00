"""Fit data-mixing laws to small training runs and find the best mixture for the big one.

>>> import bimix_jax as bx
>>> sweep = bx.read_sweep(bx.datasets.proxy_sweep())
>>> fitted = bx.fit(sweep, bx.BiMix())
>>> best = bx.optimize_mixture(fitted, budget=2 * sweep.largest_budget)
>>> best.mixture.idxmax()
'latex'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bimix_jax import datasets as datasets
    from bimix_jax.batching.many import ManyFits as ManyFits
    from bimix_jax.batching.many import fit_many as fit_many
    from bimix_jax.batching.tables import fit_table as fit_table
    from bimix_jax.design.propose import Proposal as Proposal
    from bimix_jax.design.propose import propose_runs as propose_runs
    from bimix_jax.diagnosis.diagnose import Diagnosis as Diagnosis
    from bimix_jax.diagnosis.diagnose import diagnose as diagnose
    from bimix_jax.entropy.corpus import corpus_entropies as corpus_entropies
    from bimix_jax.entropy.domains import Entropies as Entropies
    from bimix_jax.entropy.domains import entropy_mixture as entropy_mixture
    from bimix_jax.entropy.domains import token_entropies as token_entropies
    from bimix_jax.entropy.token_counts import TokenCounts as TokenCounts
    from bimix_jax.entropy.token_counts import count_tokens as count_tokens
    from bimix_jax.entropy.von_neumann import von_neumann_entropy as von_neumann_entropy
    from bimix_jax.fitting.arrays import ArrayFit as ArrayFit
    from bimix_jax.fitting.arrays import fit_arrays as fit_arrays
    from bimix_jax.fitting.bridge import bridge as bridge
    from bimix_jax.fitting.coefficients import Code as Code
    from bimix_jax.fitting.coefficients import Coefficients as Coefficients
    from bimix_jax.fitting.coefficients import predict_losses as predict_losses
    from bimix_jax.fitting.fitted import Fit as Fit
    from bimix_jax.fitting.options import FitOptions as FitOptions
    from bimix_jax.fitting.search import gauss_newton as gauss_newton
    from bimix_jax.fitting.storage import load_fit as load_fit
    from bimix_jax.judging.automatic import fit as fit
    from bimix_jax.judging.compare import compare as compare
    from bimix_jax.judging.comparison import Comparison as Comparison
    from bimix_jax.judging.evaluate import Evaluation as Evaluation
    from bimix_jax.judging.evaluate import best_measured as best_measured
    from bimix_jax.judging.evaluate import evaluate as evaluate
    from bimix_jax.laws import law_named as law_named
    from bimix_jax.laws.bimix import BiMix as BiMix
    from bimix_jax.laws.bimix import CrossBiMix as CrossBiMix
    from bimix_jax.laws.law import Law as Law
    from bimix_jax.laws.model_size import WithModelSize as WithModelSize
    from bimix_jax.laws.published import AdditiveLaw as AdditiveLaw
    from bimix_jax.laws.published import DataMixingLaw as DataMixingLaw
    from bimix_jax.laws.published import DataMixingLawPlus as DataMixingLawPlus
    from bimix_jax.laws.published import LogLinear as LogLinear
    from bimix_jax.laws.stacked import Stacked as Stacked
    from bimix_jax.laws.through_losses import ThroughLosses as ThroughLosses
    from bimix_jax.laws.transfer import SplitSubstitutionBiMix as SplitSubstitutionBiMix
    from bimix_jax.laws.transfer import SplitTransferBiMix as SplitTransferBiMix
    from bimix_jax.laws.transfer import SubstitutionBiMix as SubstitutionBiMix
    from bimix_jax.laws.transfer import TransferBiMix as TransferBiMix
    from bimix_jax.laws.wrappers import WithRepetition as WithRepetition
    from bimix_jax.laws.wrappers import WithWarmUp as WithWarmUp
    from bimix_jax.logs.read_logs import read_logs as read_logs
    from bimix_jax.mixture.constraints import Constraints as Constraints
    from bimix_jax.mixture.constraints import Group as Group
    from bimix_jax.mixture.constraints import read_constraints as read_constraints
    from bimix_jax.mixture.feasible import FeasibleSet as FeasibleSet
    from bimix_jax.mixture.feasible import InfeasibleError as InfeasibleError
    from bimix_jax.mixture.feasible import feasible_set as feasible_set
    from bimix_jax.mixture.least_budget import LeastBudget as LeastBudget
    from bimix_jax.mixture.least_budget import least_budget as least_budget
    from bimix_jax.mixture.least_budget import least_budget_arrays as least_budget_arrays
    from bimix_jax.mixture.optimum import Optimum as Optimum
    from bimix_jax.mixture.optimum import optimize_mixture as optimize_mixture
    from bimix_jax.mixture.proportions import optimal_proportions as optimal_proportions
    from bimix_jax.mixture.sensitivity import Sensitivity as Sensitivity
    from bimix_jax.mixture.sensitivity import sensitivity as sensitivity
    from bimix_jax.mixture.tradeoff import Tradeoff as Tradeoff
    from bimix_jax.mixture.tradeoff import tradeoff as tradeoff
    from bimix_jax.reading.errors import EntropyWarning as EntropyWarning
    from bimix_jax.reading.errors import SweepError as SweepError
    from bimix_jax.reading.errors import SweepWarning as SweepWarning
    from bimix_jax.reading.metadata import Metadata as Metadata
    from bimix_jax.recipe.available import read_available as read_available
    from bimix_jax.recipe.available import read_paths as read_paths
    from bimix_jax.recipe.recipe import Recipe as Recipe
    from bimix_jax.recipe.recipe import document_shares as document_shares
    from bimix_jax.recipe.recipe import make_recipe as make_recipe
    from bimix_jax.recipe.recipe import token_shares as token_shares
    from bimix_jax.report.decide import decide as decide
    from bimix_jax.report.plan import Plan as Plan
    from bimix_jax.report.report import Report as Report
    from bimix_jax.sweeps.read import read_sweep as read_sweep
    from bimix_jax.sweeps.sizes import stack_sizes as stack_sizes
    from bimix_jax.sweeps.splits import Split as Split
    from bimix_jax.sweeps.splits import standard_splits as standard_splits
    from bimix_jax.sweeps.sweep import Sweep as Sweep
    from bimix_jax.uncertainty.bootstrap import Bootstrap as Bootstrap
    from bimix_jax.uncertainty.bootstrap import bootstrap as bootstrap
    from bimix_jax.uncertainty.calibration import Calibration as Calibration
    from bimix_jax.uncertainty.calibration import calibration as calibration
    from bimix_jax.uncertainty.certainty import BetweenLaws as BetweenLaws
    from bimix_jax.uncertainty.certainty import Certainty as Certainty
    from bimix_jax.uncertainty.certainty import between_laws as between_laws
    from bimix_jax.uncertainty.certainty import certainty as certainty
    from bimix_jax.uncertainty.path import OptimalPath as OptimalPath
    from bimix_jax.uncertainty.path import optimal_path as optimal_path
    from bimix_jax.xla.cache import use_compilation_cache as use_compilation_cache

__version__ = "0.1.0"

_HOMES = {
    "AdditiveLaw": "laws.published",
    "ArrayFit": "fitting.arrays",
    "BetweenLaws": "uncertainty.certainty",
    "BiMix": "laws.bimix",
    "Bootstrap": "uncertainty.bootstrap",
    "Calibration": "uncertainty.calibration",
    "Certainty": "uncertainty.certainty",
    "Code": "fitting.coefficients",
    "Coefficients": "fitting.coefficients",
    "Comparison": "judging.comparison",
    "Constraints": "mixture.constraints",
    "CrossBiMix": "laws.bimix",
    "DataMixingLaw": "laws.published",
    "DataMixingLawPlus": "laws.published",
    "Diagnosis": "diagnosis.diagnose",
    "Entropies": "entropy.domains",
    "EntropyWarning": "reading.errors",
    "Evaluation": "judging.evaluate",
    "FeasibleSet": "mixture.feasible",
    "Fit": "fitting.fitted",
    "FitOptions": "fitting.options",
    "Group": "mixture.constraints",
    "InfeasibleError": "mixture.feasible",
    "Law": "laws.law",
    "LeastBudget": "mixture.least_budget",
    "LogLinear": "laws.published",
    "ManyFits": "batching.many",
    "Metadata": "reading.metadata",
    "OptimalPath": "uncertainty.path",
    "Optimum": "mixture.optimum",
    "Plan": "report.plan",
    "Proposal": "design.propose",
    "Recipe": "recipe.recipe",
    "Report": "report.report",
    "Sensitivity": "mixture.sensitivity",
    "Split": "sweeps.splits",
    "SplitSubstitutionBiMix": "laws.transfer",
    "SplitTransferBiMix": "laws.transfer",
    "Stacked": "laws.stacked",
    "SubstitutionBiMix": "laws.transfer",
    "Sweep": "sweeps.sweep",
    "SweepError": "reading.errors",
    "SweepWarning": "reading.errors",
    "ThroughLosses": "laws.through_losses",
    "TokenCounts": "entropy.token_counts",
    "Tradeoff": "mixture.tradeoff",
    "TransferBiMix": "laws.transfer",
    "WithModelSize": "laws.model_size",
    "WithRepetition": "laws.wrappers",
    "WithWarmUp": "laws.wrappers",
    "best_measured": "judging.evaluate",
    "between_laws": "uncertainty.certainty",
    "bootstrap": "uncertainty.bootstrap",
    "bridge": "fitting.bridge",
    "calibration": "uncertainty.calibration",
    "certainty": "uncertainty.certainty",
    "compare": "judging.compare",
    "corpus_entropies": "entropy.corpus",
    "count_tokens": "entropy.token_counts",
    "decide": "report.decide",
    "diagnose": "diagnosis.diagnose",
    "document_shares": "recipe.recipe",
    "entropy_mixture": "entropy.domains",
    "evaluate": "judging.evaluate",
    "feasible_set": "mixture.feasible",
    "fit": "judging.automatic",
    "fit_arrays": "fitting.arrays",
    "fit_many": "batching.many",
    "fit_table": "batching.tables",
    "gauss_newton": "fitting.search",
    "law_named": "laws",
    "least_budget": "mixture.least_budget",
    "least_budget_arrays": "mixture.least_budget",
    "load_fit": "fitting.storage",
    "make_recipe": "recipe.recipe",
    "optimal_path": "uncertainty.path",
    "optimal_proportions": "mixture.proportions",
    "optimize_mixture": "mixture.optimum",
    "predict_losses": "fitting.coefficients",
    "propose_runs": "design.propose",
    "read_available": "recipe.available",
    "read_constraints": "mixture.constraints",
    "read_logs": "logs.read_logs",
    "read_paths": "recipe.available",
    "read_sweep": "sweeps.read",
    "sensitivity": "mixture.sensitivity",
    "stack_sizes": "sweeps.sizes",
    "standard_splits": "sweeps.splits",
    "token_entropies": "entropy.domains",
    "token_shares": "recipe.recipe",
    "tradeoff": "mixture.tradeoff",
    "use_compilation_cache": "xla.cache",
    "von_neumann_entropy": "entropy.von_neumann",
}
_MODULES = ("datasets", "plots")

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package stays quick."""
    if name in _MODULES:
        return importlib.import_module(f"bimix_jax.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'bimix_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"bimix_jax.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
