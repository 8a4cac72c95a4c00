"""Optimal proportions as a pure function of arrays: the objective, the constraints, the search."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.laws.law import Law
from bimix_jax.mixture._exact import exact_proportions, module_of, powers_of_own
from bimix_jax.mixture._traced import minimize_within
from bimix_jax.mixture.feasible import FeasibleSet, simplex
from bimix_jax.xla.compilation import full_precision

Objective = Literal["mean", "worst"] | Callable[[Array], Array]
OBJECTIVES = ("mean", "worst")
Method = Literal["auto", "exact", "gradient"]
METHODS: tuple[Method, ...] = ("auto", "exact", "gradient")
GUARD_TOLERANCE = 1e-9
"""Relative excess of a loss over the limit of its guardrail that counts as rounding."""
UNUSED = 0.1
"""Exponent of all kinds given to unused targets: within the bounds of every law of the package, so
that no power overflows."""


class MixtureArguments(NamedTuple):
    """Arguments of a mixture problem besides the mixture."""

    coefficients: Coefficients
    """with axis (targets,)"""
    budget: Any
    """() in the unit of the coefficients' scale"""
    weights: Any
    """(targets,) ≥ 0"""
    feasible: FeasibleSet


def used_coefficients(arguments: MixtureArguments, xp: Any = jnp) -> Coefficients:
    """Replace the coefficients of targets without weight and guardrail by harmless ones.

    Their loss is then 0 at every mixture; otherwise it could be infinite, or nan where the fit
    failed.
    """
    c, guard_limit = arguments.coefficients, arguments.feasible.guard_limit
    used = xp.asarray(arguments.weights) > 0
    if guard_limit is not None:
        used |= xp.isfinite(guard_limit)
    return c._replace(
        amplitudes=xp.where(used[:, None], c.amplitudes, 0.0),
        exponents=xp.where(used[:, None], c.exponents, UNUSED),
    )


@dataclasses.dataclass(frozen=True)
class MixtureProblem:
    """The least objective over a feasible set; equal for equal laws, to share compilations.

    Objectives are the weighted mean of the losses; the worst of weight times loss, with a further
    variable as the upper bound of all; or a function of the losses (targets,).
    """

    law: Law
    objective: Objective = "mean"

    @property
    def extra(self) -> int:
        """Number of variables beside the mixture."""
        return int(self.objective == "worst")

    @property
    def convex(self) -> bool:
        """True where a minimum is proven to be global."""
        return self.law.convex and not callable(self.objective)

    def start(self, arguments: MixtureArguments, mixture: Array) -> Array:
        """Variables of the start: the mixture, and a bound above the worst loss there."""
        if not self.extra:
            return mixture
        worst = jnp.max(arguments.weights * self.losses(mixture, arguments))
        # A tenth above the worst loss, so that the rows start strictly inside their limit.
        return jnp.append(mixture, worst + 0.1 * jnp.abs(worst))

    def _scale(self, arguments: MixtureArguments) -> Array:
        """() the worst loss at the start, which brings all rows to the order of 1."""
        # A constant of the problem: derivatives of the optimum must not go through its unit.
        start = jnp.asarray(arguments.feasible.start)
        return jax.lax.stop_gradient(jnp.max(arguments.weights * self.losses(start, arguments)))

    def losses(self, mixture: Array, arguments: MixtureArguments) -> Array:
        """Losses (targets,) of a mixture (domains,); 0 for weights of 0."""
        # At 0 some laws are infinite, and an infinite loss that does not count has nan derivatives.
        # The root of the least number, 1.5e-154, leaves powers down to r⁻² finite.
        barely = jnp.where(mixture > 0, 0.0, jnp.sqrt(jnp.finfo(mixture.dtype).tiny))
        losses = predict_losses(
            self.law, used_coefficients(arguments), (mixture + barely)[None], arguments.budget
        )[0]
        return jnp.where(arguments.weights > 0, losses, 0.0)

    def objective_of(self, mixture: Array, arguments: MixtureArguments) -> Array:
        """() objective of a mixture, without its KL term."""
        return self.of_losses(self.losses(mixture, arguments), arguments.weights)

    def of_losses(self, losses: Any, weights: Any) -> Any:
        """(…) objective of losses (…, targets); losses of weight 0 may be infinite or nan.

        One's own objective takes losses (targets,).
        """
        xp = module_of(losses)
        counting = xp.where(weights > 0, losses, 0.0)
        if callable(self.objective):
            return self.objective(counting)
        if self.objective == "worst":
            return xp.max(xp.where(weights > 0, weights * counting, -xp.inf), axis=-1)
        # Divided by the sum, so that a KL term weighs the same for weights of any scale.
        return xp.sum(weights * counting, axis=-1) / xp.sum(weights)

    def value(self, variables: Array, arguments: MixtureArguments) -> Array:
        """() objective of the mixture and the further variable, with the KL term."""
        mixture = variables[: len(variables) - self.extra]
        own = variables[-1] if self.extra else self.objective_of(mixture, arguments)
        return own + arguments.feasible.kl_term(mixture)

    def rows(self, variables: Array, arguments: MixtureArguments) -> Array:
        """Rows that must be at most 0: group sums, guardrails, losses below the worst one."""
        mixture = variables[: len(variables) - self.extra]
        rows = [*_group_rows(mixture, arguments.feasible)]
        if arguments.feasible.guard_limit is not None:
            rows.append(_guardrail_rows(self.law, mixture, arguments))
        if self.extra:
            losses = arguments.weights * self.losses(mixture, arguments)
            # Targets of weight 0 get a row of −1, which is far from its limit and without a slope.
            above = (losses - variables[-1]) / self._scale(arguments)
            rows.append(jnp.where(arguments.weights > 0, above, -1.0))
        return jnp.concatenate(rows)


