"""Optimal proportions as a pure function of arrays."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture._exact import exact_proportions
from bimix_jax.mixture._interior import minimize_within
from bimix_jax.mixture.feasible import FeasibleSet, simplex
from bimix_jax.mixture.objective import (
    OBJECTIVES,
    MixtureArguments,
    MixtureProblem,
    Objective,
    guardrail_rows,
    used_coefficients,
)
from bimix_jax.xla.compilation import full_precision

TOLERANCE = 1e-11
"""Relative slope below which no further column of a least-squares problem lowers its residual."""


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
    scale = TOLERANCE * (1 + np.abs(matrix).max(initial=0.0)) * (1 + np.abs(target).max())
    # The residual falls with every passive set, so that none recurs; rounding alone could cycle.
    for _ in range(10 * count):
        ascent = np.where(passive, -np.inf, matrix.T @ (target - matrix @ x))
        if count == 0 or ascent.max() <= scale:
            break
        passive[np.argmax(ascent)] = True
        x, passive = _keep_positive(matrix, target, x, passive)
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
    # It leaves the sum off by residual/heavy², 1e-8, which the last line divides away.
    heavy = 1e4
    matrix = np.vstack([points.T, np.full(len(points), heavy)])
    weights = nonnegative_least_squares(matrix, np.append(point, heavy))
    return points.T @ weights / weights.sum()


Method = Literal["auto", "exact", "gradient"]
METHODS: tuple[Method, ...] = ("auto", "exact", "gradient")
GUARD_TOLERANCE = 1e-9
"""Relative excess of a loss over the limit of its guardrail that counts as rounding."""


@full_precision
def optimal_proportions(
    law: Law,
    coefficients: Coefficients,
    budget: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    method: Method = "auto",
    constraints: FeasibleSet | None = None,
    objective: Objective = "mean",
) -> Array:
    """Find the mixture (domains,) with the least objective at a budget, within constraints.

    Pure arrays, under jit, vmap and grad; derivatives by the implicit function theorem. All nan
    where no mixture keeps the guardrails of `constraints`, so that other members of a batch are
    unaffected.

    Args:
        law: the law the coefficients belong to; static under jit.
        coefficients: with axis (targets,), as `fit_arrays` returns them for several targets.
        budget: () in the unit of the coefficients' scale.
        weights: (targets,) ≥ 0; default 1 each. The coefficients of a target without weight and
            guardrail change nothing; they may be nan.
        method: "exact" for laws of the form K·r_own^−α, "gradient" for any law, "auto" for the
            first that applies.
        constraints: from `Constraints.resolve` or `feasible_set`; default the whole simplex.
        objective: "mean", the weighted mean of the losses; "worst", the largest of weight times
            loss; or a function of the losses (targets,) that JAX can differentiate.

    Raises:
        ValueError: if the method is unknown, or "exact" and the law is not of that form, two
            targets share an own domain (under jit the result is nan then), two groups share a
            domain, or the objective has no exact optimum.

    >>> import jax.numpy as jnp
    >>> from bimix_jax.laws import BiMix
    >>> two = Coefficients(
    ...     exponents=jnp.array([[0.1, 0.5], [0.2, 0.5]]), amplitudes=jnp.ones((2, 2)),
    ...     own=jnp.eye(2), budget_scale=jnp.ones(2))
    >>> [f"{share:.3f}" for share in optimal_proportions(BiMix(), two, 1.0)]
    ['0.339', '0.661']
    """
    weights = jnp.ones(coefficients.own.shape[0]) if weights is None else jnp.asarray(weights)
    budget = jnp.asarray(budget, coefficients.amplitudes.dtype)
    if coefficients.own.ndim != 2:
        raise ValueError(
            f"coefficients.own has shape {coefficients.own.shape}; expected (targets, domains), as "
            "fit_arrays returns it for losses of shape (points, targets)."
        )
    feasible = simplex(coefficients.own.shape[1]) if constraints is None else constraints
    # In the type of the fit, or float64 bounds would make a float32 decision half of each.
    feasible = jax.tree.map(lambda leaf: jnp.asarray(leaf, budget.dtype), feasible)
    shared = _share_own(coefficients.own)
    arguments = MixtureArguments(coefficients, budget, weights, feasible)
    coefficients = used_coefficients(arguments)
    arguments = arguments._replace(coefficients=coefficients)
    if resolve_method(law, method, shared, feasible, objective) == "exact":
        scale, exponent = _power_by_domain(law, coefficients, budget, weights)
        if objective == "mean":
            # The weighted mean: only the KL term depends on this scale.
            scale = scale / jnp.sum(weights)
        floors = _guard_by_domain(law, coefficients, budget, feasible)
        return exact_proportions(scale, exponent, floors, feasible, objective)
    return _by_gradient(MixtureProblem(law, objective), arguments)


def _by_gradient(problem: MixtureProblem, arguments: MixtureArguments) -> Array:
    found = minimize_within(problem, arguments, arguments.feasible)
    mixture = found.variables[: len(found.variables) - problem.extra]
    if arguments.feasible.guard_limit is None:
        return mixture
    # The search may stop at an infeasible point if no feasible one exists.
    worst = jnp.max(guardrail_rows(problem.law, mixture, arguments))
    return jnp.where(worst <= GUARD_TOLERANCE, mixture, jnp.nan)


def _share_own(own: Array) -> bool:
    """True where two targets have one own domain; False under jit, where it is unknown."""
    return not isinstance(own, jax.core.Tracer) and bool(np.any(np.sum(own, axis=0) > 1))


def resolve_method(
    law: Law,
    method: Method,
    shared: bool = False,
    feasible: FeasibleSet | None = None,
    objective: Objective = "mean",
) -> Method:
    """Resolve "auto" for a law; raises ValueError if the law lacks the method.

    `shared`: two targets have one own domain, so that their sum is not a power law in it.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
    if not callable(objective) and objective not in OBJECTIVES:
        raise ValueError(
            f"objective is {objective!r}; expected one of {', '.join(OBJECTIVES)} or a function."
        )
    reason = _why_not_exact(law, shared, feasible, objective)
    if method == "exact" and reason:
        raise ValueError(f"method 'exact' {reason}; use 'gradient'.")
    return ("gradient" if reason else "exact") if method == "auto" else method


