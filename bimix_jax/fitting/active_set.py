"""Least squares with columns that may not be negative, for any number of columns."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

ROUNDING = 64
"""Slopes and pivots below so many machine epsilons are rounding."""
STEPS_PER_COLUMN = 10
"""Most solves per column; a search that needs them all ends at the best it met."""


class _State(NamedTuple):
    """A feasible point, and which columns are being tried."""

    point: Array
    """(columns,) feasible"""
    passive: Array
    """(columns,) bool: solved for; the others are 0"""
    refused: Array
    """(columns,) bool: tried at this point in vain"""
    entering: Array
    """() int, the column that entered last"""
    fresh: Array
    """() bool: that column has not been solved for yet"""
    done: Array
    steps: Array


def constrained_minimum(normal_matrix: Array, moments: Array, signed: Array) -> Array:
    """x (k,) that minimises ½ xᵀGx − bᵀx, where x ≥ 0 but in `signed` columns (k,) bool.

    For G (k, k) positive semidefinite and b (k,). A column in the span of those that are already
    in use stays at 0. One loop of solves whose size does not change, so that it can be batched,
    and compiles in about the same time for any k.

    Source: Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23.

    >>> print(constrained_minimum(jnp.eye(3), jnp.array([1.0, -1.0, -2]), jnp.arange(3) == 2))
    [ 1.  0. -2.]
    """
    diagonal = jnp.diag(normal_matrix)
    root = jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1.0)), 0.0)
    # Of columns of length 1, pivots and slopes can be measured against rounding.
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
    """Towards the solution in the passive columns, as far as it is feasible."""
    index = jnp.arange(len(right))
    newest = index == state.entering
    wanted, pivot = _solve_within(matrix, right, state.passive, newest)
    negative = state.passive & ~signed & ~(wanted > 0)
    independent = pivot > ROUNDING * jnp.finfo(right.dtype).eps
    refuse = state.fresh & (~independent | jnp.any(negative & newest))
    falls = jnp.where(negative, state.point, 0.0) > 0
    fall = jnp.where(falls, state.point - wanted, 1.0)
    ratio = jnp.where(falls, state.point / fall, jnp.inf)
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


def _solve_within(
    matrix: Array, right: Array, passive: Array, newest: Array
) -> tuple[Array, Array]:
    """The solution in the passive columns, and what is left of the newest without the others.

    Gauss-Jordan elimination, one passive column after another: a loop, as the sets and sizes that
    `positive_definite_solve` writes out would take long to compile. The newest column goes last,
    when its pivot is what the others leave of it.
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
    """With the column that lowers the value fastest, where the last one is dealt with."""
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
