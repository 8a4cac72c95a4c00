"""Arrows against the whole matrices that they stand for."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimix_jax.xla import arrow
from bimix_jax.xla.arrow import Arrow, Layout
from bimix_jax.xla.small_systems import pivots

pytestmark = pytest.mark.usefixtures("float64")

# Two shared parameters, the second and the last, of three targets with four parameters.
LAYOUT = Layout(((0, 3, 4, 7), (1, 3, 5, 7), (2, 3, 6, 7)))
SIZE = 8


def arrow_and_whole(rows=9, seed=0):
    """Sum of JᵀJ of three targets, as an arrow and as a matrix."""
    slopes = np.random.default_rng(seed).normal(size=(3, rows, 4))
    each = np.einsum("tpi,tpj->tij", slopes, slopes)
    whole = np.zeros((SIZE, SIZE))
    for matrix, places in zip(each, LAYOUT.owners, strict=True):
        whole[np.ix_(places, places)] += matrix
    return Arrow.summed(jnp.asarray(each), LAYOUT), whole


def test_places_are_told_apart_as_own_and_shared():
    np.testing.assert_array_equal(LAYOUT.shared_places, [3, 7])
    np.testing.assert_array_equal(LAYOUT.own_places, [[0, 4], [1, 5], [2, 6]])
    values = np.arange(12.0).reshape(3, 4)
    expected = [0, 4, 8, 1 + 5 + 9, 2, 6, 10, 3 + 7 + 11]
    np.testing.assert_array_equal(LAYOUT.summed(jnp.asarray(values)), expected)


def test_entries_diagonal_and_solution_are_those_of_the_whole_matrix():
    of_arrow, whole = arrow_and_whole()
    right = np.random.default_rng(1).normal(size=SIZE)
    np.testing.assert_allclose(arrow.dense(of_arrow), whole, atol=1e-12)
    np.testing.assert_allclose(arrow.diagonal(of_arrow), np.diag(whole))
    raised = arrow.plus_diagonal(of_arrow, jnp.asarray(right**2))
    np.testing.assert_allclose(arrow.dense(raised), whole + np.diag(right**2), atol=1e-12)
    solution = np.linalg.solve(whole, right)
    np.testing.assert_allclose(arrow.solve(of_arrow, jnp.asarray(right)), solution, rtol=1e-9)


@pytest.mark.parametrize("held", [(0, 3), (6,), (7, 3, 5), ()])
def test_held_parameters_have_the_rows_of_the_identity(held):
    of_arrow, whole = arrow_and_whole()
    mask = np.isin(np.arange(SIZE), held)
    expected = np.where(mask[:, None] | mask, np.eye(SIZE), whole)
    found = arrow.with_identity_rows(of_arrow, jnp.asarray(mask))
    np.testing.assert_allclose(arrow.dense(found), expected, atol=1e-12)


@pytest.mark.parametrize(("rows", "null"), [(9, 0), (2, 2)])
def test_as_many_pivots_are_0_as_the_whole_matrix_has_null_directions(rows, null):
    of_arrow, whole = arrow_and_whole(rows)
    assert SIZE - np.linalg.matrix_rank(whole) == null
    found, plain = (np.asarray(x) for x in (arrow.pivots_of(of_arrow), pivots(jnp.asarray(whole))))
    for each in (found, plain):
        assert np.sum(each < 1e-9 * np.diag(whole)) == null
    if not null:
        # The product of the pivots is the determinant, in whatever order.
        np.testing.assert_allclose(np.prod(found), np.linalg.det(whole))


def arrow_of(own, targets=3):
    """An arrow of targets with so many own parameters each and a shared one."""
    places = np.arange(own * targets).reshape(targets, own)
    places = np.append(places, [[own * targets]] * targets, axis=1)
    layout = Layout(tuple(map(tuple, places.tolist())))
    slopes = np.random.default_rng(0).normal(size=(targets, 4 * own, own + 1))
    return Arrow.summed(jnp.asarray(np.einsum("tpi,tpj->tij", slopes, slopes)), layout)


@pytest.mark.parametrize("own", [1, arrow.TOGETHER, arrow.TOGETHER + 1])
def test_blocks_of_any_size_have_the_solution_of_the_whole_matrix(own):
    of_arrow, right = arrow_of(own), np.linspace(-1, 2, 3 * own + 1)
    solution = np.linalg.solve(np.asarray(arrow.dense(of_arrow)), right)
    np.testing.assert_allclose(arrow.solve(of_arrow, jnp.asarray(right)), solution, rtol=1e-9)


def test_a_pivot_that_is_rounding_leaves_the_solution_finite():
    of_arrow = arrow_of(5)
    # The second parameter of every block is as the first.
    same = jnp.array([0, 0, 2, 3, 4])
    blocks, border = of_arrow.blocks[:, same][:, :, same], of_arrow.border[:, same]
    singular = dataclasses.replace(of_arrow, blocks=blocks, border=border)
    assert jnp.all(jnp.isfinite(arrow.solve(singular, jnp.ones(16))))


def test_lapack_factors_one_block_after_another():
    # A batch of its calls waits for XLA's threads, and two such programs can do so for ever.
    own = arrow.TOGETHER + 1
    program = str(jax.make_jaxpr(arrow.solve)(arrow_of(own), jnp.ones(3 * own + 1)))
    assert set(re.findall(r":(\w+\[.*?\]) = cholesky", program)) == {f"f64[{own},{own}]"}
