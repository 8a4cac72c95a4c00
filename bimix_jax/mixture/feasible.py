"""Feasible mixtures as arrays; empty sets are refused with the conflicting limits."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

ROUNDING = 1e-9
"""Excess of a sum over its bound that counts as rounding: a reference may be its own bounds."""
# Well above the solver's tolerance of 1e-10, so that no rounding looks like slack.
LEAST_SLACK = 1e-5
"""Slack at which a mixture proves that no limit holds with equality in the whole set."""
# Rounding of a limit, 1e-16, times this scale stays far below the 0.5 that tells slacks from 0.
LARGEST_SCALE = 1e7
"""Largest scale of the slacks to 1: a slack below its inverse counts as 0."""


class InfeasibleError(ValueError):
    """The constraints allow no mixture; the message names those that conflict."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "lower",
        "upper",
        "groups",
        "least",
        "most",
        "equal",
        "equal_to",
        "start",
        "kl",
        "kl_to",
        "guard_limit",
        "guard_reference",
    ],
    meta_fields=["disjoint"],
)
@dataclasses.dataclass(frozen=True)
class FeasibleSet:
    """Mixtures between bounds, with group sums between bounds, a KL term and guardrails.

    A pytree of arrays in the order of a fit's domains and targets, for `optimal_proportions`;
    made by `feasible_set`, `simplex` or `Constraints.resolve`, which check it.
    """

    lower: Any
    """(domains,) least proportions"""
    upper: Any
    """(domains,) largest proportions"""
    groups: Any
    """(groups, domains) 1 where the domain belongs to the group"""
    least: Any
    """(groups,) least sums"""
    most: Any
    """(groups,) largest sums"""
    equal: Any
    """(groups + 1, domains) independent rows over the free domains, padded with zeros"""
    equal_to: Any
    """(groups + 1,) values of equal·mixture at every mixture of the set"""
    start: Any
    """(domains,) a mixture inside every bound that is not an equality"""
    kl: Any = None
    """() strength of the Kullback-Leibler divergence from `kl_to` in the objective, or None"""
    kl_to: Any = None
    """(domains,)"""
    guard_limit: Any = None
    """(targets,) largest loss increase over `guard_reference`, a fraction; inf for no limit"""
    guard_reference: Any = None
    """(domains,)"""
    disjoint: bool = True
    """True where no domain belongs to two groups"""

    def kl_term(self, mixture: Array) -> Array:
        """() κ · KL(mixture ‖ `kl_to`); 0 without a KL term."""
        if self.kl is None:
            return jnp.zeros((), mixture.dtype)
        to = jnp.asarray(self.kl_to)
        # r log(r/q) → 0 as r → 0; the inner `where` keeps the derivative finite there.
        both = (mixture > 0) & (to > 0)
        ratio = jnp.where(both, mixture, 1.0) / jnp.where(both, to, 1.0)
        return self.kl * jnp.sum(jnp.where(both, mixture * jnp.log(ratio), 0.0))


def simplex(domains: int) -> FeasibleSet:
    """Build the set of all mixtures of this many domains.

    >>> simplex(4).start
    array([0.25, 0.25, 0.25, 0.25])
    """
    return feasible_set(np.zeros(domains), np.ones(domains))


