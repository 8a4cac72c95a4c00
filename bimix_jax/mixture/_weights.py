"""Weights of the targets in a decision."""

from typing import Any

import numpy as np

from bimix_jax.fitting.coefficients import FAILED
from bimix_jax.fitting.fitted import Fit
from bimix_jax.reading.names import align_weights
from bimix_jax.sweeps.scores import refuse_scores_by_name


def unidentified_targets(fitted: Fit) -> dict[str, np.ndarray]:
    """Reason → (targets,) bool: True where the mixture's effect on the target is not identified."""
    failed = np.isin(fitted.code, FAILED)
    return {
        "their fit failed": failed,
        "the runs do not show their α": ~fitted.known_in_mixture() & ~failed,
    }


def unidentified_among(
    fitted: Fit, what: str, asked: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(targets,) bool: True for requested targets that are not identified; and a note per reason.

    Raises:
        ValueError: if a requested target is a score, where more is better.
    """
    named = [t for t, wanted in zip(fitted.targets, asked, strict=True) if wanted]
    refuse_scores_by_name(named, fitted.domains, fitted.metadata)
    # Only requested targets: nobody needs a note on a target without weight.
    lost = {reason: mask & asked for reason, mask in unidentified_targets(fitted).items()}
    notes = tuple(
        f"Not {what}, as {reason}: {', '.join(np.array(fitted.targets)[mask])}."
        for reason, mask in lost.items()
        if mask.any()
    )
    return np.any(list(lost.values()), axis=0), notes


def decision_weights(fitted: Fit, weights: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Weights (targets,), 0 for targets that are not identified, and notes on those."""
    asked = align_weights(weights, fitted.targets)
    lost, notes = unidentified_among(fitted, "counted", asked > 0)
    if np.all(lost | (asked == 0)):
        raise ValueError(
            "fitted: none of the weighted targets has an identified mixture exponent (alpha), so "
            "there is nothing to optimise; see Fit.messages() for why."
        )
    # Without a weight, rather than refused: the other targets still decide, and a note says so.
    return np.where(lost, 0.0, asked), notes
