"""The certificate of an optimum: its duality gap and binding constraints."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture._given import guard_scale
from bimix_jax.mixture._notes import nonnegative_least_squares
from bimix_jax.mixture._single import SingleModel, single_arguments
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.feasible import FeasibleSet
from bimix_jax.mixture.proportions import MixtureArguments, MixtureProblem
from bimix_jax.quantities import quantity_text

# The interior search ends at multiplier · distance = 1e-11 of its unit, so that 1e-6 finds the
# multipliers above 1e-5 of the unit, and 1e-4 those above 1e-7. A constraint that is near by chance
# adds up to multiplier · distance to the gap, which 1e-8 avoids.
ACTIVE = (1e-6, 1e-8, 1e-4)
"""Distances to equality within which a constraint may have a multiplier; the one with the smallest
gap is used."""

ENOUGH = 1e-13
"""Gap, nats, that is rounding of losses of about 1: no other distance is tried."""
ROUNDS = 50
"""Largest number of times that slopes at bounds change between right and wrong signs."""
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
    model = SingleModel(problem, single_arguments(arguments))
    variables = np.asarray(mixture, float)
    if problem.extra:
        variables = np.append(variables, model.worst_at(variables))
    with np.errstate(all="ignore"):
        around = model.around(variables[None], np.zeros((1, model.count)))
    # An infinite slope belongs to a share held at 0, where it multiplies a change of 0.
    gradient, rows, jacobian = (
        np.where(np.isfinite(v), v, 0.0)
        for v in (around.gradient[0], around.rows[0], around.jacobian[0])
    )
    slopes = _Slopes(model, variables[: len(variables) - problem.extra], gradient, rows, jacobian)
    proofs: list[Certificate] = []
    for closeness in ACTIVE:
        proofs.append(slopes.certificate(closeness))
        if abs(proofs[-1].gap) < ENOUGH:
            break
    return min(proofs, key=lambda proof: abs(proof.gap))


@dataclasses.dataclass(frozen=True)
class _Slopes:
    """Derivatives of a problem at a mixture, for its certificate."""

    model: SingleModel
    mixture: np.ndarray
    gradient: np.ndarray
    """(variables,)"""
    rows: np.ndarray
    jacobian: np.ndarray
    """(rows, variables)"""

    def certificate(self, closeness: float) -> Certificate:
        """Compute the certificate with constraints within `closeness` of equality."""
        model, mixture, count = self.model, self.mixture, len(self.mixture)
        lower, upper = model.feasible.lower, model.feasible.upper
        ends = mixture - lower < closeness, upper - mixture < closeness
        multipliers, free = self._multipliers(self.rows >= -closeness, *ends)
        if model.problem.extra:
            # Only multipliers that leave the slope 0 in the worst loss t itself bound the optimum,
            # as t has no bounds. The value is t and the rows are (w·L − t)/scale, so that this
            # slope is 1 − Σ z/scale: dividing the z by that sum makes it 0.
            worst = multipliers[-len(model.arguments.weights) :]
            worst /= -(worst @ self.jacobian[-len(worst) :, -1]) or 1.0
        slopes = (self.gradient + multipliers @ self.jacobian)[:count]
        # The multiplier of the sum to 1, free[0], shifts all slopes alike, which changes no gap.
        slopes = slopes + free[1:] @ self._equations[1:, :count]
        # f(r) minus the bound of `certify`, in which f(r) cancels.
        gap = slopes @ mixture - least_over_simplex(slopes, lower, upper)
        left = slopes + free[0]
        at_lower = np.where(ends[0], np.maximum(left, 0.0), 0.0)
        at_upper = np.where(ends[1], np.maximum(-left, 0.0), 0.0)
        return Certificate(float(gap - multipliers @ self.rows), at_lower, at_upper, multipliers)

    @functools.cached_property
    def _equations(self) -> np.ndarray:
        """(equations, variables): the sum to 1, then groups of one possible sum."""
        set_, further = self.model.feasible, len(self.gradient) - len(self.mixture)
        exact = set_.groups[set_.most <= set_.least]
        return np.pad(np.vstack([np.ones(len(self.mixture)), exact]), ((0, 0), (0, further)))

    def _multipliers(
        self, near: np.ndarray, at_lower: np.ndarray, at_upper: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Multipliers ≥ 0 of the rows that are `near`, and free ones of the equations.

        They leave the least Σ of squares of ∇f + z·∇h + y·equations − a + b, where a ≥ 0 and b ≥ 0
        are the multipliers of bounds that hold: such a slope counts with the wrong sign only.
        """
        # A multiplier of an inactive constraint is 0 at the optimum (complementary slackness).
        further = np.zeros(len(self.gradient) - len(self.mixture), bool)
        at_lower, at_upper = np.append(at_lower, further), np.append(at_upper, further)
        columns = np.vstack([self.jacobian[near], self._equations, -self._equations])
        found = _signed_least_squares(columns, self.gradient, at_lower, at_upper)
        multipliers, first = np.zeros(len(self.rows)), near.sum()
        multipliers[near] = found[:first]
        plus, minus = np.split(found[first:], 2)
        return multipliers, plus - minus