def feasible_set(
    lower: np.ndarray,
    upper: np.ndarray,
    groups: np.ndarray | None = None,
    least: np.ndarray | None = None,
    most: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    group_labels: Sequence[str] | None = None,
) -> FeasibleSet:
    """Build the set of mixtures between bounds (domains,) with group sums between bounds (groups,).

    `groups` (groups, domains) is 1 where a domain belongs to a group; messages use the labels.

    Raises:
        InfeasibleError: if there is none, naming what conflicts.

    >>> feasible_set(np.array([0.6, 0.53]), np.ones(2), labels=["code", "web"])
    Traceback (most recent call last):
    bimix_jax.mixture.feasible.InfeasibleError: floors sum to 1.13 (code 0.6, web 0.53), ...
    """
    lower, upper = np.array(lower, float), np.clip(np.array(upper, float), None, 1.0)
    groups = np.zeros((0, len(lower))) if groups is None else np.array(groups, float)
    least = np.zeros(len(groups)) if least is None else np.array(least, float)
    most = np.ones(len(groups)) if most is None else np.array(most, float)
    # Only rounding is mended; a least sum truly above the largest is refused below.
    least = np.where(least <= most + ROUNDING, np.minimum(least, most), least)
    names = list(labels or (f"domain {i}" for i in range(len(lower))))
    group_names = list(group_labels or (f"group {i}" for i in range(len(groups))))
    _check_bounds(lower, upper, names)
    polytope = _Polytope(lower, upper, groups, least, most)
    _check_groups(polytope, names, group_names)
    tight, start = _with_interior(polytope, names, group_names)
    equal, equal_to = _equations(tight)
    return FeasibleSet(
        lower=tight.lower,
        upper=tight.upper,
        groups=groups,
        least=tight.least,
        most=tight.most,
        equal=equal,
        equal_to=equal_to,
        start=start,
        disjoint=bool(np.all(groups.sum(axis=0) <= 1)),
    )


