"""The losses of a law near mixtures: values, slopes and curvature, by one program per law."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import full_precision, jit
from bimix_jax.xla.mapping import over_leading_axis

AT_ONCE, SLOPES = 16, 1_000
"""Mixtures per call of the program, and the most slopes of all of them together: a call for one
mixture of a few domains spends most of its time on passing arrays."""


class Near(NamedTuple):
    """Losses of all targets at one mixture, and their derivatives by its proportions.

    Those of several mixtures have a leading axis.
    """

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


def _near_each(
    law: Law, coefficients: Coefficients, budget: Array, mixtures: Array, weights: Array
) -> Near:
    def one(mixture: Array, of: Array) -> Near:
        return losses_near(law, coefficients, budget, mixture, of)

    return over_leading_axis(one)(mixtures, weights)


_compiled = jit(_near_each, static_argnums=0, x64=True)


def near_mixtures(
    law: Law, coefficients: Coefficients, budget: Any, mixtures: np.ndarray, weights: np.ndarray
) -> Near:
    """Compute `losses_near` in float64, as NumPy's arrays, of mixtures (members, domains) and
    weights (members, targets)."""
    whole = jax.tree.map(lambda leaf: np.asarray(leaf, float), coefficients)
    count, each = len(mixtures), max(1, min(AT_ONCE, SLOPES // np.size(whole.own)))
    parts = []
    for first in range(0, count, each):
        # Filled up with the last one, as another number would be compiled anew.
        rows = np.arange(first, first + each).clip(max=count - 1)
        typed = np.asarray(budget, float), mixtures[rows], weights[rows]
        parts.append(_compiled(law, whole, *typed))
    return Near(*(np.concatenate(leaves)[:count] for leaves in zip(*parts, strict=True)))


def near_mixture(
    law: Law,
    coefficients: Coefficients,
    budget: Any,
    mixture: np.ndarray,
    weights: np.ndarray | None = None,
) -> Near:
    """Compute `losses_near` of one mixture (domains,); weights are 0 by default."""
    weights = np.zeros(len(coefficients.own)) if weights is None else weights
    found = near_mixtures(law, coefficients, budget, mixture[None], weights[None])
    return Near(*(leaf[0] for leaf in found))
