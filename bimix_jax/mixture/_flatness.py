"""Mixtures as good as an optimum: the range of every proportion, and alternatives far apart."""

import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bimix_jax.mixture._exact import bracketed_roots, exact_proportions, with_floors
from bimix_jax.mixture._single import (
    SingleModel,
    kl_term,
    minimize_single,
    single_arguments,
    single_powers,
)
from bimix_jax.mixture.proportions import (
    MixtureArguments,
    MixtureProblem,
    domain_powers,
    resolve_method,
)

TOLERANCE = 1e-3
"""Largest relative excess over the best objective of a mixture that counts as equally good."""
ALTERNATIVES = 3
AT_BOUND = 1e-8
"""Distance to a bound below which a share is at it; the interior search leaves 1e-11 or less over a
multiplier of 1e-3."""
LEAST_BARRIER = 1e-9
"""Precision of the ranges, whose width is about the square root of `TOLERANCE`."""
CHUNK_NUMBERS, THREADS = 1_000_000, 8
"""Numbers of the matrices of mixtures that are searched together, 8 MB, and the most such searches
at a time."""
TINY = 1e-12
"""Share in place of 0 at the end of a range: the loss of a target with any effect is far above the
limit there."""


def as_good(
    problem: MixtureProblem,
    arguments: MixtureArguments,
    mixture: np.ndarray,
    tolerances: Sequence[float] = (TOLERANCE,),
) -> np.ndarray:
    """(tolerances·2·domains, domains) mixtures with the least, then the largest, value of each
    proportion, for one tolerance after another.

    All have an objective (KL term included) within the relative tolerance of that of `mixture`
    (domains,), the best; rows that did not converge are nan.
    """
    set_, count, one = arguments.feasible, len(mixture), np.eye(len(mixture))
    # Nothing is farther than the best mixture where that is at the bound itself.
    lower, upper = np.asarray(set_.lower), np.asarray(set_.upper)
    open_ = np.concatenate([mixture - lower > AT_BOUND, upper - mixture > AT_BOUND])
    members = np.flatnonzero(np.tile(open_, len(tolerances)))
    way, tolerance = members % (2 * count), np.asarray(tolerances)[members // (2 * count)]
    farthest = np.tile(mixture, (len(tolerances) * 2 * count, 1))
    shared = np.any(np.sum(np.asarray(arguments.coefficients.own), axis=0) > 1)
    method = resolve_method(problem.law, "auto", bool(shared), set_, problem.objective)
    # With groups the end of a range depends on all of them, which the search knows how to follow.
    if method == "exact" and not len(set_.groups):
        ends = _Powers.of(problem, single_arguments(arguments), mixture, tolerance)
        with np.errstate(all="ignore"):
            farthest[members] = ends.farthest(way % count, way >= count)
    elif len(members):
        model = SingleModel.of(problem, arguments)
        best = model.objective_at(mixture)
        limits = best + tolerance * abs(best)
        farthest[members] = _searched(
            model.towards(np.concatenate([-one, one])[way], limits), mixture
        )
    return farthest


@dataclasses.dataclass(frozen=True)
class _Powers:
    """A sum or the largest of power laws of the own shares, whose optima are exact."""

    problem: MixtureProblem
    arguments: MixtureArguments
    """its set has the floors of guardrails"""
    scale: np.ndarray
    """(domains,) K, with weights"""
    exponent: np.ndarray
    """(domains,) α"""
    best: np.ndarray
    """(domains,) the best mixture"""
    tolerance: np.ndarray
    """(members,)"""

    @classmethod
    def of(
        cls,
        problem: MixtureProblem,
        arguments: MixtureArguments,
        best: np.ndarray,
        tolerance: np.ndarray,
    ) -> "_Powers":
        """Build them from the problem."""
        powers = single_powers(problem, arguments)
        scale, exponent, floors = domain_powers(problem, arguments, powers)
        if floors is not None:
            arguments = arguments._replace(feasible=with_floors(arguments.feasible, floors))
        return cls(problem, arguments, scale, exponent, best, tolerance)

    def farthest(self, domain: np.ndarray, upward: np.ndarray) -> np.ndarray:
        """(members, domains) mixtures with an objective up to the limit and the least share of a
        domain, `domain` (members,), or the largest where it goes `upward`."""
        set_, best = self.arguments.feasible, self.best[domain]
        most = np.minimum(set_.upper[domain], 1 - set_.lower.sum() + set_.lower[domain])
        least = np.maximum(set_.lower[domain], 1 - set_.upper.sum() + set_.upper[domain])
        end = np.where(upward, most, least)
        limit = self._value(self.best)
        limit = limit + self.tolerance * abs(limit)

        def room(log_share: np.ndarray) -> np.ndarray:
            # The excess falls along the way from the end to the best mixture.
            return self._value(self._with_share(domain, np.exp(log_share))) - limit

        last = np.log(np.maximum(end, TINY))
        inside = ~(room(last) > 0)
        root = bracketed_roots(room, last, np.log(np.maximum(best, TINY)))
        return self._with_share(domain, np.where(inside, end, np.exp(root)))

    def _with_share(self, domain: np.ndarray, share: np.ndarray) -> np.ndarray:
        """(members, domains) best mixtures with given shares (members,) of a domain each."""
        set_, held = self.arguments.feasible, domain[:, None] == np.arange(len(self.best))
        lower, upper = (np.where(held, share[:, None], end) for end in (set_.lower, set_.upper))
        of_each = dataclasses.replace(set_, lower=lower, upper=upper)
        return exact_proportions(self.scale, self.exponent, None, of_each, self.problem.objective)

    def _value(self, mixture: np.ndarray) -> np.ndarray:
        """(…) objectives of mixtures (…, domains)."""
        each = np.where(self.scale > 0, self.scale * mixture**-self.exponent, 0.0)
        value = each.max(-1) if self.problem.objective == "worst" else each.sum(-1)
        return value + kl_term(self.arguments.feasible, mixture)[0]


def _searched(towards: SingleModel, mixture: np.ndarray) -> np.ndarray:
    """(members, domains) farthest mixtures in a model's directions, by interior search."""
    limits, place = np.unique(towards.limits, return_inverse=True)
    starts = np.stack([_inside(towards, mixture, limit) for limit in limits])[place]

    def found(some: np.ndarray) -> np.ndarray:
        end = minimize_single(towards.only(some), starts[some], LEAST_BARRIER)
        return np.where((end.error <= 0)[:, None], end.x, np.nan)

    members, count = np.arange(len(starts)), len(mixture)
    chunks = _chunks(members, count * (count + len(towards.arguments.weights)))
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        return np.concatenate(list(threads.map(found, chunks)))


def _inside(model: SingleModel, mixture: np.ndarray, limit: float) -> np.ndarray:
    """Find a mixture inside the bounds and rows, as far from the best one as parts of 1/2 get."""
    centre = model.feasible.start
    below = model.towards(model.directions[:1], np.array([limit]))
    for part in 0.5 ** np.arange(1, 12):
        start = mixture + part * (centre - mixture)
        if np.all(below.rows_at(start) < 0):
            return start
    return centre


def _chunks(members: np.ndarray, numbers: int) -> list[np.ndarray]:
    """Split members, each of which takes an amount of numbers, into parts that fit the memory."""
    parts = -(-len(members) * numbers // CHUNK_NUMBERS)
    return np.array_split(members, parts) if len(members) else []


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
