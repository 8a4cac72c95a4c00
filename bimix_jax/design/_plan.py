"""Information of further runs: noise, posterior and plan."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.design._choice import Picks, pick_runs, regret_curvature
from bimix_jax.fitting.coefficients import Coefficients, features_of, predict_losses
from bimix_jax.fitting.problem import Problem
from bimix_jax.fitting.residual import predict, split_parameters
from bimix_jax.laws.law import Law
from bimix_jax.mixture.proportions import MixtureArguments
from bimix_jax.xla.compilation import jit

GUESS = 0.005
"""Relative noise assumed beforehand with little weight, so that perfect fits or few runs do not
look exact; about the spread of replicates in public sweeps."""
LEAST = 1e-5
"""Least relative noise of a measured loss."""


class Noise(NamedTuple):
    """Variances of the relative error of a measured loss."""

    within: Array
    """(targets,) of one point about its run"""
    between: Array
    """(targets,) of the part that all points of a run share: its seed, and the error of the law
    there"""


def estimate_noise(
    slopes: Array, errors: Array, used: Array, run: Array, runs: int, ridge: Array
) -> Noise:
    """Estimate both variances of every target, from the quadratic forms of its residuals.

    With e the residuals, Q = I − J(JᵀJ + Λ)⁻¹Jᵀ and Z the membership of points in runs,
    E eᵀe = σ² tr Q + τ² tr K and E eᵀAe = σ² tr AQ + τ² tr(N⁻¹KK), with K = ZᵀQZ, N = ZᵀZ and
    A = Z N⁻¹ Zᵀ (Henderson 1953, method of fitting constants). To its own forms a target adds, with
    the same weight, the mean over targets, since few runs hold little information on each.

    Args:
        slopes: (targets, points, parameters) derivatives of the log losses, 0 where not used.
        errors: (targets, points) relative residuals.
        used: (targets, points) bool: True for the points that were fitted.
        run: (points,) int in 0 … runs − 1.
        runs: number of runs.
        ridge: (targets, parameters) Λ, the addition of the shrinkage to the diagonal of JᵀJ.
    """

    def forms(slopes: Array, error: Array, used: Array, ridge: Array) -> tuple[Array, Array]:
        # Traces of Q² = Q, exact for a projection; with a ridge Q is not quite one. With S = ZᵀJ,
        # K = N − S (JᵀJ + Λ)⁻¹ Sᵀ, so that no matrix of points × points is made.
        by_run = jax.ops.segment_sum(slopes, run, runs)
        inverse = _inverse(slopes.T @ slopes + jnp.diag(ridge))
        count = jax.ops.segment_sum(used.astype(error.dtype), run, runs)
        share = jnp.where(count > 0, 1 / jnp.maximum(count, 1), 0.0)
        left = jnp.diag(count) - by_run @ inverse @ by_run.T
        spare = jnp.sum(count) - jnp.sum((slopes @ inverse) * slopes)
        of_error = jax.ops.segment_sum(jnp.where(used, error, 0.0), run, runs)
        seen = [jnp.sum(jnp.where(used, error, 0.0) ** 2), jnp.sum(share * of_error**2)]
        expected = [
            [spare, jnp.trace(left)],
            [share @ jnp.diag(left), jnp.sum(share * jnp.sum(left**2, axis=1))],
        ]
        return jnp.stack(seen), jnp.asarray(expected)

    seen, expected = jax.vmap(forms)(slopes, errors, used, ridge)
    seen = seen + jnp.mean(seen, axis=0)
    expected = expected + jnp.mean(expected, axis=0)
    variances = jax.vmap(_solve)(seen, expected)
    return Noise(jnp.maximum(variances[:, 0], LEAST**2), jnp.maximum(variances[:, 1], 0.0))


def _inverse(matrix: Array) -> Array:
    """Pseudo-inverse after scaling to a unit diagonal; directions without information are 0."""
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.diag(matrix), jnp.finfo(matrix.dtype).tiny))
    # Coefficients have units of their own; only after scaling has one threshold a meaning.
    unit = matrix * scale[:, None] * scale
    return jnp.linalg.pinv(unit, hermitian=True, rtol=1e-10) * scale[:, None] * scale


def _solve(seen: Array, expected: Array) -> Array:
    """Solve for the variances from the forms of all points and of run means, with one guess."""
    # The difference is the form within runs, which depends on τ² only through the fit.
    within = jnp.stack([seen[0] - seen[1], seen[1]])
    system = jnp.stack([expected[0] - expected[1], expected[1]])
    # The guess enters as one more equation σ² = τ² = GUESS², with the weight of one point.
    prior = jnp.eye(2, dtype=seen.dtype)
    return jnp.linalg.solve(system + prior, within + GUESS**2)


PRIOR = 0.3
"""Relative change of the losses that the prior allows one coefficient."""


def log_slopes(law: Law, target: Coefficients, mixture: Array, budget: Array) -> Array:
    """Derivatives (points, exponents + amplitudes) of one target's log loss; 0 without a value."""
    features = features_of(law, mixture, target.own, budget / target.budget_scale, None)

    def loss(params: Array) -> Array:
        return predict(law, *split_parameters(law, params), features)

    params = jnp.concatenate([target.exponents, target.amplitudes])
    # d log L = dL / L.
    slopes = jax.jacfwd(loss)(params) / loss(params)[:, None]
    usable = jax.vmap(law.usable, in_axes=(0, None))(mixture, target.own)
    return jnp.where(usable[:, None] & jnp.isfinite(slopes), slopes, 0.0)


