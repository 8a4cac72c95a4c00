"""The certificate of an optimum: duality gap, binding constraints and flatness."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture._interior import minimize_within
from bimix_jax.mixture._notes import nonnegative_least_squares
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.feasible import FeasibleSet
from bimix_jax.mixture.proportions import MixtureArguments, MixtureProblem
from bimix_jax.quantities import quantity_text
from bimix_jax.xla.compilation import jit

# The interior search ends at multiplier · distance = 1e-11 of its unit, so that 1e-6 finds the
# multipliers above 1e-5 of the unit, and 1e-4 those above 1e-7. A constraint that is near by chance
# adds up to multiplier · distance to the gap, which 1e-8 avoids.
ACTIVE = (1e-6, 1e-8, 1e-4)
"""Distances to equality within which a constraint may have a multiplier; the one with the smallest
gap is used."""

ROOM = 0.01
"""Part of itself by which a limit is relaxed for its gain."""
LARGEST_GUARDRAIL = 1 - 1e-12


class Certificate(NamedTuple):
    """Multipliers ≥ 0, in units of the objective, and the duality gap."""

    gap: float
    """bound on the gain of any other mixture of the set, if the problem is convex"""
    at_lower: np.ndarray
    """(domains,)"""
    at_upper: np.ndarray
    """(domains,)"""
    rows: np.ndarray
    """(rows,) in the order of `MixtureProblem.rows`"""


def certify(
    problem: MixtureProblem, mixture: np.ndarray, arguments: MixtureArguments
) -> Certificate:
    """Find the multipliers with the least residual gradient, and the duality gap at them.

    Multipliers z of the rows h ≤ 0 bound the optimum from below: for convex f and h it is at least
    f(r) + z·h(r) + min_x (∇f + z·∇h)·(x − r), x over the simplex between the bounds, where the
    minimum of a linear function is found by filling the cheapest domains first. At the multipliers
    of the optimum the bound is the optimum; any others give a weaker one, never a wrong one. This
    is the Frank-Wolfe gap over the whole feasible set, without a linear programme.
    """
    derivatives = [np.asarray(v) for v in _derivatives(problem, mixture, arguments)]
    proofs = [_certificate(problem, mixture, arguments, derivatives, near) for near in ACTIVE]
    return min(proofs, key=lambda proof: abs(proof.gap))


def _certificate(
    problem: MixtureProblem,
    mixture: np.ndarray,
    arguments: MixtureArguments,
    derivatives: list[np.ndarray],
    closeness: float,
) -> Certificate:
    set_, count = arguments.feasible, len(mixture)
    gradient, rows, jacobian = derivatives
    # An infinite slope belongs to a share held at 0, where it multiplies a change of 0.
    gradient, jacobian = (np.where(np.isfinite(v), v, 0.0) for v in (gradient, jacobian))
    lower, upper = np.asarray(set_.lower), np.asarray(set_.upper)
    exact = np.asarray(set_.groups)[np.asarray(set_.most) <= np.asarray(set_.least)]
    near = rows >= -closeness
    # A multiplier of an inactive constraint is 0 at the optimum (complementary slackness).
    ends = [
        np.eye(len(gradient))[:count][side]
        for side in (mixture - lower < closeness, upper - mixture < closeness)
    ]
    # A free multiplier of an equation is the difference of two that are ≥ 0.
    free = np.pad(np.vstack([np.ones(count), exact]), ((0, 0), (0, len(gradient) - count)))
    # Stationarity, ∇f + z·∇h − a + b + free multipliers = 0, with a ≥ 0 of the floors and b ≥ 0 of
    # the ceilings: one row each in the system of least squares.
    columns = np.vstack([jacobian[near], -ends[0], ends[1], free, -free])
    found = nonnegative_least_squares(columns.T, -gradient)
    first, second, third = np.cumsum([near.sum(), len(ends[0]), len(ends[1])])
    multipliers = np.zeros(len(rows))
    multipliers[near] = found[:first]
    if problem.extra:
        # Only multipliers that leave the slope 0 in the worst loss t itself bound the optimum, as t
        # has no bounds. The value is t and the rows are (w·L − t)/scale, so that this slope is 1 −
        # Σ z/scale: dividing the z by that sum makes it 0.
        worst = multipliers[-len(arguments.weights) :]
        worst /= -(worst @ jacobian[-len(worst) :, -1]) or 1.0
    slopes = (gradient + multipliers @ jacobian)[:count]
    signed = found[third : third + len(free)] - found[third + len(free) :]
    # The multiplier of the sum to 1, signed[0], shifts all slopes alike, which changes no gap.
    slopes = slopes + signed[1:] @ exact
    # f(r) minus the bound of `certify`, in which f(r) cancels.
    gap = slopes @ mixture - least_over_simplex(slopes, lower, upper) - multipliers @ rows
    at_lower, at_upper = np.zeros(count), np.zeros(count)
    at_lower[mixture - lower < closeness] = found[first:second]
    at_upper[upper - mixture < closeness] = found[second:third]
    return Certificate(float(gap), at_lower, at_upper, multipliers)


def least_over_simplex(slopes: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Minimise slopes·r over mixtures (domains,) between bounds; the cheapest are filled first.

    >>> round(least_over_simplex(np.array([1.0, 3.0]), np.zeros(2), np.array([0.6, 1.0])), 9)
    1.8
    """
    order = np.argsort(slopes)
    width = (upper - lower)[order]
    # The mass left once the cheaper domains are full, at most the width of this domain.
    filled = np.clip(1 - lower.sum() - (np.cumsum(width) - width), 0.0, width)
    return float(slopes @ lower + slopes[order] @ filled)


