"""The verb: from a sweep and a plan to a report."""

from typing import Any

from bimix_jax.design.propose import propose_runs
from bimix_jax.diagnosis.diagnose import diagnose
from bimix_jax.fitting.fit import fit
from bimix_jax.fitting.options import LATER
from bimix_jax.judging.compare import compare
from bimix_jax.laws import law_named
from bimix_jax.mixture.path import optimal_path
from bimix_jax.mixture.sensitivity import sensitivity
from bimix_jax.reading.settings import check_made, settings_of
from bimix_jax.report._baselines import baseline_table
from bimix_jax.report.plan import Plan
from bimix_jax.report.report import Report
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty.bootstrap import bootstrap
from bimix_jax.uncertainty.certainty import certainty


def decide(sweep: Sweep, plan: Plan | None = None, **settings: Any) -> Report:
    """Compare laws, fit the best one, find the best mixture, and say how sure that is.

    Args:
        sweep: what was measured.
        plan: the request; default one of the settings.
        settings: fields of a `Plan`, for a call without a plan.
    """
    check_made(sweep, Sweep, "sweep")
    asked = plan or settings_of(Plan, decide, settings)
    at = asked.budget_for(sweep)
    reference = "best-run" if asked.reference is None else asked.reference
    goal: Any = {"reference": reference, "constraints": asked.constraints}
    checked = diagnose(sweep)
    judged = compare(sweep, asked.laws or None, seed=asked.seed)
    power = LATER if at > sweep.largest_budget else 0.0
    fitted = fit(sweep, law_named(judged.best), budget_power=power)
    drawn = bootstrap(sweep, fitted, asked.resamples, asked.seed)
    sure = certainty(drawn, at, level=asked.level, **goal)
    plainly = fitted if not power else fit(sweep, fitted.law)
    return Report(
        plan=asked,
        sweep=sweep,
        diagnosis=checked,
        comparison=judged,
        fitted=fitted,
        optimum=sure.optimum,
        certainty=sure,
        path=optimal_path(fitted, bootstrap=drawn, **goal),
        sensitivity=sensitivity(fitted, sure.optimum.mixture, at),
        baselines=baseline_table(asked, sure),
        next_runs=propose_runs(plainly, sweep, asked.propose, at, seed=asked.seed, **goal)
        if asked.propose
        else None,
    )
