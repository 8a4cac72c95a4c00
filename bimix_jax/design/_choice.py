"""Choice of the candidates to run: greedily, by expected regret."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.feasible import ROUNDING
from bimix_jax.mixture.proportions import MixtureArguments, MixtureProblem, optimal_proportions

EXCHANGES = 30
"""Number of exchanges per domain after which a draw counts as independent of its start."""


def mixtures_within(lower: np.ndarray, upper: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Draw `count` mixtures (count, domains) with lower ≤ r ≤ upper, denser near the edges.

    Two domains at a time share their sum anew, by the arcsine law between the bounds, because the
    most informative runs lie towards the edges.

    Raises:
        ValueError: if a lower bound is above the upper one, or no mixture fits.

    >>> drawn = mixtures_within(np.array([0.1, 0.1, 0.0]), np.array([0.5, 0.9, 0.4]), 1000)
    >>> drawn.min(axis=0).round(2), drawn.max(axis=0).round(2)
    (array([0.1, 0.1, 0. ]), array([0.5, 0.9, 0.4]))
    """
    if not (np.all(lower >= 0) and np.all(lower <= upper) and np.all(upper <= 1 + ROUNDING)):
        raise ValueError(
            f"bounds: {lower.tolist()} to {upper.tolist()}; expected 0 ≤ lower ≤ upper ≤ 1."
        )
    if not lower.sum() - ROUNDING <= 1 <= upper.sum() + ROUNDING:
        raise ValueError(
            f"bounds: lower ones sum to {lower.sum():.4g} and upper ones to {upper.sum():.4g}; "
            "expected sums of at most and at least 1. Lower or raise some of them."
        )
    rng = np.random.default_rng(seed)
    width = upper - lower
    # The start takes the same share of every width, so that it is a mixture within the bounds.
    share = (1 - lower.sum()) / max(float(width.sum()), np.finfo(float).tiny)
    mixture = np.tile(lower + min(max(share, 0.0), 1.0) * width, (count, 1))
    rows = np.arange(count)
    for _ in range(EXCHANGES * len(lower)):
        # A step of 1 to n − 1 around the circle: never the same domain twice.
        one, step = rng.integers(len(lower), size=count), rng.integers(1, len(lower), size=count)
        other = (one + step) % len(lower)
        # An exchange keeps the sum of the pair, and so the mixture on the simplex.
        both = mixture[rows, one] + mixture[rows, other]
        least = np.maximum(lower[one], both - upper[other])
        most = np.minimum(upper[one], both - lower[other])
        mixture[rows, one] = least + (most - least) * rng.beta(0.5, 0.5, count)
        mixture[rows, other] = both - mixture[rows, one]
    return mixture


def decide(law: Law, arguments: MixtureArguments) -> Array:
    """Find the mixture (domains,) with the least weighted mean loss."""
    coefficients, budget, weights, feasible = arguments
    return optimal_proportions(law, coefficients, budget, weights, constraints=feasible)


def mean_loss(law: Law, arguments: MixtureArguments, mixture: Array) -> Array:
    """Compute the weighted mean loss () of a mixture (domains,)."""
    return MixtureProblem(law).objective_of(mixture, arguments)


def regret_curvature(
    law: Law, arguments: MixtureArguments, draws: Coefficients
) -> tuple[Array, Array]:
    """Compute B and G such that ½·δᵀ Gᵀ B G δ is the regret of not knowing a change δ.

    A change δ of the coefficients moves the slopes of the objective at the recommended mixture by
    G δ, and the best mixture by −B G δ. For a smooth optimum inside the simplex B is the inverse of
    the Hessian there. An optimum on the boundary, or a flat one, does not move so; so B is found
    by regression of the moves of the optimum on the moves of the slopes over draws (statistical
    linearisation), which is the same where the former holds.

    Args:
        law: the law.
        arguments: of the decision, with the coefficients of the fit.
        draws: coefficients of the posterior, axes (draws, targets).

    Returns:
        B (domains, domains), positive semidefinite, and G (targets, domains, parameters).
    """
    # At the optimum r the centred slopes are 0 for all coefficients: H dr + G δ = 0, so that
    # dr = −H⁻¹ G δ, and the regret ½ drᵀ H dr is ½ δᵀ Gᵀ H⁻¹ G δ.
    best = decide(law, arguments)
    others = jax.vmap(lambda drawn: decide(law, arguments._replace(coefficients=drawn)))(draws)
    slopes = jax.vmap(lambda drawn: _slope(law, arguments, drawn, best))(draws)
    change = _centred(slopes - _slope(law, arguments, arguments.coefficients, best))
    moved = others - best
    known = jnp.all(jnp.isfinite(moved), axis=1) & jnp.all(jnp.isfinite(change), axis=1)
    moved, change = (jnp.where(known[:, None], x, 0.0) for x in (moved, change))
    # Along directions in which the draws hardly change the slopes, the noise of the moves would be
    # amplified: cut at 1e-6 of the largest.
    spread = change.T @ change
    # Least squares of moved = −B·change over the draws; the sum of slopes is centred away.
    toward = -jnp.linalg.pinv(spread, hermitian=True, rtol=1e-6) @ (change.T @ moved)
    # A regret is never negative, so B is projected to the positive semidefinite matrices.
    return _positive(_centred((toward + toward.T) / 2)), _mixed(law, arguments, best)


