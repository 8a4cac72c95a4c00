"""The pure core of mixture search: coefficients in, proportions out."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.exact import power_law_proportions, power_terms
from bimix_jax.mixture.feasible import FeasibleSet, simplex
from bimix_jax.mixture.gradient import minimize_on_simplex
from bimix_jax.mixture.objective import MeanLoss

Method = Literal["auto", "exact", "gradient"]
METHODS: tuple[Method, ...] = ("auto", "exact", "gradient")


def optimal_proportions(
    law: Law,
    coefficients: Coefficients,
    budget: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    method: Method = "auto",
    constraints: FeasibleSet | None = None,
) -> Array:
    """The mixture (domains,) with the least weighted mean loss at a budget, among those allowed.

    Pure arrays, under jit, vmap and grad; derivatives by the implicit function theorem.

    Args:
        law: the law the coefficients belong to; static under jit.
        coefficients: with axis (targets,), as `fit_arrays` returns them for several targets.
        budget: () in the unit of the coefficients' scale.
        weights: (targets,) ≥ 0; default 1 each.
        method: "exact" for laws of the form K·r_own^−α, "gradient" for any law, "auto" for the
            first that applies.
        constraints: what `Constraints.resolve` or `feasible_set` made; default the whole simplex.

    Raises:
        ValueError: if the method is unknown, or "exact" and the law is not of that form or two
            targets share an own domain (under jit the result is nan then).

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
    allowed = simplex(coefficients.own.shape[1]) if constraints is None else constraints
    if resolve_method(law, method, _share_own(coefficients.own)) == "exact":
        scale, exponent = _power_by_domain(law, coefficients, budget, weights)
        return power_law_proportions(power_terms(scale, exponent, allowed), allowed)
    arguments = (coefficients, budget, weights)
    return minimize_on_simplex(MeanLoss(law), arguments, coefficients.own.shape[1]).mixture


def _share_own(own: Array) -> bool:
    """Whether two targets have one own domain; under jit it is not known, and taken as no."""
    return not isinstance(own, jax.core.Tracer) and bool(np.any(np.sum(own, axis=0) > 1))


def resolve_method(law: Law, method: Method, shared: bool = False) -> Method:
    """What "auto" means for a law; raises ValueError if the law has no such method.

    `shared`: two targets have one own domain, so that their sum is no power law in it.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
    if method == "exact" and not law.is_power_of_own:
        raise ValueError(f"method 'exact' does not exist for {law.name}; use 'gradient'.")
    if method == "exact" and shared:
        raise ValueError(
            "method 'exact' needs targets with an own domain each, and two share one; use "
            "'gradient'."
        )
    exact = law.is_power_of_own and not shared
    return ("exact" if exact else "gradient") if method == "auto" else method


def _power_by_domain(
    law: Law, coefficients: Coefficients, budget: Array, weights: Array
) -> tuple[Array, Array]:
    """Weighted K and α of the target that each domain is the own of; K = 0 where there is none."""
    scale, exponent = jax.vmap(
        lambda c: law.power_of_own(c.exponents, c.amplitudes, budget / c.budget_scale)
    )(coefficients)
    # Where two targets share a domain under jit, nan is the only honest answer.
    alone = jnp.where(jnp.sum(coefficients.own, axis=0) > 1, jnp.nan, 1.0)
    counted = jnp.where(weights > 0, weights * scale, 0.0)
    return counted @ coefficients.own * alone, exponent @ coefficients.own
