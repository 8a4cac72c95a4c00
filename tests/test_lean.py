"""The lean search of batches finds what the plain loop finds, or says that it is not settled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimix_jax import BiMix, DataMixingLaw, fit_arrays
from bimix_jax.compilation import REASSOCIATED
from bimix_jax.fitting.lean import is_lean
from bimix_jax.fitting.lean_arrays import fit_lean
from tests.conftest import synthetic_points

OPTIONS = [("relative", None), ("absolute", None), ("log", None), ("relative", 0.01)]
BATCH = 24


@functools.cache
def both(residual, huber):
    """Fits of a batch by the lean search, whether they are settled, and by the plain loop."""
    drawn = [synthetic_points(seed, noise=0.01)[:3] for seed in range(BATCH)]
    mixture, budget, loss = (np.stack(parts) for parts in zip(*drawn, strict=True))
    loss[:, ::7] *= 1.05 if huber else 1.0
    loss[3, 5:9] = np.nan
    own = np.arange(3)

    def lean(r, s, y):
        return fit_lean(BiMix(), r, s, y, jnp.ones_like(y), own=own, budget_scale=s.max(),
                        residual=residual, huber=huber)  # fmt: skip

    def plain(r, s, y):
        return fit_arrays(BiMix(), r, s, y, own=own, residual=residual, huber=huber)

    found, _, settled = jax.jit(jax.vmap(lean), compiler_options=REASSOCIATED)(
        mixture, budget, loss
    )
    return found, np.asarray(settled), jax.jit(jax.vmap(plain))(mixture, budget, loss)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("residual", "huber"), OPTIONS)
def test_settled_fits_are_those_of_the_plain_loop(residual, huber):
    found, settled, plain = both(residual, huber)
    assert settled.mean() > 0.9
    np.testing.assert_array_equal(found.code[settled], plain.code[settled])
    np.testing.assert_array_equal(found.points[settled], plain.points[settled])
    np.testing.assert_allclose(
        found.sum_of_squares[settled], plain.sum_of_squares[settled], rtol=1e-9
    )
    for ours, theirs in zip(found.coefficients, plain.coefficients, strict=True):
        np.testing.assert_allclose(ours[settled], theirs[settled], rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_what_the_data_leave_open_is_not_settled():
    mixture, budget, loss, _ = synthetic_points(runs=6, budgets=4)
    once = budget == budget[0]
    same = np.repeat(mixture[:1], len(mixture), axis=0)
    for r, s, y in [(mixture[once], budget[once], loss[once]), (same, budget, loss),
                    (mixture, budget, np.full_like(loss, np.nan)),
                    (mixture, budget, -loss)]:  # fmt: skip
        *_, settled = fit_lean(
            BiMix(), r, s, y, np.ones_like(y), own=np.arange(3), budget_scale=1e9
        )
        assert not settled.any()


@pytest.mark.usefixtures("float64")
def test_weights_of_zero_leave_rows_out():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    weight = np.ones_like(loss)
    weight[::5] = 0
    fit = functools.partial(fit_lean, BiMix(), own=np.arange(3), budget_scale=budget.max())
    kept = weight[:, 0] > 0
    weighted, *_ = fit(mixture, budget, loss, weight)
    left, _, settled = fit(mixture[kept], budget[kept], loss[kept], weight[kept])
    assert settled.all()
    np.testing.assert_allclose(weighted.sum_of_squares, left.sum_of_squares, rtol=1e-10)
    np.testing.assert_array_equal(weighted.points, left.points)


def test_laws_of_many_exponents_are_left_to_the_plain_loop():
    assert is_lean(BiMix(), 5)
    assert not is_lean(DataMixingLaw(), 5)


def test_a_law_that_replaces_the_basis_or_fixes_exponents_is_not_taken_for_its_parent():
    class OtherBasis(BiMix):
        def basis(self, exponents, features):
            return features[0], features[1]

    class Fixed(BiMix):
        def fixed(self, own):
            return jnp.array([False, True])

    assert BiMix().has_log_basis
    assert not OtherBasis().has_log_basis
    assert not is_lean(Fixed(), 5)
