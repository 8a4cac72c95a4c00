"""Linear algebra of a few unknowns, unrolled so that a batch of it vectorises.

Batched LAPACK calls on 2×2 systems cost more than the whole rest of a fit.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

UNROLLED = 8
"""Largest size of an unrolled system; larger ones go to LAPACK."""
THREADED = 127
"""Largest matrix that LAPACK factors in one thread, and with a single right side it also solves in
one. The threads for larger ones wait for those of the searches side by side: 128 unknowns take 6 ms
of processor time where 127 take 0.06."""
SUMMED = 12
"""Largest number of columns all of whose products are summed in one pass. Of 660 points that takes
half the time of a product of matrices, which XLA has to put together first; the more sums, the
longer they take to compile."""
FEW_SIDES = 4
"""Number of right sides up to which each has an own call; a loop takes as long as the calls."""

Entries = list[list[Array]]
"""A small matrix as scalars, row by row."""


def gram(columns: list[Array]) -> Array:
    """All inner products (columns, columns) of columns, as `rows_of` takes them.

    One pass over the points computes all products together: XLA alone would make a pass per sum.
    """
    if len(columns) > SUMMED or len({column.ndim for column in columns}) > 1:
        rows = rows_of(columns)
        return rows @ rows.T
    return jnp.stack([jnp.stack(row) for row in inner_products(columns)])


def rows_of(columns: list[Array]) -> Array:
    """(columns, points) of columns of one shape, or of several together with an axis before it."""
    shape = min((column.shape for column in columns), key=len)
    return jnp.concatenate([column.reshape(-1, math.prod(shape)) for column in columns])


def inner_products(columns: list[Array]) -> Entries:
    """`gram` as scalars in lists, which a batch computes without gathering them in arrays."""
    size = range(len(columns))
    pairs = [(i, j) for i in size for j in range(i + 1)]
    axes = tuple(range(columns[0].ndim))
    sums = sum_together([columns[i] * columns[j] for i, j in pairs], axes)
    entry = dict(zip(pairs, sums, strict=True))
    return [[entry[max(i, j), min(i, j)] for j in size] for i in size]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def sum_together(terms: list[Array], axes: tuple[int, ...] = (0,)) -> tuple[Array, ...]:
    """Sum each of the terms, of one shape, over some axes, in one pass over the points."""
    zero = jnp.zeros((), terms[0].dtype)

    def add(left: tuple[Array, ...], right: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(a + b for a, b in zip(left, right, strict=True))

    return tuple(jax.lax.reduce(tuple(terms), (zero,) * len(terms), add, axes))


@sum_together.defjvp
def _sum_together_jvp(axes: tuple[int, ...], primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    # JAX has no derivative for a reduction of several operands at once.
    slopes = tuple(jnp.sum(tangent, axis=axes) for tangent in tangents[0])
    return sum_together(primals[0], axes), slopes


def diagonal_of(matrix: Array) -> Array:
    """The diagonal (n,) of a matrix (n, n), by a slice; a gather, as of `jnp.diag`, compiles long.

    >>> print(diagonal_of(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
    [1. 4.]
    """
    return matrix.reshape(-1)[:: len(matrix) + 1]


def positive_definite_solve(matrix: Array, right: Array) -> Array:
    """Solve matrix·x = right, matrix (n, n) symmetric positive definite, right (n,) or (n, k).

    Pivots below rounding are raised to it, so the result is finite where the matrix is.
    """
    size = range(matrix.shape[0])
    if len(size) <= UNROLLED:
        entries = [[matrix[i, j] for j in size] for i in size]
        return jnp.stack(solve_entries(entries, [right[i] for i in size]))
    # The same floor for LAPACK, which would return nan for a matrix that is singular by rounding.
    solver = _solver(matrix + 4 * jnp.finfo(matrix.dtype).eps * jnp.diag(diagonal_of(matrix)))
    if right.ndim == 1 or jax.default_backend() != "cpu":
        return solver(right)
    if right.shape[1] <= FEW_SIDES:
        return jnp.stack([solver(side) for side in right.T], axis=1)
    return jax.lax.map(solver, right.T).T


def _solver(matrix: Array) -> Callable[[Array], Array]:
    """Factor a positive definite matrix (n, n): the result solves for one right side (n,).

    Large matrices are factored block by block: with the blocks A, B and C, x₂ solves C − BᵀA⁻¹B,
    and x₁ = A⁻¹(b₁ − B·x₂). A is as large as can be, as each column of B is solved by itself.
    """
    if len(matrix) <= THREADED or jax.default_backend() != "cpu":
        factor = jnp.linalg.cholesky(matrix), True
        return lambda right: jax.scipy.linalg.cho_solve(factor, right)
    first = _solver(matrix[:THREADED, :THREADED])
    across = matrix[:THREADED, THREADED:]
    solved = jax.lax.map(first, across.T).T
    second = _solver(matrix[THREADED:, THREADED:] - across.T @ solved)

    def solve(right: Array) -> Array:
        above = first(right[:THREADED])
        below = second(right[THREADED:] - across.T @ above)
        return jnp.concatenate([above - solved @ below, below])

    return solve


def solve_entries(matrix: Entries, right: list[Array]) -> list[Array]:
    """`positive_definite_solve` by L·D·Lᵀ elimination of scalars, without square roots."""
    # Positive definite matrices need no exchange of rows. A pivot that cancels to less than a few
    # roundings of its diagonal entry is rounding itself; raised, it leaves the solution finite.
    size = len(right)
    smallest = 4 * jnp.finfo(matrix[0][0].dtype).eps
    lower: dict[tuple[int, int], Array] = {}
    pivots: list[Array] = []
    for j in range(size):
        pivot = matrix[j][j] - sum(lower[j, k] ** 2 * pivots[k] for k in range(j))
        pivots.append(jnp.maximum(pivot, smallest * matrix[j][j]))
        for i in range(j + 1, size):
            cross = sum(lower[i, k] * lower[j, k] * pivots[k] for k in range(j))
            lower[i, j] = (matrix[i][j] - cross) / pivots[j]
    solution: list[Array] = []
    for i in range(size):
        solution.append(right[i] - sum(lower[i, k] * solution[k] for k in range(i)))
    for i in reversed(range(size)):
        known = sum(lower[k, i] * solution[k] for k in range(i + 1, size))
        solution[i] = solution[i] / pivots[i] - known
    return solution


def pivots(matrix: Array, scale: Array | None = None) -> Array:
    """(n,) diagonal of D in L·D·Lᵀ of a positive semidefinite matrix (n, n).

    A pivot is the part of a column that the columns before it do not span; about 0 where they span
    it. Rounding is measured by `scale` (n,), by default the diagonal of the matrix.
    """
    return pivots_and_rest(matrix, len(matrix), scale)[0]


def pivots_and_rest(matrix: Array, count: int, scale: Array | None = None) -> tuple[Array, Array]:
    """The first `count` (count,) pivots, and what is left of the other rows and columns."""
    # Wider than in `solve_entries`: here a pivot is judged, and the sums of many points behind it
    # carry more than one rounding.
    size = diagonal_of(matrix) if scale is None else scale
    smallest = 64 * jnp.finfo(matrix.dtype).eps * size

    def eliminate(j: Any, rest: Array) -> Array:
        column = rest[:, j]
        # A pivot that counts as 0 has ∞ as its divisor, so that its column takes nothing away.
        taken = column / jnp.where(rest[j, j] > smallest[j], rest[j, j], jnp.inf)
        below = (jnp.arange(len(rest)) > j)[:, None]
        return jnp.where(below, rest - jnp.outer(taken, column), rest)

    if count <= UNROLLED:
        for j in range(count):
            matrix = eliminate(j, matrix)
    else:
        matrix = jax.lax.fori_loop(0, count, eliminate, matrix)
    return diagonal_of(matrix)[:count], matrix[count:, count:]
