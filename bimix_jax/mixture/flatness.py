"""Flatness of an optimum: other mixtures that are nearly as good."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.mixture.interior import minimize_within
from bimix_jax.mixture.objective import MixtureArguments, MixtureProblem
from bimix_jax.xla.compilation import jit

TOLERANCE = 1e-3
"""Largest relative excess over the best objective of a mixture that counts as equally good."""
ALTERNATIVES = 3


class NearOptimalArguments(NamedTuple):
    """A direction, and the limit of the objective along it."""

    direction: Array
    """(domains,)"""
    limit: Array
    """() the largest objective allowed"""
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
        rows = self.inner.rows(
            jnp.append(variables, limit)[: len(variables) + self.inner.extra], inner
        )
        if self.inner.extra:
            return rows
        return jnp.append(rows, (self.inner.value(variables, inner) - limit) / jnp.abs(limit))


def as_good(
    problem: MixtureProblem, arguments: MixtureArguments, mixture: np.ndarray
) -> np.ndarray:
    """(2·domains, domains) mixtures with the least, then the largest, value of each proportion.

    All have an objective (KL term included) within `TOLERANCE` of that of `mixture` (domains,), the
    best; rows that did not converge are nan.
    """
    with jax.enable_x64(True):
        return np.asarray(_extremes(problem, arguments, mixture))


def _all_extremes(problem: MixtureProblem, arguments: MixtureArguments, mixture: Array) -> Array:
    count = len(mixture)
    directions = jnp.concatenate([-jnp.eye(count), jnp.eye(count)])
    # The worst-loss problem has its own value as a last variable; others have none.
    worst = jnp.full(problem.extra, problem.objective_of(mixture, arguments))
    best = problem.value(jnp.concatenate([mixture, worst]), arguments)
    limit = best + TOLERANCE * jnp.abs(best)

    def extreme(direction: Array) -> Array:
        inner = NearOptimalArguments(direction, limit, arguments)
        found = minimize_within(NearOptimal(problem), inner, arguments.feasible)
        return jnp.where(found.error <= 0, found.variables, jnp.nan)

    return jax.vmap(extreme)(directions)


_extremes: Any = jit(_all_extremes, static_argnums=0)


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
