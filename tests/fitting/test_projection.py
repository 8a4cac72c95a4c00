import functools

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, nnls

from bimix_jax.fitting._projection import best_amplitudes, eliminate
from bimix_jax.xla.compilation import jit

pytestmark = pytest.mark.usefixtures("float64")


def normal_equations(design, target):
    return design.T @ design, design.T @ target


@functools.cache
def program(columns, signed=()):
    which = np.isin(range(columns), signed)
    return jit(lambda g, b: best_amplitudes(g, b, which))


def amplitudes_of(design, target, signed=()):
    return program(len(design.T), tuple(signed))(*normal_equations(design, target))


def excess(design, target, amplitudes, expected):
    """Squares above those of other amplitudes, relative to the squares of the target."""
    squares = [np.sum((design @ np.asarray(x) - target) ** 2) for x in (amplitudes, expected)]
    return (squares[0] - squares[1]) / np.sum(target**2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3, 4, 8, 12]))
def test_amplitudes_agree_with_scipy_nnls(seed, count):
    rng = np.random.default_rng(seed)
    design, target = rng.standard_normal((20, count)), rng.standard_normal(20)
    found = amplitudes_of(design, target)
    expected, _ = nnls(design, target)
    np.testing.assert_allclose(found.amplitudes, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(found.free, expected > 0)
    assert not found.singular


@pytest.mark.parametrize("count", [4, 8, 12])
def test_decays_that_are_almost_alike_explain_as_much_as_scipys(count):
    rng = np.random.default_rng(count)
    for _ in range(40):
        rates = np.sort(rng.uniform(0.1, 6, count))
        decays = np.exp(-np.linspace(0, 3, 30)[:, None] * rates)
        target = decays @ np.maximum(rng.standard_normal(count), 0) + 1e-3 * rng.random(30)
        scale = 10.0 ** rng.uniform(-6, 6, count)
        found = amplitudes_of(decays * scale, target).amplitudes
        assert np.all(found >= 0)
        expected = nnls(decays, target)[0] / scale
        assert abs(excess(decays * scale, target, found, expected)) < 1e-11


def operations(jaxpr):
    """How many there are, those in loops too."""
    inner = [each for eqn in jaxpr.eqns for each in jax.extend.core.jaxprs_in_params(eqn.params)]
    return len(jaxpr.eqns) + sum(map(operations, inner))


def test_a_program_for_many_amplitudes_is_no_longer_than_for_few():
    def length(count):
        signed = np.zeros(count, bool)
        run = jax.make_jaxpr(lambda g, b: best_amplitudes(g, b, signed))
        return operations(run(jnp.eye(count), jnp.ones(count)).jaxpr)

    lengths = [length(count) for count in (3, 4, 8, 12, 40)]
    assert max(lengths) < 1.5 * lengths[0]


@pytest.mark.parametrize("count", [2, 5, 12])
def test_signed_amplitudes_agree_with_bounded_least_squares(count):
    rng = np.random.default_rng(count)
    for _ in range(5):
        design, target = rng.standard_normal((20, count)), rng.standard_normal(20)
        signed = np.arange(0, count, 2)
        least = np.where(np.isin(range(count), signed), -np.inf, 0.0)
        expected = lsq_linear(design, target, (least, np.inf), tol=1e-14).x
        found = amplitudes_of(design, target, signed).amplitudes
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
        assert excess(design, target, found, expected) < 1e-14


def test_many_columns_are_solved_in_a_batch_and_none_where_all_are_empty():
    rng = np.random.default_rng(1)
    designs, targets = abs(rng.standard_normal((3, 20, 6))), rng.standard_normal((3, 20))
    designs[1] = 0.0
    grams = np.einsum("bni,bnj->bij", designs, designs)
    moments = np.einsum("bni,bn->bi", designs, targets)
    found = jit(jax.vmap(lambda g, b: best_amplitudes(g, b, np.zeros(6, bool))))(grams, moments)
    expected = [nnls(x, y)[0] for x, y in zip(designs, targets, strict=True)]
    np.testing.assert_allclose(found.amplitudes, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(found.singular, [False, True, False])


def test_of_many_collinear_columns_independent_ones_are_taken():
    rng = np.random.default_rng(2)
    column = rng.uniform(1, 2, 10)
    design = np.column_stack([column, 3 * column, rng.random(10), rng.random(10), 2 * column])
    found = amplitudes_of(design, 6 * column)
    assert found.singular
    assert np.sum(found.free) == 1
    np.testing.assert_allclose(design @ np.asarray(found.amplitudes), 6 * column, rtol=1e-12)


def test_collinear_columns_are_coded_and_the_first_is_taken():
    column = np.linspace(1, 2, 10)
    design = np.stack([column, 3 * column], axis=1)
    found = amplitudes_of(design, 6 * column)
    assert found.singular
    np.testing.assert_allclose(found.amplitudes, [6.0, 0.0], rtol=1e-12)


def test_nothing_explained_gives_zero():
    design = np.ones((5, 2)) * [1.0, 2.0] + np.eye(5, 2)
    found = amplitudes_of(design, -np.ones(5))
    np.testing.assert_array_equal(found.amplitudes, [0.0, 0.0])


def test_elimination_is_the_schur_complement_over_free_columns():
    rng = np.random.default_rng(3)
    basis, slopes, rest = rng.standard_normal((30, 3)), rng.standard_normal((30, 2)), rng.random(30)
    free = np.array([True, False, True])
    taken, correction = jit(eliminate)(basis.T @ basis, basis.T @ slopes, basis.T @ rest, free)
    kept = basis[:, free]
    projector = kept @ np.linalg.solve(kept.T @ kept, kept.T)
    np.testing.assert_allclose(taken, slopes.T @ projector @ slopes, rtol=1e-10)
    np.testing.assert_allclose(correction, slopes.T @ projector @ rest, rtol=1e-10)
