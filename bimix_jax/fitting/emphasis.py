"""How much a point counts by its budget: what is asked for lies beyond the largest ones."""

import numpy as np

LATER = 2.0
"""For budgets beyond those measured: a law of budget is least true of the first checkpoints, and
what it is off by at the last ones is carried on."""


def check_emphasis(emphasis: float) -> None:
    """Raise ValueError unless it is a power ≥ 0."""
    if not 0 <= emphasis < np.inf:
        raise ValueError(
            f"emphasis is {emphasis}; expected a power of the budget ≥ 0, {LATER:g} for later "
            "budgets or 0 for points that all count alike."
        )


def about_emphasis(emphasis: float) -> tuple[str, ...]:
    """What has to be said beside a fit: nothing, or how its points counted."""
    if emphasis == 0:
        return ()
    return (f"Points count by the power {emphasis:g} of their budget, as asked.",)


def emphasised(budget: np.ndarray, emphasis: float) -> np.ndarray:
    """(points,) (s/s_max)^emphasis, by which points count, 1 at the largest of budgets (points,).

    >>> emphasised(np.array([1.0, 2.0, 4.0]), 2.0).tolist()
    [0.0625, 0.25, 1.0]
    """
    return np.asarray((budget / np.max(budget)) ** emphasis, float)