def information(slopes: Array, used: Array, run: Array, runs: int, noise: Noise) -> Array:
    """(targets, parameters, parameters) JᵀV⁻¹J of independent runs, V = σ² I + τ² 11ᵀ in each.

    `slopes` (targets, points, parameters) are 0 where not `used` (targets, points); `run`
    (points,) int in 0 … runs − 1; `noise` of each target.
    """

    def of_target(slopes: Array, used: Array, within: Array, between: Array) -> Array:
        by_run = jax.ops.segment_sum(slopes, run, runs)
        count = jax.ops.segment_sum(used.astype(slopes.dtype), run, runs)
        # Sherman-Morrison: V⁻¹ = (I − τ²/(σ² + n τ²)·11ᵀ)/σ² for a run of n points.
        shared = between / (within + count * between)
        return (slopes.T @ slopes - (by_run.T * shared) @ by_run) / within

    return jax.vmap(of_target)(slopes, used, noise.within, noise.between)


@dataclasses.dataclass(frozen=True)
class Unknowns:
    """Map from the coefficients of targets to the unknowns of groups.

    Every target is its own group, or all are one group where some exponents are tied.
    """

    law: Law
    domains: int
    targets: int
    tied: tuple[str, ...] = ()

    @property
    def ties(self) -> Any:
        """0/1 matrix (targets, parameters, unknowns) of the tied group."""
        problem = Problem(self.law, self.domains, self.targets, self.tied)
        owners = np.array(problem.full_layout.owners)
        return (owners[..., None] == np.arange(owners.max() + 1)).astype(float)

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


def free_parameters(law: Law, own: Array, shrinkage: Array) -> tuple[Array, Array]:
    """Free parameters of a fit (targets, parameters) bool, and the strength of their shrinkage.

    An exponent on a bound counts as free: its place there is not certain. `shrinkage` (targets,) is
    the fit's strength; the pull is per point and in units of its noise variance.
    """
    free = ~jax.vmap(law.fixed)(own)
    pull = jnp.zeros(free.shape, own.dtype)
    if law.shrinkage(own[0]) is not None:
        weight = jax.vmap(law.shrinkage)(own)[1]  # type: ignore[index]
        pull = jnp.where(weight > 0, weight * shrinkage[:, None], 0.0)
    # An infinite strength holds an exponent at its centre, as the fit did.
    free &= ~jnp.isinf(pull)
    rest = ((0, 0), (0, len(law.amplitude_names)))
    pull = jnp.pad(jnp.where(free, pull, 0.0), rest)
    return jnp.pad(free, rest, constant_values=True), pull


