"""Interior-point minimum of a smooth objective under smooth constraints (primal-dual).

Source: Wächter and Biegler, "On the implementation of an interior-point filter line-search
algorithm for large-scale nonlinear programming", Mathematical Programming 106 (2006), with a merit
function instead of the filter (Nocedal and Wright, "Numerical Optimization", chapter 19).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.mixture.feasible import FeasibleSet

MAX_STEPS = 100
HALVINGS = 14
TO_THE_BOUNDARY = 0.99


class Problem(Protocol):
    """A problem as functions of (variables,): the mixture, then `extra` free ones.

    Hashable, equal for equal problems, so that compilations are shared.
    """

    @property
    def extra(self) -> int:
        """Number of free variables after the mixture."""

    @property
    def convex(self) -> bool:
        """True where value and rows are convex: steps are full, and curvature is not corrected."""

    def start(self, arguments: Any, mixture: Array) -> Array:
        """(variables,) start of the search, at a mixture inside the bounds."""

    def value(self, variables: Array, arguments: Any) -> Array:
        """() value to minimise."""

    def rows(self, variables: Array, arguments: Any) -> Array:
        """(rows,) values that must be at most 0."""


class Minimum(NamedTuple):
    """End of the search."""

    variables: Array
    error: Array
    """() 0 at an optimum, else the largest residual of its conditions"""
    steps: Array


class _Box(NamedTuple):
    lower: Array
    upper: Array
    free: Array
    equal: Array
    equal_to: Array


class _State(NamedTuple):
    x: Array
    slack: Array
    rows: Array
    at_lower: Array
    at_upper: Array
    barrier: Array
    error: Array
    steps: Array


def minimize_within(problem: Problem, arguments: Any, feasible: FeasibleSet) -> Minimum:
    """Minimise a problem over a feasible set; groups, KL terms and guardrails are its rows.

    The search stays strictly between the bounds and on the equations of the set; rows may be
    violated on the way. The variables are differentiable in the arguments and the bounds by the
    implicit function theorem, at the barrier that the search ends with.
    """
    end = _search(problem, arguments, feasible)
    return Minimum(end.x, end.error, end.steps)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _search(problem: Problem, arguments: Any, feasible: FeasibleSet) -> _State:
    box, start = _box(problem, arguments, feasible)
    unit = _unit(problem, arguments, start)
    least_barrier = 1e-11 if start.dtype == jnp.float64 else 1e-6
    step = functools.partial(_step, problem, arguments, box, unit, least_barrier)
    first = _first(problem, arguments, box, start)
    return jax.lax.while_loop(lambda s: (s.steps < MAX_STEPS) & ~(s.error <= 0), step, first)


def _box(problem: Problem, arguments: Any, feasible: FeasibleSet) -> tuple[_Box, Array]:
    dtype = jnp.result_type(*(leaf for leaf in jax.tree.leaves(arguments)))
    mixture = jnp.asarray(feasible.start, dtype)
    free_ends = jnp.full(problem.extra, jnp.inf, dtype)
    lower = jnp.concatenate([jnp.asarray(feasible.lower, dtype), -free_ends])
    upper = jnp.concatenate([jnp.asarray(feasible.upper, dtype), free_ends])
    equal = jnp.asarray(feasible.equal, dtype)
    equal = jnp.pad(equal, ((0, 0), (0, problem.extra)))
    box = _Box(lower, upper, upper > lower, equal, jnp.asarray(feasible.equal_to, dtype))
    return box, problem.start(arguments, mixture).astype(dtype)


def _unit(problem: Problem, arguments: Any, start: Array) -> Array:
    """Scale of the objective: the sum of its changes by relative changes of the start."""
    slopes = jax.grad(problem.value)(start, arguments)
    steepness = jnp.sum(jnp.abs(slopes * start))
    return jnp.where(jnp.isfinite(steepness) & (steepness > 0), steepness, 1.0)


def _first(problem: Problem, arguments: Any, box: _Box, start: Array) -> _State:
    rows = problem.rows(start, arguments)
    # Slacks start positive even where a row is violated; the search closes the difference.
    slack = jnp.maximum(-rows, 0.01)
    barrier = jnp.asarray(0.01, start.dtype)
    to_lower, to_upper = _distances(box, start)
    return _State(
        start,
        slack,
        barrier / slack,
        barrier / to_lower,
        barrier / to_upper,
        barrier,
        jnp.full_like(barrier, jnp.inf),
        jnp.zeros((), int),
    )


def _distances(box: _Box, x: Array) -> tuple[Array, Array]:
    """Distances to the bounds; infinite without a bound and for fixed variables."""
    return (
        jnp.where(box.free, x - box.lower, jnp.inf),
        jnp.where(box.free, box.upper - x, jnp.inf),
    )


def _step(
    problem: Problem, arguments: Any, box: _Box, unit: Array, least: float, state: _State
) -> _State:
    barrier = state.barrier
    gradient = jax.grad(problem.value)(state.x, arguments) / unit
    rows = problem.rows(state.x, arguments)
    jacobian = jax.jacfwd(problem.rows)(state.x, arguments)
    to_lower, to_upper = _distances(box, state.x)
    residual = rows + state.slack
    slope = (
        gradient
        - barrier / to_lower
        + barrier / to_upper
        + (barrier / state.slack + state.rows / state.slack * residual) @ jacobian
    )
    matrix = _curvature(problem, arguments, box, unit, state, jacobian)
    change, equations = _constrained_solve(problem, box, matrix, -slope, _missed(box, state.x))
    slack_change = -residual - jacobian @ change
    rows_change = (barrier - state.rows * slack_change) / state.slack - state.rows
    lower_change = (barrier - state.at_lower * change) / to_lower - state.at_lower
    upper_change = (barrier + state.at_upper * change) / to_upper - state.at_upper
    primal = jnp.minimum(
        _longest(to_lower, change),
        jnp.minimum(_longest(to_upper, -change), _longest(state.slack, slack_change)),
    )
    dual = jnp.minimum(
        _longest(state.rows, rows_change),
        jnp.minimum(_longest(state.at_lower, lower_change), _longest(state.at_upper, upper_change)),
    )

    def moved(length: Array) -> _State:
        x = state.x + length * change
        return state._replace(
            x=x,
            # A row that is satisfied by more than its slack takes what there is.
            slack=jnp.maximum(state.slack + length * slack_change, -problem.rows(x, arguments)),
            rows=state.rows + dual * rows_change,
            at_lower=state.at_lower + dual * lower_change,
            at_upper=state.at_upper + dual * upper_change,
            steps=state.steps + 1,
        )

    def error(state: _State) -> tuple[Array, Array]:
        return _error(problem, arguments, box, unit, state, equations)

    length = primal
    if not problem.convex:
        prices = state.rows + dual * rows_change
        found = _line_search(
            problem, arguments, box, unit, state, primal, change, slack_change, gradient, prices
        )
        # Curved rows make the merit refuse the very steps that converge fastest (Maratos).
        better = error(moved(primal))[0] <= 0.9 * error(state)[0]
        length = jnp.where(better, primal, found)
    end = moved(length)
    # Steps this small cannot lower the error further in this precision.
    still = jnp.max(jnp.abs(change)) <= 0.1 * least
    return _next_barrier(least, end, *error(end), still)


def _curvature(
    problem: Problem, arguments: Any, box: _Box, unit: Array, state: _State, jacobian: Array
) -> Array:
    """Second derivative of the Lagrangian plus the terms of the eliminated slacks and bounds."""

    def lagrangian(x: Array) -> Array:
        return problem.value(x, arguments) / unit + state.rows @ problem.rows(x, arguments)

    to_lower, to_upper = _distances(box, state.x)
    bounds = state.at_lower / to_lower + state.at_upper / to_upper
    # The eliminated slacks and bound multipliers leave terms multiplier/distance.
    hessian = jax.hessian(lagrangian)(state.x)
    return hessian + (jacobian.T * (state.rows / state.slack)) @ jacobian + jnp.diag(bounds)


def _constrained_solve(
    problem: Problem, box: _Box, matrix: Array, right: Array, missed: Array
) -> tuple[Array, Array]:
    """Solve matrix·x + equalᵀ·y = right and equal·x = missed for x and y; fixed variables stay."""
    both = box.free[:, None] & box.free
    matrix = jnp.where(both, matrix, jnp.eye(len(right), dtype=matrix.dtype))
    solve = _positive_solver(problem, matrix)
    # Apart, because only the first is linear in what is differentiated.
    plain = solve(jnp.where(box.free, right, 0.0)[:, None])[:, 0]
    spread = solve(box.equal.T)
    unused = jnp.all(box.equal == 0, axis=1)
    between = box.equal @ spread + jnp.diag(unused.astype(matrix.dtype))
    equations = jnp.linalg.solve(between, box.equal @ plain - missed)
    return plain - spread @ equations, equations


def _positive_solver(problem: Problem, matrix: Array) -> Callable[[Array], Array]:
    """Build sides → matrix⁻¹·sides by a unit diagonal; negative curvature is made positive."""
    diagonal = jnp.maximum(jnp.abs(jnp.diag(matrix)), jnp.finfo(matrix.dtype).tiny)
    scale = 1 / jnp.sqrt(diagonal)[:, None]
    scaled = matrix * scale * scale.T
    if problem.convex:
        # Rounding can make a positive matrix slightly indefinite, on which Cholesky fails.
        ridge = 8 * len(scale) * jnp.finfo(matrix.dtype).eps
        factor = jnp.linalg.cholesky(scaled + ridge * jnp.eye(len(scale), dtype=scaled.dtype))
        return lambda sides: scale * jax.scipy.linalg.cho_solve((factor, True), scale * sides)
    values, vectors = jnp.linalg.eigh(scaled)
    size = jnp.maximum(jnp.abs(values), 1e-9)[:, None]
    return lambda sides: scale * (vectors @ ((vectors.T @ (scale * sides)) / size))


def _missed(box: _Box, x: Array) -> Array:
    return box.equal_to - box.equal @ x


def _longest(distance: Array, change: Array) -> Array:
    """() longest step, at most 1, that keeps a share 1 − `TO_THE_BOUNDARY` of every distance."""
    ratio = jnp.where(change < 0, -TO_THE_BOUNDARY * distance / change, jnp.inf)
    return jnp.minimum(1.0, jnp.min(ratio, initial=jnp.inf))


def _merit(
    problem: Problem,
    arguments: Any,
    box: _Box,
    unit: Array,
    barrier: Array,
    penalty: Array,
    x: Array,
    slack: Array,
) -> Array:
    to_lower, to_upper = _distances(box, x)
    bounded = [jnp.where(jnp.isfinite(d), d, 1.0) for d in (to_lower, to_upper)]
    inside = jnp.concatenate([*bounded, slack])
    missed = jnp.sum(jnp.abs(problem.rows(x, arguments) + slack))
    return (
        problem.value(x, arguments) / unit - barrier * jnp.sum(jnp.log(inside)) + penalty * missed
    )


def _line_search(
    problem: Problem,
    arguments: Any,
    box: _Box,
    unit: Array,
    state: _State,
    longest: Array,
    change: Array,
    slack_change: Array,
    gradient: Array,
    prices: Array,
) -> Array:
    """Find the first of the steps longest, longest/2, … that lowers the merit enough.

    Convex problems skip this search, because full steps converge faster there.
    """
    # The merit is exact only if the penalty exceeds every multiplier of the rows.
    penalty = 1 + 1.5 * jnp.max(jnp.abs(prices), initial=0.0)
    lengths = longest * 0.5 ** jnp.arange(HALVINGS, dtype=longest.dtype)
    merit = functools.partial(_merit, problem, arguments, box, unit, state.barrier, penalty)
    now = merit(state.x, state.slack)
    values = jax.vmap(lambda a: merit(state.x + a * change, state.slack + a * slack_change))(
        lengths
    )
    to_lower, to_upper = _distances(box, state.x)
    slope = (
        (gradient - state.barrier / to_lower + state.barrier / to_upper) @ change
        - state.barrier * jnp.sum(slack_change / state.slack)
        - penalty * jnp.sum(jnp.abs(problem.rows(state.x, arguments) + state.slack))
    )
    rounding = 100 * jnp.finfo(now.dtype).eps * (1 + jnp.abs(now))
    enough = values <= now + 1e-4 * lengths * jnp.minimum(slope, 0.0) + rounding
    return jnp.where(jnp.any(enough), lengths[jnp.argmax(enough)], lengths[-1])


def _error(
    problem: Problem, arguments: Any, box: _Box, unit: Array, state: _State, equations: Array
) -> tuple[Array, Array]:
    """() the largest residual of the conditions of the barrier problem; () of its rows alone."""
    gradient = jax.grad(problem.value)(state.x, arguments) / unit
    rows, pull = jax.vjp(lambda x: problem.rows(x, arguments), state.x)
    slope = gradient + pull(state.rows)[0] - state.at_lower + state.at_upper
    slope = jnp.where(box.free, slope + equations @ box.equal, 0.0)
    to_lower, to_upper = _distances(box, state.x)
    # Large multipliers make the residual of the slopes large by rounding alone.
    size = jnp.maximum(1.0, jnp.mean(jnp.concatenate([state.rows, state.at_lower, state.at_upper])))
    products = jnp.concatenate(
        [
            state.rows * state.slack,
            jnp.where(jnp.isfinite(to_lower), state.at_lower * to_lower, state.barrier),
            jnp.where(jnp.isfinite(to_upper), state.at_upper * to_upper, state.barrier),
        ]
    )
    missed = jnp.max(jnp.abs(rows + state.slack), initial=0.0)
    off = jnp.maximum(jnp.max(jnp.abs(slope)), jnp.max(jnp.abs(products - state.barrier)))
    return jnp.maximum(off / size, missed), missed


def _next_barrier(least: float, state: _State, error: Array, missed: Array, still: Array) -> _State:
    """Lower the barrier once its problem is solved to ten times the barrier, or to rounding."""
    solved = (error <= 10 * state.barrier) | (still & (missed <= least))
    # Linear at first, superlinear near the end, as in Wächter and Biegler, equation 7.
    lower = jnp.maximum(least, jnp.minimum(0.2 * state.barrier, state.barrier**1.5))
    done = solved & (state.barrier <= least)
    return state._replace(
        barrier=jnp.where(solved, lower, state.barrier),
        error=jnp.where(done, 0.0, jnp.maximum(error, 100 * least)),
    )


@_search.defjvp
def _search_jvp(problem: Problem, primals: tuple, tangents: tuple) -> tuple[_State, _State]:
    """Differentiate the conditions of the last barrier problem."""
    arguments, feasible = primals
    end = _search(problem, arguments, feasible)
    box, start = _box(problem, arguments, feasible)
    moved = jax.jvp(lambda f: _box(problem, arguments, f)[0], primals[1:], tangents[1:])[1]
    unit = _unit(problem, arguments, start)

    def lagrangian(x: Array, arguments: Any) -> Array:
        return problem.value(x, arguments) / unit + end.rows @ problem.rows(x, arguments)

    mixed = jax.jvp(lambda a: jax.grad(lagrangian)(end.x, a), primals[:1], tangents[:1])[1]
    of_rows = jax.jvp(lambda a: problem.rows(end.x, a), primals[:1], tangents[:1])[1]
    jacobian = jax.jacfwd(problem.rows)(end.x, arguments)
    to_lower, to_upper = _distances(box, end.x)
    # A fixed variable moves with its bound, and the free ones respond to that move.
    of_fixed = jnp.where(box.free, 0.0, moved.lower)
    matrix = _curvature(problem, arguments, box, unit, end, jacobian)
    right = (
        end.at_lower / to_lower * jnp.where(box.free, moved.lower, 0.0)
        + end.at_upper / to_upper * jnp.where(box.free, moved.upper, 0.0)
        - mixed
        - (end.rows / end.slack * of_rows) @ jacobian
        - matrix @ of_fixed
    )
    change = _constrained_solve(problem, box, matrix, right, moved.equal_to)[0]
    nothing = jax.tree.map(_no_change, end)
    return end, nothing._replace(x=jnp.where(box.free, change, of_fixed))


def _no_change(value: Array) -> Any:
    if jnp.issubdtype(jnp.result_type(value), jnp.floating):
        return jnp.zeros_like(value)
    return np.zeros(jnp.shape(value), jax.dtypes.float0)
