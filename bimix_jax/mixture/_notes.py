"""Notes that accompany a recommended mixture, and its distance from the measured mixtures."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bimix_jax.fitting.fitted import NOTICED, Fit
from bimix_jax.mixture.proportions import MixtureProblem

if TYPE_CHECKING:
    from bimix_jax.mixture.decision import Decision

SCOPE = (
    "A prediction for the model size and tokeniser of the sweep; "
    "for a larger model it carries over as a ranking of mixtures only."
)
TOLERANCE = 1e-11
"""Relative slope below which no further column of a least-squares problem lowers its residual."""
PART = 8
"""Least-squares columns that come in together: at most one for so many rows."""


def scope_notes(fitted: Fit, *budgets: float) -> tuple[str, ...]:
    """Notes on the limits of every prediction of a fit at some budgets."""
    scope = () if fitted.law.needs_size else (SCOPE,)
    far = (note for budget in budgets for note in fitted.notes_on_budget(budget))
    return (*scope, *fitted.law.assumptions(), *far)


def _mean(losses: Any, weights: Any) -> float:
    """Weighted mean; a loss of weight 0 may be infinite or nan."""
    losses, weights = np.asarray(losses), np.asarray(weights)
    return float(np.average(losses[weights > 0], weights=weights[weights > 0]))


def gain_note(decision: "Decision", value: float, reference_value: float) -> tuple[str, ...]:
    """Note where the gain is smaller than the errors of the fit, or the reference is better.

    Both are objectives as they are minimised.
    """
    fitted = decision.fitted
    if not np.isfinite(reference_value):
        return (
            f"{fitted.law.label} has no finite loss at the reference, where a target that counts "
            "depends on a share of 0: no gain over it can be given.",
        )
    # Errors of scores are parts of their range, and so must the gain be.
    gain = (reference_value - value) / (1.0 if decision.of_scores else reference_value)
    unit = "points" if decision.of_scores else "%"
    # Both are fractions, and the gain is a difference of two predictions of this error.
    error = _mean(fitted.error, decision.weights)
    if not gain < error:
        return ()
    if gain < -error:
        return (
            f"The reference is predicted to be better by {-100 * gain:.2f} {unit}, which is more "
            f"than the fit's mean error of {100 * error:.2f} {unit}: the constraints exclude it, "
            "or the KL term costs more.",
        )
    return (
        f"The predicted gain over the reference is {100 * gain:.2f} {unit}, less than the fit's "
        f"mean error of {100 * error:.2f} {unit}: the reference may be as good.",
    )


def proof_note(problem: MixtureProblem) -> tuple[str, ...]:
    """Note where the optimum may be local."""
    if problem.convex:
        return ()
    what = "An objective of your own" if callable(problem.objective) else problem.law.label
    return (f"{what} need not be convex in the mixture: the optimum may be a local one.",)


def flatness_note(flatness: pd.DataFrame) -> tuple[str, ...]:
    """Note on the ends of the flat range that are unknown."""
    unknown = flatness.index[flatness.isna().any(axis=1)]
    if not len(unknown):
        return ()
    return (
        "The search for the range of equal objective (within 0.1 %) did not converge for "
        f"{', '.join(unknown)}.",
    )


def nonnegative_least_squares(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Find x ≥ 0 (columns,) with the least ‖matrix·x − target‖, by Lawson and Hanson's method.

    `matrix` (rows, columns), `target` (rows,). Source: Lawson and Hanson, "Solving Least Squares
    Problems" (1974), chapter 23.

    >>> print(nonnegative_least_squares(np.eye(2), np.array([1.0, -1.0])))
    [1. 0.]
    """
    count = matrix.shape[1]
    x, passive = np.zeros(count), np.zeros(count, bool)
    # Relative to the size of matrix and target, as rounding of the slopes is.
    scale = (
        TOLERANCE * (1 + np.abs(matrix).max(initial=0.0)) * (1 + np.abs(target).max(initial=0.0))
    )
    # Several columns at a time, as many multipliers are far from 0 together.
    several = max(1, len(target) // PART)
    # The residual falls with every passive set, so that none recurs; rounding alone could cycle.
    for _ in range(10 * count):
        rest = target - matrix @ x
        ascent = np.where(passive, -np.inf, matrix.T @ rest)
        steepest = np.argsort(-ascent)[:several]
        steepest = steepest[ascent[steepest] > scale]
        if not len(steepest):
            break
        wider = passive.copy()
        wider[steepest] = True
        found, kept = _keep_positive(matrix, target, x, wider)
        if np.sum((target - matrix @ found) ** 2) >= np.sum(rest**2):
            # All but the steepest may leave again at once, and take that with them.
            passive[steepest[0]] = True
            found, kept = _keep_positive(matrix, target, x, passive)
        x, passive = found, kept
    return x


def _keep_positive(
    matrix: np.ndarray, target: np.ndarray, x: np.ndarray, passive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solve for the passive columns, and drop those that would turn negative on the way."""
    while True:
        wanted = np.zeros_like(x)
        wanted[passive] = np.linalg.lstsq(matrix[:, passive], target, rcond=None)[0]
        wrong = passive & (wanted <= 0)
        if not wrong.any():
            return wanted, passive
        # The longest step towards the solution that keeps all of x ≥ 0. A column that has just come
        # in at 0 and is not wanted there, by rounding, leaves without a step.
        falling = wrong & (x > wanted)
        step = np.min(x[falling] / (x[falling] - wanted[falling])) if falling.any() else 0.0
        x = np.where(passive, x + step * (wanted - x), 0.0)
        passive = passive & ~(wrong & (x <= TOLERANCE))
        x = np.where(passive, x, 0.0)


def nearest_in_hull(point: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Find the convex combination of mixtures (points, domains) nearest to a mixture (domains,).

    >>> print(nearest_in_hull(np.array([0.9, 0.1]), np.array([[0.7, 0.3], [0.2, 0.8]])).round(6))
    [0.7 0.3]
    """
    # The row that makes the weights sum to 1 weighs much more than the distance.
    # It leaves the sum off by residual/heavy², 1e-4, which the last line divides away. A heavier
    # row would stop the search early, as slopes count from a part of the largest squares on.
    heavy = 1e2
    matrix = np.vstack([points.T, np.full(len(points), heavy)])
    weights = nonnegative_least_squares(matrix, np.append(point, heavy))
    return points.T @ weights / weights.sum()


def outside_hull(mixture: np.ndarray, measured: np.ndarray | None) -> np.ndarray:
    """(domains,) bool: proportions by which a mixture leaves the hull of the measured mixtures.

    `measured` (mixtures, domains); all False where it is None, for unknown mixtures.

    >>> outside_hull(np.array([0.5, 0.1, 0.4]), np.array([[0.6, 0.2, 0.2], [0.2, 0.2, 0.6]]))
    array([ True,  True,  True])
    """
    if measured is None:
        return np.zeros(len(mixture), bool)
    return np.abs(mixture - nearest_in_hull(mixture, measured)) > NOTICED


def outside(mixture: pd.Series, observed: pd.DataFrame) -> pd.Series:
    """ "below" or "above" where a proportion leaves the range the sweep covered, else ""."""
    # 1e-9 is rounding: a share fixed at an end of the range is inside.
    below, above = mixture < observed["min"] - 1e-9, mixture > observed["max"] + 1e-9
    return pd.Series(np.select([below, above], ["below", "above"], ""), index=mixture.index)


def observed_range(fitted: Fit, mixture: pd.Series) -> pd.DataFrame:
    """Least and largest proportion in the sweep by domain, and a flag where a mixture leaves it."""
    domains = list(fitted.domains)
    observed = pd.DataFrame(fitted.observed_proportions.T, index=domains, columns=["min", "max"])
    flags = outside(mixture, observed)
    off = outside_hull(mixture.to_numpy(), fitted.observed_mixtures)
    observed["flag"] = flags.where((flags != "") | ~off, "hull")
    return observed


def hull_note(fitted: Fit, mixtures: pd.DataFrame) -> tuple[str, ...]:
    """Note on the mixtures inside the range of the sweep that no blend of its mixtures equals."""
    least, most = fitted.observed_proportions
    inside = ((mixtures >= least - 1e-9) & (mixtures <= most + 1e-9)).all(axis=1)
    off = [outside_hull(row, fitted.observed_mixtures).any() for row in mixtures[inside].to_numpy()]
    if not any(off):
        return ()
    return (
        f"{sum(off)} of {len(mixtures)} mixtures keep the range of every domain, but no blend of "
        "the sweep's mixtures has their proportions together.",
    )
