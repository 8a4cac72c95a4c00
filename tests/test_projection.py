import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from bimix_jax.fitting.projection import eliminate, nonnegative_amplitudes

pytestmark = pytest.mark.usefixtures("float64")


def normal_equations(design, target):
    return jnp.asarray(design.T @ design), jnp.asarray(design.T @ target)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_amplitudes_agree_with_scipy_nnls(seed, count):
    rng = np.random.default_rng(seed)
    design, target = rng.standard_normal((20, count)), rng.standard_normal(20)
    found = nonnegative_amplitudes(*normal_equations(design, target))
    expected, _ = nnls(design, target)
    np.testing.assert_allclose(found.amplitudes, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(found.free, expected > 0)
    assert not found.singular


def test_collinear_columns_are_coded_and_the_first_is_taken():
    column = np.linspace(1, 2, 10)
    design = np.stack([column, 3 * column], axis=1)
    found = nonnegative_amplitudes(*normal_equations(design, 6 * column))
    assert found.singular
    np.testing.assert_allclose(found.amplitudes, [6.0, 0.0], rtol=1e-12)


def test_nothing_explained_gives_zero():
    design = np.ones((5, 2)) * [1.0, 2.0] + np.eye(5, 2)
    found = nonnegative_amplitudes(*normal_equations(design, -np.ones(5)))
    np.testing.assert_array_equal(found.amplitudes, [0.0, 0.0])


def test_elimination_is_the_schur_complement_over_free_columns():
    rng = np.random.default_rng(3)
    basis, slopes, rest = rng.standard_normal((30, 3)), rng.standard_normal((30, 2)), rng.random(30)
    free = np.array([True, False, True])
    taken, correction = eliminate(
        jnp.asarray(basis.T @ basis), jnp.asarray(basis.T @ slopes), jnp.asarray(basis.T @ rest),
        jnp.asarray(free),
    )  # fmt: skip
    kept = basis[:, free]
    projector = kept @ np.linalg.solve(kept.T @ kept, kept.T)
    np.testing.assert_allclose(taken, slopes.T @ projector @ slopes, rtol=1e-10)
    np.testing.assert_allclose(correction, slopes.T @ projector @ rest, rtol=1e-10)
