"""The number that a mixture is judged by."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.laws.law import Law


@dataclasses.dataclass(frozen=True)
class MeanLoss:
    """Weighted mean of the predicted losses; equal for equal laws, so compilations are shared."""

    law: Law

    def __call__(self, mixture: Array, arguments: tuple[Coefficients, Array, Array]) -> Array:
        """() Σ_i w_i L_i(mixture, budget) / Σ_i w_i over targets; those of weight 0 do not count.

        `mixture` (domains,); `arguments` are coefficients with axis (targets,), the budget () in
        the unit of their scale, and weights (targets,) ≥ 0.
        """
        coefficients, budget, weights = arguments
        losses = predict_losses(self.law, coefficients, mixture[None], budget)[0]
        return jnp.sum(jnp.where(weights > 0, weights * losses, 0.0)) / jnp.sum(weights)


def duality_gap(gradient: Array, mixture: Array) -> Array:
    """() Frank-Wolfe gap ∇f·r − min_j ∇f_j on the simplex, for gradient and mixture (domains,).

    No mixture is better than this one by more, if the objective is convex.

    >>> import jax.numpy as jnp
    >>> print(duality_gap(jnp.array([1.0, 3.0]), jnp.array([0.5, 0.5])))
    1.0
    """
    terms = jnp.where(mixture > 0, gradient * mixture, 0.0)
    return jnp.sum(terms) - jnp.min(gradient)
