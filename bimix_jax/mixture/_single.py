"""The interior-point search for one fit: NumPy around one compiled program per law and shape."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bimix_jax.mixture import _interior
from bimix_jax.mixture._dense import BLOCK, Factor, product
from bimix_jax.mixture._exact import powers_of_own
from bimix_jax.mixture._interior import Around, Box, Iterate
from bimix_jax.mixture._near import Near, near_mixtures
from bimix_jax.mixture.feasible import FeasibleSet
from bimix_jax.mixture.proportions import (
    GUARD_TOLERANCE,
    Method,
    MixtureArguments,
    MixtureProblem,
    exactly_by_powers,
    used_coefficients,
)
from bimix_jax.xla.compilation import jit

LEAST_BARRIER = 1e-11
"""As in batches: the duality gap is the sum of the products multiplier · distance, of this each."""
BARELY = float(np.sqrt(np.finfo(float).tiny))
"""Share in place of 0, where some laws are infinite."""


@dataclasses.dataclass(frozen=True)
class SingleModel:
    """`_interior.Model` of a mixture problem of one fit, in NumPy.

    The objective and the rows are those of `MixtureProblem.value` and `rows`; losses, slopes and
    curvature come from `losses_near`, which knows neither objective nor constraints, so that one
    program serves all of them.
    """

    problem: MixtureProblem
    arguments: MixtureArguments
    """arrays of float64; coefficients of unused targets are harmless"""
    limits: Any = None
    """(members,) largest objectives, where the problems are the farthest mixtures below them"""
    directions: Any = None
    """(members, domains) directions in which these are looked for"""
    unit: float = 1.0
    """unit in which the value is measured"""

    xp = np

    @classmethod
    def of(cls, problem: MixtureProblem, arguments: MixtureArguments) -> "SingleModel":
        """Build the model of a problem, in a unit of its own."""
        model = cls(problem, single_arguments(arguments))
        slopes = model.around(model.start[None], np.zeros((1, model.count))).gradient[0]
        # A slope by a share counts in proportion to the share, or a steep but tiny one would
        # decide.
        steepness = float(np.sum(np.abs(slopes * model.start)))
        usable = np.isfinite(steepness) and steepness > 0
        return dataclasses.replace(model, unit=steepness if usable else 1.0)

    def towards(self, directions: np.ndarray, limits: np.ndarray) -> "SingleModel":
        """Build the model of the farthest mixtures with objectives of at most `limits`."""
        return dataclasses.replace(self, directions=directions, limits=limits, unit=1.0)

    def only(self, members: np.ndarray) -> "SingleModel":
        """Keep some of the members that are searched together."""
        if self.directions is None:
            return self
        some = self.directions[members], self.limits[members]
        return dataclasses.replace(self, directions=some[0], limits=some[1])

    @property
    def convex(self) -> bool:
        """True where value and rows are convex."""
        return self.problem.convex

    @property
    def feasible(self) -> FeasibleSet:
        """Set of the mixtures."""
        return self.arguments.feasible

    @property
    def extra(self) -> int:
        """Number of variables after the mixture: the bound of the worst loss, unless it is held."""
        return 0 if self.limits is not None else self.problem.extra

    @property
    def count(self) -> int:
        """Number of rows."""
        targets = len(self.arguments.weights)
        guarded = self.feasible.guard_limit is not None
        below = self.limits is not None and not self.problem.extra
        return 2 * len(self.feasible.groups) + targets * (guarded + self.problem.extra) + below

    @functools.cached_property
    def start(self) -> np.ndarray:
        """(variables,) start of the search."""
        mixture = self.feasible.start
        # A tenth above the worst loss, so that the rows start strictly inside their limit.
        return np.append(mixture, [1.1 * self.worst_at_start] * self.extra)

    def objective_at(self, mixture: np.ndarray) -> float:
        """Objective of a mixture (domains,), with its KL term."""
        losses, weights = self.near(mixture[None]).losses, self.arguments.weights
        value = objective_of(self.problem, losses, weights)[0]
        return float(value + kl_term(self.feasible, mixture)[0])

    def worst_at(self, mixture: np.ndarray) -> float:
        """Largest of weight times loss at a mixture (domains,)."""
        return float(np.max(self.arguments.weights * self.near(mixture[None]).losses))

    @functools.cached_property
    def worst_at_start(self) -> float:
        """Worst loss at the start, which brings its rows to the order of 1."""
        return self.worst_at(self.feasible.start)

    def rows_at(self, mixture: np.ndarray) -> np.ndarray:
        """(rows,) rows at a mixture (domains,), of a model without a further variable."""
        return self.around(mixture[None], np.zeros((1, self.count))).rows[0]

    @functools.cached_property
    def guarded(self) -> tuple[np.ndarray, np.ndarray]:
        """(targets,) bool: targets with a guardrail; (targets,) their largest losses."""
        limit = self.feasible.guard_limit
        bounded = np.isfinite(limit)
        reference = self.near(self.feasible.guard_reference[None]).losses[0]
        return bounded, np.where(bounded, reference * (1 + np.where(bounded, limit, 0.0)), 1.0)

    @functools.cached_property
    def box(self) -> Box:
        """Bounds and equations of all variables."""
        set_, ends = self.feasible, np.full(self.extra, np.inf)
        lower, upper = np.append(set_.lower, -ends), np.append(set_.upper, ends)
        equal = np.pad(set_.equal, ((0, 0), (0, self.extra)))
        return Box(lower, upper, upper > lower, equal, set_.equal_to)

    def near(self, mixtures: np.ndarray, weights: np.ndarray | None = None) -> Near:
        """Losses, slopes and curvature at mixtures (members, domains)."""
        c, budget, every, _ = self.arguments
        if weights is None:
            weights = np.zeros((len(mixtures), len(every)))
        shares = np.where(mixtures > 0, mixtures, BARELY)
        return near_mixtures(self.problem.law, c, budget, shares, weights)

    def around(self, x: np.ndarray, multipliers: np.ndarray) -> Around:
        """Compute objective, rows and derivatives at variables (members, variables)."""
        mixtures = x[:, : x.shape[1] - self.extra]
        parts = _Parts(self, mixtures, multipliers)
        rows, jacobian = parts.rows(x[:, -1:] if self.extra else None)
        more = (0, self.extra)
        hessian = np.pad(parts.hessian, ((0, 0), more, more))
        if self.directions is not None:
            value = -np.sum(self.directions * mixtures, axis=1)
            return Around(value, -self.directions, rows, jacobian, hessian)
        kl, kl_slope, _ = parts.kl
        value = x[:, -1] if self.extra else parts.value
        gradient = np.pad(parts.gradient + kl_slope, ((0, 0), more), constant_values=1.0)
        return Around((value + kl) / self.unit, gradient / self.unit, rows, jacobian, hessian)

    def hessian(self, x: np.ndarray, multipliers: np.ndarray, around: Around) -> Any:
        """Return the Hessian, which came with the rest."""
        return around.hessian

    def inverse(self, matrix: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Solve by Cholesky factors, which most matrices have even where nothing is convex."""
        if matrix.shape[-1] <= BLOCK:
            # All members at a time, unless one of them has no factor.
            with contextlib.suppress(np.linalg.LinAlgError):
                half = np.linalg.inv(np.linalg.cholesky(_interior.with_ridge(np, matrix)))
                return lambda sides: np.swapaxes(half, -1, -2) @ (half @ sides)
        solvers = [self._inverse(each) for each in matrix]
        return lambda sides: np.stack([s(b) for s, b in zip(solvers, sides, strict=True)])

    def _inverse(self, matrix: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        try:
            return Factor(_interior.with_ridge(np, matrix)).solve
        except np.linalg.LinAlgError:
            if self.convex or not np.all(np.isfinite(matrix)):
                return lambda sides: np.full_like(sides, np.nan)
            return _interior.turned_positive(np, matrix)

    def gram(self, matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Σ_i weight_i · row_i·row_iᵀ of every member."""
        pairs = zip(np.swapaxes(matrix, -1, -2) * weights[:, None], matrix, strict=True)
        return np.stack([product(*pair) for pair in pairs])

    def first(self, enough: Callable[[Any], Any], count: int) -> np.ndarray:
        """Try one after the other, until every member has enough."""
        found = np.asarray(enough(0))
        least = np.where(found, 0, count - 1)
        for k in range(1, count):
            if found.all():
                break
            now = np.asarray(enough(k))
            least = np.where(now & ~found, k, least)
            found = found | now
        return least

    def either(self, accepted: Any, one: Any, other: Callable[[], Any]) -> Any:
        """Compute the other only where it is needed."""
        return one if np.all(accepted) else np.where(accepted, one, other())


def single_arguments(arguments: MixtureArguments) -> MixtureArguments:
    """Convert to arrays of float64, with harmless coefficients of unused targets."""
    whole = jax.tree.map(lambda leaf: np.asarray(leaf, float), arguments)
    return whole._replace(coefficients=used_coefficients(whole, np))


class _Parts:
    """Objective, KL term and rows of a model at mixtures (members, domains) and multipliers
    (members, rows)."""

    def __init__(self, model: SingleModel, mixtures: np.ndarray, z: np.ndarray) -> None:
        self.model, self.mixtures = model, mixtures
        self.kl = kl_term(model.feasible, mixtures)
        targets, groups = len(model.arguments.weights), 2 * len(model.feasible.groups)
        guards = targets * (model.feasible.guard_limit is not None)
        of_guards = z[:, groups : groups + guards]
        of_worst = z[:, groups + guards : groups + guards + targets * model.problem.extra]
        self._look(of_guards, of_worst, z[:, -1:])

    def _look(self, of_guards: np.ndarray, of_worst: np.ndarray, last: np.ndarray) -> None:
        """Compute the losses, and the objective with its Hessian in the Lagrangian."""
        model, weights = self.model, self.model.arguments.weights
        # The multipliers (members, 1) of the objective and of the KL term in the Lagrangian.
        objective = np.full((len(self.mixtures), 1), 1 / model.unit)
        if model.limits is not None:
            objective = last / self._size
        price = objective
        by_loss = np.zeros((len(self.mixtures), len(weights)))
        if of_guards.size:
            bounded, largest = model.guarded
            by_loss = by_loss + np.where(bounded, of_guards / largest, 0.0)
        if of_worst.size:
            rows = np.where(weights > 0, of_worst / model.worst_at_start, 0.0)
            by_loss, objective = by_loss + rows * weights, np.zeros_like(price)
            price = rows.sum(axis=1, keepdims=True) if model.limits is not None else price
        each, outer = self._outer(weights)
        self.losses, self.slopes, curvature = model.near(self.mixtures, by_loss + objective * each)
        self.gradient = (each[:, None] @ self.slopes)[:, 0]
        if not callable(model.problem.objective):
            self.value = np.sum(each * self.losses, axis=1)
        self.hessian = curvature
        if outer is not None:
            own = np.swapaxes(self.slopes, 1, 2) @ (objective[..., None] * outer) @ self.slopes
            self.hessian = curvature + own
        diagonal = np.arange(self.mixtures.shape[1])
        self.hessian[:, diagonal, diagonal] += price * self.kl[2]

    @property
    def _size(self) -> np.ndarray:
        """(members, 1) unit of the row that keeps the objective below its limit."""
        return np.abs(self.model.limits)[:, None]

    def _outer(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(members, targets) slopes of the objective by the losses, and its curvature."""
        problem, shape = self.model.problem, (len(self.mixtures), len(weights))
        if not callable(problem.objective):
            each = np.zeros_like(weights) if problem.extra else weights / weights.sum()
            return np.broadcast_to(each, shape), None
        counts = weights > 0
        counting = np.where(counts, self.model.near(self.mixtures).losses, 0.0)
        found = [_of_losses(problem.objective, losses) for losses in counting]
        self.value, each, outer = (np.stack(parts) for parts in zip(*found, strict=True))
        # Losses without a weight are held at 0, on which the objective may depend.
        return np.where(counts, each, 0.0), np.where(np.outer(counts, counts), outer, 0.0)

    def rows(self, worst: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows, and their Jacobian; `worst` (members, 1) is the variable that bounds the worst
        loss."""
        model, weights = self.model, self.model.arguments.weights
        found = [self._groups()]
        if model.feasible.guard_limit is not None:
            bounded, largest = model.guarded
            rows = np.where(bounded, self.losses / largest - 1, -1.0)
            slopes = self.slopes / largest[:, None]
            found.append((rows, np.where(bounded[:, None], slopes, 0.0)))
        if model.problem.extra:
            found.append(self._worst(worst, weights))
        elif model.limits is not None:
            _, kl_slope, _ = self.kl
            above = (self.value + self.kl[0] - model.limits)[:, None]
            slope = self.gradient + kl_slope
            found.append((above / self._size, (slope / self._size)[:, None]))
        rows, jacobian = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        return rows, self._with_worst(jacobian)

    def _worst(
        self, worst: np.ndarray | None, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows that keep every loss below the bound of the worst one."""
        kl, kl_slope, _ = self.kl
        above, slopes = weights * self.losses, weights[:, None] * self.slopes
        if worst is None:
            # With the bound held at the limit, less the KL term that the objective has beside it,
            # the rows say that the objective is below the limit.
            above = above + (kl - self.model.limits)[:, None]
            slopes = slopes + kl_slope[:, None]
        else:
            above = above - worst
        counts, scale = weights > 0, self.model.worst_at_start
        return (
            np.where(counts, above / scale, -1.0),
            np.where(counts[:, None], slopes / scale, 0.0),
        )

    def _groups(self) -> tuple[np.ndarray, np.ndarray]:
        """Excess of the sums above their most, and shortfall below their least."""
        set_ = self.model.feasible
        sums, exact = self.mixtures @ set_.groups.T, set_.most <= set_.least
        rows = np.concatenate([sums - set_.most, set_.least - sums], axis=1)
        jacobian = np.concatenate([set_.groups, -set_.groups])
        both = np.concatenate([exact, exact])
        jacobian = np.where(both[:, None], 0.0, jacobian)
        every = len(rows), *jacobian.shape
        return np.where(both, -1.0, rows), np.broadcast_to(jacobian, every)

    def _with_worst(self, jacobian: np.ndarray) -> np.ndarray:
        """Append the column of the variable that bounds the worst loss."""
        model = self.model
        if not model.extra:
            return jacobian
        weights = model.arguments.weights
        column = np.zeros((*jacobian.shape[:2], 1))
        column[:, -len(weights) :, 0] = np.where(weights > 0, -1 / model.worst_at_start, 0.0)
        return np.concatenate([jacobian, column], axis=2)


def kl_term(feasible: FeasibleSet, mixture: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """κ·KL(mixture ‖ to) (…) of mixtures (…, domains), and its first and second derivatives."""
    nothing = np.zeros(mixture.shape)
    if feasible.kl is None:
        return 0.0, nothing, nothing
    both = (mixture > 0) & (feasible.kl_to > 0)
    shares = np.where(both, mixture, 1.0)
    logs = np.log(shares / np.where(both, feasible.kl_to, 1.0))
    value = feasible.kl * np.sum(np.where(both, mixture * logs, 0.0), axis=-1)
    slope = np.where(both, feasible.kl * (logs + 1), 0.0)
    return value, slope, np.where(both, feasible.kl / shares, 0.0)


def _objective_near(objective: Any, losses: Any) -> tuple:
    return (*jax.value_and_grad(objective)(losses), jax.hessian(objective)(losses))


_compiled = jit(_objective_near, static_argnums=0, x64=True)


def _of_losses(objective: Any, losses: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Value, slopes and curvature of an objective of one's own at losses (targets,)."""
    value, slopes, curvature = map(np.asarray, _compiled(objective, losses))
    return float(value), slopes, curvature


def objective_of(problem: MixtureProblem, losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(mixtures,) objectives, without a KL term, of losses (mixtures, targets)."""
    if not callable(problem.objective):
        return problem.of_losses(losses, weights)
    return np.asarray(_values(problem.objective, np.where(weights > 0, losses, 0.0)))


_values = jit(lambda of, losses: jax.vmap(of)(losses), static_argnums=0, x64=True)


def minimize_single(
    model: SingleModel, start: np.ndarray, least_barrier: float = LEAST_BARRIER
) -> Iterate:
    """Search from starts (members, variables) inside the bounds."""
    # Logs of negative numbers and 0/0 are nan, which the search knows how to handle.
    with np.errstate(all="ignore"):
        rows = model.around(start, np.zeros((len(start), model.count))).rows
        state = _interior.first_iterate(model, start, rows)
        while True:
            left = np.flatnonzero(_interior.unfinished(state))
            if not len(left):
                return state
            leaves, form = jax.tree.flatten(state)
            some = jax.tree.unflatten(form, [leaf[left] for leaf in leaves])
            moved = _interior.step(model.only(left), least_barrier, some)
            for whole, part in zip(leaves, jax.tree.leaves(moved), strict=True):
                whole[left] = part


def best_single(problem: MixtureProblem, method: Method, arguments: MixtureArguments) -> np.ndarray:
    """(domains,) mixture with the least objective; nan where no mixture keeps the guardrails."""
    if method == "exact":
        return _exact_single(problem, single_arguments(arguments))
    model = SingleModel.of(problem, arguments)
    end = minimize_single(model, model.start[None])
    mixture = end.x[0, : len(model.feasible.start)]
    if model.feasible.guard_limit is None:
        return mixture
    # The search may stop at an infeasible point if no feasible one exists.
    first = 2 * len(model.feasible.groups)
    worst = np.max(end.around.rows[0, first : first + len(model.arguments.weights)])
    return mixture if worst <= GUARD_TOLERANCE else np.full_like(mixture, np.nan)


def _exact_single(problem: MixtureProblem, arguments: MixtureArguments) -> np.ndarray:
    powers = single_powers(problem, arguments)
    # Logs of 0 are infinite, and what bounds exclude is nan: both are masked.
    with np.errstate(all="ignore"):
        return exactly_by_powers(problem, arguments, powers)


def single_powers(
    problem: MixtureProblem, arguments: MixtureArguments
) -> tuple[np.ndarray, np.ndarray]:
    """Compute K and α (targets,) of `powers_of_own`, as NumPy's arrays."""
    scale, exponent = _powers(problem.law, arguments.coefficients, np.asarray(arguments.budget))
    return np.asarray(scale), np.asarray(exponent)


_powers = jit(powers_of_own, static_argnums=0, x64=True)