def prior_precision(unknowns: Unknowns, slopes: Array) -> Array:
    """(groups, unknowns, unknowns) such that one coefficient moves log losses by `PRIOR`.

    `slopes` (targets, points, parameters) are at the mixtures in question. A parameter that moves
    no loss there, because it is fixed or its domain absent, is held, so that nothing is singular.
    """
    squares = jnp.mean(slopes**2, axis=1)
    diagonal = jax.vmap(jnp.diag)
    total = jax.vmap(jnp.diag)(unknowns.collected(diagonal(squares)))
    count = jax.vmap(jnp.diag)(unknowns.collected(diagonal(jnp.ones_like(squares))))
    mean = total / jnp.maximum(count, 1.0)
    # A coefficient of precision p has spread 1/√p and moves log losses by slope/√p.
    return diagonal(jnp.where(mean > 0, mean / PRIOR**2, 1.0))


def draw_coefficients(
    unknowns: Unknowns,
    coefficients: Coefficients,
    precision: Array,
    free: Array,
    key: Array,
    count: int,
) -> Coefficients:
    """Draw `count` coefficients of the posterior, axes (draws, targets), clipped to the bounds."""
    law = unknowns.law
    factor = jnp.linalg.cholesky(precision)
    normal = jax.random.normal(key, (count, *precision.shape[:2]), precision.dtype)
    # x ~ N(0, P⁻¹) with P = LLᵀ is x = L⁻ᵀ z.
    solve = jax.vmap(lambda low, z: jax.scipy.linalg.solve_triangular(low.T, z, lower=False))
    change = jax.vmap(lambda z: unknowns.spread(solve(factor, z)))(normal)
    change = jnp.where(free, change, 0.0)
    named = coefficients.exponents.shape[1]
    lower, upper = jnp.asarray(law.bounds(unknowns.domains), precision.dtype).T
    lower = jnp.maximum(lower, jax.vmap(law.least)(coefficients.own))
    inside = jnp.clip(coefficients.exponents + change[..., :named], lower, upper)
    return Coefficients(
        # A fixed exponent need not lie within the bounds.
        jnp.where(free[:, :named], inside, coefficients.exponents),
        jnp.maximum(coefficients.amplitudes + change[..., named:], 0.0),
        jnp.broadcast_to(coefficients.own, (count, *coefficients.own.shape)),
        jnp.broadcast_to(coefficients.budget_scale, (count, *coefficients.budget_scale.shape)),
    )


DRAWS = 256
"""Number of posterior draws that show how the optimum moves."""


class Measured(NamedTuple):
    """The points of a sweep that was fitted."""

    mixture: Any
    """(points, domains)"""
    budget: Any
    """(points,)"""
    loss: Any
    """(points, targets)"""
    used: Any
    """(points, targets) bool: True for the points that were fitted"""
    run: Any
    """(points,) int"""
    shrinkage: Any
    """(targets,) strength of the shrinkage of the fit"""
    misfit: Any
    """(targets,) variance of the relative error of the law at runs that it was not fitted to; 0
    where it is unknown"""


class Candidates(NamedTuple):
    """Mixtures that could be run, each at all of the budgets."""

    mixture: Any
    """(candidates, domains)"""
    budgets: Any
    """(budgets,)"""
    eligible: Any
    """(candidates,) bool: False for padding"""


@dataclasses.dataclass(frozen=True)
class Design:
    """Static part of a plan."""

    unknowns: Unknowns
    """of the fit"""
    runs: int
    """number of runs that were measured"""
    count: int
    """number of candidates to pick"""


class _Posterior(NamedTuple):
    """The distribution of the coefficients, given the measured points."""

    free: Array
    """(targets, parameters) bool: True for coefficients that are uncertain and matter"""
    noise: Noise
    precision: Array
    """(groups, unknowns, unknowns)"""


