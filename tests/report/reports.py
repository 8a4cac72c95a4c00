"""Reports made of random numbers, which need no fits."""

import dataclasses

import jax
import numpy as np
import pandas as pd

import bimix_jax as bx
from bimix_jax.diagnosis._measurements import Observation, Severity
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.report._baselines import baseline_table
from bimix_jax.report.plan import Plan
from bimix_jax.report.report import Report
from bimix_jax.uncertainty._held_out import HeldOut
from bimix_jax.uncertainty.bootstrap import Bootstrap
from bimix_jax.uncertainty.intervals import Freedom
from tests import ready

DRAWS = 40
LONG = "a very long domain name, filtered twice"
HARMFUL = ("</script><b>", LONG, "__proto__", "7", '$x^2$ & \u202eco"')
"""Names that a page may mistake for something else."""


def renamed(world, names):
    """A world of random results whose first domains have other names."""
    world.domains = [*names, *world.domains[len(names) :]]
    pair = tuple(world.domains)
    world.fitted = dataclasses.replace(world.fitted, domains=pair, targets=pair)
    return world


def resampled(world, sweep):
    """A bootstrap whose resamples differ by a percent, and that misses losses by as much."""
    fitted, rng = world.fitted, np.random.default_rng(1)

    def spread(leaf):
        return leaf * np.exp(0.01 * rng.standard_normal((DRAWS, *np.shape(leaf))))

    of = fitted.coefficients
    own, scale = (np.broadcast_to(part, (DRAWS, *np.shape(part))) for part in of[2:])
    draws = Coefficients(spread(of.exponents), spread(of.amplitudes), own, scale)
    many = {"code": (DRAWS, 1), "identified": (DRAWS, 1, 1)}
    arrays = {name: np.tile(getattr(fitted, name), size) for name, size in many.items()}
    several = dataclasses.replace(fitted, coefficients=draws, **arrays)
    unit = np.unique(sweep.run, return_inverse=True)[1]
    runs = tuple(np.unique(sweep.run).tolist())
    rows = HeldOut(
        sweep.mixture,
        sweep.budget,
        unit,
        sweep.loss,
        fitted.predict_points(sweep.mixture, sweep.budget),
        np.full(len(unit), sweep.largest_budget),
        np.ones(len(unit)),
    )
    left_out = jax.tree.map(lambda leaf: leaf[: len(runs)], several)
    freedom = Freedom(len(runs), 4.0)
    return Bootstrap(fitted, several, left_out, freedom, "multinomial", 0, rows, sweep, runs)


def diagnosis(world):
    """Two observations."""
    seen = (
        Observation(Severity.WARNING, "Losses rise <b>", "Look & see."),
        Observation(Severity.NOTE, "A note.", ""),
    )
    laws = pd.DataFrame({"verdict": ["determined"]}, index=pd.Index(["BiMix"], name="law"))
    domains = pd.DataFrame({"min": 0.0, "max": 1.0}, index=world.domains)
    return bx.Diagnosis(seen, laws, domains, len(world.domains), 3.0)


def decided(count=5, names=HARMFUL, plan=None):
    """A report with everything."""
    world = renamed(ready.Ready(count), names)
    sweep = world.sweep()
    drawn = resampled(world, sweep)
    available = dict(zip(world.domains, np.geomspace(2e9, 9e10, count).tolist(), strict=True))
    limits = bx.Constraints(available=available, epochs=4, upper={world.domains[0]: 0.2})
    limits = dataclasses.replace(limits, guardrail=0.2, weights=dict.fromkeys(world.domains, 1.0))
    plan = plan or Plan(budget=6.4e10, constraints=limits)
    sure = bx.certainty(drawn, plan.budget, constraints=limits, reference="uniform")
    return Report(
        plan=plan,
        sweep=sweep,
        diagnosis=diagnosis(world),
        comparison=world.comparison(),
        fitted=world.fitted,
        optimum=sure.optimum,
        certainty=sure,
        calibration=world.calibration(),
        path=world.path(bands=True),
        sensitivity=world.sensitivity(),
        baselines=baseline_table(plan, sure),
        next_runs=world.proposal(),
        made="2025-01-31",
    )


def undecided():
    """A report on a sweep that is not enough."""
    world = renamed(ready.Ready(5), HARMFUL)
    return Report(
        plan=Plan(),
        sweep=world.sweep(),
        diagnosis=diagnosis(world),
        comparison=None,
        fitted=None,
        next_runs=dataclasses.replace(world.proposal(), regret_now=float("nan")),
        missing="the sweep has 3 mixtures. Run the mixtures below.",
        made="2025-01-31",
    )
