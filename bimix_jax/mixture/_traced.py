"""The interior-point search for batches of fits: traced by JAX, differentiable in its arguments."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.mixture import _interior
from bimix_jax.mixture._interior import Around, Box, Iterate
from bimix_jax.mixture.feasible import FeasibleSet


class ConstrainedProblem(Protocol):
    """A problem as functions of (variables,): the mixture, then `extra` free ones.

    Hashable, equal for equal problems, so that compilations are shared.
    """

    @property
    def extra(self) -> int:
        """Number of free variables after the mixture."""

    @property
    def convex(self) -> bool:
        """True where value and rows are convex."""

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


class _Traced(NamedTuple):
    """`_interior.Model` of a problem, by derivatives of its functions."""

    problem: ConstrainedProblem
    arguments: Any
    box: Box
    unit: Array
    """() in which the value is measured"""

    xp: Any = jnp

    @property
    def convex(self) -> bool:
        return self.problem.convex

    def value(self, x: Array) -> Array:
        return self.problem.value(x, self.arguments) / self.unit

    def rows(self, x: Array) -> Array:
        return self.problem.rows(x, self.arguments)

    def around(self, x: Array, multipliers: Array) -> Around:
        value, gradient = jax.value_and_grad(self.problem.value)(x, self.arguments)
        return Around(
            value / self.unit, gradient / self.unit, self.rows(x), jax.jacfwd(self.rows)(x)
        )

    def hessian(self, x: Array, multipliers: Array, around: Around) -> Array:
        return jax.hessian(lambda x: self.value(x) + multipliers @ self.rows(x))(x)

    def inverse(self, matrix: Array) -> Callable[[Array], Array]:
        if not self.convex:
            return _interior.turned_positive(jnp, matrix)
        factor = jnp.linalg.cholesky(_interior.with_ridge(jnp, matrix))
        return lambda sides: jax.scipy.linalg.cho_solve((factor, True), sides)

    def gram(self, matrix: Array, weights: Array) -> Array:
        return (matrix.T * weights) @ matrix

    def first(self, enough: Callable[[Array], Array], count: int) -> Array:
        def too_long(tried: Array) -> Array:
            return (tried < count - 1) & ~enough(tried.astype(self.unit.dtype))

        # One after another: most steps are short enough at once, and a batch tries no more than its
        # most difficult member.
        return jax.lax.while_loop(too_long, lambda tried: tried + 1, jnp.zeros((), int))

    def either(self, accepted: Array, one: Array, other: Callable[[], Array]) -> Array:
        return jnp.where(accepted, one, other())


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
def _search(problem: ConstrainedProblem, arguments: Any, feasible: FeasibleSet) -> Iterate:
    model, start = _model(problem, arguments, feasible)
    # At the end every product multiplier · distance is the barrier, and the duality gap is their
    # sum: 1e-11 of the unit each. Lower ones drown in the rounding of the slopes.
    least_barrier = 1e-11 if start.dtype == jnp.float64 else 1e-6
    step = functools.partial(_interior.step, model, least_barrier)
    first = _interior.first_iterate(model, start, model.rows(start))
    return jax.lax.while_loop(_interior.unfinished, step, first)


def _model(
    problem: ConstrainedProblem, arguments: Any, feasible: FeasibleSet
) -> tuple[_Traced, Array]:
    """Bring a problem into units, and find the start of its search."""
    box, start = _box(problem, arguments, feasible)
    return _Traced(problem, arguments, box, _unit(problem, arguments, start)), start


def _box(problem: ConstrainedProblem, arguments: Any, feasible: FeasibleSet) -> tuple[Box, Array]:
    dtype = jnp.result_type(*(leaf for leaf in jax.tree.leaves(arguments)))
    mixture = jnp.asarray(feasible.start, dtype)
    free_ends = jnp.full(problem.extra, jnp.inf, dtype)
    lower = jnp.concatenate([jnp.asarray(feasible.lower, dtype), -free_ends])
    upper = jnp.concatenate([jnp.asarray(feasible.upper, dtype), free_ends])
    equal = jnp.asarray(feasible.equal, dtype)
    equal = jnp.pad(equal, ((0, 0), (0, problem.extra)))
    box = Box(lower, upper, upper > lower, equal, jnp.asarray(feasible.equal_to, dtype))
    return box, problem.start(arguments, mixture).astype(dtype)


def _unit(problem: ConstrainedProblem, arguments: Any, start: Array) -> Array:
    """Scale of the objective: the sum of its changes by relative changes of the start."""
    slopes = jax.grad(problem.value)(start, arguments)
    # A slope by a share counts in proportion to the share, or a steep but tiny one would decide.
    steepness = jnp.sum(jnp.abs(slopes * start))
    return jnp.where(jnp.isfinite(steepness) & (steepness > 0), steepness, 1.0)


@_search.defjvp
def _search_jvp(
    problem: ConstrainedProblem, primals: tuple, tangents: tuple
) -> tuple[Iterate, Iterate]:
    """Differentiate the conditions of the last barrier problem.

    With the notation of `_interior._direction`, dz = (z/s)(J dx + ∂h), da = −a/(x − l)·(dx − dl)
    and db = b/(u − x)·(dx − du) at a fixed barrier, where ∂ is by the arguments at a fixed x. In dx
    they have the coefficients of the Newton step, so that the matrix is the same: M dx + Eᵀdy =
    a/(x − l)·dl + b/(u − x)·du − ∂∇(f + z·h) − Jᵀ(z/s)∂h.
    """
    arguments, feasible = primals
    end = _search(problem, arguments, feasible)
    model, _ = _model(problem, arguments, feasible)
    box = model.box
    moved = jax.jvp(lambda f: _box(problem, arguments, f)[0], primals[1:], tangents[1:])[1]

    def lagrangian(x: Array, arguments: Any) -> Array:
        at = model._replace(arguments=arguments)
        return at.value(x) + end.rows @ at.rows(x)

    mixed = jax.jvp(lambda a: jax.grad(lagrangian)(end.x, a), primals[:1], tangents[:1])[1]
    of_rows = jax.jvp(lambda a: problem.rows(end.x, a), primals[:1], tangents[:1])[1]
    to_lower, to_upper = _interior.distances(model, end.x)
    # A fixed variable moves with its bound, and the free ones respond to that move.
    of_fixed = jnp.where(box.free, 0.0, moved.lower)
    matrix = _interior.barrier_curvature(model, end)
    right = (
        end.at_lower / to_lower * jnp.where(box.free, moved.lower, 0.0)
        + end.at_upper / to_upper * jnp.where(box.free, moved.upper, 0.0)
        - mixed
        - (end.rows / end.slack * of_rows) @ end.around.jacobian
        - matrix @ of_fixed
    )
    change = _interior.constrained_solve(model, matrix, right, moved.equal_to)[0]
    nothing = jax.tree.map(_no_change, end)
    return end, nothing._replace(x=jnp.where(box.free, change, of_fixed))


def _no_change(value: Array) -> Any:
    if jnp.issubdtype(jnp.result_type(value), jnp.floating):
        return jnp.zeros_like(value)
    return np.zeros(jnp.shape(value), jax.dtypes.float0)
