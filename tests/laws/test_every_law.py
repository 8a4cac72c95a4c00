"""What every law of the package must do, against slow and obvious counterparts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

import bimix_jax as bx
from bimix_jax import Coefficients, fit_arrays
from bimix_jax.fitting.residual import predict
from bimix_jax.laws import LAWS
from bimix_jax.xla.compilation import jit
from tests.fits import frame
from tests.programs import fit_as_sweep, predicted_losses

pytestmark = pytest.mark.usefixtures("float64")
ANY_TARGET = [law() for law in LAWS.values() if not law.needs_own]
BATCHED = [bx.BiMix(), bx.TransferBiMix(), bx.CrossBiMix(), bx.LogLinear()]
DOMAINS, BUDGETS = 3, 8
OWNED = np.zeros(DOMAINS), np.ones(DOMAINS)
USES_ZEROS = [law for law in ANY_TARGET if all(law.usable(np.eye(DOMAINS)[0], x) for x in OWNED)]


@pytest.fixture(scope="module", params=LAWS.values(), ids=list(LAWS))
def law(request):
    """Every law; of this scope, so that all tests of one law follow each other."""
    return request.param()


@functools.cache
def mixtures_and_budgets(runs=12, zeros=False):
    rng = np.random.default_rng(0)
    mixture = rng.dirichlet(np.ones(DOMAINS), runs) * 0.9 + 0.1 / DOMAINS
    if zeros:
        mixture[::3, 0] = 0.0
        mixture[1::3, 1] = 0.0
    mixture /= mixture.sum(axis=1, keepdims=True)
    budget = np.geomspace(1e9, 3e10, BUDGETS)
    return np.repeat(mixture, BUDGETS, axis=0), np.tile(budget, runs)


def truth(law, seed=0, own=0):
    """Coefficients somewhere near a start of the law, as one target."""
    rng = np.random.default_rng(seed)
    starts = np.asarray(law.starts(DOMAINS), float)
    exponents = starts[0] * rng.uniform(0.6, 1.4, starts.shape[1])
    exponents[len(law.exponent_names) :] += rng.uniform(0.05, 0.3, starts.shape[1] - len(
        law.exponent_names
    ))  # fmt: skip
    amplitudes = rng.uniform(0.8, 1.6, len(law.amplitude_names))
    membership = np.eye(DOMAINS)[own] if own >= 0 else np.zeros(DOMAINS)
    return Coefficients(*(jnp.asarray(x)[None] for x in (exponents, amplitudes, membership, 3e10)))


def losses(law, mixture, budget, seed=0, own=0, noise=0.0):
    exact = np.asarray(predicted_losses(law, truth(law, seed, own), mixture, budget))[:, 0]
    return exact * np.exp(noise * np.random.default_rng(1).standard_normal(len(exact)))


def test_a_world_where_the_law_is_true_is_predicted_exactly(law):
    mixture, budget = mixtures_and_budgets()
    loss = losses(law, mixture, budget)
    found = fit_as_sweep(law, mixture, budget, loss, own=0)
    several = jax.tree.map(lambda leaf: leaf[None], found.coefficients)
    np.testing.assert_allclose(
        predicted_losses(law, several, mixture, budget)[:, 0], loss, rtol=1e-6
    )
    assert 0 < found.agreement <= 1


def test_sum_of_squares_is_that_of_scipys_best(law):
    mixture, budget = mixtures_and_budgets()
    loss = losses(law, mixture, budget, noise=0.01)
    found = fit_as_sweep(law, mixture, budget, loss, own=0)
    best = scipy_sum_of_squares(law, mixture, budget, loss)
    assert float(found.sum_of_squares) <= best * (1 + 1e-6)


def scipy_sum_of_squares(law, mixture, budget, loss, starts=5):
    own, rng = np.eye(DOMAINS)[0], np.random.default_rng(2)
    every = jit(jax.vmap(law.features, in_axes=(0, None, 0)))
    features = every(mixture, own, budget / budget.max())
    count = len(law.amplitude_names)
    bounds = np.array([*law.bounds(DOMAINS), *[(0.0, np.inf)] * count]).T

    @jit
    def rest(x):
        return predict(law, x[:-count], x[-count:], features) / loss - 1

    slopes = jit(jax.jacfwd(rest.function))
    given_starts = np.asarray(law.starts(DOMAINS), float)
    ends = []
    for _ in range(starts):
        first = given_starts[rng.integers(len(given_starts))] * rng.lognormal(0, 0.3)
        start = np.clip(np.append(first, rng.uniform(0.3, 2.0, count)), *bounds)
        ends.append(
            least_squares(rest, start, slopes, bounds=bounds, x_scale="jac", xtol=1e-13,
                          ftol=1e-13, gtol=1e-13, max_nfev=300).cost
        )  # fmt: skip
    return 2 * min(ends)


def test_permuting_domains_changes_no_prediction(law):
    mixture, budget = mixtures_and_budgets()
    loss, order = losses(law, mixture, budget, noise=0.003), np.array([2, 0, 1])
    plain = fit_as_sweep(law, mixture, budget, loss, own=0)
    mixed = fit_as_sweep(law, mixture[:, order], budget, loss, own=1)
    assert float(mixed.sum_of_squares) == pytest.approx(float(plain.sum_of_squares), rel=1e-5)


@pytest.mark.parametrize("law", BATCHED, ids=lambda law: law.name)
def test_a_batch_of_weights_is_the_fits_one_by_one(law):
    mixture, budget = mixtures_and_budgets()
    loss = losses(law, mixture, budget, noise=0.003)
    weights = np.random.default_rng(3).integers(0, 3, (2, len(loss))).astype(float)
    batch = jit(jax.vmap(lambda w: fit_arrays(law, mixture, budget, loss, w, own=0)))(weights)
    for i, weight in enumerate(weights):
        alone = fit_as_sweep(law, mixture, budget, loss, weight, own=0)
        assert float(batch.sum_of_squares[i]) == pytest.approx(
            float(alone.sum_of_squares), rel=1e-6
        )


@pytest.mark.parametrize("law", USES_ZEROS, ids=lambda law: law.name)
def test_rows_with_zero_proportions_are_used(law):
    mixture, budget = mixtures_and_budgets(zeros=True)
    loss = losses(law, mixture, budget, own=-1)
    found = fit_as_sweep(law, mixture, budget, loss, own=-1)
    several = jax.tree.map(lambda leaf: leaf[None], found.coefficients)
    assert int(found.points) == len(loss)
    np.testing.assert_allclose(
        predicted_losses(law, several, mixture, budget)[:, 0], loss, rtol=1e-5
    )


def test_cross_exponents_leave_out_rows_with_any_zero():
    mixture, budget = mixtures_and_budgets(zeros=True)
    found = fit_as_sweep(bx.CrossBiMix(), mixture, budget, np.full(len(budget), 2.0), own=0)
    assert int(found.points) == int(np.all(mixture > 0, axis=1).sum()) < len(budget)


@pytest.mark.parametrize("law", [x() for x in LAWS.values() if x.convex], ids=lambda law: law.name)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_law_that_says_so_is_convex_in_the_mixture(law, seed):
    rng = np.random.default_rng(seed)
    lower, upper = np.asarray(law.bounds(DOMAINS), float).T
    exponents = rng.uniform(lower, np.minimum(upper, 3.0))
    amplitudes = rng.uniform(0, 2, len(law.amplitude_names))
    one = Coefficients(*(jnp.asarray(x)[None] for x in (exponents, amplitudes, np.eye(3)[0], 1.0)))
    first, second = rng.dirichlet(np.ones(3), (2, 20))
    at = [predicted_losses(law, one, r, 0.5)[:, 0] for r in (first, second, (first + second) / 2)]
    assert np.all(at[2] <= (at[0] + at[1]) / 2 * (1 + 1e-9))


@pytest.fixture(scope="module")
def small():
    """A sweep of three domains; tests that fit it in the same way share compilations."""
    return bx.read_sweep(frame(noise=0.003))


def test_a_fit_survives_a_file(law, small, tmp_path):
    fitted = bx.fit(small, law, shrinkage=0.0)
    fitted.save(tmp_path / "fit.json")
    again = bx.load_fit(tmp_path / "fit.json")
    assert again.law == law
    np.testing.assert_array_equal(again.coefficients.exponents, fitted.coefficients.exponents)
    np.testing.assert_array_equal(again.agreement, fitted.agreement)


def test_targets_that_are_no_domain_are_fitted_or_refused_with_the_laws_that_can(law, small):
    renamed = dataclasses.replace(small, targets=("exam", *small.targets[1:]))
    if law.needs_own:
        with pytest.raises(
            ValueError, match=r"none of exam is among the domains.*TransferBiMix.*LogLinear"
        ):
            bx.fit(renamed, law, targets=["exam"])
    else:
        fitted = bx.fit(renamed, law, shrinkage=0.0)
        assert np.all(np.isfinite(fitted.predict(small.mixtures)["exam"]))


def test_fewer_points_than_coefficients_are_unidentified():
    mixture, budget = mixtures_and_budgets()
    law = bx.AdditiveLaw()
    few = (np.arange(len(budget)) < 6).astype(float)
    found = fit_as_sweep(law, mixture, budget, losses(law, mixture, budget), few, own=0)
    assert found.points == 6
    assert found.code == bx.Code.UNIDENTIFIED


def test_collinear_mixtures_are_named(embedded):
    tied = embedded.mixture.copy()
    a, b = (embedded.domains.index(name) for name in ("c", "latex"))
    tied[:, a] = tied[:, b] = (tied[:, a] + tied[:, b]) / 2
    sweep = dataclasses.replace(embedded, mixture=tied)
    notes = " ".join(bx.fit(sweep, bx.TransferBiMix()).notes)
    assert "cannot tell the effects of these domains apart" in notes
    assert "c, latex" in notes
