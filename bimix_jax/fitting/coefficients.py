"""Coefficients as arrays, and what they predict."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.residual import predict
from bimix_jax.laws.law import Law


class Coefficients(NamedTuple):
    """Everything a law needs to predict one target; a leading axis makes it several."""

    exponents: Array
    """(exponents,)"""
    amplitudes: Array
    """(amplitudes,) of budgets divided by the budget scale"""
    own: Array
    """(domains,) 1 at the target's own domain, 0 elsewhere"""
    budget_scale: Array
    """() in the unit of the budgets"""


def predict_losses(
    law: Law, coefficients: Coefficients, mixture: ArrayLike, budget: ArrayLike
) -> Array:
    """Losses (points, targets) of mixtures (points, domains) at budgets (points,), pure arrays.

    `coefficients` has a leading axis (targets,); a budget is in the unit of its scale. Infinite
    where the law is (BiMix at a proportion of 0).
    """
    mixture = jnp.asarray(mixture)
    budget = jnp.broadcast_to(jnp.asarray(budget, mixture.dtype), mixture.shape[:1])

    def one(target: Coefficients) -> Array:
        features = jax.vmap(law.features, in_axes=(0, None, 0))(
            mixture, target.own, budget / target.budget_scale
        )
        return predict(law, target.exponents, target.amplitudes, features)

    return jax.vmap(one)(coefficients).T
