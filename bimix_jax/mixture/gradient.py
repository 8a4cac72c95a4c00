"""The optimum of any smooth objective on the simplex, by its derivatives."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from bimix_jax.fitting.optimizers import DEFAULT_OPTIMIZER
from bimix_jax.fitting.solve import Evaluation, minimize
from bimix_jax.mixture.objective import duality_gap

ABSENT = 1e-9
"""A proportion below this counts as lying on the bound 0 when the optimum is differentiated."""

MixtureObjective = Callable[[Array, Any], Array]


class SimplexMinimum(NamedTuple):
    """Where the search on the simplex ended."""

    mixture: Array
    gap: Array
    steps: Array


def minimize_on_simplex(
    objective: MixtureObjective,
    arguments: Any,
    domains: int,
    optimizer: optax.GradientTransformation = DEFAULT_OPTIMIZER,
    tolerance: float | None = None,
    max_steps: int = 300,
) -> SimplexMinimum:
    """Minimise objective(mixture, arguments) over mixtures (domains,) on the simplex.

    The search runs on logits, mixture = softmax(logits), from the uniform mixture, with the
    curvature of the objective carried to the logits. It ends when no mixture can be better by
    more than `tolerance` (relative to the objective; default 1e-13 in float64, 1e-6 in float32)
    if the objective is convex. The mixture is differentiable in `arguments` (a pytree of arrays)
    by the implicit function theorem where its free proportions are unique.
    """
    mixture, steps = _search(objective, domains, optimizer, tolerance, max_steps, arguments)
    gradient = jax.grad(objective)(mixture, arguments)
    return SimplexMinimum(mixture, duality_gap(gradient, mixture), steps)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3, 4))
def _search(
    objective: MixtureObjective,
    domains: int,
    optimizer: optax.GradientTransformation,
    tolerance: float | None,
    max_steps: int,
    arguments: Any,
) -> tuple[Array, Array]:
    start = jnp.zeros(domains, jnp.result_type(*jax.tree.leaves(arguments)))
    tolerance = tolerance or (1e-13 if start.dtype == jnp.float64 else 1e-6)
    everywhere = jnp.full(domains, jnp.inf)
    found = minimize(
        lambda logits: _evaluate(lambda r: objective(r, arguments), logits),
        start, -everywhere, everywhere, optimizer, tolerance, max_steps,
    )  # fmt: skip
    return jax.nn.softmax(found.params), found.steps


def _evaluate(objective: Callable[[Array], Array], logits: Array) -> Evaluation:
    """The objective in logits, with a curvature that is positive wherever it is so in the mixture.

    Of the exact second derivative in logits, S·∇²f·S + diag(r·ĝ) + …, with S = diag r − r rᵀ
    and ĝ = ∇f − ∇f·r, the terms that can be negative vanish at the optimum and are left out.
    """
    mixture = jax.nn.softmax(logits)
    value, gradient = jax.value_and_grad(objective)(mixture)
    excess = gradient - jnp.sum(gradient * mixture)
    spread = jnp.diag(mixture) - jnp.outer(mixture, mixture)
    curvature = spread @ jax.hessian(objective)(mixture) @ spread
    # Adding a constant to all logits changes nothing; the flat term fixes it.
    flat = jnp.trace(curvature) / len(logits) ** 2
    hessian = curvature + jnp.diag(mixture * jnp.maximum(excess, 0.0)) + flat
    gap = duality_gap(gradient, mixture)
    return Evaluation(value, mixture * excess, hessian, gap / jnp.abs(value))


@_search.defjvp
def _search_jvp(
    objective: MixtureObjective,
    domains: int,
    optimizer: optax.GradientTransformation,
    tolerance: float | None,
    max_steps: int,
    primals: tuple,
    tangents: tuple,
) -> tuple[Any, Any]:
    """On the support: ∇²f·dr + d∇f = dλ and Σ dr = 0."""
    (arguments,) = primals
    mixture, steps = _search(objective, domains, optimizer, tolerance, max_steps, arguments)
    mixed = jax.jvp(lambda a: jax.grad(objective)(mixture, a), primals, tangents)[1]
    free = mixture > ABSENT
    hessian = jax.hessian(objective)(mixture, arguments)
    hessian = jnp.where(free[:, None] & free, hessian, jnp.eye(domains, dtype=hessian.dtype))
    of_data = jnp.linalg.solve(hessian, jnp.where(free, mixed, 0.0))
    of_multiplier = jnp.linalg.solve(hessian, free.astype(mixture.dtype))
    change = -of_data + of_multiplier * jnp.sum(of_data) / jnp.sum(of_multiplier)
    return (mixture, steps), (change, np.zeros((), jax.dtypes.float0))
