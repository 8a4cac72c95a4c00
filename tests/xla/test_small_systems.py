import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimix_jax.xla.small_systems import THREADED, UNROLLED, gram, positive_definite_solve

pytestmark = pytest.mark.usefixtures("float64")


def positive_definite(size, seed=0):
    root = np.random.default_rng(seed).standard_normal((size, size + 2))
    return root @ root.T


@pytest.mark.parametrize("count", [1, 3, UNROLLED, UNROLLED + 3])
def test_gram_is_all_inner_products(count):
    columns = np.random.default_rng(0).standard_normal((count, 50))
    np.testing.assert_allclose(gram(list(jnp.asarray(columns))), columns @ columns.T, rtol=1e-12)


def test_gram_has_the_derivative_of_its_products():
    columns = jnp.asarray(np.random.default_rng(1).standard_normal((3, 20)))
    weights = jnp.arange(9.0).reshape(3, 3)

    def value(x):
        return jnp.sum(weights * gram(list(x)))

    expected = jax.grad(lambda x: jnp.sum(weights * (x @ x.T)))(columns)
    np.testing.assert_allclose(jax.grad(value)(columns), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 5, UNROLLED, UNROLLED + 4, THREADED + 1, 300])
@pytest.mark.parametrize("columns", [None, 3])
def test_solve_agrees_with_numpy(size, columns):
    matrix = positive_definite(size)
    right = np.random.default_rng(2).standard_normal(
        (size,) if columns is None else (size, columns)
    )
    solution = positive_definite_solve(jnp.asarray(matrix), jnp.asarray(right))
    expected = np.linalg.solve(matrix, right)
    error = np.finfo(float).eps * np.linalg.cond(matrix) * np.abs(expected).max()
    np.testing.assert_allclose(solution, expected, rtol=1e-9, atol=1e-10 + 10 * error)


def test_solve_of_a_singular_matrix_is_finite():
    matrix = jnp.ones((2, 2))
    assert jnp.all(jnp.isfinite(positive_definite_solve(matrix, jnp.ones(2))))