def _group_rows(mixture: Array, feasible: FeasibleSet) -> tuple[Array, Array]:
    """(groups,) each: excess of the sums above their most, and shortfall below their least.

    A group with one possible sum is an equation of the set; its rows are −1.
    """
    sums = jnp.asarray(feasible.groups) @ mixture
    exact = jnp.asarray(feasible.most) <= jnp.asarray(feasible.least)
    above, below = sums - feasible.most, feasible.least - sums
    return jnp.where(exact, -1.0, above), jnp.where(exact, -1.0, below)


def _guardrail_rows(law: Law, mixture: Array, arguments: MixtureArguments) -> Array:
    """(targets,) excess of losses over the limits of their guardrails, as a fraction of these."""
    feasible = arguments.feasible
    both = jnp.stack([mixture, jnp.asarray(feasible.guard_reference, mixture.dtype)])
    # At an exact 0 derivatives of powers would be infinite or nan.
    both = both + jnp.where(both > 0, 0.0, jnp.sqrt(jnp.finfo(both.dtype).tiny))
    losses, reference = predict_losses(law, used_coefficients(arguments), both, arguments.budget)
    # The inner `where` keeps ∞ · 0 out of the derivatives of targets without a guardrail.
    bounded = jnp.isfinite(feasible.guard_limit)
    limit = jnp.where(bounded, reference * (1 + jnp.where(bounded, feasible.guard_limit, 0.0)), 1.0)
    return jnp.where(bounded, losses / limit - 1, -1.0)


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
    >>> best = jax.jit(lambda budget: optimal_proportions(BiMix(), two, budget))(1.0)
    >>> [f"{share:.3f}" for share in best]
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
    arguments = arguments._replace(coefficients=used_coefficients(arguments))
    problem = MixtureProblem(law, objective)
    if resolve_method(law, method, shared, feasible, objective) == "exact":
        return _exactly(problem, arguments)
    return _by_gradient(problem, arguments)


def _exactly(problem: MixtureProblem, arguments: MixtureArguments) -> Array:
    powers = powers_of_own(problem.law, arguments.coefficients, arguments.budget)
    return exactly_by_powers(problem, arguments, powers)


def exactly_by_powers(
    problem: MixtureProblem, arguments: MixtureArguments, powers: tuple[Any, Any]
) -> Any:
    """Find the exact optimum (domains,) from K and α (targets,) of `powers_of_own`.

    All arrays are of NumPy, or all of JAX.
    """
    scale, exponent, floors = domain_powers(problem, arguments, powers)
    return exact_proportions(scale, exponent, floors, arguments.feasible, problem.objective)


def domain_powers(
    problem: MixtureProblem, arguments: MixtureArguments, powers: tuple[Any, Any]
) -> tuple[Any, Any, Any]:
    """Weighted K, α and the floors of guardrails, (domains,) each, from those of the targets."""
    coefficients, _, weights, feasible = arguments
    scale, exponent = _power_by_domain(powers, coefficients.own, weights)
    if problem.objective == "mean":
        # The weighted mean: only the KL term depends on this scale.
        scale = scale / weights.sum()
    return scale, exponent, _guard_by_domain(powers[1], coefficients.own, feasible)


def _by_gradient(problem: MixtureProblem, arguments: MixtureArguments) -> Array:
    found = minimize_within(problem, arguments, arguments.feasible)
    mixture = found.variables[: len(found.variables) - problem.extra]
    if arguments.feasible.guard_limit is None:
        return mixture
    # The search may stop at an infeasible point if no feasible one exists.
    worst = jnp.max(_guardrail_rows(problem.law, mixture, arguments))
    return jnp.where(worst <= GUARD_TOLERANCE, mixture, jnp.nan)


def _share_own(own: Array) -> bool:
    """True where two targets have one own domain; False under jit, where it is unknown."""
    return not isinstance(own, jax.core.Tracer) and bool(np.any(np.asarray(own).sum(axis=0) > 1))


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


def _guard_by_domain(alpha: Any, own: Any, feasible: FeasibleSet) -> Any:
    """(domains,) floors of guardrails: K·r^−α ≤ (1 + x)·K·q^−α is r ≥ q·(1 + x)^(−1/α)."""
    if feasible.guard_limit is None:
        return None
    xp = module_of(alpha)
    bounded = xp.isfinite(feasible.guard_limit) & (alpha > 0)
    # In logarithms: (1 + x)^(−1/α) = exp(−log(1 + x)/α).
    room = xp.log1p(xp.where(bounded, feasible.guard_limit, 0.0))
    share = xp.exp(-room / xp.where(bounded, alpha, 1.0))
    return xp.where(bounded, share, 0.0) @ own * feasible.guard_reference


def _power_by_domain(powers: tuple[Any, Any], own: Any, weights: Any) -> tuple[Any, Any]:
    """Weighted K and α of the target with that own domain, (domains,); K = 0 without one."""
    (scale, exponent), xp = powers, module_of(powers[0])
    # Where two targets share a domain under jit, nan is the only honest answer.
    alone = xp.where(xp.sum(own, axis=0) > 1, xp.nan, 1.0)
    # 0 · nan of a failed target must not spoil the others.
    weighted = xp.where(weights > 0, weights * scale, 0.0)
    return weighted @ own * alone, exponent @ own
