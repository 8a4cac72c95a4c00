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
"""Largest number of Newton steps; a search that needs more counts as not converged."""
HALVINGS = 14
"""Number of step lengths that a line search tries, down to 0.5¹³ = 1e-4 of the longest."""
TO_THE_BOUNDARY = 0.99
"""Largest share of the distance to a bound that a step covers, as in Wächter and Biegler."""


class ConstrainedProblem(Protocol):
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


class InteriorMinimum(NamedTuple):
    """End of the search."""

    variables: Array
    error: Array
    """() 0 at an optimum, else the largest residual of its conditions"""
    steps: Array


class _Box(NamedTuple):
    """Bounds and equations of all variables; those with equal bounds are not free."""

    lower: Array
    upper: Array
    free: Array
    equal: Array
    equal_to: Array


class _ScaledProblem(NamedTuple):
    """A problem with its arguments and bounds, and the unit in which its value is measured.

    In this unit slopes and multipliers are about 1, so that barriers and tolerances are pure
    numbers.
    """

    problem: ConstrainedProblem
    arguments: Any
    box: _Box
    unit: Array

    def value(self, x: Array) -> Array:
        """() value in units."""
        return self.problem.value(x, self.arguments) / self.unit

    def gradient(self, x: Array) -> Array:
        """(variables,) slopes of the value in units."""
        return jax.grad(self.problem.value)(x, self.arguments) / self.unit

    def rows(self, x: Array) -> Array:
        """(rows,) values that must be at most 0."""
        return self.problem.rows(x, self.arguments)

    def jacobian(self, x: Array) -> Array:
        """(rows, variables) derivatives of the rows."""
        return jax.jacfwd(self.problem.rows)(x, self.arguments)


class _Iterate(NamedTuple):
    """A point of the search: variables, slacks, the multipliers of rows and bounds, barrier."""

    x: Array
    slack: Array
    rows: Array
    at_lower: Array
    at_upper: Array
    barrier: Array
    error: Array
    steps: Array


class _Direction(NamedTuple):
    """A Newton step: changes of the variables, slacks and multipliers of an iterate."""

    x: Array
    slack: Array
    rows: Array
    at_lower: Array
    at_upper: Array
    equations: Array
    """(equations,) their multipliers after the step, which no barrier term contains"""


def minimize_within(
    problem: ConstrainedProblem, arguments: Any, feasible: FeasibleSet
) -> InteriorMinimum:
    """Minimise a problem over a feasible set, whose groups and guardrails are rows of the problem.

    The search stays strictly between the bounds and on the equations of the set; rows may be
    violated on the way. The variables are differentiable in the arguments and the bounds by the
    implicit function theorem, at the barrier that the search ends with.
    """
    end = _search(problem, arguments, feasible)
    return InteriorMinimum(end.x, end.error, end.steps)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _search(problem: ConstrainedProblem, arguments: Any, feasible: FeasibleSet) -> _Iterate:
    scaled, start = _scaled(problem, arguments, feasible)
    # At the end every product multiplier · distance is the barrier, and the duality gap is their
    # sum: 1e-11 of the unit each. Lower ones drown in the rounding of the slopes.
    least_barrier = 1e-11 if start.dtype == jnp.float64 else 1e-6
    step = functools.partial(_step, scaled, least_barrier)
    # Not `error > 0`: a search that meets nan goes on to the last step, and its error stays nan.
    return jax.lax.while_loop(
        lambda s: (s.steps < MAX_STEPS) & ~(s.error <= 0), step, _first(scaled, start)
    )


def _scaled(
    problem: ConstrainedProblem, arguments: Any, feasible: FeasibleSet
) -> tuple[_ScaledProblem, Array]:
    """Bring a problem into units, and find the start of its search."""
    box, start = _box(problem, arguments, feasible)
    return _ScaledProblem(problem, arguments, box, _unit(problem, arguments, start)), start


def _box(problem: ConstrainedProblem, arguments: Any, feasible: FeasibleSet) -> tuple[_Box, Array]:
    dtype = jnp.result_type(*(leaf for leaf in jax.tree.leaves(arguments)))
    mixture = jnp.asarray(feasible.start, dtype)
    free_ends = jnp.full(problem.extra, jnp.inf, dtype)
    lower = jnp.concatenate([jnp.asarray(feasible.lower, dtype), -free_ends])
    upper = jnp.concatenate([jnp.asarray(feasible.upper, dtype), free_ends])
    equal = jnp.asarray(feasible.equal, dtype)
    equal = jnp.pad(equal, ((0, 0), (0, problem.extra)))
    box = _Box(lower, upper, upper > lower, equal, jnp.asarray(feasible.equal_to, dtype))
    return box, problem.start(arguments, mixture).astype(dtype)


