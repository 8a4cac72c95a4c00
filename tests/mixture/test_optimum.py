"""The best mixture by name, and what is said beside it."""

import dataclasses
import json
from itertools import pairwise

import jax
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.cli.show import plain
from bimix_jax.mixture import optimum
from bimix_jax.mixture._notes import SCOPE
from bimix_jax.mixture.feasible import feasible_set
from tests.fits import DOMAINS, Geometric, frame, geometric_sweep, last_budget, web_failed
from tests.programs import best_mixture


@pytest.fixture(scope="module")
def fitted():
    return bx.fit(bx.read_sweep(frame()), bx.BiMix())


@pytest.fixture(scope="module")
def best(fitted):
    return bx.optimize_mixture(fitted)


@pytest.fixture(scope="module")
def real(embedded_fit):
    return bx.optimize_mixture(embedded_fit, budget=2 * embedded_fit.observed_budgets[1])


@pytest.fixture(scope="module")
def embedded_fit(embedded):
    return bx.fit(embedded, bx.BiMix())


@pytest.fixture(scope="module")
def failed():
    return bx.fit(bx.read_sweep(web_failed(frame())), bx.BiMix())


def mean_loss(fitted, mixture, weights=(1, 1, 1), budget=None):
    shares = np.array([[mixture[domain] for domain in fitted.domains]])
    (losses,) = fitted.predict_points(shares, fitted.check_budget(budget))
    losses = losses[[fitted.targets.index(target) for target in DOMAINS]]
    counted = np.asarray(weights) > 0
    return np.average(losses[counted], weights=np.asarray(weights, float)[counted])


def test_the_mixture_is_on_the_simplex_and_no_neighbour_is_better(fitted, best):
    assert best.mixture.index.tolist() == list(DOMAINS)
    assert best.mixture.sum() == pytest.approx(1, abs=1e-12)
    assert best.objective == pytest.approx(mean_loss(fitted, best.mixture), rel=1e-12)
    assert abs(best.gap) < 1e-12
    for give in DOMAINS:
        for take in set(DOMAINS) - {give}:
            moved = best.mixture.copy()
            moved[[give, take]] += [-0.01, 0.01]
            assert mean_loss(fitted, moved) > best.objective + 1e-6


def test_losses_are_those_the_fit_predicts(fitted, best):
    np.testing.assert_allclose(best.losses, fitted.predict(best.mixture), rtol=1e-12)
    np.testing.assert_allclose(best.reference, 1 / 3)
    np.testing.assert_allclose(best.reference_losses, fitted.predict([1 / 3] * 3), rtol=1e-12)
    assert best.reference_objective == pytest.approx(mean_loss(fitted, best.reference))
    assert best.budget == 6.4e9
    assert best.unit == "tokens"


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_exact_and_gradient_agree_on_the_embedded_sweep(embedded_fit, factor):
    budget = factor * embedded_fit.observed_budgets[1]
    exact = bx.optimize_mixture(embedded_fit, budget, method="exact")
    gradient = bx.optimize_mixture(embedded_fit, budget, method="gradient")
    assert (exact.method, gradient.method) == ("exact", "gradient")
    np.testing.assert_allclose(exact.mixture, gradient.mixture, atol=1e-6)
    assert abs(gradient.gap) < 1e-9
    assert exact.objective == pytest.approx(gradient.objective, abs=1e-12)


def test_auto_picks_exact_for_bimix_and_gradient_for_a_law_of_all_domains(best):
    assert best.method == "exact"
    fitted = bx.fit(geometric_sweep(), Geometric())
    other = bx.optimize_mixture(fitted)
    assert other.method == "gradient"
    np.testing.assert_allclose(other.mixture, Geometric().shares, atol=1e-6)
    assert other.losses.index.tolist() == ["web", "exam"]
    table = other.table()
    assert table.index.tolist() == [*DOMAINS, "exam"]
    assert np.isnan(table.loc["exam", "proportion"])
    assert table.loc["exam", "loss"] == other.losses["exam"]
    assert table.loc["exam", "flag"] == ""
    with pytest.raises(ValueError, match="'exact' does not exist for Geometric; use 'gradient'"):
        bx.optimize_mixture(fitted, method="exact")


def test_nothing_is_computed_that_nobody_asks_for(fitted, monkeypatch):
    def asked(*_):
        raise AssertionError

    best = bx.optimize_mixture(fitted)
    for name in ("as_good", "certify", "_budget_saving", "observed_range"):
        monkeypatch.setattr(optimum, name, asked)
    assert best.objective == pytest.approx(best.losses.mean(), rel=1e-12)
    assert best.objective < best.reference_objective
    for name in ("flatness", "alternatives", "gap", "binding", "saved", "observed", "notes"):
        with pytest.raises(AssertionError):
            getattr(best, name)
    monkeypatch.undo()
    assert best.flatness is best.flatness


