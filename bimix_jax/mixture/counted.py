"""Which targets count in a decision, and by how much."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bimix_jax.fitted import Fit
from bimix_jax.fitting.codes import FAILED
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.names import align_weights
from bimix_jax.scores import refuse_scores_by_name


def counted_weights(fitted: Fit, weights: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Weights (targets,), 0 where the fit of a target failed, and notes on those."""
    asked = align_weights(weights, fitted.targets)
    counted = [t for t, weight in zip(fitted.targets, asked, strict=True) if weight > 0]
    refuse_scores_by_name(counted, fitted.domains, fitted.meaning)
    failed = np.isin(fitted.code, FAILED) & (asked > 0)
    vague = ~fitted.known_in_mixture() & (asked > 0) & ~failed
    failed |= vague
    if np.all(failed | (asked == 0)):
        raise ValueError(
            "fitted: no target with a weight above 0 has a fit that knows what its proportion "
            "does; see Fit.messages() for why."
        )
    reasons = {"their fit failed": failed & ~vague, "the runs do not show their α": vague}
    notes = tuple(
        f"Not counted, as {reason}: {', '.join(np.array(fitted.targets)[lost])}."
        for reason, lost in reasons.items() if lost.any()
    )  # fmt: skip
    return np.where(failed, 0.0, asked), notes


def goal_weights(
    fitted: Fit, goals: Mapping[str, float] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """1 / goal by target, 0 without one: the largest ratio of loss to goal is to be 1."""
    if not goals or not all(0 < value < np.inf for value in goals.values()):
        raise ValueError(f"goals are {goals}; expected a loss above 0 for at least one target.")
    return counted_weights(fitted, {target: 1 / value for target, value in goals.items()})


def counted_coefficients(fitted: Fit, weights: np.ndarray, asked: Constraints) -> Coefficients:
    """Coefficients in which a failed or uncounted fit is no obstacle: its loss is 0."""
    guarded = asked.guardrail is not None
    used = (weights > 0) | (guarded & ~np.isin(fitted.code, FAILED))
    c: Any = fitted.coefficients
    return c._replace(
        amplitudes=np.where(used[:, None], c.amplitudes, 0.0),
        exponents=np.where(used[:, None], c.exponents, 0.1),
    )