def _derivatives(problem: MixtureProblem, mixture: Any, arguments: MixtureArguments) -> Any:
    return _derivatives_at(problem, mixture, arguments)


def _at(problem: MixtureProblem, mixture: Array, arguments: MixtureArguments) -> tuple:
    """Compute the gradient of the value, the rows and their Jacobian at a mixture."""
    variables = jnp.asarray(mixture)
    if problem.extra:
        variables = jnp.append(variables, problem.objective_of(variables, arguments))
    rows = problem.rows(variables, arguments)
    gradient = jax.grad(problem.value)(variables, arguments)
    return gradient, rows, jax.jacfwd(problem.rows)(variables, arguments)


_derivatives_at = jit(_at, static_argnums=0, x64=True)


class Limit(NamedTuple):
    """A constraint, and the constraints with it relaxed by `ROOM` of itself."""

    name: str
    bound: float
    multiplier: float
    relaxed: Constraints


def binding_table(
    fitted: Fit, asked: Constraints, arguments: MixtureArguments, proof: Certificate
) -> pd.DataFrame:
    """List the constraints with a multiplier: bound, multiplier, and the constraints relaxed."""
    limits = [
        *_bounds(fitted, asked, arguments, proof),
        *_sums(asked, arguments.feasible, proof),
        *_guards(fitted, asked, arguments.feasible, proof),
    ]
    scale = max((abs(limit.multiplier) for limit in limits), default=0.0)
    # Nobody asked for a floor of 0, and 1e-7 is what least squares leave on idle constraints.
    kept = [x for x in limits if x.bound > 0 and x.multiplier > 1e-7 * max(1.0, scale)]
    index = pd.Index([limit.name for limit in kept], name="constraint")
    return pd.DataFrame(kept, index=index, columns=Limit._fields).drop(columns="name")


def _bounds(
    fitted: Fit, asked: Constraints, arguments: MixtureArguments, proof: Certificate
) -> Iterator[Limit]:
    ceilings = asked.ceilings(fitted, float(arguments.budget))
    for i, domain in enumerate(fitted.domains):
        low, high = float(arguments.feasible.lower[i]), float(arguments.feasible.upper[i])
        both: dict[str, Any] = {}
        if domain in asked.fixed:
            both = {
                "fixed": {d: share for d, share in asked.fixed.items() if d != domain},
                "lower": {**asked.lower, domain: low},
                "upper": {**asked.upper, domain: high},
            }
        less = both | {"lower": {**asked.lower, domain: low * (1 - ROOM)}}
        yield Limit(
            f"{domain} ≥ {low:.4g}",
            low,
            float(proof.at_lower[i]),
            dataclasses.replace(asked, **less),
        )
        if high >= 1:  # no limit, but the whole mixture
            continue
        supply, more = "", both | {"upper": {**asked.upper, domain: min(high * (1 + ROOM), 1.0)}}
        # The upper bound is the least of several limits; equality tells that it is that of tokens.
        if asked.epochs is not None and ceilings.get(domain, 2.0) <= high * (1 + 1e-9):
            count = asked.available[domain]
            supply = f" ({asked.epochs:g} epochs of {quantity_text(count)} tokens)"
            more = {"available": {**asked.available, domain: count * (1 + ROOM)}}
        yield Limit(
            f"{domain} ≤ {high:.4g}{supply}",
            high,
            float(proof.at_upper[i]),
            dataclasses.replace(asked, **more),
        )


def _sums(asked: Constraints, feasible: FeasibleSet, proof: Certificate) -> Iterator[Limit]:
    count = len(feasible.groups)
    for i, group in enumerate(asked.groups):
        most, least = float(feasible.most[i]), float(feasible.least[i])
        wider: Any = {"most": min(most * (1 + ROOM), 1.0)}, {"least": least * (1 - ROOM)}
        relaxed = [
            dataclasses.replace(
                asked,
                groups=[
                    *asked.groups[:i],
                    dataclasses.replace(group, **end),
                    *asked.groups[i + 1 :],
                ],
            )
            for end in wider
        ]
        yield Limit(f"{group.name} ≤ {most:.4g}", most, float(proof.rows[i]), relaxed[0])
        yield Limit(f"{group.name} ≥ {least:.4g}", least, float(proof.rows[count + i]), relaxed[1])


