"""The pure core of a proposal: coefficients, measured points and candidates in, picks out."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.design.greedy import Picks, pick_runs
from bimix_jax.design.noise import Noise, estimate_noise
from bimix_jax.design.posterior import (
    Unknowns,
    draw_coefficients,
    free_parameters,
    information,
    log_slopes,
    prior_precision,
)
from bimix_jax.design.regret import Aim, regret_curvature
from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.xla.compilation import jit

DRAWS = 256
"""Of the posterior, that show how the optimum moves."""


class Measured(NamedTuple):
    """The points of a sweep."""

    mixture: Any
    """(points, domains)"""
    budget: Any
    """(points,)"""
    loss: Any
    """(points, targets)"""
    counted: Any
    """(points, targets) bool"""
    run: Any
    """(points,) int"""


class Candidates(NamedTuple):
    """Mixtures that could be run, each at all of the budgets."""

    mixture: Any
    """(candidates, domains)"""
    budgets: Any
    """(budgets,)"""
    allowed: Any
    """(candidates,) bool"""


@functools.partial(jit, static_argnums=(0, 1, 2))
def plan_runs(
    unknowns: Unknowns, runs: int, count: int, coefficients: Coefficients, restraint: Array,
    measured: Measured, candidates: Candidates, aim: Aim, key: Array,
) -> tuple[Picks, Noise]:  # fmt: skip
    """The `count` candidates that lower the expected regret of the decision most.

    Args:
        unknowns: of the fit.
        runs: how many the points have.
        count: how many to pick.
        coefficients: of the fit, axis (targets,).
        restraint: (targets,) strength with which it drew them.
        measured: what was fitted.
        candidates: what could be run.
        aim: what it is for; targets of weight 0 do not count.
        key: of the draws.
    """
    law = unknowns.law
    free, pull = free_parameters(law, coefficients.own, restraint)
    free &= aim.weights[:, None] > 0

    def slopes_at(mixture: Array, budget: Array) -> Array:
        slopes = jax.vmap(lambda c: log_slopes(law, c, mixture, budget))(coefficients)
        return jnp.where(free[:, None], slopes, 0.0)

    predicted = predict_losses(law, coefficients, measured.mixture, measured.budget).T
    counted = measured.counted.T & jnp.isfinite(predicted) & (aim.weights[:, None] > 0)
    everywhere = slopes_at(measured.mixture, measured.budget)
    slopes = jnp.where(counted[:, :, None], everywhere, 0.0)
    errors = jnp.where(counted, predicted / measured.loss.T - 1, 0.0)
    ridge = pull * jnp.sum(counted, axis=1)[:, None]
    noise = estimate_noise(slopes, errors, counted, measured.run, runs, ridge)
    seen = information(slopes, counted, measured.run, runs, noise)
    restrained = jax.vmap(jnp.diag)(ridge / (noise.within + noise.between)[:, None])

    def gain(mixture: Array) -> Array:
        budgets = candidates.budgets
        at = slopes_at(jnp.broadcast_to(mixture, (len(budgets), len(mixture))), budgets)
        usable = jnp.any(at != 0, axis=2)
        one_run = jnp.zeros(len(budgets), int)
        return unknowns.collected(information(at, usable, one_run, 1, noise))

    precision = unknowns.collected(seen + restrained) + prior_precision(unknowns, everywhere)
    draw_key, set_key = jax.random.split(key)
    draws = draw_coefficients(unknowns, coefficients, precision, free, draw_key, DRAWS)
    curvature, mixed = regret_curvature(law, coefficients, draws, aim)
    of_unknowns = unknowns.slopes(jnp.where(free[:, None], jnp.nan_to_num(mixed), 0.0))
    cost = jnp.einsum("gmu,mn,gnv->guv", of_unknowns, curvature, of_unknowns)
    gains = jax.lax.map(gain, candidates.mixture, batch_size=64)
    return pick_runs(cost, precision, gains, candidates.allowed, count, set_key), noise