@functools.partial(jit, static_argnums=0)
def plan_runs(
    design: Design,
    arguments: MixtureArguments,
    measured: Measured,
    candidates: Candidates,
    key: Array,
) -> tuple[Picks, Noise]:
    """Pick the candidates that lower the expected regret of the decision most.

    Args:
        design: the static part.
        arguments: of the decision, with the coefficients of the fit; targets of weight 0 are
            ignored.
        measured: the points that were fitted.
        candidates: the runs that are possible.
        key: of the draws.
    """
    law, unknowns = design.unknowns.law, design.unknowns
    free, noise, precision = _posterior(design, arguments, measured)

    def gain(mixture: Array) -> Array:
        budgets = candidates.budgets
        repeated = jnp.broadcast_to(mixture, (len(budgets), len(mixture)))
        at = _slopes_at(law, arguments.coefficients, free, repeated, budgets)
        usable = jnp.any(at != 0, axis=2)
        # All budgets of a candidate are checkpoints of one run, which share its error.
        one_run = jnp.zeros(len(budgets), int)
        return unknowns.collected(information(at, usable, one_run, 1, noise))

    draw_key, set_key = jax.random.split(key)
    coefficients = arguments.coefficients
    draws = draw_coefficients(unknowns, coefficients, precision, free, draw_key, DRAWS)
    curvature, mixed = regret_curvature(law, arguments, draws)
    # Cost: regret of a change of the unknowns, ½ δᵀ Gᵀ B G δ with δ of the coefficients.
    of_unknowns = unknowns.slopes(jnp.where(free[:, None], jnp.nan_to_num(mixed), 0.0))
    cost = jnp.einsum("gmu,mn,gnv->guv", of_unknowns, curvature, of_unknowns)
    gains = jax.lax.map(gain, candidates.mixture, batch_size=64)
    return pick_runs(cost, precision, gains, candidates.eligible, design.count, set_key), noise


def _posterior(design: Design, arguments: MixtureArguments, measured: Measured) -> _Posterior:
    """Linearise the fit at its coefficients, with the noise that its residuals show."""
    unknowns, coefficients = design.unknowns, arguments.coefficients
    law, counts = unknowns.law, (jnp.asarray(arguments.weights) > 0)[:, None]
    free, pull = free_parameters(law, coefficients.own, measured.shrinkage)
    free &= counts
    predicted = predict_losses(law, coefficients, measured.mixture, measured.budget).T
    used = measured.used.T & jnp.isfinite(predicted) & counts
    everywhere = _slopes_at(law, coefficients, free, measured.mixture, measured.budget)
    slopes = jnp.where(used[:, :, None], everywhere, 0.0)
    errors = jnp.where(used, predicted / measured.loss.T - 1, 0.0)
    # The pull is beside a mean over points, JᵀJ is a sum.
    ridge = pull * jnp.sum(used, axis=1)[:, None]
    noise = estimate_noise(slopes, errors, used, measured.run, design.runs, ridge)
    # Residuals of the fit itself show less of what the law misses than those of runs left out.
    between = jnp.maximum(noise.between, measured.misfit - noise.within)
    noise = noise._replace(between=between)
    seen = information(slopes, used, measured.run, design.runs, noise)
    # The pull is in units of the noise variance, so divided by it, it is a precision.
    shrunk = jax.vmap(jnp.diag)(ridge / (noise.within + noise.between)[:, None])
    precision = unknowns.collected(seen + shrunk) + prior_precision(unknowns, everywhere)
    return _Posterior(free, noise, precision)


def _slopes_at(
    law: Law, coefficients: Coefficients, free: Array, mixture: Array, budget: Array
) -> Array:
    """(targets, points, parameters) derivatives of the log losses; 0 where not free."""
    slopes = jax.vmap(lambda c: log_slopes(law, c, mixture, budget))(coefficients)
    return jnp.where(free[:, None], slopes, 0.0)
