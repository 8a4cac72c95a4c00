"""Runs one after another, each the best one after those before it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

RANDOM_SETS = 32
"""Sets of runs drawn at random that the picks are compared with."""


class Picks(NamedTuple):
    """The runs to do, and the expected regret that is left."""

    order: Array
    """(runs,) index of candidates"""
    regret: Array
    """(runs + 1,) before any run and after each"""
    random: Array
    """(runs,) mean over sets of runs drawn at random, after each"""


def expected_regret(cost: Array, precision: Array) -> Array:
    """() ½ Σ_g tr(M_g P_g⁻¹) for cost M and precision P, (groups, unknowns, unknowns)."""
    factor = jnp.linalg.cholesky(precision)
    spread = jax.scipy.linalg.cho_solve((factor, True), cost)
    return jnp.sum(jnp.trace(spread, axis1=1, axis2=2)) / 2


def pick_runs(
    cost: Array, precision: Array, gains: Array, allowed: Array, count: int, key: Array
) -> Picks:
    """The `count` candidates that lower the expected regret most, greedily.

    In a Gaussian posterior what a run teaches does not depend on what it will show, so the
    precision is updated exactly after each pick, and the next one is not its twin.

    Args:
        cost: (groups, unknowns, unknowns) M, half of δᵀMδ being the regret of not knowing δ.
        precision: (groups, unknowns, unknowns) of what is known now.
        gains: (candidates, groups, unknowns, unknowns) information of a run of each.
        allowed: (candidates,) bool; at least `count` of them.
        count: static.
        key: for the random sets.
    """

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple]:
        known, open_ = state
        left = jax.lax.map(lambda gain: expected_regret(cost, known + gain), gains, batch_size=64)
        best = jnp.argmin(jnp.where(open_, left, jnp.inf))
        return (known + gains[best], open_.at[best].set(False)), (best, left[best])

    _, (order, regret) = jax.lax.scan(step, (precision, allowed), None, length=count)

    def at_random(key: Array) -> Array:
        noise = jnp.where(allowed, jax.random.uniform(key, allowed.shape), jnp.inf)
        known = precision + jnp.cumsum(gains[jnp.argsort(noise)[:count]], axis=0)
        return jax.vmap(lambda p: expected_regret(cost, p))(known)

    drawn = jax.lax.map(at_random, jax.random.split(key, RANDOM_SETS))
    now = expected_regret(cost, precision)
    return Picks(order, jnp.concatenate([now[None], regret]), jnp.mean(drawn, axis=0))
