"""Symmetric matrices of parameters that are each one target's own, or shared by all: arrows.

Parameters of different targets meet in no residual, so that the matrix of all second derivatives
is 0 between them: a block per target, bordered by the shared parameters. It is stored and solved
block by block. Of 24 targets with 27 parameters each, the whole matrix takes 600 times as many
operations to factor: 648³ against 24 · 27³.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.xla.mapping import over_leading_axis
from bimix_jax.xla.small_systems import (
    diagonal_of,
    pivots,
    pivots_and_rest,
    positive_definite_solve,
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Places of the parameters of all targets in one vector."""

    owners: tuple[tuple[int, ...], ...]
    """(targets, parameters of a target) place of each"""

    @functools.cached_property
    def shared(self) -> np.ndarray:
        """(parameters of a target,) bool: the same place for all of several targets."""
        places = np.array(self.owners)
        return (len(places) > 1) & (np.ptp(places, axis=0) == 0)

    @functools.cached_property
    def own_places(self) -> np.ndarray:
        """(targets, own) place of each parameter that is not shared."""
        return np.array(self.owners)[:, ~self.shared]

    @functools.cached_property
    def shared_places(self) -> np.ndarray:
        """(shared,) place of each shared parameter."""
        return np.array(self.owners)[0, self.shared]

    @functools.cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(np.concatenate([self.own_places.ravel(), self.shared_places]))

    def joined(self, own: Array, shared: Array) -> Array:
        """Join values (targets, own, …) and (shared, …) to one array (parameters, …)."""
        flat = own.reshape(-1, *own.shape[2:])
        if len(own) == 1:
            return flat
        # A permutation, because a scatter is a loop on CPUs.
        return jnp.concatenate([flat, shared])[self._order]

    def summed(self, values: Array) -> Array:
        """Sums (parameters,) of values (targets, parameters of a target)."""
        if len(self.owners) == 1:
            return values[0]
        return self.joined(values[:, ~self.shared], values[:, self.shared].sum(axis=0))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["blocks", "border", "corner"],
    meta_fields=["layout"],
)
@dataclasses.dataclass(frozen=True)
class Arrow:
    """A symmetric matrix (parameters, parameters) that is 0 between the targets."""

    blocks: Array
    """(targets, own, own)"""
    border: Array
    """(targets, own, shared)"""
    corner: Array
    """(shared, shared)"""
    layout: Layout

    @classmethod
    def summed(cls, matrices: "Symmetric", layout: Layout) -> "Arrow":
        """Sum matrices (targets, parameters of a target, parameters of a target)."""
        each = jnp.asarray(matrices)
        own, shared = np.flatnonzero(~layout.shared), np.flatnonzero(layout.shared)
        blocks, border = each[:, own][:, :, own], each[:, own][:, :, shared]
        return cls(blocks, border, each[:, shared][:, :, shared].sum(axis=0), layout)


Symmetric = Array | Arrow

TOGETHER = 16
"""Largest number of own parameters of a target whose systems are solved together with the others'.
"""


def identity(layout: Layout, dtype: jnp.dtype) -> Arrow:
    """Identity matrix of a layout."""
    (targets, own), shared = layout.own_places.shape, len(layout.shared_places)
    blocks = jnp.broadcast_to(jnp.eye(own, dtype=dtype), (targets, own, own))
    border = jnp.zeros((targets, own, shared), dtype)
    return Arrow(blocks, border, jnp.eye(shared, dtype=dtype), layout)


def diagonal(matrix: Symmetric) -> Array:
    """(parameters,) diagonal."""
    if not isinstance(matrix, Arrow):
        return diagonal_of(matrix)
    return matrix.layout.joined(jax.vmap(diagonal_of)(matrix.blocks), diagonal_of(matrix.corner))


def plus_diagonal(matrix: Symmetric, values: Array) -> Symmetric:
    """Add values (parameters,) to the diagonal."""
    if not isinstance(matrix, Arrow):
        return matrix + jnp.diag(values)
    own, shared = values[matrix.layout.own_places], values[matrix.layout.shared_places]
    blocks = matrix.blocks + jax.vmap(jnp.diag)(own)
    return dataclasses.replace(matrix, blocks=blocks, corner=matrix.corner + jnp.diag(shared))


