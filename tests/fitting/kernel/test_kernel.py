"""The lean search of batches finds what the plain loop finds, or says that it is not settled."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax import BiMix, DataMixingLaw, Law, fit_arrays
from bimix_jax.fitting.kernel import fit_in_kernel, suits_kernel
from bimix_jax.fitting.kernel._search import State, _better
from bimix_jax.fitting.kernel._terms import ScalarTerms
from bimix_jax.xla.compilation import REASSOCIATED, jit
from tests.conftest import synthetic_points
from tests.programs import fit_points


def lean_fits(law, mixture, budget, loss, weight, own=(0, 1, 2), **options):
    """Lean fits, errors and whether they are settled, with a leading axis of targets."""

    def one(y, w, i):
        return fit_in_kernel(
            law, mixture, budget, y, w, own=i, budget_scale=budget.max(), **options
        )

    return jax.vmap(one, in_axes=(1, 1, 0))(loss, weight, jnp.asarray(own))


@functools.cache
def lean_program(law):
    fit = jit(functools.partial(lean_fits, law))
    return lambda r, s, y, weight=None: fit(r, s, y, np.ones_like(y) if weight is None else weight)


OPTIONS = [("relative", None), ("absolute", None), ("log", None), ("relative", 0.01)]
BATCH = 24


@functools.cache
def plain_fits(residual, huber):
    own = np.arange(3)
    return jit(jax.vmap(lambda mixture, budget, loss: fit_arrays(
        BiMix(), mixture, budget, loss, own=own, residual=residual, huber=huber
    )))  # fmt: skip


@functools.cache
def both(residual, huber):
    """Fits of a batch by the lean search, whether they are settled, and by the plain loop."""
    drawn = [synthetic_points(seed, noise=0.01)[:3] for seed in range(BATCH)]
    mixture, budget, loss = (np.stack(parts) for parts in zip(*drawn, strict=True))
    loss[:, ::7] *= 1.05 if huber else 1.0
    loss[3, 5:9] = np.nan
    kernel = functools.partial(lean_fits, BiMix(), residual=residual, huber=huber)
    found, _, settled = jax.jit(jax.vmap(kernel), compiler_options=REASSOCIATED)(
        mixture, budget, loss, np.ones_like(loss)
    )
    return found, np.asarray(settled), plain_fits(residual, huber)(mixture, budget, loss)


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
    mixture, budget, loss, _ = synthetic_points()
    once = np.where(budget[:, None] == budget[0], loss, np.nan)
    same = np.repeat(mixture[:1], len(mixture), axis=0)
    for r, s, y in [(mixture, budget, once), (same, budget, loss),
                    (mixture, budget, np.full_like(loss, np.nan)),
                    (mixture, budget, -loss)]:  # fmt: skip
        *_, settled = lean_program(BiMix())(r, s, y)
        assert not settled.any()


@pytest.mark.usefixtures("float64")
def test_weights_of_zero_leave_rows_out():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    weight = np.ones_like(loss)
    weight[::5] = 0
    kept = weight[:, 0] > 0
    weighted, _, settled = lean_program(BiMix())(mixture, budget, loss, weight)
    left = fit_points(BiMix(), mixture[kept], budget[kept], loss[kept], own=np.arange(3))
    assert settled.all()
    np.testing.assert_allclose(weighted.sum_of_squares, left.sum_of_squares, rtol=1e-10)
    np.testing.assert_array_equal(weighted.points, left.points)


@dataclasses.dataclass(frozen=True)
class TwoPowers(Law):
    """Three amplitudes, of which one exponent each moves two, without logarithms of the basis."""

    name = "TwoPowers"
    exponent_names = ("beta", "gamma")
    amplitude_names = ("fast", "slow", "floor")

    def bounds(self, domains):
        return [(0.1, 2.0), (0.0, 2.0)]

    def starts(self, domains):
        return [(0.7, 0.2), (0.3, 0.5)]

    def features(self, mixture, own, budget):
        return jnp.log(own @ mixture), jnp.log(budget)

    def basis(self, exponents, features):
        return jnp.exp(-exponents[0] * features[1]), jnp.exp(-exponents[1] * features[0]), 1.0


@pytest.mark.usefixtures("float64")
def test_laws_without_logarithms_of_their_basis_are_fitted_too():
    assert suits_kernel(TwoPowers(), 3)
    mixture, budget, _, _ = synthetic_points()
    noise = np.exp(0.001 * np.random.default_rng(0).standard_normal(mixture.shape))
    loss = (2 * (budget / budget.max())[:, None] ** -0.5 + mixture**-0.3 + 0.5) * noise
    found, error, settled = lean_program(TwoPowers())(mixture, budget, loss)
    plain = fit_points(TwoPowers(), mixture, budget, loss, own=np.arange(3))
    assert settled.all()
    np.testing.assert_allclose(
        found.sum_of_squares[settled], plain.sum_of_squares[settled], rtol=1e-9
    )
    assert np.all(error < 0.002)


@pytest.mark.usefixtures("float64")
def test_an_exponent_that_changes_nothing_is_not_settled():
    @dataclasses.dataclass(frozen=True)
    class Idle(TwoPowers):
        def basis(self, exponents, features):
            return jnp.exp(-exponents[0] * features[1]), jnp.exp(-0.3 * features[0]), 1.0

    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    *_, settled = lean_program(Idle())(mixture, budget, loss)
    assert not settled.any()


def test_single_precision_finds_sums_of_squares_near_the_best():
    drawn = [synthetic_points(seed, noise=0.001)[:3] for seed in range(BATCH)]
    mixture, budget, loss = (np.stack(p).astype("float32") for p in zip(*drawn, strict=True))
    found, _, settled = jax.jit(
        jax.vmap(functools.partial(lean_fits, BiMix())), compiler_options=REASSOCIATED
    )(mixture, budget, loss, np.ones_like(loss))
    assert found.sum_of_squares.dtype == np.float32
    assert settled.mean() > 0.9
    with jax.enable_x64(True):
        wide = [np.asarray(part, "float64") for part in (mixture, budget, loss)]
        best = plain_fits("relative", None)(*wide)
    excess = np.asarray(found.sum_of_squares) / np.asarray(best.sum_of_squares) - 1
    assert np.all(np.abs(excess[settled]) < 1e-3)


def test_laws_of_many_exponents_are_left_to_the_plain_loop():
    assert suits_kernel(BiMix(), 5)
    assert not suits_kernel(DataMixingLaw(), 5)


def test_a_law_that_replaces_the_basis_or_fixes_exponents_is_not_taken_for_its_parent():
    class OtherBasis(BiMix):
        def basis(self, exponents, features):
            return features[0], features[1]

    class Fixed(BiMix):
        def fixed(self, own):
            return jnp.array([False, True])

    assert BiMix().has_log_basis
    assert not OtherBasis().has_log_basis
    assert not suits_kernel(Fixed(), 5)


@pytest.mark.parametrize("norm", [0.0, 1e-3])
def test_a_wild_step_whose_squares_cancel_is_not_taken(norm):
    def terms(norm, summed):
        zero = jnp.zeros(())
        return ScalarTerms(
            jnp.asarray(norm), [zero], [[zero]], [zero], [zero], [[zero]], jnp.asarray(summed), zero
        )

    before = State(
        [jnp.array(1.0)], terms(0.1, 0.01), jnp.array(1e-3), jnp.array(1), jnp.array(0.0),
        jnp.array(False),
    )  # fmt: skip
    wild = _better(before, [jnp.array(9.0)], terms(norm, 1e12))
    assert wild.params == before.params
    assert wild.damping > before.damping
    sound = _better(before, [jnp.array(2.0)], terms(0.09, 0.02))
    assert sound.params == [2.0]


@dataclasses.dataclass(frozen=True)
class AtLeastATenth(bx.Law):
    """BiMix whose α is not below .1."""

    name = "AtLeastATenth"
    exponent_names = ("alpha", "beta")
    amplitude_names = ("AB", "AC")
    needs_own = True

    def bounds(self, domains):
        return [(1e-9, 5.0), (1e-3, 10.0)]

    def starts(self, domains):
        return [(0.2, 0.3), (0.2, 0.9)]

    def least(self, own):
        return jnp.array([0.1, -jnp.inf], own.dtype)

    def features(self, mixture, own, budget):
        return jnp.log(own @ mixture), jnp.log(budget)

    def basis(self, exponents, features):
        power = jnp.exp(-exponents[0] * features[0])
        return power * jnp.exp(-exponents[1] * features[1]), power


def test_lower_bounds_of_a_target_hold_in_batches_and_resamples(embedded):
    fitted = bx.fit(embedded, AtLeastATenth())
    many = bx.fit_many({"one": embedded}, AtLeastATenth())["one"]
    np.testing.assert_allclose(
        many.coefficients.exponents, fitted.coefficients.exponents, rtol=1e-5
    )
    resampled = bx.bootstrap(embedded, fitted, n=10).resampled
    assert resampled.coefficients.exponents[..., 0].min() >= 0.1
