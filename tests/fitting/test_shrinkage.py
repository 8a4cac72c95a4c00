"""The strength of the shrinkage, against the obvious loop over folds and strengths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax import BiMix, CrossBiMix, TransferBiMix, fit_arrays
from bimix_jax.fitting.shrinkage import STRENGTHS, strength_index
from bimix_jax.fitting.task import choose_folds
from bimix_jax.xla.compilation import jit
from tests.fits import frame, without_web
from tests.laws.test_transfer import transfer_points
from tests.programs import fit_as_sweep, fit_points, predicted_losses

pytestmark = pytest.mark.usefixtures("float64")
OWN, FOLDS = np.arange(3), 4
fit = functools.partial(fit_points, TransferBiMix(), own=OWN)


def index_of(errors):
    index = int(strength_index(errors, errors))
    assert index == int(strength_index(jnp.asarray(errors), jnp.asarray(errors)))
    return index


@pytest.mark.parametrize("seed", range(3))
def test_the_chosen_strength_is_that_of_a_plain_loop(seed):
    mixture, budget, loss, _ = transfer_points(runs=10)
    # Of 20 seeds one differs: a fit without a fold has two optima there, and the choice is close.
    loss *= np.exp(0.02 * np.random.default_rng(seed).standard_normal(loss.shape))
    loss, fold = loss[:, :3], np.repeat(np.arange(10) % FOLDS, 8)
    errors = np.full((len(STRENGTHS), FOLDS), np.nan)
    for i, strength in enumerate(STRENGTHS):
        for k in range(FOLDS):
            out = fold == k
            found = fit(mixture, budget, loss, (~out).astype(float), shrinkage=strength)
            predicted = predicted_losses(TransferBiMix(), found.coefficients, mixture, budget)
            errors[i, k] = np.mean(np.abs(predicted / loss - 1)[out])
    expected = STRENGTHS[index_of(errors)]
    found = fit(mixture, budget, loss, fold=fold, folds=FOLDS)
    assert float(found.shrinkage[0]) == expected


def test_of_later_budgets_left_out_the_strength_of_the_least_error_is_chosen():
    mixture, budget, loss, _ = transfer_points(noise=0.02, runs=10)
    loss, late = loss[:, :3], budget > np.median(budget)
    errors = []
    for strength in STRENGTHS:
        found = fit(mixture, budget, loss, (~late).astype(float), shrinkage=strength)
        predicted = predicted_losses(TransferBiMix(), found.coefficients, mixture, budget)
        errors.append(np.mean(np.abs(predicted / loss - 1)[late]))
    found = fit(mixture, budget, loss, fold=np.where(late, 0, -1), folds=1)
    assert float(found.shrinkage[0]) == STRENGTHS[int(np.argmin(errors))]
    assert float(found.shrinkage[0]) < np.inf


def test_gains_within_a_standard_error_leave_the_simpler_law():
    base = np.array([1.0, 1.2, 0.9, 1.1])
    errors = np.tile(base, (len(STRENGTHS), 1))
    errors[3] = base - [0.3, -0.25, 0.2, -0.1]
    assert index_of(errors) == 0
    errors[3] = base - [0.3, 0.25, 0.2, 0.1]
    assert index_of(errors) == 3
    errors[:, 1] = np.nan  # a fold of targets that were not measured
    assert index_of(errors) == 3


def test_of_strengths_as_good_the_strongest_is_taken():
    base = np.array([1.0, 1.2, 0.9, 1.1])
    errors = np.stack([base] + [base - 0.5] * (len(STRENGTHS) - 1))
    errors[5] -= 0.005
    errors[2] += [0.02, -0.03, 0.02, 0.01]
    errors[1] += 0.3
    assert index_of(errors) == 2


def test_losses_without_the_own_domain_keep_the_transfer_and_their_rows():
    table = without_web(frame(noise=0.01), runs=(0, 1, 2))
    sweep = bx.read_sweep(table)
    for shrinkage in ("mixtures", np.inf):
        held = bx.fit(sweep, TransferBiMix(), shrinkage=shrinkage)
        np.testing.assert_array_equal(held.points, len(table))
        assert np.all(np.isfinite(held.shrinkage))
        assert np.isfinite(held.predict_points(sweep.mixture, sweep.budget)).all()
    assert any("not inf as asked, as losses measured at an own proportion" in n for n in held.notes)


def test_without_such_losses_the_law_has_its_simpler_name_and_no_prediction_there():
    fitted = bx.fit(bx.read_sweep(frame(noise=0.01)), TransferBiMix(), shrinkage=np.inf)
    assert fitted.label == "BiMix"
    assert any("TransferBiMix is BiMix with these coefficients" in n for n in fitted.notes)
    nothing = np.array([[0.0, 0.5, 0.5]])
    assert np.isfinite(fitted.predict_points(nothing, fitted.observed_budgets[1])).all()
    with pytest.raises(ValueError, match="BiMix has no finite loss on web at the mixture web 0"):
        fitted.predict(nothing)


@pytest.mark.parametrize("law", [TransferBiMix(), bx.SplitTransferBiMix(), CrossBiMix()])
def test_without_limit_a_restraint_gives_bimix(law):
    mixture, budget, loss, _ = transfer_points(noise=0.01, runs=10)
    plain = fit_as_sweep(BiMix(), mixture, budget, loss[:, :3], own=OWN)
    held = fit_as_sweep(law, mixture, budget, loss[:, :3], own=OWN, shrinkage=np.inf)
    np.testing.assert_allclose(held.sum_of_squares, plain.sum_of_squares, rtol=1e-9)
    predicted = [
        predicted_losses(x, found.coefficients, mixture, budget)
        for x, found in ((BiMix(), plain), (law, held))
    ]
    np.testing.assert_allclose(predicted[1], predicted[0], rtol=1e-6)


def test_the_shrunk_optimum_is_that_of_the_written_objective():
    mixture, budget, loss, _ = transfer_points(noise=0.02, runs=6)
    strength, target = 1e-3, loss[:, 0]
    found = fit_points(TransferBiMix(), mixture, budget, target, own=0, shrinkage=strength,
                       tolerance=1e-12)  # fmt: skip

    def objective(x):
        worth = mixture[:, 0] + mixture[:, 1] * x[2] + mixture[:, 2] * x[3]
        relative = budget / budget.max()
        predicted = worth ** -x[0] * (x[4] * relative ** -x[1] + x[5])
        squares = jnp.sum((predicted / target - 1) ** 2)
        return squares / 2 + strength * len(target) * (x[2] ** 2 + x[3] ** 2) / 2

    exponents, amplitudes = found.coefficients.exponents, found.coefficients.amplitudes
    at = np.concatenate([exponents[:2], exponents[3:], amplitudes])
    value, slope = jit(jax.value_and_grad(objective))(at)
    curvature = np.diag(jit(jax.hessian(objective))(at))
    assert np.all(np.abs(slope / np.sqrt(value * curvature))[at > 0] < 1e-6)


def test_derivatives_of_a_shrunk_fit_agree_with_central_differences():
    mixture, budget, loss, _ = transfer_points(noise=0.003, runs=8)
    direction = np.random.default_rng(3).standard_normal(len(budget))

    def weight(shift):
        moved = loss[:, 0] * (1 + shift * direction)
        found = fit_arrays(TransferBiMix(), mixture, budget, moved, own=0, shrinkage=1e-3,
                           tolerance=1e-12, starts=[[0.1, 0.5, 0.3, 0.3, 0.3]])  # fmt: skip
        return found.coefficients.exponents[3]

    weight, step = jit(jax.value_and_grad(weight)), 1e-5
    expected = (weight(step)[0] - weight(-step)[0]) / (2 * step)
    assert weight(0.0)[1] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(("runs", "seed"), [(4, 16), (6, 0), (6, 3)])
def test_few_real_runs_keep_the_simpler_law(runs, seed):
    """Fits without a fold must not begin at a fit that saw it, where they would stay."""
    sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    groups = np.random.default_rng(seed).permutation(np.unique(sweep.mixture_group))
    inside = np.isin(sweep.mixture_group, groups[:runs])
    fits = [
        bx.fit(sweep, law, targets=sweep.domains, weight=inside.astype(float))
        for law in (bx.SubstitutionBiMix(), BiMix())
    ]
    assert np.isinf(fits[0].shrinkage).all()
    ours, plain = (each.predict_points(sweep.mixture, sweep.budget)[~inside] for each in fits)
    np.testing.assert_allclose(ours, plain, rtol=1e-6)


def test_what_was_chosen_is_said_and_can_be_asked_for(embedded):
    chosen = bx.fit(embedded.take(embedded.mixture_group < 2), TransferBiMix())
    assert np.all(np.isinf(chosen.shrinkage))
    assert any("found no cross-domain effect" in note for note in chosen.notes)
    asked = bx.fit(embedded, TransferBiMix(), shrinkage=1e-4)
    np.testing.assert_array_equal(asked.shrinkage, 1e-4)
    assert any("strength 0.0001, as asked" in note for note in asked.notes)
    for wrong in (-1.0, np.nan, None, "budget"):
        with pytest.raises(ValueError, match=f"shrinkage is {wrong!r}; expected .* budgets"):
            bx.fit(embedded, TransferBiMix(), shrinkage=wrong)


def test_it_can_be_chosen_for_later_budgets_of_the_mixtures_that_were_run(embedded):
    folds = choose_folds(embedded, np.ones(len(embedded.budget), bool), "budgets")
    late = embedded.budget >= embedded.budget_cut(0.5)
    np.testing.assert_array_equal(folds.number, np.where(late, 0, -1))
    fitted = bx.fit(embedded, TransferBiMix(), shrinkage="budgets")
    assert fitted.shrinkage.max() < 1e-2
    assert any("the best when later budgets are left out" in note for note in fitted.notes)
    early = embedded.budget < np.unique(embedded.budget)[4]
    few = bx.fit(embedded.take(early), TransferBiMix(), shrinkage="budgets")
    assert not any("later budgets are left out" in note for note in few.notes)


def test_folds_hold_whole_mixtures_and_only_those_that_count(embedded):
    counted = embedded.mixture_group < 6
    fold = embedded.folds(4, counted)
    assert set(fold[counted]) == {0, 1, 2, 3}
    for group in range(6):
        assert len(set(fold[embedded.mixture_group == group])) == 1