def test_an_unknown_method_is_refused(fitted):
    with pytest.raises(ValueError, match="'newton'; expected one of auto, exact, gradient"):
        bx.optimize_mixture(fitted, method="newton")


# ---- weights -------------------------------------------------------------------------------------


def test_weights_by_name_in_any_form_and_order(fitted):
    weights = {"books": 1.0, "web": 3.0, "code": 2.0}
    by_dict = bx.optimize_mixture(fitted, weights=weights)
    by_series = bx.optimize_mixture(fitted, weights=pd.Series(weights))
    by_array = bx.optimize_mixture(fitted, weights=[3.0, 2.0, 1.0])
    scaled = bx.optimize_mixture(fitted, weights={k: 7 * v for k, v in weights.items()})
    for other in (by_series, by_array):
        pd.testing.assert_series_equal(other.mixture, by_dict.mixture, check_exact=True)
    np.testing.assert_allclose(scaled.mixture, by_dict.mixture, rtol=1e-10)
    assert by_dict.weights.to_dict() == weights
    assert by_dict.objective == pytest.approx(mean_loss(fitted, by_dict.mixture, [3, 2, 1]))
    assert by_dict.mixture["web"] > bx.optimize_mixture(fitted).mixture["web"] + 0.01


def test_targets_not_named_count_nothing(fitted):
    two = bx.optimize_mixture(fitted, weights={"web": 1.0, "code": 1.0})
    assert two.mixture["books"] == 0
    assert np.isinf(two.losses["books"])
    assert two.objective == pytest.approx(two.losses[["web", "code"]].mean())
    assert two.reference_objective == pytest.approx(two.reference_losses[["web", "code"]].mean())
    assert two.objective < two.reference_objective


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"wiki": 1.0}, "wiki is unknown; expected only web, code, books"),
        ({"web": -1.0}, "≥ 0"),
        ({"web": 0.0}, "one above 0"),
        ([1.0, 1.0], "expected 3 numbers"),
        ({"web": np.nan}, "≥ 0"),
    ],
)
def test_bad_weights_are_refused(fitted, weights, words):
    with pytest.raises(ValueError, match=f"weights.*{words}"):
        bx.optimize_mixture(fitted, weights=weights)


# ---- reference -----------------------------------------------------------------------------------


def test_reference_by_name(fitted):
    mixture = {"books": 0.5, "web": 0.2, "code": 0.3}
    best = bx.optimize_mixture(fitted, reference=mixture)
    assert best.reference.to_dict() == pytest.approx(mixture)
    assert best.reference_objective == pytest.approx(mean_loss(fitted, mixture))
    frame = pd.DataFrame([mixture])
    pd.testing.assert_series_equal(
        bx.optimize_mixture(fitted, reference=frame).reference, best.reference
    )


def test_a_reference_without_a_domain_whose_target_does_not_count_has_an_objective(fitted):
    reference = {"web": 0.0, "code": 0.5, "books": 0.5}
    best = bx.optimize_mixture(fitted, weights={"code": 1, "books": 1}, reference=reference)
    assert np.isinf(best.reference_losses["web"])
    assert best.reference_objective == pytest.approx(mean_loss(fitted, reference, [0, 1, 1]))
    assert np.isinf(bx.optimize_mixture(fitted, reference=reference).reference_objective)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"web": 0.5, "code": 0.5}, "books"),
        ({"web": 0.5, "code": 0.6, "books": 0.5}, "sum to 1"),
        (np.full((2, 3), 1 / 3), "2 mixtures; expected one"),
        (np.empty((0, 3)), "0 mixtures; expected one"),
    ],
)
def test_bad_references_are_refused(fitted, reference, words):
    with pytest.raises(ValueError, match=words):
        bx.optimize_mixture(fitted, reference=reference)


# ---- what is said beside the number --------------------------------------------------------------


