"""The losses of a law near one mixture: values, slopes and curvature, by one program per law."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import full_precision, jit


class Near(NamedTuple):
    """Losses of all targets at one mixture, and their derivatives by its proportions."""

    losses: Any
    """(targets,)"""
    slopes: Any
    """(targets, domains)"""
    curvature: Any
    """(domains, domains) Σ_i weight_i · ∇²L_i"""


@full_precision
def losses_near(
    law: Law, coefficients: Coefficients, budget: Array, mixture: Array, weights: Array
) -> Near:
    """Compute the losses near a mixture (domains,) inside the simplex, as pure arrays.

    `coefficients` has the axis (targets,), `weights` (targets,) are those of the curvature. For a
    law of one sum (`Law.one_sum`) the cost is O(targets · domains) and one product of matrices; for
    another law it is O(targets · domains²).
    """

    def loss(one: Coefficients, shares: Array) -> Array:
        features = law.features(shares, one.own, budget / one.budget_scale)
        columns = law.basis(one.exponents, features)
        return jnp.asarray(law.total(one.amplitudes, columns))

    losses, slopes = jax.vmap(jax.value_and_grad(loss, 1), (0, None))(coefficients, mixture)
    if law.is_of_one_sum:
        curved, diagonal = jax.vmap(lambda c, g: _one_sum(loss, c, mixture, g))(
            coefficients, slopes
        )
        curvature = (slopes.T * (weights * curved)) @ slopes + jnp.diag(weights @ diagonal)
    else:
        curvature = jax.hessian(lambda r: weights @ jax.vmap(loss, (0, None))(coefficients, r))(
            mixture
        )
    return Near(losses, slopes, curvature)


def _one_sum(loss: Any, one: Coefficients, mixture: Array, slope: Array) -> tuple[Array, Array]:
    """c () and d (domains,) of the Hessian c·∇L·∇Lᵀ + diag(d) of a loss F(Σ_j φ_j(r_j)).

    Two products of the Hessian with a vector determine them: its column at the steepest domain,
    where d adds to no other entry, and its product with the mixture.
    """

    def product(direction: Array) -> Array:
        by_share = jax.jvp(lambda r: jax.grad(loss, 1)(one, r), (mixture,), (direction,))[1]
        return by_share * mixture

    # By relative changes of the shares, so that a tiny share with a huge slope drowns no other.
    relative = slope * mixture
    size = jnp.abs(relative)
    first = jnp.argmax(size)
    others = jnp.arange(len(mixture)) != first
    second = jnp.argmax(jnp.where(others, size, -1.0))
    column = product(jnp.where(others, 0.0, mixture))
    both = relative[first] * relative[second]
    # A loss of a single share has a diagonal Hessian.
    c = jnp.where(both != 0, column[second] / jnp.where(both != 0, both, 1.0), 0.0)
    diagonal = product(mixture) - c * jnp.sum(relative) * relative
    return c, diagonal / mixture**2


_compiled = jit(losses_near, static_argnums=0, x64=True)


def near_mixture(
    law: Law,
    coefficients: Coefficients,
    budget: Any,
    mixture: np.ndarray,
    weights: np.ndarray | None = None,
) -> Near:
    """Compute `losses_near` in float64, as NumPy's arrays; weights are 0 by default."""
    weights = np.zeros(len(coefficients.own)) if weights is None else weights
    whole = jax.tree.map(lambda leaf: np.asarray(leaf, float), coefficients)
    found = _compiled(law, whole, np.asarray(budget, float), mixture, weights)
    return Near(*map(np.asarray, found))