def _signed_least_squares(
    columns: np.ndarray, gradient: np.ndarray, at_lower: np.ndarray, at_upper: np.ndarray
) -> np.ndarray:
    """Find x ≥ 0 (columns,) with the least squares of the slopes ∇f + x·columns that are wrong.

    A slope is wrong if it is not 0; `at_lower` (variables,) it may be positive, `at_upper`
    negative. The sum is convex and piecewise quadratic, so that least squares over the slopes which
    are wrong give a Newton step, halved until the sum falls.
    """

    def wrong(x: np.ndarray) -> np.ndarray:
        slopes = gradient + x @ columns
        allowed = at_lower & (slopes > 0) | at_upper & (slopes < 0)
        return np.where(allowed, 0.0, slopes)

    def total(x: np.ndarray) -> float:
        return float(np.sum(wrong(x) ** 2))

    x = np.zeros(len(columns))
    inside = ~(at_lower | at_upper)
    counted = inside
    for _ in range(ROUNDS):
        goal = nonnegative_least_squares(columns[:, counted].T, -gradient[counted])
        now = total(x)
        lengths = (0.5**k for k in range(20))
        moved = (x + length * (goal - x) for length in lengths)
        better = next((at for at in moved if total(at) < now), None)
        if better is None:
            break
        before, x = counted, better
        counted = inside | (wrong(x) != 0)
        if np.array_equal(counted, before) and better is goal:
            break
    return x


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
        *_guards(fitted, asked, arguments, proof),
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
    fitted: Fit, asked: Constraints, arguments: MixtureArguments, proof: Certificate
) -> Iterator[Limit]:
    feasible = arguments.feasible
    if feasible.guard_limit is None:
        return
    pairs = zip(fitted.targets, map(float, feasible.guard_limit), strict=True)
    limits = {target: limit for target, limit in pairs if np.isfinite(limit)}
    at, budget = np.asarray(feasible.guard_reference), float(arguments.budget)
    scale = guard_scale(fitted, budget, at)
    distances = fitted.predict_points(at[None], budget)[0]
    each = zip(fitted.targets, scale, strict=True)
    stated = {target: limits[target] * unit for target, unit in each if target in limits}
    whose = "uniform's" if np.allclose(at, 1 / len(at), atol=1e-12) else "the reference's"
    if asked.guarded is not None:
        whose = "that of `guarded`"
    for i, target in enumerate(fitted.targets):
        if target not in limits:
            continue
        more = min((1 + limits[target]) * (1 + ROOM) - 1, LARGEST_GUARDRAIL)
        described, largest = fitted.described[i], 1 + limits[target]
        score = f"{target} ≥ {described.score(largest * distances[i]):.4g}"
        yield Limit(
            score if described.is_score else f"loss of {target} ≤ {largest:.4g} × {whose}",
            1.0,
            float(proof.rows[2 * len(feasible.groups) + i]),
            dataclasses.replace(asked, guardrail={**stated, target: more * scale[i]}),
        )
