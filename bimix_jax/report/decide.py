"""The verb: from a sweep and a plan to a report."""

import contextlib
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

from bimix_jax.design.propose import Proposal, propose_runs, spread_runs
from bimix_jax.diagnosis.diagnose import diagnose
from bimix_jax.files import as_path
from bimix_jax.fitting.fit import fit
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.options import LATER
from bimix_jax.fitting.storage import load_fit
from bimix_jax.judging.compare import compare
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.linked import linked_laws
from bimix_jax.laws import LAWS, Law, WithModelSize, law_named
from bimix_jax.mixture.sensitivity import sensitivity
from bimix_jax.printable import plain
from bimix_jax.quantities import counted
from bimix_jax.reading.settings import check_made, settings_of
from bimix_jax.report._baselines import baseline_table
from bimix_jax.report._files import KEPT
from bimix_jax.report._kept import (
    Kept,
    kept_bootstrap,
    kept_comparison,
    kept_diagnosis,
    kept_fit,
    kept_path,
    kept_proposal,
    key_of,
)
from bimix_jax.report.plan import Plan
from bimix_jax.report.report import Report
from bimix_jax.sweeps.sweep import CURVE, Sweep
from bimix_jax.uncertainty._spread import units_needed
from bimix_jax.uncertainty.bootstrap import Bootstrap, bootstrap
from bimix_jax.uncertainty.certainty import Certainty, certainty
from bimix_jax.uncertainty.path import OptimalPath, optimal_path

CANDIDATES = ("BiMix", "TransferBiMix", "SubstitutionBiMix", "AdditiveLaw")
"""Laws that are compared by default: one of each kind of those that `compare` takes, which are
the quickest of their kind. A plan may name the stack of laws: with 7 domains, 36 runs and 12
budgets a decision that compares it, too, took 26 s of a core with compiled programs instead of 8,
and 59 instead of 36 without; it was off by 0.07 ± 0.05 points less than the best of these."""
REPEATS = 2
"""Number of draws of held-out mixtures that laws are compared on: a pick needs fewer than the
errors of `compare`."""
COMPARING = "comparing laws"
"""Name of the longest stage."""
POOL = 64
"""Number of mixtures that a proposal chooses from."""
Progress = Callable[[str], None]


def decide(
    sweep: Sweep,
    plan: Plan | None = None,
    *,
    folder: str | Path | None = None,
    progress: Progress = lambda stage: None,
    **settings: Any,
) -> Report:
    """Compare laws, fit the best one, find the best mixture, and say how sure that is.

    Args:
        sweep: what was measured.
        plan: the request; default one of the settings.
        folder: where results of stages are kept, so that a further call with another budget or
            other constraints takes them from there; default they are not kept. Usually the folder
            of `Report.save`.
        progress: called with the name of each stage when it begins. While laws are compared, it is
            called again with ": " behind the name, how far the stage is, and the time that is left
            where that is long.
        settings: fields of a `Plan`, which replace those of the plan.

    Returns:
        A `Report`. Where the sweep is not enough to decide, it has no optimum, says why in
        `missing`, and names the runs to do in `next_runs`.

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints (what conflicts is
            named).
        ValueError: on unknown names, or values that a setting cannot have.
        TypeError: on a setting that does not exist; the message names the nearest one.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> report = bx.decide(sweep, laws=["BiMix", "LogLinear"], propose=0)
    >>> report.fitted.label, bool(0 < report.certainty.probability < 1)
    ('BiMix', True)
    """
    check_made(sweep, Sweep, "sweep")
    asked = settings_of(Plan, decide, {**_given(plan), **settings}).for_sweep(sweep)
    _refuse_infeasible(asked, sweep)
    place = None if folder is None else as_path(folder) / KEPT
    return _Way(asked, sweep, Kept(place, sweep), progress).report()


def _given(plan: Plan | None) -> dict[str, Any]:
    if plan is None:
        return {}
    return {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}


