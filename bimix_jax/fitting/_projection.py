"""Best amplitudes for given exponents: non-negative least squares."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.xla.small_systems import diagonal_of, pivots, positive_definite_solve

ROUNDING = 64
"""Number of machine epsilons below which slopes and pivots count as rounding."""
STEPS_PER_COLUMN = 10
"""Largest number of solves per column; a search that needs them all returns its best point."""


class _State(NamedTuple):
    """A feasible point, and the columns that are being tried."""

    point: Array
    """(columns,) feasible"""
    passive: Array
    """(columns,) bool: True for columns that are solved for; the others are 0"""
    refused: Array
    """(columns,) bool: True for columns that were tried at this point in vain"""
    entering: Array
    """() int, the column that entered last"""
    fresh: Array
    """() bool: that column has not been solved for yet"""
    done: Array
    steps: Array


def constrained_minimum(normal_matrix: Array, moments: Array, signed: Array) -> Array:
    """x (k,) that minimises ½ xᵀGx − bᵀx, where x ≥ 0 but in `signed` columns (k,) bool.

    G (k, k) is positive semidefinite and b is (k,). A column in the span of those already in use
    stays at 0. The loop solves systems of constant size, so that it can be batched and compiles in
    about the same time for any k.

    Source: Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23.

    >>> minimum = jax.jit(constrained_minimum)
    >>> print(minimum(jnp.eye(3), jnp.array([1.0, -1.0, -2]), np.array([False, False, True])))
    [ 1.  0. -2.]
    """
    diagonal = diagonal_of(normal_matrix)
    root = jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1.0)), 0.0)
    # Of columns of length 1, pivots and slopes can be measured against rounding.
    # With x = root·y the diagonal becomes 1; columns of length 0 stay 0.
    matrix, right = normal_matrix * root[:, None] * root, moments * root
    none = jnp.zeros(len(right), bool)
    zero = jnp.zeros((), jnp.int32)
    begin = _State(jnp.zeros_like(right), none, none, zero, ~none[0], none[0], zero)
    begin = _with_next(begin, matrix, right, signed)
    most = STEPS_PER_COLUMN * len(right)

    def step(state: _State) -> _State:
        return _with_next(_solved(state, matrix, right, signed), matrix, right, signed)

    end = jax.lax.while_loop(lambda state: ~state.done & (state.steps < most), step, begin)
    return end.point * root


def _solved(state: _State, matrix: Array, right: Array, signed: Array) -> _State:
    """Move towards the solution in the passive columns, as far as it is feasible."""
    index = jnp.arange(len(right))
    newest = index == state.entering
    wanted, pivot = _solve_free(matrix, right, state.passive, newest)
    negative = state.passive & ~signed & ~(wanted > 0)
    independent = pivot > ROUNDING * jnp.finfo(right.dtype).eps
    refuse = state.fresh & (~independent | jnp.any(negative & newest))
    falls = jnp.where(negative, state.point, 0.0) > 0
    fall = jnp.where(falls, state.point - wanted, 1.0)
    ratio = jnp.where(falls, state.point / fall, jnp.inf)
    # The first amplitude to reach 0 on the way limits the step, as in Lawson and Hanson.
    part = jnp.where(refuse, 0.0, jnp.minimum(jnp.min(ratio), 1.0))
    point = jnp.where(part == 1, wanted, state.point + part * (wanted - state.point))
    dropped = jnp.where(refuse, newest, negative & ((point <= 0) | (index == jnp.argmin(ratio))))
    passive = state.passive & ~dropped
    whole = ~refuse & ~jnp.any(negative)
    return state._replace(
        point=jnp.where(refuse, state.point, jnp.where(passive, point, 0.0)),
        passive=passive,
        refused=jnp.where(refuse, state.refused | newest, state.refused & ~whole),
        fresh=refuse | whole,
        steps=state.steps + 1,
    )


def _solve_free(matrix: Array, right: Array, passive: Array, newest: Array) -> tuple[Array, Array]:
    """Solve for the passive columns; also return the pivot of the newest after the others.

    Gauss-Jordan elimination, one passive column after another: a loop, because the unrolled systems
    of `positive_definite_solve` would take long to compile. The newest column goes last, so that
    its pivot is its part that the others do not span.
    """
    size = len(right)
    order = jnp.argsort(newest, stable=True)
    smallest = 4 * jnp.finfo(right.dtype).eps

    def eliminate(k: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rows, _ = carry
        j = order[k]
        pivot = rows[j, j]
        row = rows[j] / jnp.maximum(pivot, smallest)
        others = jnp.where(jnp.arange(size) == j, 0.0, rows[:, j])
        cleared = (rows - others[:, None] * row).at[j].set(row)
        return jnp.where(passive[j], cleared, rows), pivot

    begin = jnp.column_stack([matrix, right]), jnp.ones((), right.dtype)
    rows, pivot = jax.lax.fori_loop(0, size, eliminate, begin)
    return jnp.where(passive, rows[:, -1], 0.0), pivot


def _with_next(state: _State, matrix: Array, right: Array, signed: Array) -> _State:
    """Add the column that lowers the value fastest, once the last one is settled."""
    slope = right - matrix @ state.point
    size = jnp.abs(right) + jnp.abs(matrix) @ jnp.abs(state.point)
    rise = jnp.where(signed, jnp.abs(slope), slope)
    clear = rise > ROUNDING * jnp.finfo(right.dtype).eps * size
    able = clear & ~state.passive & ~state.refused
    entering = jnp.argmax(jnp.where(able, rise, -jnp.inf)).astype(jnp.int32)
    enters = jnp.any(able) & state.fresh
    newest = jnp.arange(len(right)) == entering
    return state._replace(
        passive=state.passive | (newest & enters),
        entering=jnp.where(enters, entering, state.entering),
        done=state.fresh & ~jnp.any(able),
    )


FEW = 3
"""Number of amplitudes up to which every set of columns is tried: 2^k − 1 sets, unrolled."""


class Projection(NamedTuple):
    """The best amplitudes of given exponents."""

    amplitudes: Array
    """(amplitudes,), none negative but signed ones."""
    free: Array
    """(amplitudes,) bool: not at the bound at 0."""
    singular: Array
    """() bool: columns are collinear at these points, so amplitudes are not unique."""


def best_amplitudes(normal_matrix: Array, moments: Array, signed: np.ndarray) -> Projection:
    """Minimise ½ cᵀGc − bᵀc for G (k, k) and b (k,) over c ≥ 0, but in `signed` columns (k,) bool.

    Exact for any positive definite G and any k; of collinear columns, only independent ones count.
    """
    if len(signed) <= FEW and not signed.any():
        amplitudes, singular = _by_trying(normal_matrix, moments), _is_singular(normal_matrix)
    else:
        amplitudes = constrained_minimum(normal_matrix, moments, jnp.asarray(signed))
        apart = pivots(normal_matrix) > _threshold(moments.dtype) * diagonal_of(normal_matrix)
        singular = ~jnp.all(apart)
    return Projection(amplitudes, jnp.abs(amplitudes) > 0, singular)


def _by_trying(normal_matrix: Array, moments: Array) -> Array:
    """Best over all sets of columns: branch-free, which suits a batch."""
    count = moments.shape[0]
    amplitudes, most_explained = jnp.zeros_like(moments), jnp.zeros((), moments.dtype)
    for size in reversed(range(1, count + 1)):
        for columns in itertools.combinations(range(count), size):
            candidate, explained = _solve_within(normal_matrix, moments, columns)
            # Larger sets come first, since what a subset explains more is rounding; of collinear
            # columns, which explain the same but for rounding, the first is taken.
            better = explained > most_explained * (1 + _threshold(moments.dtype))
            amplitudes = jnp.where(better, candidate, amplitudes)
            most_explained = jnp.where(better, explained, most_explained)
    return amplitudes


def _solve_within(
    normal_matrix: Array, moments: Array, columns: tuple[int, ...]
) -> tuple[Array, Array]:
    matrix = jnp.stack([jnp.stack([normal_matrix[i, j] for j in columns]) for i in columns])
    right = jnp.stack([moments[i] for i in columns])
    solution = positive_definite_solve(matrix, right)
    feasible = jnp.all(solution > 0) & ~_is_singular(matrix)
    explained = jnp.where(feasible, jnp.sum(solution * right), -jnp.inf)
    zero = jnp.zeros((), moments.dtype)
    place = {column: solution[k] for k, column in enumerate(columns)}
    return jnp.stack([place.get(i, zero) for i in range(moments.shape[0])]), explained


def _threshold(dtype: Any) -> float:
    return 64 * float(jnp.finfo(dtype).eps)


def _is_singular(matrix: Array) -> Array:
    """() bool: a column is, to rounding, in the span of those before it."""
    size = matrix.shape[0]
    threshold = _threshold(matrix.dtype)
    singular = ~(matrix[0, 0] > 0)
    for j in range(1, size):
        before = positive_definite_solve(matrix[:j, :j], matrix[:j, j])
        rest = matrix[j, j] - jnp.sum(matrix[:j, j] * before)
        singular |= ~(rest > threshold * matrix[j, j])
    return singular


def eliminate(
    normal_matrix: Array, cross: Array, moments: Array, free: Array
) -> tuple[Array, Array]:
    """Contribution of the free amplitudes to curvature and gradient of the exponents.

    For G (k, k), Φᵀ[J] as `cross` (k, p) and Φᵀρ as `moments` (k,): JᵀΦ G⁻¹ ΦᵀJ (p, p) and
    JᵀΦ G⁻¹ Φᵀρ (p,), over the free columns. The second is 0 but for rounding, which it removes.
    """
    both = free[:, None] & free
    diagonal = diagonal_of(normal_matrix)
    # Without any point the whole matrix is 0, and one target must not harm those tied to it.
    matrix = jnp.where(both, normal_matrix, jnp.diag(jnp.where(diagonal > 0, diagonal, 1.0)))
    cross = jnp.where(free[:, None], cross, 0.0)
    moments = jnp.where(free, moments, 0.0)
    # One factorisation serves the curvature and the gradient.
    solved = positive_definite_solve(matrix, jnp.column_stack([cross, moments]))
    return cross.T @ solved[:, :-1], cross.T @ solved[:, -1]
