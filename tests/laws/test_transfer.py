import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

import bimix_jax as bx
from bimix_jax import BiMix, Code, Coefficients, TransferBiMix, fit_arrays, predict_losses
from bimix_jax.xla.compilation import jit
from tests.conftest import synthetic_points
from tests.programs import fit_as_sweep, fit_points, predicted_losses

pytestmark = pytest.mark.usefixtures("float64")
OWN = np.arange(3)
fit_transfer = functools.partial(fit_as_sweep, TransferBiMix(), own=np.array([0, 1, 2, -1]))


def transfer_points(noise=0.0, runs=12, zeros=0):
    """Points of a world where TransferBiMix is true; the last target is no domain."""
    mixture, budget, _, truth = synthetic_points(runs=runs)
    rng = np.random.default_rng(4)
    for run in range(zeros):
        mixture[8 * run : 8 * run + 8, run % 3] = 0.0
    mixture /= mixture.sum(axis=1, keepdims=True)
    transfer = np.array([[1, 0.3, 0.05], [0.6, 1, 0], [0.1, 0.2, 1], [0.4, 1.0, 0.2]])
    alpha, beta = np.append(truth["exponents"], [[0.2, 0.5]], axis=0).T
    reducible, floor = np.append(truth["amplitudes"], [[0.5, 1.5]], axis=0).T
    of_budget = reducible * (budget[:, None] / budget.max()) ** -beta + floor
    loss = (mixture @ transfer.T) ** -alpha * of_budget
    loss *= np.exp(noise * rng.standard_normal(loss.shape))
    exponents = np.column_stack([alpha, beta, transfer])
    return mixture, budget, loss, exponents


def test_known_coefficients_are_recovered_also_without_an_own_domain():
    mixture, budget, loss, exponents = transfer_points()
    found = fit_transfer(mixture, budget, loss)
    np.testing.assert_array_equal(found.code, Code.CONVERGED)
    np.testing.assert_allclose(found.coefficients.exponents, exponents, atol=1e-6)


def test_without_transfer_it_is_bimix_to_1e_10():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    starts = ((0.1, 0.5, 0.0, 0.0, 0.0),)
    plain = fit_points(BiMix(), mixture, budget, loss, own=OWN, tolerance=1e-12)

    class Still(TransferBiMix):
        """TransferBiMix whose weights stay 0."""

        def fixed(self, own):
            return jnp.concatenate([jnp.zeros(2, bool), jnp.ones(3, bool)])

    still = fit_points(Still(), mixture, budget, loss, own=OWN, starts=starts, tolerance=1e-12)
    np.testing.assert_allclose(
        still.coefficients.exponents[:, :2], plain.coefficients.exponents, rtol=1e-10
    )
    np.testing.assert_allclose(still.sum_of_squares, plain.sum_of_squares, rtol=1e-10)
    padded = jnp.concatenate([plain.coefficients.exponents, jnp.eye(3)], axis=1)
    same = plain.coefficients._replace(exponents=padded)
    np.testing.assert_allclose(
        predicted_losses(TransferBiMix(), same, mixture, budget),
        predicted_losses(BiMix(), plain.coefficients, mixture, budget),
        rtol=1e-10,
    )


def test_sum_of_squares_is_that_of_scipys_best():
    mixture, budget, loss, _ = transfer_points(noise=0.01)
    found = fit_transfer(mixture, budget, loss)
    relative, rng = budget / budget.max(), np.random.default_rng(0)
    for target in OWN:
        others = np.delete(np.arange(3), target)

        def rest(x, target=target, others=others):
            worth = mixture[:, target] + mixture[:, others] @ x[4:]
            return worth ** -x[0] * (x[2] * relative ** -x[1] + x[3]) / loss[:, target] - 1

        bounds = ([1e-9, 1e-3, 0, 0, 0, 0], [5, 10, np.inf, np.inf, 100, 100])
        starts = rng.uniform([0.05, 0.1, 0.2, 0.2, 0.01, 0.01], [0.5, 2, 3, 3, 1, 1], (6, 6))
        ends = [
            least_squares(rest, start, bounds=bounds, x_scale="jac", xtol=1e-14, ftol=1e-14,
                          gtol=1e-14)
            for start in starts
        ]  # fmt: skip
        best = 2 * min(end.cost for end in ends)
        assert float(found.sum_of_squares[target]) <= best * (1 + 1e-6)


