"""How much regret of the decision hangs on what is not known of the coefficients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.feasible import simplex
from bimix_jax.mixture.objective import MixtureArguments, MixtureProblem
from bimix_jax.mixture.proportions import optimal_proportions


class Aim(NamedTuple):
    """What is to be decided: the mixture with the least weighted mean loss at a budget."""

    budget: Any
    weights: Any
    """(targets,)"""


def decide(law: Law, coefficients: Coefficients, aim: Aim) -> Array:
    """(domains,) the mixture these coefficients recommend."""
    return optimal_proportions(law, coefficients, aim.budget, aim.weights)


def mean_loss(law: Law, coefficients: Coefficients, aim: Aim, mixture: Array) -> Array:
    """() the objective of a mixture (domains,)."""
    arguments = MixtureArguments(coefficients, aim.budget, aim.weights, simplex(len(mixture)))
    return MixtureProblem(law).objective_of(mixture, arguments)


def regret_curvature(
    law: Law, coefficients: Coefficients, draws: Coefficients, aim: Aim
) -> tuple[Array, Array]:
    """B and G such that half of δᵀ Gᵀ B G δ is the regret of not knowing a change δ.

    A change δ of the coefficients moves the slopes of the objective at the recommended mixture by
    G δ, and the best mixture by −B G δ. For a smooth optimum inside the simplex B is the inverse of
    the Hessian there. An optimum on the boundary, or a flat one, does not move so; so B is found
    by regression of the moves of the optimum on the moves of the slopes over draws (statistical
    linearisation), which is the same where the former holds.

    Args:
        coefficients: of the fit, axis (targets,).
        draws: of the posterior, axes (draws, targets).

    Returns:
        B (domains, domains), positive semidefinite, and G (targets, domains, parameters).
    """
    best = decide(law, coefficients, aim)
    others = jax.vmap(lambda drawn: decide(law, drawn, aim))(draws)
    slopes = jax.vmap(lambda c: _slope(law, c, aim, best))(draws)
    change = _centred(slopes - _slope(law, coefficients, aim, best))
    moved = others - best
    known = jnp.all(jnp.isfinite(moved), axis=1) & jnp.all(jnp.isfinite(change), axis=1)
    moved, change = (jnp.where(known[:, None], x, 0.0) for x in (moved, change))
    spread = change.T @ change
    toward = -jnp.linalg.pinv(spread, hermitian=True, rtol=1e-6) @ (change.T @ moved)
    return _positive(_centred((toward + toward.T) / 2)), _mixed(law, coefficients, aim, best)


def _slope(law: Law, coefficients: Coefficients, aim: Aim, mixture: Array) -> Array:
    return jax.grad(lambda r: mean_loss(law, coefficients, aim, r))(mixture)


def _mixed(law: Law, coefficients: Coefficients, aim: Aim, mixture: Array) -> Array:
    """(targets, domains, parameters) derivative of the slopes in the coefficients."""

    def slope(exponents: Array, amplitudes: Array) -> Array:
        moved = coefficients._replace(exponents=exponents, amplitudes=amplitudes)
        return _centred(_slope(law, moved, aim, mixture))

    both = jax.jacfwd(slope, (0, 1))(coefficients.exponents, coefficients.amplitudes)
    return jnp.moveaxis(jnp.concatenate(both, axis=2), 0, 1)


def _centred(values: Array) -> Array:
    """Without what is common to all domains, which moves no mixture."""
    return values - jnp.mean(values, axis=-1, keepdims=True)


def _positive(matrix: Array) -> Array:
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(values, 0.0)) @ vectors.T