def _unit(problem: ConstrainedProblem, arguments: Any, start: Array) -> Array:
    """Scale of the objective: the sum of its changes by relative changes of the start."""
    slopes = jax.grad(problem.value)(start, arguments)
    # A slope by a share counts in proportion to the share, or a steep but tiny one would decide.
    steepness = jnp.sum(jnp.abs(slopes * start))
    return jnp.where(jnp.isfinite(steepness) & (steepness > 0), steepness, 1.0)


def _first(scaled: _ScaledProblem, start: Array) -> _Iterate:
    rows = scaled.rows(start)
    # Slacks start positive even where a row is violated; the search closes the difference.
    slack = jnp.maximum(-rows, 0.01)
    barrier = jnp.asarray(0.01, start.dtype)
    to_lower, to_upper = _distances(scaled.box, start)
    # Multipliers barrier/distance put the start on the central path, as far as bounds go.
    return _Iterate(
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


def _direction(scaled: _ScaledProblem, state: _Iterate, gradient: Array) -> _Direction:
    """Newton step for the conditions of the barrier problem.

    With f the value, h the rows, J their Jacobian, s slacks, E·x = e the equations, and multipliers
    z, a, b, y of rows, lower bounds l, upper bounds u and equations, the conditions are

        ∇f + Jᵀz − a + b + Eᵀy = 0,  h + s = 0,  E·x = e,
        z·s = a·(x − l) = b·(u − x) = μ, elementwise.

    Linearised, all changes but Δx and the new y are eliminated, Δs = −(h + s) − J Δx, Δz = (μ − z
    Δs)/s − z, Δa = (μ − a Δx)/(x − l) − a, Δb = (μ + b Δx)/(u − x) − b, which leaves

        M Δx + Eᵀy = −(∇f + Jᵀ(μ + z (h + s))/s − μ/(x − l) + μ/(u − x)),  E Δx = e − E·x

    with M of `_curvature`.
    """
    barrier, box = state.barrier, scaled.box
    rows = scaled.rows(state.x)
    jacobian = scaled.jacobian(state.x)
    to_lower, to_upper = _distances(box, state.x)
    residual = rows + state.slack
    slope = (
        gradient
        - barrier / to_lower
        + barrier / to_upper
        + (barrier / state.slack + state.rows / state.slack * residual) @ jacobian
    )
    matrix = _curvature(scaled, state, jacobian)
    change, equations = _constrained_solve(
        scaled.problem, box, matrix, -slope, _missed(box, state.x)
    )
    slack_change = -residual - jacobian @ change
    return _Direction(
        change,
        slack_change,
        (barrier - state.rows * slack_change) / state.slack - state.rows,
        (barrier - state.at_lower * change) / to_lower - state.at_lower,
        (barrier + state.at_upper * change) / to_upper - state.at_upper,
        equations,
    )


def _step(scaled: _ScaledProblem, least: float, state: _Iterate) -> _Iterate:
    gradient = scaled.gradient(state.x)
    change = _direction(scaled, state, gradient)
    to_lower, to_upper = _distances(scaled.box, state.x)
    # Primal and dual variables have step lengths of their own, as in Wächter and Biegler.
    primal = jnp.minimum(
        _longest(to_lower, change.x),
        jnp.minimum(_longest(to_upper, -change.x), _longest(state.slack, change.slack)),
    )
    dual = jnp.minimum(
        _longest(state.rows, change.rows),
        jnp.minimum(
            _longest(state.at_lower, change.at_lower), _longest(state.at_upper, change.at_upper)
        ),
    )

    def moved(length: Array) -> _Iterate:
        x = state.x + length * change.x
        return state._replace(
            x=x,
            # A row that is satisfied by more than its slack takes what there is.
            slack=jnp.maximum(state.slack + length * change.slack, -scaled.rows(x)),
            rows=state.rows + dual * change.rows,
            at_lower=state.at_lower + dual * change.at_lower,
            at_upper=state.at_upper + dual * change.at_upper,
            steps=state.steps + 1,
        )

    def error(state: _Iterate) -> tuple[Array, Array]:
        return _error(scaled, state, change.equations)

    length = primal
    if not scaled.problem.convex:
        found = _line_search(scaled, state, change, gradient, primal, dual)
        # Curved rows make the merit refuse the very steps that converge fastest (Maratos).
        better = error(moved(primal))[0] <= 0.9 * error(state)[0]
        length = jnp.where(better, primal, found)
    end = moved(length)
    # Steps this small cannot lower the error further in this precision.
    still = jnp.max(jnp.abs(change.x)) <= 0.1 * least
    return _next_barrier(least, end, *error(end), still)


def _curvature(scaled: _ScaledProblem, state: _Iterate, jacobian: Array) -> Array:
    """M = ∇²(f + z·h) + Jᵀ diag(z/s) J + diag(a/(x − l) + b/(u − x)), as in `_direction`."""

    def lagrangian(x: Array) -> Array:
        return scaled.value(x) + state.rows @ scaled.rows(x)

    to_lower, to_upper = _distances(scaled.box, state.x)
    bounds = state.at_lower / to_lower + state.at_upper / to_upper
    # The eliminated slacks and bound multipliers leave terms multiplier/distance.
    hessian = jax.hessian(lagrangian)(state.x)
    return hessian + (jacobian.T * (state.rows / state.slack)) @ jacobian + jnp.diag(bounds)


def _constrained_solve(
    problem: ConstrainedProblem, box: _Box, matrix: Array, right: Array, missed: Array
) -> tuple[Array, Array]:
    """Solve matrix·x + equalᵀ·y = right and equal·x = missed for x and y; fixed variables stay."""
    # Block elimination: x = M⁻¹(right − Eᵀy) in E·x = missed is E M⁻¹Eᵀ·y = E M⁻¹ right − missed.
    both = box.free[:, None] & box.free
    matrix = jnp.where(both, matrix, jnp.eye(len(right), dtype=matrix.dtype))
    solve = _positive_solver(problem, matrix)
    # Apart, because only the first is linear in what is differentiated.
    plain = solve(jnp.where(box.free, right, 0.0)[:, None])[:, 0]
    spread = solve(box.equal.T)
    # Rows of zeros pad the equations; a 1 on their diagonal makes their multiplier 0.
    unused = jnp.all(box.equal == 0, axis=1)
    between = box.equal @ spread + jnp.diag(unused.astype(matrix.dtype))
    equations = jnp.linalg.solve(between, box.equal @ plain - missed)
    return plain - spread @ equations, equations


def _positive_solver(problem: ConstrainedProblem, matrix: Array) -> Callable[[Array], Array]:
    """Build sides → matrix⁻¹·sides by a unit diagonal; negative curvature is made positive."""
    # Near bounds diagonal entries grow like 1/distance²; a unit diagonal undoes most of that.
    diagonal = jnp.maximum(jnp.abs(jnp.diag(matrix)), jnp.finfo(matrix.dtype).tiny)
    scale = 1 / jnp.sqrt(diagonal)[:, None]
    scaled = matrix * scale * scale.T
    if problem.convex:
        # Rounding can make a positive matrix slightly indefinite, on which Cholesky fails.
        ridge = 8 * len(scale) * jnp.finfo(matrix.dtype).eps
        factor = jnp.linalg.cholesky(scaled + ridge * jnp.eye(len(scale), dtype=scaled.dtype))
        return lambda sides: scale * jax.scipy.linalg.cho_solve((factor, True), scale * sides)
    # |λ| instead of λ makes the step one of descent along directions of negative curvature, too;
    # the floor bounds it along flat ones (Nocedal and Wright, section 3.4).
    values, vectors = jnp.linalg.eigh(scaled)
    size = jnp.maximum(jnp.abs(values), 1e-9)[:, None]
    return lambda sides: scale * (vectors @ ((vectors.T @ (scale * sides)) / size))


def _missed(box: _Box, x: Array) -> Array:
    return box.equal_to - box.equal @ x


def _longest(distance: Array, change: Array) -> Array:
    """() longest step, at most 1, that keeps a share 1 − `TO_THE_BOUNDARY` of every distance."""
    ratio = jnp.where(change < 0, -TO_THE_BOUNDARY * distance / change, jnp.inf)
    return jnp.minimum(1.0, jnp.min(ratio, initial=jnp.inf))


def _merit(scaled: _ScaledProblem, barrier: Array, penalty: Array, x: Array, slack: Array) -> Array:
    """() f − μ Σ log(distances and slacks) + penalty · Σ |h + s|, which a step must lower."""
    # Variables without a bound get log 1 = 0.
    bounded = [jnp.where(jnp.isfinite(d), d, 1.0) for d in _distances(scaled.box, x)]
    inside = jnp.concatenate([*bounded, slack])
    missed = jnp.sum(jnp.abs(scaled.rows(x) + slack))
    return scaled.value(x) - barrier * jnp.sum(jnp.log(inside)) + penalty * missed


def _line_search(
    scaled: _ScaledProblem,
    state: _Iterate,
    change: _Direction,
    gradient: Array,
    longest: Array,
    dual: Array,
) -> Array:
    """Find the first of the steps longest, longest/2, … that lowers the merit enough.

    Convex problems skip this search, because full steps converge faster there.
    """
    prices = state.rows + dual * change.rows
    # The merit is exact only if the penalty exceeds every multiplier of the rows.
    penalty = 1 + 1.5 * jnp.max(jnp.abs(prices), initial=0.0)
    lengths = longest * 0.5 ** jnp.arange(HALVINGS, dtype=longest.dtype)
    merit = functools.partial(_merit, scaled, state.barrier, penalty)
    now = merit(state.x, state.slack)
    values = jax.vmap(lambda a: merit(state.x + a * change.x, state.slack + a * change.slack))(
        lengths
    )
    to_lower, to_upper = _distances(scaled.box, state.x)
    # Along the step the linearised h + s falls to 0 in proportion, hence the last term.
    slope = (
        (gradient - state.barrier / to_lower + state.barrier / to_upper) @ change.x
        - state.barrier * jnp.sum(change.slack / state.slack)
        - penalty * jnp.sum(jnp.abs(scaled.rows(state.x) + state.slack))
    )
    # Near the end true decreases are below rounding, which must not refuse a good step.
    rounding = 100 * jnp.finfo(now.dtype).eps * (1 + jnp.abs(now))
    # Armijo's condition with its usual constant of 1e-4.
    enough = values <= now + 1e-4 * lengths * jnp.minimum(slope, 0.0) + rounding
    return jnp.where(jnp.any(enough), lengths[jnp.argmax(enough)], lengths[-1])


def _error(scaled: _ScaledProblem, state: _Iterate, equations: Array) -> tuple[Array, Array]:
    """() the largest residual of the conditions of the barrier problem; () of its rows alone."""
    box, gradient = scaled.box, scaled.gradient(state.x)
    rows, pull = jax.vjp(scaled.rows, state.x)
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


def _next_barrier(
    least: float, state: _Iterate, error: Array, missed: Array, still: Array
) -> _Iterate:
    """Lower the barrier once its problem is solved to ten times the barrier, or to rounding."""
    solved = (error <= 10 * state.barrier) | (still & (missed <= least))
    # Linear at first, superlinear near the end, as in Wächter and Biegler, equation 7.
    lower = jnp.maximum(least, jnp.minimum(0.2 * state.barrier, state.barrier**1.5))
    done = solved & (state.barrier <= least)
    return state._replace(
        barrier=jnp.where(solved, lower, state.barrier),
        # An error of 0 ends the search, so that one before the last barrier must not be 0.
        error=jnp.where(done, 0.0, jnp.maximum(error, 100 * least)),
    )


@_search.defjvp
def _search_jvp(
    problem: ConstrainedProblem, primals: tuple, tangents: tuple
) -> tuple[_Iterate, _Iterate]:
    """Differentiate the conditions of the last barrier problem.

    With the notation of `_direction`, dz = (z/s)(J dx + ∂h), da = −a/(x − l)·(dx − dl) and db =
    b/(u − x)·(dx − du) at a fixed barrier, where ∂ is by the arguments at a fixed x. In dx they
    have the coefficients of the Newton step, so that the matrix is the same: M dx + Eᵀdy =
    a/(x − l)·dl + b/(u − x)·du − ∂∇(f + z·h) − Jᵀ(z/s)∂h.
    """
    arguments, feasible = primals
    end = _search(problem, arguments, feasible)
    scaled, _ = _scaled(problem, arguments, feasible)
    box = scaled.box
    moved = jax.jvp(lambda f: _box(problem, arguments, f)[0], primals[1:], tangents[1:])[1]

    def lagrangian(x: Array, arguments: Any) -> Array:
        at = scaled._replace(arguments=arguments)
        return at.value(x) + end.rows @ at.rows(x)

    mixed = jax.jvp(lambda a: jax.grad(lagrangian)(end.x, a), primals[:1], tangents[:1])[1]
    of_rows = jax.jvp(lambda a: problem.rows(end.x, a), primals[:1], tangents[:1])[1]
    jacobian = scaled.jacobian(end.x)
    to_lower, to_upper = _distances(box, end.x)
    # A fixed variable moves with its bound, and the free ones respond to that move.
    of_fixed = jnp.where(box.free, 0.0, moved.lower)
    matrix = _curvature(scaled, end, jacobian)
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