def test_proportions_outside_the_observed_range_are_flagged_and_noted(fitted, best):
    low, high = best.observed["min"], best.observed["max"]
    expected = np.where(best.mixture < low, "below", np.where(best.mixture > high, "above", ""))
    # A mixture that leaves the range leaves the hull, by its other domains too.
    flags = best.table()["flag"].replace("hull", "")
    assert flags.tolist() == expected.tolist()
    assert "hull" in best.table()["flag"].tolist()
    assert "below" in expected
    assert "" in expected
    (note,) = [n for n in best.notes if n.startswith("Outside the range")]
    for domain, flag in zip(DOMAINS, expected, strict=True):
        assert (f"{domain} {best.mixture[domain]:.3f}" in note) == bool(flag)
    (tiny,) = fitted.notes_on_mixtures(np.array([[1e-5, 0.5, 0.5 - 1e-5]]))[:1]
    assert tiny.startswith("Outside the range the sweep covered: web <0.0001 (0.")
    above = bx.optimize_mixture(fitted, weights={"web": 50, "code": 1, "books": 1})
    assert above.table().loc["web", "flag"] == "above"


def test_a_mixture_inside_the_range_has_no_flag(fitted):
    target = fitted.observed_proportions.mean(axis=0)
    target = target / target.sum()
    exponents, amplitudes = fitted.coefficients.exponents, fitted.coefficients.amplitudes
    # At the optimum w·α·K·r^(−α−1) is one number for all domains.
    weights = target ** (exponents[:, 0] + 1) / (exponents[:, 0] * amplitudes.sum(axis=1))
    best = bx.optimize_mixture(fitted, weights=weights)
    np.testing.assert_allclose(best.mixture, target, rtol=1e-7)
    assert set(best.table()["flag"]) == {""}
    assert best.notes == (SCOPE,)


@pytest.mark.parametrize(("factor", "said"), [(1.0, False), (2.0, False), (2.1, True), (10, True)])
def test_budgets_beyond_twice_the_largest_are_noted(fitted, factor, said):
    best = bx.optimize_mixture(fitted, budget=factor * 6.4e9)
    notes = [n for n in best.notes if n.startswith("The budget is")]
    assert bool(notes) == said
    assert all(f"{factor:.3g} ×" in note for note in notes)


def test_the_budget_matters(fitted):
    mixtures = [bx.optimize_mixture(fitted, budget=b).mixture for b in (1e8, 1e9, 1e10)]
    assert all(abs(a - b).max() > 1e-4 for a, b in pairwise(mixtures))


@pytest.mark.parametrize("budget", [0.0, -1.0, np.inf, np.nan])
def test_budgets_that_are_not_positive_are_refused(fitted, budget):
    with pytest.raises(ValueError, match="expected tokens above 0"):
        bx.optimize_mixture(fitted, budget=budget)


def test_failed_targets_do_not_count_and_are_noted(failed):
    with pytest.raises(ValueError, match="web: no target that counts depends on this share"):
        bx.optimize_mixture(failed)
    best = bx.optimize_mixture(failed, constraints=bx.Constraints(lower={"web": 0.0}))
    assert best.mixture["web"] == 0
    assert best.weights.to_dict() == {"web": 0, "code": 1, "books": 1}
    assert "Not counted, as their fit failed: web." in best.notes
    assert np.isnan(best.reference_losses["web"])
    assert best.reference_objective == pytest.approx(best.reference_losses[1:].mean())
    assert best.objective == pytest.approx(best.losses[1:].mean())
    assert abs(best.gap) < 1e-12
    with pytest.raises(ValueError, match="none of the weighted targets has an identified"):
        bx.optimize_mixture(failed, weights={"web": 1.0})


def test_a_target_that_the_data_do_not_determine_is_noted():
    table = frame()
    table["loss_web"] = table["loss_web"].where(table["run"] == "run00")
    fitted = bx.fit(bx.read_sweep(table), bx.BiMix())
    best = bx.optimize_mixture(fitted, constraints=bx.Constraints(upper={"web": 0.5}))
    assert any("unidentified (web)" in note for note in best.notes)


def test_a_single_budget_has_an_optimum_there_only(fitted):
    single = bx.fit(bx.read_sweep(last_budget(frame())), bx.BiMix())
    best = bx.optimize_mixture(single)
    np.testing.assert_allclose(best.mixture, bx.optimize_mixture(fitted).mixture, rtol=1e-7)
    with pytest.raises(ValueError, match="single budget"):
        bx.optimize_mixture(single, budget=1e9)


# ---- forms ---------------------------------------------------------------------------------------


def test_domains_in_another_order_change_nothing(fitted, best):
    table = frame()
    other = bx.optimize_mixture(bx.fit(bx.read_sweep(table[table.columns[::-1]]), bx.BiMix()))
    assert other.mixture.index.tolist() == list(DOMAINS[::-1])
    np.testing.assert_allclose(other.mixture[list(DOMAINS)], best.mixture, rtol=1e-7)
    np.testing.assert_allclose(other.losses[list(DOMAINS)], best.losses, rtol=1e-9)