def _why_not_exact(
    law: Law, shared: bool, feasible: FeasibleSet | None, objective: Objective
) -> str:
    if not law.is_power_of_own:
        return f"does not exist for {law.label}"
    if shared:
        return "needs targets with an own domain each, and two share one"
    if callable(objective):
        return "does not exist for an objective of your own"
    if feasible is not None and not feasible.disjoint:
        return "needs groups that share no domain"
    if feasible is not None and feasible.kl is not None and objective == "worst":
        return "does not exist for the worst target with a KL term"
    return ""


def _guard_by_domain(
    law: Law, coefficients: Coefficients, budget: Array, feasible: FeasibleSet
) -> Array | None:
    """(domains,) floors of guardrails: K·r^−α ≤ (1 + x)·K·q^−α is r ≥ q·(1 + x)^(−1/α)."""
    if feasible.guard_limit is None:
        return None
    _, alpha = powers_of_own(law, coefficients, budget)
    bounded = jnp.isfinite(feasible.guard_limit) & (alpha > 0)
    # In logarithms: (1 + x)^(−1/α) = exp(−log(1 + x)/α).
    room = jnp.log1p(jnp.where(bounded, feasible.guard_limit, 0.0))
    share = jnp.exp(-room / jnp.where(bounded, alpha, 1.0))
    return jnp.where(bounded, share, 0.0) @ coefficients.own * feasible.guard_reference


def powers_of_own(law: Law, coefficients: Coefficients, budget: ArrayLike) -> tuple[Array, Array]:
    """K and α (targets,) of targets whose loss is K·r_own^−α at a budget ()."""
    return jax.vmap(lambda c: law.power_of_own(c.exponents, c.amplitudes, budget / c.budget_scale))(
        coefficients
    )


def _power_by_domain(
    law: Law, coefficients: Coefficients, budget: Array, weights: Array
) -> tuple[Array, Array]:
    """Weighted K and α of the target with that own domain, (domains,); K = 0 without one."""
    scale, exponent = powers_of_own(law, coefficients, budget)
    # Where two targets share a domain under jit, nan is the only honest answer.
    alone = jnp.where(jnp.sum(coefficients.own, axis=0) > 1, jnp.nan, 1.0)
    # 0 · nan of a failed target must not spoil the others.
    weighted = jnp.where(weights > 0, weights * scale, 0.0)
    return weighted @ coefficients.own * alone, exponent @ coefficients.own