def _refuse_infeasible(plan: Plan, sweep: Sweep) -> None:
    """Raise InfeasibleError before anything is fitted; guardrails alone need a fit."""
    limits = dataclasses.replace(plan.constraints, guardrail=None)
    # Names, unit and metadata are all that a set of mixtures takes of a fit.
    limits.resolve(cast(Fit, sweep), plan.budget_of(sweep))


@dataclasses.dataclass(frozen=True)
class _Way:
    """The stages of a decision, in their order."""

    plan: Plan
    sweep: Sweep
    kept: Kept
    progress: Progress

    def report(self) -> Report:
        """Go through all stages."""
        missing = self._too_few()
        with ThreadPoolExecutor(1) as beside:
            self.progress(COMPARING)
            checked = beside.submit(kept_diagnosis, self.kept, lambda: diagnose(self.sweep))
            judged = self._compared(missing)
            fitted = self._fitted(judged)
            bare = Report(self.plan, self.sweep, checked.result(), judged, fitted, missing=missing)
            if missing is not None or fitted is None:
                return dataclasses.replace(bare, next_runs=self._first_runs())
            drawn = self._resampled(fitted)
            further = beside.submit(self._proposed, drawn)
            decided = self._decided(bare, drawn)
            runs = further.result() if decided.missing is None else self._first_runs()
            return dataclasses.replace(decided, next_runs=runs)

    def _too_few(self) -> str | None:
        """Why the sweep is not enough to decide, whatever law is fitted; None where it is."""
        found = len(np.unique(self.sweep.mixture_group))
        needed = units_needed(self.plan.level)
        if found >= needed:
            return None
        return (
            f"the sweep has {counted(found, 'mixture')}, and how sure a gain is can be said from "
            f"{needed} on. Run the mixtures below, or others that differ as much."
        )

    def _compared(self, missing: str | None) -> Comparison | None:
        """The comparison on the most demanding split; None where too few runs allow none."""
        laws, later = self._laws(), len(np.unique(self.sweep.budget)) > CURVE
        kind = "both" if later else "mixtures"
        named = list(map(repr, laws))
        settings = {"laws": named, "splits": kind, "repeats": REPEATS, "seed": self.plan.seed}

        def make() -> Comparison:
            return compare(
                self.sweep,
                laws,
                kind,
                repeats=REPEATS,
                seed=self.plan.seed,
                progress=lambda outlook: self.progress(f"{COMPARING}: {outlook}"),
            )

        with contextlib.suppress(ValueError) if missing else contextlib.nullcontext():
            return kept_comparison(self.kept, settings, make)
        return None

    def _laws(self) -> list[Law]:
        """Laws to compare: those of the plan, or candidates that express a target."""
        if self.plan.laws:
            return [law_named(name, load_fit) for name in self.plan.laws]
        linked = linked_laws(self.sweep)
        # Where scores are judged, too, a law has to express them.
        own = bool(set(self.sweep.targets) & set(self.sweep.domains)) and not linked
        able = [LAWS[name]() for name in CANDIDATES if own or not LAWS[name].needs_own]
        several = self.sweep.size is not None
        return [*(WithModelSize(law) if several else law for law in able), *linked[:1]]

    def _fitted(self, judged: Comparison | None) -> Fit | None:
        """The judge's pick, with the judge's settings, at the model size of the decision."""
        if judged is None:
            return None
        law = next(law for law in self._laws() if law.label == judged.best)
        self.progress(f"fitting {law.label}")
        fitted = self._fit(law, self._power)
        # What reduces to a simpler law is resampled as that law, which has fewer coefficients.
        simple = LAWS.get(fitted.label)
        fitted = fitted if simple in (None, type(law)) else self._fit(simple(), self._power)
        size = self.plan.model_size
        return fitted if size is None else fitted.at_model_size(size)

    @property
    def _power(self) -> float:
        """Weight of budgets: the judge's for later budgets where the decision is at one, or at a
        model that is larger than those of the sweep."""
        size, sizes = self.plan.model_size, self.sweep.size
        larger = size is not None and sizes is not None and size > sizes.max()
        later = self.plan.budget_of(self.sweep) > self.sweep.largest_budget
        return LATER if later or larger else 0.0

    def _fit(self, law: Law, power: float) -> Fit:
        settings = {"law": repr(law), "budget_power": power}
        return kept_fit(self.kept, settings, lambda: fit(self.sweep, law, budget_power=power))

    def _decided(self, bare: Report, drawn: Bootstrap) -> Report:
        """Add the optimum and all that is said about it."""
        plan, at, fitted = self.plan, self.plan.budget, drawn.fitted
        goal: Any = {"reference": plan.reference, "constraints": plan.constraints}
        self.progress("finding the best mixture and how sure it is")
        kept = plan.guard_probability
        sure = certainty(drawn, at, level=plan.level, guard_probability=kept, **goal)
        if np.isnan(sure.probability):
            return dataclasses.replace(bare, missing=_no_interval(sure))
        along = self.sweep.budget.min() < self.sweep.largest_budget
        return dataclasses.replace(
            bare,
            optimum=sure.optimum,
            certainty=sure,
            calibration=sure.calibration,
            path=self._path(fitted, goal) if along else None,
            sensitivity=sensitivity(fitted, sure.optimum.mixture, at, **goal),
            baselines=baseline_table(plan, sure),
        )

    def _path(self, fitted: Fit, goal: Any) -> OptimalPath:
        settings = [key_of(fitted), self._asked]
        return kept_path(self.kept, settings, lambda: optimal_path(fitted, **goal))

    @property
    def _asked(self) -> Any:
        """Everything that decides which mixture is best at a budget, as JSON types.

        The tokens are in the constraints: the plan itself may have the name of their file, whose
        content can change.
        """
        return plain([self.plan.constraints.to_dict(), self.plan.reference])

    def _resampled(self, fitted: Fit) -> Bootstrap:
        plan = self.plan
        self.progress(f"fitting {counted(plan.resamples, 'resample')}")
        settings = {**key_of(fitted), "n": plan.resamples, "seed": plan.seed}

        def make() -> Bootstrap:
            return bootstrap(self.sweep, fitted, plan.resamples, plan.seed)

        return kept_bootstrap(self.kept, fitted, settings, make)

    def _proposed(self, drawn: Bootstrap) -> Proposal | None:
        """The runs to do next; None where none are asked for, or the law cannot say."""
        plan, count, fitted = self.plan, self.plan.propose, drawn.fitted
        if not count or fitted.law.needs_size or fitted.law.of_losses:
            return None
        # A proposal takes residuals as noise, which weights by budget would distort.
        even = self._fit(fitted.law, 0.0)
        resampled = [key_of(fitted), plan.resamples, plan.seed]
        settings = [key_of(even), resampled, self._asked, count, plan.budget]

        def make() -> Proposal:
            return propose_runs(
                even,
                self.sweep,
                count,
                plan.budget,
                spread_runs(self.sweep, max(POOL, count), plan.seed).mixtures,
                bootstrap=drawn,
                seed=plan.seed,
                reference=plan.reference,
                constraints=plan.constraints,
            )

        return kept_proposal(self.kept, settings, make)

    def _first_runs(self) -> Proposal | None:
        """Runs that differ from each other and from those of the sweep, where no law can say which
        serve the decision best."""
        plan, sweep = self.plan, self.sweep
        found = len(np.unique(sweep.mixture_group))
        count = max(plan.propose, units_needed(plan.level) - found)
        return spread_runs(sweep, count, plan.seed) if plan.propose else None


def _no_interval(sure: Certainty) -> str:
    """Why there is no probability although there are enough mixtures."""
    return (
        f"{sure.verdict()} Too few mixtures have every weighted loss measured; complete their "
        "losses, give the others a weight of 0, or run the mixtures below."
    )
