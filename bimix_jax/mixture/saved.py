"""How much less budget reaches the same losses with a better mixture."""

import jax
import jax.numpy as jnp
import numpy as np

from bimix_jax.fitted import Fit
from bimix_jax.mixture.objective import MixtureProblem


def budget_saved(
    fitted: Fit, problem: MixtureProblem, weights: np.ndarray, mixture: np.ndarray,
    beside: np.ndarray, at: float, to_goals: bool,
) -> float:  # fmt: skip
    """1 − the budget at which the mixture is as good as the reference, over the reference's.

    What they reach is the reference's objective at the budget, or, for goals, the goals.
    """
    if fitted.observed_budgets[0] == fitted.observed_budgets[1]:
        return float("nan")
    factors = np.geomspace(1e-3, 1e3, 1201)

    def along(r: np.ndarray) -> np.ndarray:
        losses = fitted.predict_points(np.repeat(r[None], len(factors), axis=0), at * factors)
        return objective_values(problem, losses, weights)

    ours, theirs = along(mixture), along(beside)
    goal = 1.0 if to_goals else theirs[len(factors) // 2]
    return float(1 - _crossing(factors, ours, goal) / _crossing(factors, theirs, goal))


def _crossing(factors: np.ndarray, values: np.ndarray, goal: float) -> float:
    """Where falling values reach a goal, by interpolation in the logarithm; nan if nowhere."""
    enough = values <= goal
    first = int(np.argmax(enough))
    if not first:
        return float("nan")
    before, after = values[first - 1], values[first]
    part = (before - goal) / (before - after)
    return float(factors[first - 1] * (factors[first] / factors[first - 1]) ** part)


def objective_values(
    problem: MixtureProblem, losses: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(mixtures,) objectives of losses (mixtures, targets); those of weight 0 may be infinite."""
    if callable(problem.objective):
        with jax.enable_x64(True):
            # What is not counted is 0 to the search, too.
            seen = np.where(weights > 0, losses, 0.0)
            return np.asarray(jax.vmap(problem.objective)(jnp.asarray(seen)))
    counted = weights > 0
    if problem.objective == "worst":
        return np.max(weights[counted] * losses[:, counted], axis=1)
    return losses[:, counted] @ weights[counted] / weights.sum()