def _slope(
    law: Law, arguments: MixtureArguments, coefficients: Coefficients, mixture: Array
) -> Array:
    """(domains,) slopes of the mean loss at a mixture, for other coefficients."""
    other = arguments._replace(coefficients=coefficients)
    return jax.grad(lambda r: mean_loss(law, other, r))(mixture)


def _mixed(law: Law, arguments: MixtureArguments, mixture: Array) -> Array:
    """(targets, domains, parameters) derivative of the slopes in the coefficients."""
    coefficients = arguments.coefficients

    def slope(exponents: Array, amplitudes: Array) -> Array:
        moved = coefficients._replace(exponents=exponents, amplitudes=amplitudes)
        return _centred(_slope(law, arguments, moved, mixture))

    both = jax.jacfwd(slope, (0, 1))(coefficients.exponents, coefficients.amplitudes)
    return jnp.moveaxis(jnp.concatenate(both, axis=2), 0, 1)


def _centred(values: Array) -> Array:
    """Subtract the mean over domains, which moves no mixture."""
    return values - jnp.mean(values, axis=-1, keepdims=True)


def _positive(matrix: Array) -> Array:
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(values, 0.0)) @ vectors.T


RANDOM_SETS = 32
"""Number of random sets of runs that the picks are compared with."""


class Picks(NamedTuple):
    """The runs to do, and the expected regret that remains."""

    order: Array
    """(runs,) index of candidates"""
    regret: Array
    """(runs + 1,) before any run and after each"""
    random: Array
    """(runs,) mean over sets of runs drawn at random, after each"""


def expected_regret(cost: Array, precision: Array) -> Array:
    """() ½ Σ_g tr(M_g P_g⁻¹) for cost M and precision P, (groups, unknowns, unknowns)."""
    # E ½ δᵀMδ = ½ tr(M E δδᵀ), and E δδᵀ is the inverse of the precision.
    factor = jnp.linalg.cholesky(precision)
    spread = jax.scipy.linalg.cho_solve((factor, True), cost)
    return jnp.sum(jnp.trace(spread, axis1=1, axis2=2)) / 2


def pick_runs(
    cost: Array, precision: Array, gains: Array, eligible: Array, count: int, key: Array
) -> Picks:
    """Pick the `count` candidates that lower the expected regret most, greedily.

    In a Gaussian posterior the information of a run does not depend on its result, so the precision
    is updated exactly after each pick, and the next pick is not its twin.

    Args:
        cost: (groups, unknowns, unknowns) M, half of δᵀMδ being the regret of not knowing δ.
        precision: (groups, unknowns, unknowns) of the posterior before these runs.
        gains: (candidates, groups, unknowns, unknowns) information of a run of each.
        eligible: (candidates,) bool: True for candidates to choose from, at least `count`.
        count: static.
        key: for the random sets.
    """

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple]:
        # 64 at a time, which bounds the memory of the factors.
        known, open_ = state
        left = jax.lax.map(lambda gain: expected_regret(cost, known + gain), gains, batch_size=64)
        best = jnp.argmin(jnp.where(open_, left, jnp.inf))
        return (known + gains[best], open_.at[best].set(False)), (best, left[best])

    _, (order, regret) = jax.lax.scan(step, (precision, eligible), None, length=count)

    def at_random(key: Array) -> Array:
        # The first of a random order is a random set; what must not be picked is at its end.
        noise = jnp.where(eligible, jax.random.uniform(key, eligible.shape), jnp.inf)
        # Information of independent runs adds up.
        known = precision + jnp.cumsum(gains[jnp.argsort(noise)[:count]], axis=0)
        return jax.vmap(lambda p: expected_regret(cost, p))(known)

    drawn = jax.lax.map(at_random, jax.random.split(key, RANDOM_SETS))
    now = expected_regret(cost, precision)
    return Picks(order, jnp.concatenate([now[None], regret]), jnp.mean(drawn, axis=0))
