"""Runs, budgets and sizes of a sweep: what a curve along training can rest on."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bimix_jax.diagnosis.observation import Observation, Severity, some_of
from bimix_jax.logs.budgets import MOSTLY, common_points
from bimix_jax.sweeps.sweep import COMMON_SHARE, Sweep

FEW_BUDGETS = 4
"""A curve of three coefficients with fewer points shows nothing of its error."""
SPAN = 4.0
"""Least ratio of the last budget to the first from which an exponent is known."""


def observe_budgets(sweep: Sweep) -> Iterator[Observation]:
    """How many budgets, how far apart, whether runs share them, and what is not stated."""
    budgets = np.unique(sweep.budget)
    if len(budgets) == 1:
        yield Observation(
            Severity.WARNING,
            f"A single budget ({budgets[0]:g} {sweep.unit})",
            "Nothing is known of other budgets; log losses along the runs to extrapolate.",
        )
    elif len(budgets) < FEW_BUDGETS or budgets[-1] < SPAN * budgets[0]:
        yield Observation(
            Severity.WARNING,
            f"{len(budgets)} budgets, {budgets[0]:g}-{budgets[-1]:g} {sweep.unit}",
            f"Exponents of the budget will be vague; log {FEW_BUDGETS} or more over a factor of "
            f"{SPAN:g}.",
        )
    yield from _shared(sweep)
    for note in sweep.meaning.note_of_absent(() if sweep.size is None else ("model_size",)):
        yield Observation(
            Severity.NOTE, note.rstrip("."), "State it with --meaning ENTRY=VALUE when importing."
        )


def _shared(sweep: Sweep) -> Iterator[Observation]:
    codes = pd.factorize(sweep.run)[0]
    share = common_points(codes, sweep.budget) / len(sweep.budget)
    if share < MOSTLY:
        yield Observation(
            Severity.WARNING,
            f"Only {100 * share:.0f} % of the points lie at budgets that runs share",
            "Mixtures are hard to compare; import again with --align interpolate.",
        )
    ends = pd.Series(sweep.budget).groupby(sweep.run).max()
    early = [str(run) for run in ends.index if ends[run] < sweep.last_common_budget()]
    if early and len(early) <= (1 - COMMON_SHARE) * len(ends):
        yield Observation(
            Severity.NOTE,
            f"Runs that end before the others ({sweep.last_common_budget():g} {sweep.unit}): "
            f"{some_of(early)}",
            "Make sure that they did not diverge.",
        )
