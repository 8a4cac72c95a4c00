"""The vectorised logarithm against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimix_jax.xla.compilation import REASSOCIATED, cpu_options
from bimix_jax.xla.logarithm import log


@pytest.mark.usefixtures("float64")
@given(st.floats(min_value=2.3e-308, allow_nan=False, allow_infinity=False))
def test_a_logarithm_is_that_of_numpy(x):
    assert float(log(x)) == pytest.approx(np.log(x), rel=1e-15, abs=1e-16)


@pytest.mark.usefixtures("float64")
def test_near_one_digits_are_not_lost_by_reassociation():
    x = np.concatenate([1 + np.geomspace(1e-15, 0.5, 999), np.geomspace(1e-300, 1e300, 9999)])
    found = jax.jit(log, compiler_options=cpu_options(REASSOCIATED))(x)
    np.testing.assert_allclose(found, np.log(x), rtol=2e-15)


@pytest.mark.usefixtures("float64")
def test_what_has_no_logarithm():
    with np.errstate(all="ignore"):
        x = np.array([0.0, -0.0, -1.0, np.inf, -np.inf, np.nan])
        np.testing.assert_array_equal(log(x), np.log(x))


@pytest.mark.usefixtures("float64")
def test_slopes_are_reciprocals():
    assert jax.grad(log)(3.0) == pytest.approx(1 / 3)
    assert jax.grad(jax.grad(log))(3.0) == pytest.approx(-1 / 9)


def test_other_floating_types_are_kept():
    assert log(jnp.float32(2.0)).dtype == jnp.float32
