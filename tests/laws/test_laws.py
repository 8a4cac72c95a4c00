import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

import bimix_jax as bx
from bimix_jax import BiMix, Law
from tests.programs import fit_points

pytestmark = pytest.mark.usefixtures("float64")


def features(share, budget):
    return BiMix().features(
        jnp.array([share, 1 - share]), jnp.array([1.0, 0.0]), jnp.asarray(budget)
    )


def test_bimix_is_the_papers_formula():
    a, b, c, alpha, beta, share, budget = 2.3, 0.7, 0.4, 0.11, 0.6, 0.25, 3.0
    basis = BiMix().basis(jnp.array([alpha, beta]), features(share, budget))
    predicted = a * b * basis[0] + a * c * basis[1]
    assert predicted == pytest.approx(a / share**alpha * (b / budget**beta + c), rel=1e-14)


def test_bimix_is_infinite_at_zero_and_says_so():
    assert not BiMix().usable(jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0]))
    assert BiMix().basis(jnp.array([0.1, 0.5]), features(0.0, 1.0))[1] == jnp.inf


def test_power_of_own_is_the_law_at_a_budget():
    exponents, amplitudes, budget = jnp.array([0.2, 0.5]), jnp.array([1.0, 2.0]), 4.0
    scale, alpha = BiMix().power_of_own(exponents, amplitudes, jnp.asarray(budget))
    basis = BiMix().basis(exponents, features(0.3, budget))
    assert scale * 0.3**-alpha == pytest.approx(float(amplitudes @ jnp.stack(basis)), rel=1e-14)


def test_reported_coefficients_are_in_the_gauge():
    scale, exponents, amplitudes = 2e10, np.array([0.1, 0.4]), np.array([0.6, 1.4])
    report = BiMix().report(exponents, amplitudes, scale)
    assert report["A"] == pytest.approx(2.0)
    assert report["B"] * scale ** -report["beta"] + report["C"] == pytest.approx(1.0)
    at = report["A"] * (report["B"] / 5e9 ** report["beta"] + report["C"])
    assert at == pytest.approx(0.6 * (5e9 / scale) ** -0.4 + 1.4)


def test_report_without_beta_does_not_invent_the_split():
    report = BiMix().report(np.array([0.1, np.nan]), np.array([2.0, 0.0]), 1e9)
    assert report["A"] == 2.0
    assert np.isnan([report["B"], report["C"], report["beta"]]).all()


def test_report_of_a_law_that_never_falls():
    report = BiMix().report(np.array([0.1, np.nan]), np.array([0.0, 2.0]), 1e9)
    assert (report["A"], report["B"], report["C"]) == (2.0, 0.0, 1.0)


def test_laws_are_hashable_and_equal_by_value():
    assert BiMix() == BiMix()
    assert hash(BiMix()) == hash(BiMix())


def test_the_contract_cannot_be_left_half_done():
    class Half(Law):
        name = "Half"

    with pytest.raises(TypeError, match="abstract"):
        Half()


def test_bimix_falls_and_is_convex_in_the_own_proportion():
    def loss(share):
        return sum(BiMix().basis(jnp.array([0.2, 0.5]), features(share, 2.0)))

    for share in (0.01, 0.3, 0.9):
        assert jax.grad(loss)(share) < 0
        assert jax.grad(jax.grad(loss))(share) > 0


@pytest.mark.parametrize("tied", [(), ("beta",)])
def test_the_own_exponent_of_cross_is_never_negative_and_the_others_may_be(tied):
    rng = np.random.default_rng(0)
    mixture = np.repeat(rng.dirichlet(3 * np.ones(3), 20), 5, axis=0)
    budget = np.tile(np.geomspace(1e9, 1e10, 5), 20)
    powers = np.array([[-0.1, 0.1, 0.0], [0.1, 0.2, -0.1]])
    loss = np.exp(-np.log(mixture) @ powers.T) * (0.5 * (budget / 1e10) ** -0.5 + 2)[:, None]
    found = fit_points(bx.CrossBiMix(), mixture, budget, loss, own=[0, 1], tied=tied)
    exponents = np.asarray(found.coefficients.exponents)[:, 1:]
    assert exponents[0, 0] == 0
    np.testing.assert_allclose(exponents[1], powers[1], atol=1e-5)

    def residual(x):
        columns = np.column_stack([(budget / 1e10) ** -x[0], np.ones(100)])
        product = np.exp(-np.log(mixture[:, 1:]) @ x[1:])[:, None] / loss[:, :1]
        amplitudes = np.linalg.lstsq(columns * product, np.ones(100), rcond=None)[0]
        return (columns * product) @ amplitudes - 1

    if not tied:
        least = least_squares(residual, [0.5, 0.1, 0.1], xtol=1e-14, ftol=1e-14, gtol=1e-14)
        np.testing.assert_allclose(exponents[0, 1:], least.x[1:], atol=1e-5)