def with_identity_rows(matrix: Symmetric, held: Array) -> Symmetric:
    """Replace the rows and columns of the `held` parameters (parameters,) bool by the identity's.

    The matrix stays positive definite, and a solution is 0 there where the right side is.
    """
    if not isinstance(matrix, Arrow):
        return jnp.where(held[:, None] | held, jnp.eye(len(held), dtype=matrix.dtype), matrix)
    own, shared = held[matrix.layout.own_places], held[matrix.layout.shared_places]
    unit = identity(matrix.layout, matrix.blocks.dtype)
    return dataclasses.replace(
        matrix,
        blocks=jnp.where(own[:, :, None] | own[:, None], unit.blocks, matrix.blocks),
        border=jnp.where(own[:, :, None] | shared, 0.0, matrix.border),
        corner=jnp.where(shared[:, None] | shared, unit.corner, matrix.corner),
    )


def solve(matrix: Symmetric, right: Array) -> Array:
    """Solve matrix·x = right (parameters,) for a positive definite matrix.

    An arrow is solved by its Schur complement: with blocks H_t, borders F_t and corner K,
    (K − Σ F_tᵀH_t⁻¹F_t) x_s = b_s − Σ F_tᵀH_t⁻¹b_t, and then H_t x_t = b_t − F_t x_s.
    """
    if not isinstance(matrix, Arrow):
        return positive_definite_solve(matrix, right)
    own, shared = right[matrix.layout.own_places], right[matrix.layout.shared_places]
    both = jnp.concatenate([matrix.border, own[..., None]], axis=2)
    solved = _solve_each(matrix.blocks, both)
    taken = jnp.einsum("tos,tor->sr", matrix.border, solved)
    of_shared = positive_definite_solve(matrix.corner - taken[:, :-1], shared - taken[:, -1])
    return matrix.layout.joined(solved[..., -1] - solved[..., :-1] @ of_shared, of_shared)


def _solve_each(blocks: Array, sides: Array) -> Array:
    """Solve for sides (targets, n, k) of positive definite blocks (targets, n, n).

    Small blocks are all eliminated together (Gauss-Jordan), column by column, which takes a third
    of the time of LAPACK's calls for 11 unknowns of 7 targets.
    """
    size = blocks.shape[1]
    if size > TOGETHER:
        # One after another: a batch of LAPACK's calls goes to XLA's threads and waits for them, so
        # that two programs at once may wait for each other for ever.
        return jax.lax.map(lambda block: positive_definite_solve(*block), (blocks, sides))
    # As in `solve_entries`: a pivot that is rounding leaves the solution finite.
    least = 4 * jnp.finfo(blocks.dtype).eps * jax.vmap(diagonal_of)(blocks)

    def eliminate(j: Array, rows: Array) -> Array:
        row = rows[:, j] / jnp.maximum(rows[:, j, j], least[:, j])[:, None]
        cleared = rows - rows[:, :, j, None] * row[:, None]
        return jnp.where(jnp.arange(size)[:, None] == j, row[:, None], cleared)

    rows = jnp.concatenate([blocks, sides], axis=2)
    return jax.lax.fori_loop(0, size, eliminate, rows)[..., size:]


def pivots_of(matrix: Symmetric) -> Array:
    """(parameters,) `pivots` of a positive semidefinite matrix, the own ones before the shared."""
    if not isinstance(matrix, Arrow):
        return pivots(matrix)
    (_, own, shared), layout = matrix.border.shape, matrix.layout
    upper = jnp.concatenate([matrix.blocks, matrix.border], axis=2)
    # The corner joins once all blocks are eliminated.
    lower = jnp.pad(jnp.swapaxes(matrix.border, 1, 2), ((0, 0), (0, 0), (0, shared)))
    whole = jnp.concatenate([upper, lower], axis=1)
    each, rest = over_leading_axis(lambda x: pivots_and_rest(x, own))(whole)
    complement = matrix.corner + rest.sum(axis=0)
    return layout.joined(each, pivots(complement, diagonal_of(matrix.corner)))


def dense(matrix: Symmetric) -> Array:
    """All entries (parameters, parameters)."""
    if not isinstance(matrix, Arrow):
        return matrix
    size = matrix.layout.own_places.size + len(matrix.layout.shared_places)
    return jax.vmap(lambda x: times(matrix, x))(jnp.eye(size, dtype=matrix.blocks.dtype))


def times(matrix: Arrow, right: Array) -> Array:
    """Matrix·right, for right (parameters,)."""
    own, shared = right[matrix.layout.own_places], right[matrix.layout.shared_places]
    of_own = jnp.einsum("tij,tj->ti", matrix.blocks, own) + matrix.border @ shared
    of_shared = jnp.einsum("tos,to->s", matrix.border, own) + matrix.corner @ shared
    return matrix.layout.joined(of_own, of_shared)