def test_zeros_are_used_and_change_nothing_in_what_is_true():
    mixture, budget, loss, exponents = transfer_points(zeros=9)
    found = fit_transfer(mixture, budget, loss)
    lost = np.isinf(loss).sum(axis=0)
    np.testing.assert_array_equal(found.points, len(budget) - lost)
    np.testing.assert_allclose(found.coefficients.exponents, exponents, atol=1e-5)


def test_permuting_domains_permutes_the_weights():
    mixture, budget, loss, _ = transfer_points(noise=0.005)
    order, of_targets = np.array([2, 0, 1]), np.array([2, 0, 1, 3])
    plain = fit_transfer(mixture, budget, loss)
    mixed = fit_transfer(mixture[:, order], budget, loss[:, of_targets])
    expected = plain.coefficients.exponents[of_targets][:, np.concatenate([[0, 1], 2 + order])]
    np.testing.assert_allclose(mixed.coefficients.exponents, expected, atol=1e-5)


def test_derivatives_of_predictions_agree_with_central_differences():
    mixture, budget, loss, _ = transfer_points(noise=0.003)
    direction = np.random.default_rng(3).standard_normal(len(budget))

    def predicted(shift, target, own):
        moved = target * (1 + shift * direction)
        found = fit_arrays(TransferBiMix(), mixture, budget, moved, own=own, tolerance=1e-11,
                           starts=[[0.2, 0.5, 0.3, 0.3, 0.3]])  # fmt: skip
        one = jax.tree.map(lambda leaf: leaf[None], found.coefficients)
        return predict_losses(TransferBiMix(), one, np.full((1, 3), 1 / 3), 1e10)[0, 0]

    step, predicted = 1e-5, jit(jax.value_and_grad(predicted))
    for own in (0, -1):
        lower, middle, upper = (predicted(s, loss[:, own], own) for s in (-step, 0.0, step))
        expected = (upper[0] - lower[0]) / (2 * step)
        assert middle[1] == pytest.approx(float(expected), rel=1e-4)


def test_the_optimum_is_proven_and_no_random_mixture_is_better(embedded):
    fitted = bx.fit(embedded, TransferBiMix())
    best = bx.optimize_mixture(fitted)
    assert best.proven
    assert best.gap < 1e-9
    others = np.random.default_rng(0).dirichlet(np.ones(7), 500)
    losses = fitted.predict_points(others, best.budget)
    assert np.min(np.average(losses, axis=1, weights=best.weights)) >= best.objective - best.gap


def test_weights_of_transfer_make_the_loss_convex_in_the_mixture():
    coefficients = Coefficients(
        np.array([[0.3, 0.5, 1.0, 0.4, 0.0]]), np.array([[0.5, 1.0]]), np.eye(3)[:1], np.ones(1)
    )
    rng = np.random.default_rng(1)
    ends = rng.dirichlet(np.ones(3), (2, 50))
    losses = [
        predicted_losses(TransferBiMix(), coefficients, r, 1.0)[:, 0]
        for r in (ends[0], ends[1], ends.mean(axis=0))
    ]
    assert np.all(losses[2] <= (losses[0] + losses[1]) / 2 + 1e-12)


def test_few_real_runs_make_it_no_worse_than_bimix(embedded):
    train, test = embedded.split_runs(0.3, seed=0)
    errors = [
        bx.evaluate(bx.fit(train, law), test).table().loc["overall", "mre"]
        for law in (BiMix(), TransferBiMix())
    ]
    assert errors[1] <= errors[0] * 1.02


def test_weights_are_shown_by_domain_and_survive_a_file(embedded, tmp_path):
    fitted = bx.fit(embedded, TransferBiMix())
    weights = fitted.by_domain("transfer")
    np.testing.assert_array_equal(np.diag(weights.loc[list(fitted.domains)]), 1.0)
    fitted.save(tmp_path / "fit.json")
    again = bx.load_fit(tmp_path / "fit.json")
    assert again.law == TransferBiMix()
    np.testing.assert_array_equal(again.by_domain("transfer"), weights)
    saved = json.loads((tmp_path / "fit.json").read_text())["fits"][0]["exponents"]
    assert f"transfer_{fitted.domains[0]}" in saved
    with pytest.raises(ValueError, match="has transfer by domain"):
        fitted.by_domain("gamma")


def test_laws_are_found_by_name():
    assert bx.law_named("transferbimix") == TransferBiMix()
    with pytest.raises(ValueError, match="Did you mean TransferBiMix"):
        bx.law_named("TransferMix")
