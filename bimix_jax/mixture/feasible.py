"""The set of mixtures allowed, as arrays; empty sets are found here, with what conflicts."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from bimix_jax.mixture.nonnegative import nonnegative_least_squares

ROUNDING = 1e-9
"""Sums this far beyond a bound are rounding: a reference mixture may be its own bounds."""
MARGINS = (0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-4, 1e-6)
"""Shares of the width of every constraint that the start keeps away from it, the first that can."""


class InfeasibleError(ValueError):
    """No mixture satisfies the constraints; the message names those that conflict."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "lower", "upper", "groups", "least", "most", "equal", "equal_to", "start", "pull",
        "pull_to", "allowed", "guarded",
    ],
    meta_fields=["disjoint"],
)  # fmt: skip
@dataclasses.dataclass(frozen=True)
class FeasibleSet:
    """Mixtures between bounds, with sums over groups between bounds, and pulls and guardrails.

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
    """(groups + 1, domains) independent rows over the domains that are free, then zeros, with"""
    equal_to: Any
    """(groups + 1,) what they come to at every mixture of the set"""
    start: Any
    """(domains,) a mixture that touches no bound it need not touch"""
    pull: Any = None
    """() strength of the Kullback-Leibler divergence from `pull_to` in the objective, or None"""
    pull_to: Any = None
    """(domains,)"""
    allowed: Any = None
    """(targets,) how much worse than at `guarded` a loss may be, a fraction; inf for any"""
    guarded: Any = None
    """(domains,)"""
    disjoint: bool = True
    """no domain belongs to two groups"""


def simplex(domains: int) -> FeasibleSet:
    """Every mixture of so many domains.

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
    """The mixtures between bounds (domains,) and with group sums between bounds (groups,).

    `groups` (groups, domains) is 1 where a domain belongs to a group; the labels say in messages
    what is meant.

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
    names = list(labels or (f"domain {i}" for i in range(len(lower))))
    group_names = list(group_labels or (f"group {i}" for i in range(len(groups))))
    _check_bounds(lower, upper, names)
    _check_groups(lower, upper, groups, least, most, names, group_names)
    polytope = _Polytope(lower, upper, groups, least, most)
    tight, start = _with_interior(polytope, names, group_names)
    equal, equal_to = _equations(tight)
    return FeasibleSet(
        lower=tight.lower, upper=tight.upper, groups=groups, least=tight.least, most=tight.most,
        equal=equal, equal_to=equal_to, start=start,
        disjoint=bool(np.all(groups.sum(axis=0) <= 1)),
    )  # fmt: skip


@dataclasses.dataclass
class _Polytope:
    lower: np.ndarray
    upper: np.ndarray
    groups: np.ndarray
    least: np.ndarray
    most: np.ndarray

    def system(self, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """matrix·slacks = target, slacks ≥ 0: those to floors, ceilings, most and least, beyond
        a margin that is a share of each width."""
        domains, count = len(self.lower), len(self.groups)
        none = np.zeros((count, domains))
        matrix = np.block([
            [np.ones((1, domains)), np.zeros((1, domains + 2 * count))],
            [np.eye(domains), np.eye(domains), none.T, none.T],
            [self.groups, none, np.eye(count), np.zeros((count, count))],
            [self.groups, none, np.zeros((count, count)), -np.eye(count)],
        ])  # fmt: skip
        floors = self.groups @ self.lower
        target = np.concatenate(
            [
                [1 - self.lower.sum()], self.upper - self.lower,
                self.most - floors, self.least - floors,
            ]
        )  # fmt: skip
        return matrix, target - matrix @ self.margins(margin)

    def margins(self, share: float) -> np.ndarray:
        """What the start keeps from every constraint: all can keep it at once, or nearly."""
        domains = len(self.lower)
        width, room = self.upper - self.lower, self.most - self.least
        return share * np.minimum(np.concatenate([width, width, room, room]), 1 / domains)


def _with_interior(
    polytope: _Polytope, names: list[str], group_names: list[str]
) -> tuple[_Polytope, np.ndarray]:
    """Bounds that meet nowhere else turned into equalities, and a mixture inside the rest.

    Where no mixture keeps away from all constraints, the residual of the least squares says which
    of them hold with equality everywhere (Farkas' lemma).
    """
    if not len(polytope.groups):
        return _between_bounds(polytope)
    _refuse_conflict(polytope, names, group_names)
    while True:
        for margin in MARGINS:
            matrix, target = polytope.system(margin)
            slacks = nonnegative_least_squares(matrix, target)
            residual = target - matrix @ slacks
            if np.abs(residual).max() <= ROUNDING * margin:
                above = (polytope.margins(margin) + slacks)[: len(polytope.lower)]
                return polytope, polytope.lower + above
        if not _tighten(polytope, matrix.T @ residual / np.abs(residual).max()):
            return polytope, polytope.lower + slacks[: len(polytope.lower)]


def _between_bounds(polytope: _Polytope) -> tuple[_Polytope, np.ndarray]:
    lower, width = polytope.lower, polytope.upper - polytope.lower
    room = 1 - lower.sum()
    share = 0.0 if width.sum() <= 0 else float(np.clip(room / width.sum(), 0.0, 1.0))
    start = lower + share * width
    if share <= ROUNDING or share >= 1 - ROUNDING:
        start = start / start.sum()
        polytope = dataclasses.replace(polytope, lower=start, upper=start)
    return polytope, start


def _tighten(polytope: _Polytope, slopes: np.ndarray) -> bool:
    """Make equalities of the constraints whose slack must be 0; False if there is none."""
    domains, count = len(polytope.lower), len(polytope.groups)
    zero = slopes < -1e-7
    at_lower, at_upper = zero[:domains], zero[domains : 2 * domains]
    at_most, at_least = zero[2 * domains : 2 * domains + count], zero[2 * domains + count :]
    wide = np.concatenate([np.tile(polytope.upper > polytope.lower, 2),
                           np.tile(polytope.most > polytope.least, 2)])  # fmt: skip
    polytope.upper[at_lower] = polytope.lower[at_lower]
    polytope.lower[at_upper] = polytope.upper[at_upper]
    polytope.least[at_most] = polytope.most[at_most]
    polytope.most[at_least] = polytope.least[at_least]
    return bool(np.any(zero & wide))


def _equations(polytope: _Polytope) -> tuple[np.ndarray, np.ndarray]:
    """Independent equations over the free domains: the sum, and groups of one possible sum."""
    fixed = polytope.upper <= polytope.lower
    exact = polytope.most <= polytope.least
    rows = np.vstack([np.ones(len(fixed)), polytope.groups[exact]])
    rest = np.append(1.0, polytope.least[exact]) - rows[:, fixed] @ polytope.lower[fixed]
    left, sizes, right = np.linalg.svd(np.where(fixed, 0.0, rows), full_matrices=False)
    kept = sizes > 1e-9
    # As many rows whatever holds, so that sets of one form share compilations.
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


def _check_groups(
    lower: np.ndarray, upper: np.ndarray, groups: np.ndarray, least: np.ndarray,
    most: np.ndarray, names: list[str], group_names: list[str],
) -> None:  # fmt: skip
    for name, members, low, high in zip(group_names, groups > 0, least, most, strict=True):
        inside = [n for n, member in zip(names, members, strict=True) if member]
        if not 0 <= low <= high:
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


def _refuse_conflict(polytope: _Polytope, names: list[str], group_names: list[str]) -> None:
    """Raise unless some mixture satisfies everything together; name what the conflict needs."""
    matrix, target = polytope.system(0.0)
    residual = target - matrix @ nonnegative_least_squares(matrix, target)
    if np.abs(residual).max() <= ROUNDING:
        return
    slopes = matrix.T @ residual / np.abs(residual).max()
    said = [
        *(f"{n} ≥ {v:.4g}" for n, v in zip(names, polytope.lower, strict=True)),
        *(f"{n} ≤ {v:.4g}" for n, v in zip(names, polytope.upper, strict=True)),
        *(f"{n} ≤ {v:.4g}" for n, v in zip(group_names, polytope.most, strict=True)),
        *(f"{n} ≥ {v:.4g}" for n, v in zip(group_names, polytope.least, strict=True)),
    ]
    involved = [
        what for what, slope in zip(said, slopes, strict=True)
        if slope < -1e-6 and not what.endswith((" ≥ 0", " ≤ 1"))
    ]  # fmt: skip
    raise InfeasibleError(
        f"no mixture that sums to 1 has {', '.join(involved)} together; relax one of them."
    )


def _listed(names: Sequence[str], values: np.ndarray) -> str:
    shown = [f"{n} {v:.4g}" for n, v in zip(names, values, strict=True) if v > 0]
    return ", ".join(shown) or "all 0"
