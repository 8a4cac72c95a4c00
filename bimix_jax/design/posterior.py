"""What runs say about the coefficients: their information, added to what is known before."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.design.noise import Noise
from bimix_jax.fitting.coefficients import Coefficients, features_of
from bimix_jax.fitting.problem import Problem
from bimix_jax.fitting.residual import predict, split_parameters
from bimix_jax.laws.law import Law

PRIOR = 0.3
"""Before any run, a coefficient is thought to move losses by this much (relative), no more."""


def log_slopes(law: Law, target: Coefficients, mixture: Array, budget: Array) -> Array:
    """Derivatives (points, exponents + amplitudes) of one target's log loss; 0 without a value."""
    features = features_of(law, mixture, target.own, budget / target.budget_scale, None)

    def loss(params: Array) -> Array:
        return predict(law, *split_parameters(law, params), features)

    params = jnp.concatenate([target.exponents, target.amplitudes])
    slopes = jax.jacfwd(loss)(params) / loss(params)[:, None]
    usable = jax.vmap(law.usable, in_axes=(0, None))(mixture, target.own)
    return jnp.where(usable[:, None] & jnp.isfinite(slopes), slopes, 0.0)


def information(slopes: Array, counted: Array, run: Array, runs: int, noise: Noise) -> Array:
    """(targets, parameters, parameters) JᵀV⁻¹J of independent runs, V = σ² I + τ² 11ᵀ in each.

    `slopes` (targets, points, parameters) are 0 where not `counted` (targets, points); `run`
    (points,) int in 0 … runs − 1; `noise` of each target.
    """

    def of_target(slopes: Array, counted: Array, within: Array, between: Array) -> Array:
        by_run = jax.ops.segment_sum(slopes, run, runs)
        count = jax.ops.segment_sum(counted.astype(slopes.dtype), run, runs)
        shared = between / (within + count * between)
        return (slopes.T @ slopes - (by_run.T * shared) @ by_run) / within

    return jax.vmap(of_target)(slopes, counted, noise.within, noise.between)


@dataclasses.dataclass(frozen=True)
class Unknowns:
    """How the coefficients of targets are the unknowns of groups.

    Every target is a group of its own, or all are one where some exponents are tied.
    """

    law: Law
    domains: int
    targets: int
    tied: tuple[str, ...] = ()

    @property
    def ties(self) -> Any:
        """0/1 matrix (targets, parameters, unknowns) of the tied group."""
        return Problem(self.law, self.domains, self.targets, self.tied).full_ties()

    def collected(self, matrices: Array) -> Array:
        """(groups, unknowns, unknowns) of a quadratic form of each target."""
        if not self.tied:
            return matrices
        return jnp.einsum("tpu,tpq,tqv->uv", self.ties, matrices, self.ties)[None]

    def slopes(self, slopes: Array) -> Array:
        """(groups, …, unknowns) of derivatives (targets, …, parameters) of a sum over targets."""
        if not self.tied:
            return slopes
        return jnp.einsum("tpu,t...p->...u", self.ties, slopes)[None]

    def spread(self, values: Array) -> Array:
        """(targets, parameters) of unknowns (groups, unknowns)."""
        return jnp.einsum("tpu,u->tp", self.ties, values[0]) if self.tied else values


def free_parameters(law: Law, own: Array, restraint: Array) -> tuple[Array, Array]:
    """What a fit left free (targets, parameters) bool, and how strongly it drew that to a centre.

    An exponent on a bound counts as free: that it lies there is not certain. `restraint`
    (targets,) is the fit's strength; the pull is per point and in units of its noise variance.
    """
    free = ~jax.vmap(law.fixed)(own)
    pull = jnp.zeros(free.shape, own.dtype)
    if law.restraint(own[0]) is not None:
        weight = jax.vmap(law.restraint)(own)[1]  # type: ignore[index]
        pull = jnp.where(weight > 0, weight * restraint[:, None], 0.0)
    free &= ~jnp.isinf(pull)
    rest = ((0, 0), (0, len(law.amplitude_names)))
    pull = jnp.pad(jnp.where(free, pull, 0.0), rest)
    return jnp.pad(free, rest, constant_values=True), pull


def prior_precision(unknowns: Unknowns, slopes: Array) -> Array:
    """(groups, unknowns, unknowns) such that one coefficient moves log losses by `PRIOR`.

    `slopes` (targets, points, parameters) at the mixtures in question. What moves no loss there,
    being fixed or nowhere present, is held, so that nothing is singular.
    """
    squares = jnp.mean(slopes**2, axis=1)
    diagonal = jax.vmap(jnp.diag)
    total = jax.vmap(jnp.diag)(unknowns.collected(diagonal(squares)))
    count = jax.vmap(jnp.diag)(unknowns.collected(diagonal(jnp.ones_like(squares))))
    mean = total / jnp.maximum(count, 1.0)
    return diagonal(jnp.where(mean > 0, mean / PRIOR**2, 1.0))


def draw_coefficients(
    unknowns: Unknowns, coefficients: Coefficients, precision: Array, free: Array, key: Array,
    count: int,
) -> Coefficients:  # fmt: skip
    """`count` draws of the posterior, axes (draws, targets), clipped to what the law allows."""
    law = unknowns.law
    factor = jnp.linalg.cholesky(precision)
    normal = jax.random.normal(key, (count, *precision.shape[:2]), precision.dtype)
    solve = jax.vmap(lambda low, z: jax.scipy.linalg.solve_triangular(low.T, z, lower=False))
    change = jax.vmap(lambda z: unknowns.spread(solve(factor, z)))(normal)
    change = jnp.where(free, change, 0.0)
    named = coefficients.exponents.shape[1]
    lower, upper = jnp.asarray(law.bounds(unknowns.domains), precision.dtype).T
    lower = jnp.maximum(lower, jax.vmap(law.least)(coefficients.own))
    inside = jnp.clip(coefficients.exponents + change[..., :named], lower, upper)
    return Coefficients(
        # What is fixed need not lie within the bounds.
        jnp.where(free[:, :named], inside, coefficients.exponents),
        jnp.maximum(coefficients.amplitudes + change[..., named:], 0.0),
        jnp.broadcast_to(coefficients.own, (count, *coefficients.own.shape)),
        jnp.broadcast_to(coefficients.budget_scale, (count, *coefficients.budget_scale.shape)),
    )