def _guards(
    fitted: Fit, asked: Constraints, feasible: FeasibleSet, proof: Certificate
) -> Iterator[Limit]:
    if feasible.guard_limit is None:
        return
    pairs = zip(fitted.targets, map(float, feasible.guard_limit), strict=True)
    limits = {target: limit for target, limit in pairs if np.isfinite(limit)}
    at = np.asarray(feasible.guard_reference)
    whose = "uniform's" if np.allclose(at, 1 / len(at), atol=1e-12) else "the reference's"
    if asked.guarded is not None:
        whose = "that of `guarded`"
    for i, target in enumerate(fitted.targets):
        if target not in limits:
            continue
        more = min((1 + limits[target]) * (1 + ROOM) - 1, LARGEST_GUARDRAIL)
        yield Limit(
            f"loss of {target} ≤ {1 + limits[target]:.4g} × {whose}",
            1.0,
            float(proof.rows[2 * len(feasible.groups) + i]),
            dataclasses.replace(asked, guardrail={**limits, target: more}),
        )


TOLERANCE = 1e-3
"""Largest relative excess over the best objective of a mixture that counts as equally good."""
ALTERNATIVES = 3


class NearOptimalArguments(NamedTuple):
    """A direction, and the limit of the objective along it."""

    direction: Array
    """(domains,)"""
    limit: Array
    """() largest objective"""
    inner: MixtureArguments


@dataclasses.dataclass(frozen=True)
class NearOptimal:
    """Problem of the mixture farthest in a direction with an objective below a limit."""

    inner: MixtureProblem
    extra: int = 0

    @property
    def convex(self) -> bool:
        """True where the problem with the given optimum is convex."""
        return self.inner.convex

    def start(self, arguments: NearOptimalArguments, mixture: Array) -> Array:
        """Start at the mixture."""
        return mixture

    def value(self, variables: Array, arguments: NearOptimalArguments) -> Array:
        """Negative distance along the direction."""
        return -variables @ arguments.direction

    def rows(self, variables: Array, arguments: NearOptimalArguments) -> Array:
        """Rows of the problem, and its objective below the limit."""
        limit, inner = arguments.limit, arguments.inner
        if self.inner.extra:
            # With the bound of the worst loss held at the limit, less the KL term that the
            # objective has beside it, the inner rows say that the objective is below the limit.
            worst = limit - inner.feasible.kl_term(variables)
            return self.inner.rows(jnp.append(variables, worst), inner)
        rows = self.inner.rows(variables, inner)
        return jnp.append(rows, (self.inner.value(variables, inner) - limit) / jnp.abs(limit))


def as_good(
    problem: MixtureProblem,
    arguments: MixtureArguments,
    mixture: np.ndarray,
    tolerance: float = TOLERANCE,
) -> np.ndarray:
    """(2·domains, domains) mixtures with the least, then the largest, value of each proportion.

    All have an objective (KL term included) within the relative tolerance of that of `mixture`
    (domains,), the best; rows that did not converge are nan.
    """
    return np.asarray(_extremes(problem, arguments, mixture, tolerance))


def _all_extremes(
    problem: MixtureProblem, arguments: MixtureArguments, mixture: Array, tolerance: Array
) -> Array:
    count = len(mixture)
    directions = jnp.concatenate([-jnp.eye(count), jnp.eye(count)])
    # The worst-loss problem has its own value as a last variable; others have none.
    worst = jnp.full(problem.extra, problem.objective_of(mixture, arguments))
    best = problem.value(jnp.concatenate([mixture, worst]), arguments)
    limit = best + tolerance * jnp.abs(best)

    def extreme(direction: Array) -> Array:
        inner = NearOptimalArguments(direction, limit, arguments)
        found = minimize_within(NearOptimal(problem), inner, arguments.feasible)
        return jnp.where(found.error <= 0, found.variables, jnp.nan)

    return jax.vmap(extreme)(directions)


_extremes: Any = jit(_all_extremes, static_argnums=0, x64=True)


def flat_range(best: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of each proportion (domains,) among the mixtures of `as_good`."""
    count = len(best)
    # The best mixture is as good as itself, so that no range excludes it.
    low = np.minimum(np.diag(ends[:count]), best)
    return low, np.maximum(np.diag(ends[count:]), best)


def far_apart(best: np.ndarray, candidates: np.ndarray, count: int = ALTERNATIVES) -> np.ndarray:
    """Choose (≤ count, domains) candidates, each as far as possible from the best and the others.

    >>> far_apart(np.array([0.5, 0.5]), np.array([[0.6, 0.4], [0.3, 0.7]]), 1)
    array([[0.3, 0.7]])
    """
    left = candidates[np.all(np.isfinite(candidates), axis=1)]
    chosen = [best]
    for _ in range(min(count, len(left))):
        # Farthest-point selection: the next one maximises its distance to the nearest chosen.
        distance = np.min([np.abs(left - c).sum(axis=1) for c in chosen], axis=0)
        chosen.append(left[np.argmax(distance)])
    return np.array(chosen[1:]).reshape(-1, len(best))