@dataclasses.dataclass
class _Polytope:
    lower: np.ndarray
    upper: np.ndarray
    groups: np.ndarray
    least: np.ndarray
    most: np.ndarray

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows, limits) of rows·mixture ≤ limits: floors, ceilings, most and least of groups."""
        one = np.eye(len(self.lower))
        rows = np.vstack([-one, one, self.groups, -self.groups])
        return rows, np.concatenate([-self.lower, self.upper, self.most, -self.least])

    def widths(self) -> np.ndarray:
        """Distances between the two sides of each limit."""
        width, room = self.upper - self.lower, self.most - self.least
        return np.concatenate([width, width, room, room])


def _with_interior(
    polytope: _Polytope, names: list[str], group_names: list[str]
) -> tuple[_Polytope, np.ndarray]:
    """Turn limits without slack into equalities, and find a mixture inside the others."""
    if not len(polytope.groups):
        return _between_bounds(polytope)
    tight = polytope.widths() <= 0
    start, slack = _centre(polytope, tight, 0.0)
    # Usually there is slack everywhere, which one small programme shows; the search for limits that
    # hold with equality by the interplay of others is left to the rest.
    if slack < LEAST_SLACK:
        violation = _refuse_conflict(polytope, names, group_names)
        tight = _always_tight(polytope, violation)
        start, _ = _centre(polytope, tight, violation)
    return _with_equalities(polytope, tight, start), start


def _between_bounds(polytope: _Polytope) -> tuple[_Polytope, np.ndarray]:
    lower, width = polytope.lower, polytope.upper - polytope.lower
    # Every domain gets the same share of its width, so the start touches no bound.
    room = 1 - lower.sum()
    share = 0.0 if width.sum() <= 0 else float(np.clip(room / width.sum(), 0.0, 1.0))
    start = lower + share * width
    # Floors or ceilings that sum to 1 leave a single mixture, and no inside to search in.
    if share <= ROUNDING or share >= 1 - ROUNDING:
        start = start / start.sum()
        polytope = dataclasses.replace(polytope, lower=start, upper=start)
    return polytope, start


def _always_tight(polytope: _Polytope, violation: float) -> np.ndarray:
    """(limits,) bool: True for limits that every mixture of the set meets with equality.

    The largest Σ min(slack·scale, 1) over mixtures and scales ≥ 1 leaves no slack at 0 that could
    be positive: any mixture with that slack, scaled up, would be better. Source: Freund, Roundy and
    Todd, "Identifying the set of always-active constraints in a system of linear inequalities by a
    single linear program" (1985).
    """
    rows, limits = polytope.limits()
    count, domains = rows.shape
    # Variables: mixture · scale, min(slack · scale, 1) and the scale. Times the scale, rows · r +
    # slack ≤ limits has the limits · scale on its right, which moves to the left.
    system = np.hstack([rows, np.eye(count), -(limits + violation)[:, None]])
    whole = np.concatenate([np.ones(domains), np.zeros(count), [-1.0]])[None]
    gain = np.concatenate([np.zeros(domains), -np.ones(count), [0.0]])
    bounds = [(0, None)] * domains + [(0, 1)] * count + [(1, LARGEST_SCALE)]
    found = _linear_programme(gain, system, np.zeros(count), whole, np.zeros(1), bounds)
    # At the optimum each is 0 or, by the largest scale, 1.
    return found.x[domains:-1] < 0.5


def _centre(polytope: _Polytope, tight: np.ndarray, violation: float) -> tuple[np.ndarray, float]:
    """Find the mixture that stays away from every limit by the largest share of its width.

    The second result is the least slack of limits that are not tight; −1 where there is no mixture.
    """
    rows, limits = polytope.limits()
    domains = rows.shape[1]
    # A limit wider than an even share counts as that wide: the mean distance of the shares to
    # their floors cannot be larger, and a ceiling of 1 should not push the start to one side.
    margins = np.where(tight, 0.0, np.minimum(polytope.widths(), 1 / domains))
    system = np.hstack([rows, margins[:, None]])
    whole = np.append(np.ones(domains), 0.0)[None]
    bounds = [(0, 1)] * (domains + 1)
    found = _linear_programme(
        np.append(np.zeros(domains), -1.0), system, limits + violation, whole, np.ones(1), bounds
    )
    if found.x is None:
        return np.zeros(domains), -1.0
    start = found.x[:domains]
    return start, float(np.min((limits - rows @ start)[~tight], initial=1.0))


def _with_equalities(polytope: _Polytope, tight: np.ndarray, start: np.ndarray) -> _Polytope:
    """Set both sides of tight limits to the values at the start, where they hold with equality."""
    domains, count = len(polytope.lower), len(polytope.groups)
    fixed = tight[:domains] | tight[domains : 2 * domains]
    exact = tight[2 * domains : 2 * domains + count] | tight[2 * domains + count :]
    sums = polytope.groups @ start
    return dataclasses.replace(
        polytope,
        lower=np.where(fixed, start, polytope.lower),
        upper=np.where(fixed, start, polytope.upper),
        least=np.where(exact, sums, polytope.least),
        most=np.where(exact, sums, polytope.most),
    )


def _linear_programme(
    cost: np.ndarray,
    rows: np.ndarray,
    limits: np.ndarray,
    equal: np.ndarray,
    equal_to: np.ndarray,
    bounds: Sequence[tuple[float, float | None]],
) -> "OptimizeResult":
    # Its import takes longer than an optimum, and only groups need it.
    from scipy.optimize import linprog

    # The solver's own tolerances of 1e-7 are wider than the `ROUNDING` that its result is held to.
    return linprog(
        cost,
        rows,
        limits,
        equal,
        equal_to,
        bounds,
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )


def _equations(polytope: _Polytope) -> tuple[np.ndarray, np.ndarray]:
    """Find independent equations over the free domains: the sum, and groups of one possible sum."""
    fixed = polytope.upper <= polytope.lower
    exact = polytope.most <= polytope.least
    rows = np.vstack([np.ones(len(fixed)), polytope.groups[exact]])
    rest = np.append(1.0, polytope.least[exact]) - rows[:, fixed] @ polytope.lower[fixed]
    # Singular vectors are orthonormal, so dependent group equations drop out.
    left, sizes, right = np.linalg.svd(np.where(fixed, 0.0, rows), full_matrices=False)
    # The rows hold zeros and ones, so that sizes of independent ones are not small.
    kept = sizes > 1e-9
    # A constant number of rows, so that sets of one form share compilations.
    equal, equal_to = np.zeros((len(polytope.groups) + 1, len(fixed))), np.zeros(len(exact) + 1)
    equal[: kept.sum()] = right[kept]
    equal_to[: kept.sum()] = (left.T @ rest)[kept] / sizes[kept]
    return equal, equal_to


def _check_bounds(lower: np.ndarray, upper: np.ndarray, names: list[str]) -> None:
    for name, low, high in zip(names, lower, upper, strict=True):
        if not 0 <= low <= 1 or not high >= 0:
            raise ValueError(
                f"{name} is bounded by {low:.4g} and {high:.4g}; expected proportions between 0 "
                "and 1."
            )
        if low > high + ROUNDING:
            raise InfeasibleError(
                f"{name}: the floor {low:.4g} is above the ceiling {high:.4g}; raise the ceiling "
                "or lower the floor."
            )
    # In place, as the caller goes on with these floors: rounding above a ceiling is taken off.
    np.minimum(lower, upper, out=lower)
    if lower.sum() > 1 + ROUNDING:
        raise InfeasibleError(
            f"floors sum to {lower.sum():.4g} ({_listed(names, lower)}), and a mixture to 1: lower "
            "some."
        )
    if upper.sum() < 1 - ROUNDING:
        raise InfeasibleError(
            f"ceilings sum to {upper.sum():.4g} ({_listed(names, upper)}), and a mixture to 1: "
            "raise some."
        )


def _check_groups(polytope: _Polytope, names: list[str], group_names: list[str]) -> None:
    lower, upper = polytope.lower, polytope.upper
    for name, members, low, high in zip(
        group_names, polytope.groups > 0, polytope.least, polytope.most, strict=True
    ):
        inside = [n for n, member in zip(names, members, strict=True) if member]
        if not (low >= 0 and low <= high + ROUNDING):
            raise InfeasibleError(
                f"{name}: its sum is to be at least {low:.4g} and at most {high:.4g}; expected the "
                "least not above the most, both from 0 to 1."
            )
        if lower[members].sum() > high + ROUNDING:
            raise InfeasibleError(
                f"{name}: floors sum to {lower[members].sum():.4g} "
                f"({_listed(inside, lower[members])}), and the group to at most {high:.4g}."
            )
        if upper[members].sum() < low - ROUNDING:
            raise InfeasibleError(
                f"{name}: ceilings sum to {upper[members].sum():.4g} "
                f"({_listed(inside, upper[members])}), and the group to at least {low:.4g}."
            )


def _refuse_conflict(polytope: _Polytope, names: list[str], group_names: list[str]) -> float:
    """Least violation of all limits together; more than rounding raises, with the conflict."""
    rows, limits = polytope.limits()
    domains = rows.shape[1]
    # The least v ≥ 0 with rows · r − v ≤ limits; limits with a price are those that conflict.
    found = _linear_programme(
        np.append(np.zeros(domains), 1.0),
        np.hstack([rows, -np.ones((len(rows), 1))]),
        limits,
        np.append(np.ones(domains), 0.0)[None],
        np.ones(1),
        [(0, 1)] * (domains + 1),
    )
    if found.x[-1] <= ROUNDING:
        return float(found.x[-1])
    limited = [
        *(f"{n} ≥ {v:.4g}" for n, v in zip(names, polytope.lower, strict=True)),
        *(f"{n} ≤ {v:.4g}" for n, v in zip(names, polytope.upper, strict=True)),
        *(f"{n} ≤ {v:.4g}" for n, v in zip(group_names, polytope.most, strict=True)),
        *(f"{n} ≥ {v:.4g}" for n, v in zip(group_names, polytope.least, strict=True)),
    ]
    involved = [
        what
        for what, price in zip(limited, found.ineqlin.marginals, strict=True)
        if price < -1e-9 and not what.endswith((" ≥ 0", " ≤ 1"))
    ]
    raise InfeasibleError(
        f"no mixture that sums to 1 has {', '.join(involved)} together; relax one of them."
    )


def _listed(names: Sequence[str], values: np.ndarray) -> str:
    shown = [f"{n} {v:.4g}" for n, v in zip(names, values, strict=True) if v > 0]
    return ", ".join(shown) or "all 0"
