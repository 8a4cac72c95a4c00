"""Early checkpoints that break the law: what a fit without them would be off by."""

from collections.abc import Iterator

import numpy as np

from bimix_jax.diagnosis.budgets import FEW_BUDGETS
from bimix_jax.diagnosis.observation import Observation, Severity
from bimix_jax.fitting.fit import fit
from bimix_jax.laws import BiMix, Law, LogLinear
from bimix_jax.sweeps.scores import scores_among
from bimix_jax.sweeps.sweep import Sweep

GAIN, LEAST_GAIN = 1.25, 0.002
"""The error has to fall by this factor, and by this much, before it is advised."""
CLOSE = 1.05
"""Of the cuts whose error is within this factor of the least, the earliest is advised."""


def observe_early(sweep: Sweep) -> Iterator[Observation]:
    """Whether the later half of the points is fitted much better without the first budgets.

    All fits are judged on the same points, those of the later half, so that an error does not fall
    for want of points.
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
    """First budgets (cuts,), and the mean error (cuts,) at the later half of fits from there on.

    Empty where there are too few budgets, or no target that can be fitted.
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
    """The default one, where it can express a target."""
    return BiMix() if set(sweep.targets) & set(sweep.domains) else LogLinear()


def _error(sweep: Sweep, law: Law, targets: list[str], cut: float, later: np.ndarray) -> float:
    """Mean relative error at the later points of a fit to the points from a budget on."""
    weight = (sweep.budget >= cut).astype(float)
    fitted = fit(sweep, law, targets=targets, weight=weight)
    measured = sweep.loss[:, [sweep.targets.index(t) for t in targets]][later]
    errors = np.abs(fitted.predict_points(sweep.mixture, sweep.budget)[later] / measured - 1)
    known = np.isfinite(errors)
    return float(errors[known].mean()) if known.any() else np.inf
