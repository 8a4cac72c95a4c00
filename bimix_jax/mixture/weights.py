"""Which targets count in a decision, and by how much."""

from typing import Any

import numpy as np

from bimix_jax.fitting.coefficients import FAILED
from bimix_jax.fitting.fitted import Fit
from bimix_jax.names import align_weights
from bimix_jax.sweeps.scores import refuse_scores_by_name


def unidentified_targets(fitted: Fit) -> dict[str, np.ndarray]:
    """Why the mixture's effect on a target is not known → (targets,) bool of which that is so."""
    failed = np.isin(fitted.code, FAILED)
    return {
        "their fit failed": failed,
        "the runs do not show their α": ~fitted.known_in_mixture() & ~failed,
    }


def said_of(fitted: Fit, what: str, asked: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(targets,) bool of those asked for of which nothing is known, and a note for each reason.

    Raises:
        ValueError: if more is better in one of those asked for.
    """
    named = [t for t, wanted in zip(fitted.targets, asked, strict=True) if wanted]
    refuse_scores_by_name(named, fitted.domains, fitted.metadata)
    lost = {reason: mask & asked for reason, mask in unidentified_targets(fitted).items()}
    notes = tuple(
        f"Not {what}, as {reason}: {', '.join(np.array(fitted.targets)[mask])}."
        for reason, mask in lost.items() if mask.any()
    )  # fmt: skip
    return np.any(list(lost.values()), axis=0), notes


def decision_weights(fitted: Fit, weights: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Weights (targets,), 0 where nothing is known of a target, and notes on those."""
    asked = align_weights(weights, fitted.targets)
    lost, notes = said_of(fitted, "counted", asked > 0)
    if np.all(lost | (asked == 0)):
        raise ValueError(
            "fitted: none of the weighted targets has an identified mixture exponent (alpha), so "
            "there is nothing to optimise; see Fit.messages() for why."
        )
    return np.where(lost, 0.0, asked), notes
