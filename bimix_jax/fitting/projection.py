"""The best amplitudes of given exponents: least squares where amplitudes may not be negative."""

import itertools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.active_set import constrained_minimum
from bimix_jax.xla.small_systems import pivots, positive_definite_solve

FEW = 3
"""Up to so many amplitudes every set of columns is tried: 2^k − 1 of them, written out."""


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
        apart = pivots(normal_matrix) > _threshold(moments.dtype) * jnp.diag(normal_matrix)
        singular = ~jnp.all(apart)
    return Projection(amplitudes, jnp.abs(amplitudes) > 0, singular)


def _by_trying(normal_matrix: Array, moments: Array) -> Array:
    """The best over all sets of columns: branch-free, which suits a batch."""
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
    """Whether any column is, to rounding, in the span of those before it."""
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
    """What the free amplitudes take from curvature and gradient of the exponents.

    For G (k, k), Φᵀ[J] as `cross` (k, p) and Φᵀρ as `moments` (k,): JᵀΦ G⁻¹ ΦᵀJ (p, p) and
    JᵀΦ G⁻¹ Φᵀρ (p,), over the free columns. The second is 0 but for rounding, which it removes.
    """
    both = free[:, None] & free
    diagonal = jnp.diag(normal_matrix)
    # Without any point the whole matrix is 0, and one target must not harm those tied to it.
    matrix = jnp.where(both, normal_matrix, jnp.diag(jnp.where(diagonal > 0, diagonal, 1.0)))
    cross = jnp.where(free[:, None], cross, 0.0)
    moments = jnp.where(free, moments, 0.0)
    solved = positive_definite_solve(matrix, jnp.column_stack([cross, moments]))
    return cross.T @ solved[:, :-1], cross.T @ solved[:, -1]
