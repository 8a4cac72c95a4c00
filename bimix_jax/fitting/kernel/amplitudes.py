"""Amplitudes of least squares, none below 0, and sums of squares without them, in scalars."""

import functools

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.xla.small_systems import Entries, solve_entries

Scalars = list[Array]


def nonnegative(normal_matrix: Entries, moments: Scalars) -> Scalars:
    """Amplitudes of least squares, none below 0."""
    slopes = [-m for m in moments]
    return change_from(normal_matrix, slopes, [jnp.zeros_like(m) for m in moments])


def change_from(normal_matrix: Entries, slopes: Scalars, near: Scalars) -> Scalars:
    """From amplitudes `near` to those of non-negative least squares, exact for two columns.

    For more, the most negative one is dropped, and again; one wrongly dropped shows as a slope
    that is not flat, and is left to the plain loop.
    """
    change = [-s for s in solve_entries(normal_matrix, slopes)]
    size = range(len(near))
    found = [n + c for n, c in zip(near, change, strict=True)]
    moments = [sum(normal_matrix[i][j] * near[j] for j in size) - slopes[i] for i in size]
    whole, keep = every([a > 0 for a in found]), [jnp.array(True)] * len(near)
    for _ in size[1:]:
        least = jnp.minimum(functools.reduce(jnp.minimum, found), 0.0)
        keep = [k & (a > least) for k, a in zip(keep, found, strict=True)]
        right = [jnp.where(k, m, 0.0) for k, m in zip(keep, moments, strict=True)]
        found = solve_entries(within(keep, normal_matrix), right)
    return [
        jnp.where(whole, c, jnp.maximum(a, 0.0) - n)
        for c, a, n in zip(change, found, near, strict=True)
    ]


def within(keep: Scalars, matrix: Entries) -> Entries:
    """The matrix where both are kept, the identity elsewhere."""
    size = range(len(keep))
    return [[jnp.where(keep[i] & keep[j], matrix[i][j], float(i == j)) for j in size] for i in size]


def apart(matrix: Entries, scale: Scalars, roundings: ArrayLike) -> Array:
    """() bool: every pivot of a matrix exceeds so many roundings of a scale."""
    size, least = range(len(matrix)), roundings * jnp.finfo(scale[0].dtype).eps
    rest = [list(row) for row in matrix]
    found = []
    for k in size:
        found.append(rest[k][k] > least * scale[k])
        for i in range(k + 1, len(matrix)):
            for j in range(k + 1, len(matrix)):
                rest[i][j] = rest[i][j] - rest[i][k] * rest[k][j] / rest[k][k]
    return every(found)


def every(conditions: Scalars) -> Array:
    """() bool: all conditions hold."""
    return functools.reduce(jnp.logical_and, conditions)


def any_of(conditions: Scalars) -> Array:
    """() bool: some condition holds."""
    return functools.reduce(jnp.logical_or, conditions)
