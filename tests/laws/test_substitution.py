"""Laws in which domains substitute for each other imperfectly, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax import (
    Code,
    Coefficients,
    SplitSubstitutionBiMix,
    SubstitutionBiMix,
    TransferBiMix,
)
from bimix_jax.xla.compilation import jit
from tests.conftest import synthetic_points
from tests.fits import frame
from tests.programs import fit_as_sweep, predicted_losses

pytestmark = pytest.mark.usefixtures("float64")
OWN = np.array([0, 1, 2, -1])
TRANSFER = np.array([[1, 0.3, 0.05], [0.6, 1, 0.2], [0.1, 0.2, 1], [0.4, 1.0, 0.2]])
ALPHA, BETA = np.array([0.09, 0.14, 0.2, 0.12]), np.array([0.4, 0.6, 0.9, 0.5])
POWER, OF_OTHERS = np.array([0.5, 0.7, 0.9, 0.6]), np.array([0.8, 0.4, 0.6, 0.6])
SHIFT = np.array([0.6, 1.5, 1.0, 2.0])
REDUCIBLE, FLOOR = np.array([0.6, 0.5, 0.8, 0.7]), np.array([1.5, 2.0, 1.2, 1.8])
LAWS = pytest.mark.parametrize("law", [SubstitutionBiMix(), SplitSubstitutionBiMix()])


def exponents_of(law):
    split = isinstance(law, SplitSubstitutionBiMix)
    further = [SHIFT, POWER, OF_OTHERS] if split else [POWER]
    return np.column_stack([ALPHA, BETA, *further, TRANSFER])


def written(law, mixture, budget):
    """The formula, one number after the other."""
    split, loss = isinstance(law, SplitSubstitutionBiMix), np.empty((len(budget), 4))
    for p, (r, s) in enumerate(zip(mixture, budget / budget.max(), strict=True)):
        for i, own in enumerate(OWN):
            q = 0.0
            for j in range(3):
                power = OF_OTHERS[i] if split and j != own else POWER[i]
                q += TRANSFER[i, j] * r[j] ** power
            q = q ** (1 / POWER[i])
            shift = SHIFT[i] if split else 1.0
            reducible = REDUCIBLE[i] * s ** -BETA[i] * q ** (-shift * ALPHA[i])
            loss[p, i] = reducible + FLOOR[i] * q ** -ALPHA[i]
    return loss


def world(law, zeros=0):
    mixture, budget, _, _ = synthetic_points()
    for run in range(zeros):
        mixture[8 * run : 8 * run + 8, run % 3] = 0.0
    mixture /= mixture.sum(axis=1, keepdims=True)
    return mixture, budget, written(law, mixture, budget)


@LAWS
@pytest.mark.parametrize("zeros", [0, 9])
def test_known_coefficients_are_recovered_with_zeros_and_without_an_own_domain(law, zeros):
    mixture, budget, loss = world(law, zeros)
    found = fit_as_sweep(law, mixture, budget, loss, own=OWN)
    np.testing.assert_array_equal(found.code, Code.CONVERGED)
    np.testing.assert_array_equal(found.points, len(budget))
    np.testing.assert_allclose(found.coefficients.exponents, exponents_of(law), atol=1e-5)
    np.testing.assert_allclose(
        found.coefficients.amplitudes, np.column_stack([REDUCIBLE, FLOOR]), rtol=1e-5
    )


@LAWS
def test_where_all_powers_are_1_it_is_transfer(law):
    mixture, budget, _, _ = synthetic_points()
    plain = np.column_stack([ALPHA, BETA, TRANSFER])
    ones = np.ones((4, len(law.exponent_names) - 2))
    exponents = np.column_stack([ALPHA, BETA, ones, TRANSFER])
    own = jnp.asarray(OWN[:, None] == np.arange(3), float)
    of_budget = np.column_stack([REDUCIBLE, FLOOR])

    def losses(law, exponents):
        coefficients = Coefficients(exponents, of_budget, own, np.full(4, budget.max()))
        return predicted_losses(law, coefficients, mixture, budget)

    np.testing.assert_allclose(losses(law, exponents), losses(TransferBiMix(), plain), rtol=1e-12)


@LAWS
@pytest.mark.parametrize("power", [0.05, 0.4, 1.0])
def test_without_transfer_it_is_bimix_whatever_the_power(law, power):
    mixture, budget, _, _ = synthetic_points()
    further = {3: [power], 5: [1.0, power, 0.3]}[len(law.exponent_names)]
    own = jnp.array([1.0, 0.0, 0.0])

    def losses(law, exponents):
        one = Coefficients(exponents, np.array([0.6, 1.5]), own, budget.max())
        each = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], one)
        return predicted_losses(law, each, mixture, budget)

    np.testing.assert_allclose(
        losses(law, np.array([0.1, 0.5, *further, 1.0, 0.0, 0.0])),
        losses(bx.BiMix(), np.array([0.1, 0.5])), rtol=1e-12,
    )  # fmt: skip


def test_little_substitution_is_a_product_of_powers():
    """For ρ → 0, log q = Σ_j w_j log r_j + a constant, w = t/Σt: what CrossBiMix says."""
    law, own, transfer = SubstitutionBiMix(), jnp.zeros(3), np.array([0.4, 1.0, 0.2])
    mixture = np.random.default_rng(0).dirichlet(3 * np.ones(3), 20)

    def log_worth(r):
        exponents = jnp.array([0.1, 0.5, 1e-6, *transfer])
        return law.log_worth(exponents, law.features(r, own, jnp.array(1.0)))

    found = jit(jax.vmap(log_worth))(mixture)
    product = np.log(mixture) @ (transfer / transfer.sum())
    np.testing.assert_allclose(found - found[0], product - product[0], atol=1e-4)


def test_the_optimum_is_proven_and_no_random_mixture_is_better():
    fitted = bx.fit(bx.read_sweep(frame(noise=0.003)), SubstitutionBiMix(), shrinkage=1e-6)
    best = bx.optimize_mixture(fitted)
    assert best.proven
    assert best.gap < 1e-9
    others = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    losses = np.average(fitted.predict_points(others, best.budget), axis=1, weights=best.weights)
    assert losses.min() >= best.objective - best.gap


def test_powers_are_reported_by_name():
    sweep = bx.read_sweep(frame(noise=0.003))
    table = bx.fit(sweep, SplitSubstitutionBiMix(), shrinkage=1e-6).table()
    powers = table[["substitution", "substitution_of_others"]].to_numpy()
    assert np.all((powers >= 0.05) & (powers <= 1))
