"""How far runs scatter about a fit: what differs from run to run, and from point to point."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

GUESS = 0.005
"""Relative noise that is taken for granted with little weight, so that runs which fit perfectly,
or are too few to tell, do not look exact; about what replicates of public sweeps show."""
LEAST = 1e-5
"""No measured loss is known better than this (relative)."""


class Noise(NamedTuple):
    """Variances of the relative error of a measured loss."""

    within: Array
    """(targets,) of one point about its run"""
    between: Array
    """(targets,) of what all points of a run share: its seed, and what the law misses there"""


def estimate_noise(
    slopes: Array, errors: Array, counted: Array, run: Array, runs: int, ridge: Array
) -> Noise:
    """Both variances of every target, from the quadratic forms of its residuals.

    With e the residuals, Q = I − J(JᵀJ + Λ)⁻¹Jᵀ and Z the membership of points in runs,
    E eᵀe = σ² tr Q + τ² tr K and E eᵀAe = σ² tr AQ + τ² tr(N⁻¹KK), with K = ZᵀQZ, N = ZᵀZ and
    A = Z N⁻¹ Zᵀ (Henderson 1953, method of fitting constants). A target counts its own forms and,
    with the same weight, the mean over targets, since few runs say little about each.

    Args:
        slopes: (targets, points, parameters) derivatives of the log losses, 0 where not counted.
        errors: (targets, points) relative residuals.
        counted: (targets, points) bool.
        run: (points,) int in 0 … runs − 1.
        runs: how many runs there are.
        ridge: (targets, parameters) what a restraint adds to the diagonal of JᵀJ.
    """

    def forms(slopes: Array, error: Array, counted: Array, ridge: Array) -> tuple[Array, Array]:
        by_run = jax.ops.segment_sum(slopes, run, runs)
        inverse = _inverse(slopes.T @ slopes + jnp.diag(ridge))
        count = jax.ops.segment_sum(counted.astype(error.dtype), run, runs)
        share = jnp.where(count > 0, 1 / jnp.maximum(count, 1), 0.0)
        left = jnp.diag(count) - by_run @ inverse @ by_run.T
        spare = jnp.sum(count) - jnp.sum((slopes @ inverse) * slopes)
        of_error = jax.ops.segment_sum(jnp.where(counted, error, 0.0), run, runs)
        seen = [jnp.sum(jnp.where(counted, error, 0.0) ** 2), jnp.sum(share * of_error**2)]
        expected = [
            [spare, jnp.trace(left)],
            [share @ jnp.diag(left), jnp.sum(share * jnp.sum(left**2, axis=1))],
        ]
        return jnp.stack(seen), jnp.asarray(expected)

    seen, expected = jax.vmap(forms)(slopes, errors, counted, ridge)
    seen = seen + jnp.mean(seen, axis=0)
    expected = expected + jnp.mean(expected, axis=0)
    variances = jax.vmap(_solve)(seen, expected)
    return Noise(jnp.maximum(variances[:, 0], LEAST**2), jnp.maximum(variances[:, 1], 0.0))


def _inverse(matrix: Array) -> Array:
    """Pseudo-inverse after scaling to a unit diagonal; directions nobody sees get nothing."""
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.diag(matrix), jnp.finfo(matrix.dtype).tiny))
    unit = matrix * scale[:, None] * scale
    return jnp.linalg.pinv(unit, hermitian=True, rtol=1e-10) * scale[:, None] * scale


def _solve(seen: Array, expected: Array) -> Array:
    """Of the form of all points and that of run means; each variance also guessed once."""
    within = jnp.stack([seen[0] - seen[1], seen[1]])
    system = jnp.stack([expected[0] - expected[1], expected[1]])
    prior = jnp.eye(2, dtype=seen.dtype)
    return jnp.linalg.solve(system + prior, within + GUESS**2)