def test_table_has_a_row_a_domain(real, embedded):
    table = real.table()
    assert table.columns.tolist() == [
        "proportion", "reference", "flat_low", "flat_high", "observed_min",
        "observed_max", "flag", "loss", "reference_loss",
    ]  # fmt: skip
    assert table.index.tolist() == list(embedded.domains)
    assert table.index.name == "domain"
    assert table["proportion"].sum() == pytest.approx(1)
    np.testing.assert_array_equal(table["observed_max"], embedded.mixture.max(axis=0))
    np.testing.assert_array_equal(table["loss"], real.losses[table.index])


def test_the_recommended_mixture_of_the_embedded_sweep_beats_all_its_runs(
    real, embedded, embedded_fit
):
    predicted = embedded_fit.predict(embedded.mixtures, real.budget).mean(axis=1)
    assert real.objective < predicted.min()
    assert real.objective < real.reference_objective


def test_document_is_json_with_everything_in_it(real):
    document = json.loads(json.dumps(plain(real.document())))
    assert document["mixture"] == pytest.approx(real.mixture.to_dict())
    assert document["observed"]["python"].keys() == {"min", "max", "flag"}
    assert document["notes"] == list(real.notes)
    assert document["method"] == "exact"


def test_tokens_that_run_out_count_in_the_least_budget(embedded_fit):
    few = bx.Constraints(available={"latex": 4e5}, epochs=1)
    goals = {"latex": 4.6, "c": 5.0, "german": 5.5}
    best = bx.least_budget(embedded_fit, goals, constraints=few)
    assert all(best.losses[target] <= goal * (1 + 1e-6) for target, goal in goals.items())
    assert best.mixture["latex"] * best.budget <= 4e5 * (1 + 1e-6)
    with jax.enable_x64(True):
        for share, reached in ((1.0, True), (0.999, False)):
            budget = share * best.budget
            weights = {target: 1 / goal for target, goal in goals.items()}
            ratio = bx.optimize_mixture(
                embedded_fit, budget, weights, constraints=few, objective="worst"
            )
            assert bool(ratio.objective <= 1 + 1e-6) == reached
    with pytest.raises(bx.InfeasibleError, match="with the tokens available"):
        bx.least_budget(embedded_fit, {"latex": 3.55, "c": 4.35}, constraints=few)


def test_a_function_sees_the_same_losses_in_the_search_and_in_the_report(fitted):
    def smooth(losses):
        return jax.nn.logsumexp(5 * losses) / 5

    best = bx.optimize_mixture(fitted, weights={"web": 1.0, "code": 1.0}, objective=smooth)
    seen = np.where(best.weights > 0, best.losses, 0.0)
    assert best.objective == pytest.approx(float(smooth(seen)), rel=1e-6)
    assert best.objective <= best.reference_objective


def test_guardrails_of_a_law_around_bimix_are_those_of_its_losses(embedded):
    both = bx.stack_sizes(
        {"1.3M": embedded, "5M": dataclasses.replace(embedded, loss=embedded.loss * 0.95)}
    )
    sized = bx.fit(both, bx.WithModelSize(bx.BiMix())).at_model_size(5e6)
    weights = dict.fromkeys(sized.targets, 1.0) | {"latex": 10.0}
    exact, gradient = (
        bx.optimize_mixture(
            sized, weights=weights, method=method, constraints=bx.Constraints(guardrail=0.01)
        )
        for method in ("exact", "gradient")
    )
    assert exact.objective == pytest.approx(gradient.objective, rel=1e-6)
    assert (exact.losses / exact.reference_losses).max() <= 1.01 + 1e-6


def test_a_pull_to_no_share_is_the_same_in_single_precision():
    feasible = dataclasses.replace(
        feasible_set(np.zeros(3), np.array([0.0, 1, 1])),
        kl=np.array(0.05), kl_to=np.array([0.0, 0.4, 0.6]),
    )  # fmt: skip
    found = []
    for dtype in (np.float64, np.float32):
        arrays = ([[0.1, 0.5]] * 3, np.ones((3, 2)), np.eye(3), np.ones(3))
        coefficients = bx.Coefficients(*(np.asarray(a, dtype) for a in arrays))
        with jax.enable_x64(dtype is np.float64):
            weights = np.array([0, 1, 1], dtype)
            found.append(np.asarray(best_mixture(
                bx.BiMix(), coefficients, 1.0, weights, feasible, method="exact"
            )))  # fmt: skip
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
