"""The verb: a sweep in, a Fit by name out."""

import dataclasses
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.searches import compiled
from bimix_jax.laws.law import check_parts
from tests.fits import (
    DOMAINS,
    Geometric,
    frame,
    geometric_sweep,
    last_budget,
    truth,
    web_failed,
    without_web,
)


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(frame())


@pytest.fixture(scope="module")
def fitted(sweep):
    return bx.fit(sweep, bx.BiMix())


@pytest.fixture(scope="module")
def noisy():
    return bx.read_sweep(frame(noise=0.01))


@pytest.fixture(scope="module")
def fitted_noisy(noisy):
    return bx.fit(noisy, bx.BiMix())


@pytest.fixture(scope="module")
def single():
    return bx.read_sweep(last_budget(frame()))


@pytest.fixture(scope="module")
def fitted_single(single):
    return bx.fit(single, bx.BiMix())


def assert_same_coefficients(found, expected, rtol):
    a, b = found.coefficients, expected.coefficients
    np.testing.assert_allclose(a.exponents, b.exponents, rtol=rtol)
    np.testing.assert_allclose(a.amplitudes, b.amplitudes, rtol=rtol)


# ---- coefficients --------------------------------------------------------------------------------


def test_table_holds_the_true_coefficients_in_the_gauge(fitted, sweep):
    table, known = fitted.table(), truth()
    assert table.index.tolist() == list(DOMAINS)
    assert table.index.name == "target"
    assert table.columns.tolist() == ["A", "B", "C", "alpha", "beta", "code", "points", "error"]
    np.testing.assert_allclose(table[["alpha", "beta"]], known["exponents"], rtol=1e-8)
    np.testing.assert_allclose(table["A"], known["amplitudes"].sum(axis=1), rtol=1e-8)
    at_scale = table["B"] * sweep.largest_budget ** -table["beta"] + table["C"]
    np.testing.assert_allclose(at_scale, 1.0, rtol=1e-10)
    assert set(table["code"]) == {"converged"}
    assert set(table["points"]) == {96}
    assert table["error"].max() < 1e-9
    assert fitted.messages() == []


def test_fit_carries_names_units_ranges_and_digest(fitted, sweep):
    assert (fitted.domains, fitted.targets, fitted.unit) == (DOMAINS, DOMAINS, "tokens")
    np.testing.assert_array_equal(fitted.observed_budgets, [1e8, 6.4e9])
    np.testing.assert_array_equal(fitted.observed_proportions[1], sweep.mixture.max(axis=0))
    np.testing.assert_array_equal(fitted.observed_proportions[0], sweep.mixture.min(axis=0))
    assert fitted.sweep_digest == sweep.digest()


def test_error_is_the_mean_relative_error_of_the_points(fitted_noisy, noisy):
    predicted = fitted_noisy.predict_points(noisy.mixture, noisy.budget)
    expected = np.abs(predicted / noisy.loss - 1).mean(axis=0)
    np.testing.assert_allclose(fitted_noisy.error, expected, rtol=1e-12)
    assert np.all((expected > 0.003) & (expected < 0.02))


@pytest.mark.parametrize("loss", ["relative", "log", "absolute"])
def test_every_residual_minimises_its_own_sum_of_squares(noisy, fitted_noisy, loss):
    fitted = bx.fit(noisy, bx.BiMix(), residual=loss)

    def sums(fit):
        predicted = fit.predict_points(noisy.mixture, noisy.budget)
        error = {
            "relative": predicted / noisy.loss - 1,
            "log": np.log(predicted / noisy.loss),
            "absolute": predicted - noisy.loss,
        }[loss]
        return (error**2).sum(axis=0)

    np.testing.assert_allclose(fitted.sum_of_squares, sums(fitted), rtol=1e-9)
    if loss != "relative":
        assert np.all(sums(fitted) < sums(fitted_noisy))


def test_huber_resists_an_outlier():
    table = frame()
    table.loc[3, "loss_web"] *= 2
    sweep = bx.read_sweep(table)
    plain, robust = bx.fit(sweep, bx.BiMix()).table(), bx.fit(sweep, bx.BiMix(), huber=1e-3).table()
    alpha, beta = truth()["exponents"][0]
    assert abs(plain.loc["web", "alpha"] - alpha) > 5e-3
    assert abs(robust.loc["web", "alpha"] - alpha) < 2e-4
    assert abs(robust.loc["web", "beta"] - beta) < 1e-2


def test_tied_exponents_are_one_number_for_all_targets(noisy, fitted_noisy):
    tied = bx.fit(noisy, bx.BiMix(), tied=("beta",))
    assert tied.options.tied == ("beta",)
    assert tied.table()["beta"].nunique() == 1
    assert tied.table()["alpha"].nunique() == len(DOMAINS)
    assert fitted_noisy.table()["beta"].nunique() == len(DOMAINS)
    assert tied.sum_of_squares.sum() > fitted_noisy.sum_of_squares.sum()


def test_float32_is_close_to_float64(fitted_noisy, noisy):
    single = bx.fit(noisy, bx.BiMix(), dtype="float32")
    np.testing.assert_allclose(
        single.coefficients.exponents, fitted_noisy.coefficients.exponents, rtol=1e-2
    )
    predicted = single.predict_points(noisy.mixture, noisy.budget)
    exact = fitted_noisy.predict_points(noisy.mixture, noisy.budget)
    np.testing.assert_allclose(predicted, exact, rtol=1e-4)
    assert np.abs(predicted / exact - 1).max() > 1e-12
    assert single.coefficients.exponents.dtype == np.float64


@pytest.mark.parametrize("optimizer", [optax.adam(0.02), optax.lbfgs()], ids=["adam", "lbfgs"])
def test_optax_optimizers_reach_the_same_coefficients(noisy, fitted_noisy, optimizer):
    other = bx.fit(noisy, bx.BiMix(), optimizer=optimizer, max_steps=1000, targets=["web"])
    for name in ("exponents", "amplitudes"):
        found, expected = (getattr(f.coefficients, name)[0] for f in (other, fitted_noisy))
        np.testing.assert_allclose(found, expected, rtol=1e-4)


# ---- which points and targets --------------------------------------------------------------------


def test_weight_0_leaves_a_point_out_and_says_so(noisy):
    weight = np.ones(len(noisy.budget))
    weight[:16] = 0
    measured = np.where(weight[:, None] > 0, noisy.loss, np.nan)
    weighted = bx.fit(noisy, bx.BiMix(), weight=weight)
    smaller = bx.fit(dataclasses.replace(noisy, loss=measured))
    assert_same_coefficients(weighted, smaller, 1e-9)
    np.testing.assert_array_equal(weighted.points, 80)
    np.testing.assert_allclose(weighted.error, smaller.error, rtol=1e-9)
    (note,) = [n for n in weighted.notes if "left out" in n]
    assert "weight is 0" in note
    assert "web 16 of 96" in note
    assert "infinite" not in note


def test_weight_2_counts_like_a_point_twice(noisy):
    weight = np.ones(96)
    weight[:8], weight[88:] = 2, 0
    twice = noisy.take(np.concatenate([np.arange(88), np.arange(8)]))
    assert_same_coefficients(
        bx.fit(noisy, bx.BiMix(), weight=weight), bx.fit(twice, bx.BiMix()), 1e-7
    )


def test_an_emphasis_is_a_weight_that_grows_with_the_budget(noisy):
    twice, weight = 2 - np.arange(96) % 2, (noisy.budget / noisy.largest_budget) ** 1.5
    found = bx.fit(noisy, bx.BiMix(), budget_power=1.5, weight=twice)
    assert_same_coefficients(found, bx.fit(noisy, bx.BiMix(), weight=twice * weight), 1e-9)
    assert found.options.budget_power == 1.5
    assert any(
        "weighted by budget^1.5, so the largest budgets count most" in note for note in found.notes
    )
    assert bx.fit(noisy, bx.BiMix()).options.budget_power == 0
    assert not any("weighted by" in note for note in bx.fit(noisy, bx.BiMix()).notes)


def test_runs_that_end_early_count_for_little_and_that_is_said(noisy):
    short = noisy.take(
        (noisy.budget < np.median(noisy.budget)) | np.isin(noisy.run, noisy.runs[:2])
    )
    notes = bx.fit(short, bx.BiMix(), budget_power=2.0).notes
    weight = pd.Series((short.budget / short.largest_budget) ** 2).groupby(short.run).sum()
    left = weight.sum() ** 2 / (weight**2).sum()
    assert any(f"effectively {left:.1f} mixtures instead of 1" in note for note in notes)
    assert left < 3
    assert not any(
        "different budgets" in n for n in bx.fit(noisy, bx.BiMix(), budget_power=2.0).notes
    )


def test_weights_too_small_for_single_precision_are_named_as_such(noisy):
    notes = bx.fit(noisy, bx.BiMix(), budget_power=60.0, dtype="float32").notes
    assert any("their weight is 0" in note for note in notes)
    assert not any("infinite" in note for note in notes)


def test_an_emphasis_ends_nearer_to_the_last_losses_of_a_law_that_is_not_true():
    table = frame()
    early = (table["tokens"] / table["tokens"].min()) ** -1.5
    bent = table.assign(loss_web=table["loss_web"] * (1 + 0.1 * early))
    train, test = bx.read_sweep(bent).split_budgets(0.5)
    errors = [
        bx.evaluate(bx.fit(train, bx.BiMix(), budget_power=power), test).table().loc["web", "mre"]
        for power in (0.0, 1.0, 2.0)
    ]
    assert errors[2] < errors[1] < errors[0]


def test_weights_by_target_go_with_the_targets_chosen(noisy):
    weight = np.ones((96, 3))
    weight[:16, 1] = 0
    chosen = bx.fit(noisy, bx.BiMix(), targets=["books", "code", "web"], weight=weight)
    assert dict(zip(chosen.targets, chosen.points, strict=True)) == {
        "books": 96,
        "code": 80,
        "web": 96,
    }


def test_rows_without_the_own_domain_are_left_out_and_counted():
    sweep = bx.read_sweep(without_web(frame()))
    fitted = bx.fit(sweep, bx.BiMix())
    assert fitted.table()["points"].to_dict() == {"web": 80, "code": 96, "books": 96}
    (note,) = [n for n in fitted.notes if "left out" in n]
    assert "infinite where the own proportion is 0: web 16 of 96." in note
    assert fitted.table().loc["web", "error"] < 1e-9


def test_a_target_without_a_usable_point_is_coded_and_predicts_nothing():
    fitted = bx.fit(bx.read_sweep(web_failed(frame())), bx.BiMix())
    table = fitted.table()
    assert table.loc["web", "code"] == "bad_data"
    assert table.loc["web", ["A", "B", "C", "alpha", "beta", "error"]].isna().all()
    predicted = fitted.predict({"web": 0.2, "code": 0.4, "books": 0.4})
    assert np.isnan(predicted["web"])
    assert predicted[["code", "books"]].notna().all()
    (message,) = [m for m in fitted.messages() if m.startswith("bad_data")]
    assert "(web)" in message


def with_exam():
    return bx.read_sweep(frame().assign(loss_exam=2.0))


def test_targets_that_are_no_domain_are_left_out_with_a_note():
    fitted = bx.fit(with_exam())
    assert fitted.targets == DOMAINS
    assert any("Targets left out" in note and "exam" in note for note in fitted.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"targets": ["web", "exam"]},
            ["exam", "none of exam is among the domains", "web, code, books"],
        ),
        ({"targets": ["exams"]}, ["exams", "exam"]),
        ({"targets": []}, ["targets is empty", "web"]),
        ({"residual": "squared"}, ["'squared'", "relative, log, absolute"]),
        ({"huber": 0.0}, ["huber is 0.0", "above 0"]),
        ({"dtype": "float16"}, ["'float16'", "float32"]),
        ({"tied": ("gamma",)}, ["gamma", "alpha, beta"]),
        ({"budget_scale": -1.0}, ["budget_scale is -1.0", "above 0"]),
        ({"weight": np.ones(3)}, ["weight", "(3,)", "(96,)"]),
        ({"weight": -np.ones(96)}, ["weight", "≥ 0"]),
        ({"budget_power": -1.0}, ["budget_power is -1.0", "≥ 0"]),
        ({"budget_power": np.nan}, ["budget_power is nan", "≥ 0"]),
        ({"budget_power": "budgets"}, ["budget_power is 'budgets'", "≥ 0"]),
    ],
)
def test_bad_options_are_named_with_what_is_expected(options, words):
    with pytest.raises(ValueError, match=r"expected|the exponents|Use a law|measured") as caught:
        bx.fit(with_exam(), **options)
    for word in words:
        assert word in str(caught.value)


def test_a_law_of_all_domains_fits_targets_that_are_none():
    fitted = bx.fit(geometric_sweep(), Geometric())
    table = fitted.table()
    np.testing.assert_allclose(table["gamma"], [0.3, 0.7], rtol=1e-8)
    np.testing.assert_allclose(table["gain"], [1.0, 2.0], rtol=1e-7)
    assert table.index.tolist() == ["web", "exam"]


# ---- a single budget -----------------------------------------------------------------------------


def test_single_budget_has_alpha_and_no_beta(fitted_single):
    table = fitted_single.table()
    assert set(table["code"]) == {"unidentified"}
    assert table[["beta", "B", "C"]].isna().all(axis=None)
    np.testing.assert_allclose(table["alpha"], truth()["exponents"][:, 0], rtol=1e-8)
    np.testing.assert_allclose(table["A"], truth()["amplitudes"].sum(axis=1), rtol=1e-8)
    assert "β needs several budgets" in " ".join(fitted_single.messages())


def test_single_budget_predicts_there_and_nowhere_else(fitted_single, single):
    np.testing.assert_allclose(fitted_single.predict(single.mixture), single.loss, rtol=1e-9)
    np.testing.assert_allclose(fitted_single.predict(single.mixture, 6.4e9), single.loss, rtol=1e-9)
    with pytest.raises(ValueError, match=r"single budget 6\.4B tokens"):
        fitted_single.predict(single.mixture, 1e9)


# ---- prediction ----------------------------------------------------------------------------------


def expected_loss(share, budget, target):
    (alpha, beta), (reducible, floor) = (truth()[k][target] for k in ("exponents", "amplitudes"))
    return share**-alpha * (reducible * (budget / 6.4e9) ** -beta + floor)


MIXTURE = {"web": 0.2, "code": 0.3, "books": 0.5}
GIVEN = {
    "dict": MIXTURE,
    "permuted dict": {d: MIXTURE[d] for d in ("books", "web", "code")},
    "Series": pd.Series(MIXTURE)[["code", "books", "web"]],
    "array": np.array(list(MIXTURE.values())),
    "list": list(MIXTURE.values()),
}


@pytest.mark.parametrize("mixture", GIVEN.values(), ids=GIVEN.keys())
def test_one_mixture_gives_a_series_by_target(fitted, mixture):
    losses = fitted.predict(mixture, budget=1e10)
    assert isinstance(losses, pd.Series)
    for i, target in enumerate(DOMAINS):
        assert losses[target] == pytest.approx(expected_loss(MIXTURE[target], 1e10, i), rel=1e-8)


def test_a_frame_in_any_column_order_gives_a_frame_with_its_index(fitted, sweep):
    mixtures = sweep.mixtures
    losses = fitted.predict(mixtures[["books", "web", "code"]], budget=6.4e9)
    assert losses.index.equals(mixtures.index)
    assert losses.columns.tolist() == list(DOMAINS)
    np.testing.assert_allclose(losses, sweep.loss[sweep.budget == 6.4e9], rtol=1e-8)
    np.testing.assert_array_equal(fitted.predict(mixtures.to_numpy(), 6.4e9), losses)


def test_the_default_budget_is_the_largest_and_budgets_may_differ_by_row(fitted, sweep):
    one = fitted.predict(sweep.mixtures)
    np.testing.assert_array_equal(one, fitted.predict(sweep.mixtures, budget=6.4e9))
    np.testing.assert_allclose(
        fitted.predict(sweep.mixture, budget=sweep.budget), sweep.loss, rtol=1e-8
    )


def test_columns_of_the_sweep_in_another_order_change_nothing(fitted_noisy):
    table = frame(noise=0.01)
    other = bx.fit(bx.read_sweep(table[table.columns[::-1]]), bx.BiMix())
    assert other.domains == DOMAINS[::-1]
    pd.testing.assert_frame_equal(other.table().loc[list(DOMAINS)], fitted_noisy.table(), rtol=1e-7)
    np.testing.assert_allclose(
        other.predict(MIXTURE)[list(DOMAINS)], fitted_noisy.predict(MIXTURE), rtol=1e-10
    )


@pytest.mark.parametrize(
    ("mixture", "words"),
    [
        ({"web": 0.5, "code": 0.5}, ["books", "web, code", "web, code, books"]),
        ({**MIXTURE, "wiki": 0.0}, ["wiki", "unknown", "web, code, books"]),
        ({**MIXTURE, "web": 0.6}, ["1.4", "sum to 1"]),
        ({"web": -0.1, "code": 0.6, "books": 0.5}, ["-0.1", "≥ 0"]),
        ([0.5, 0.5], ["(2,)", "3"]),
        (pd.DataFrame({"web": [0.4], "code": [0.6]}), ["books"]),
    ],
)
def test_mixtures_that_do_not_match_are_refused_by_name(fitted, mixture, words):
    with pytest.raises(ValueError, match="mixtures") as caught:
        fitted.predict(mixture)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("budget", [0, -1e9, np.inf, np.nan, [1e9, 0.0]])
def test_budgets_that_are_not_positive_are_refused(fitted, budget):
    with pytest.raises(ValueError, match="expected tokens above 0"):
        fitted.predict([[0.2, 0.3, 0.5]] * 2, budget)


def test_budgets_that_are_not_one_a_mixture_are_refused(fitted):
    with pytest.raises(ValueError, match=r"shape \(3,\).*2 mixtures"):
        fitted.predict([[0.2, 0.3, 0.5]] * 2, [1e9, 2e9, 3e9])


def test_a_proportion_of_0_is_infinite_for_its_own_target_only(fitted):
    losses = fitted.predict_points(np.array([[0.0, 0.5, 0.5]]), fitted.observed_budgets[1])[0]
    np.testing.assert_array_equal(np.isfinite(losses), [False, True, True])
    with pytest.raises(ValueError, match="BiMix has no finite loss on web at the mixture web 0"):
        fitted.predict({"web": 0.0, "code": 0.5, "books": 0.5})


def test_budgets_beyond_twice_the_largest_are_noted(fitted):
    assert fitted.notes_on_budget(2 * 6.4e9) == ()
    (note,) = fitted.notes_on_budget(3 * 6.4e9)
    assert note.startswith("The budget is 3 ×")


# ---- how it runs ---------------------------------------------------------------------------------


def test_a_second_call_with_the_same_shapes_compiles_nothing(noisy, fitted_noisy, sweep, fitted):
    key = (bx.BiMix(), FitOptions().static, None, False)
    before = compiled(*key).compilations()
    assert before > 0
    again = bx.fit(noisy, bx.BiMix())
    again.predict(noisy.mixtures)
    durations = []

    def listen(event, duration, **_):
        durations.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        bx.fit(sweep, bx.BiMix()).predict(sweep.mixtures)
        seen = [event for event in durations if "backend_compile" in event]
        jax.jit(lambda x: x * 3.25)(1.0)
        heard = [event for event in durations if "backend_compile" in event]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert seen == []
    assert heard, "the listener hears compilations"
    assert compiled(*key).compilations() == before
    assert_same_coefficients(again, fitted_noisy, 1e-12)


FIRST = """
import sys
import jax
heard = []
jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: heard.append(name))
import bimix_jax as bx
fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.TransferBiMix())
bx.optimize_mixture(fitted, budget=1e10)
print(sum("backend_compile" in name for name in heard))
"""


def test_a_first_fit_and_optimum_compile_six_programs():
    # In a process of its own, because programs that other tests compiled count as none.
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) <= 6


def test_comparisons_and_fits_of_any_targets_share_a_program(noisy, fitted_noisy):
    searches = compiled(bx.BiMix(), FitOptions().static, None, False)
    before = searches.compilations()
    bx.compare(noisy, ["BiMix"], ["mixtures"])
    web = bx.fit(noisy, bx.BiMix(), targets=["web"], weight=np.arange(len(noisy.budget)) > 7)
    assert searches.compilations() == before
    assert web.targets == ("web",)
    assert web.sum_of_squares[0] < fitted_noisy.sum_of_squares[0]


def test_sweeps_of_like_size_share_a_program_and_padding_counts_for_nothing(noisy):
    searches = compiled(bx.BiMix(), FitOptions().static, None, False)
    bx.fit(noisy, bx.BiMix())
    before = searches.compilations()
    kept = np.arange(len(noisy.budget)) < 90
    short = bx.fit(noisy.take(kept), bx.BiMix(), budget_scale=noisy.largest_budget)
    assert searches.compilations() == before
    weighed = bx.fit(noisy, bx.BiMix(), weight=kept)
    np.testing.assert_array_equal(short.points, 90)
    np.testing.assert_allclose(short.sum_of_squares, weighed.sum_of_squares, rtol=1e-12)
    assert_same_coefficients(short, weighed, 1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_global_setting_is_touched(noisy, dtype):
    before = {name: getattr(jax.config, name, None) for name in jax.config.values}
    bx.fit(noisy, bx.BiMix(), dtype=dtype).predict(noisy.mixtures)
    assert {name: getattr(jax.config, name, None) for name in jax.config.values} == before
    assert jax.config.jax_enable_x64 is False


def test_a_fit_is_a_pytree_of_its_arrays(fitted):
    leaves, structure = jax.tree.flatten(fitted)
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)
    same = jax.tree.unflatten(structure, leaves)
    pd.testing.assert_frame_equal(same.table(), fitted.table())
    doubled = jax.tree.map(lambda leaf: 2 * leaf, fitted)
    np.testing.assert_array_equal(doubled.coefficients.exponents, 2 * same.coefficients.exponents)


def test_a_fit_is_frozen_and_can_be_sent_to_another_process(fitted):
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted.unit = "steps"
    sent = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(sent.table(), fitted.table())


def test_the_gauge_can_be_that_of_a_larger_sweep(noisy, fitted_noisy):
    larger = bx.fit(noisy, bx.BiMix(), budget_scale=4 * 6.4e9)
    np.testing.assert_allclose(
        larger.table()[["alpha", "beta", "B"]] / fitted_noisy.table()[["alpha", "beta", "B"]],
        [
            [1, 1, a / b]
            for a, b in zip(fitted_noisy.table()["A"], larger.table()["A"], strict=True)
        ],
        rtol=1e-6,
    )
    for i, target in enumerate(DOMAINS):
        alone = fitted_noisy.predict_points(np.eye(3)[[i]], 4 * 6.4e9)[0, i]
        assert larger.table().loc[target, "A"] == pytest.approx(alone, rel=1e-7)


def test_weights_of_all_targets_are_in_the_order_of_the_sweep(noisy):
    weight = np.ones(noisy.loss.shape)
    weight[noisy.budget < noisy.budget.max(), noisy.targets.index("web")] = 0.0
    for targets in (noisy.targets, noisy.targets[::-1], noisy.targets[:0:-1]):
        found = bx.fit(noisy, bx.BiMix(), targets=targets, weight=weight)
        counts = dict(zip(found.targets, found.points, strict=True))
        assert all(
            (points < len(noisy.budget)) == (target == "web") for target, points in counts.items()
        )


def test_a_law_may_be_given_by_its_name():
    named = bx.fit(bx.read_sweep(frame()), "bimix")
    assert named.law == bx.BiMix()
    assert repr(named).startswith("Fit(BiMix by relative residuals: ")
    with pytest.raises(ValueError, match=r"law is 'BiMx'.*Did you mean BiMix\?"):
        bx.fit(bx.read_sweep(frame()), "BiMx")
    with pytest.raises(ValueError, match=r"law is the class BiMix; expected BiMix\(\)"):
        bx.fit(bx.read_sweep(frame()), bx.BiMix)


@dataclasses.dataclass(frozen=True)
class Own(bx.Law):
    """A law whose parts may not agree."""

    parts: str = ""
    name = "Own"
    exponent_names = ("beta",)
    amplitude_names = ("B", "C")

    def bounds(self, domains):
        return [(0.001, 5.0)] * (2 if self.parts == "bounds" else 1)

    def starts(self, domains):
        return [[9.0 if self.parts == "starts" else 0.3]]

    def features(self, mixture, own, budget):
        return jnp.log(budget)

    def basis(self, exponents, log_budget):
        first = jnp.exp(-exponents[0] * log_budget)
        return (first,) if self.parts == "basis" else (first, 1.0)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ("basis", "Own.basis returns 1 terms, but amplitude_names has 2"),
        ("starts", r"Own.starts begins exponent 0 at 9, outside of its bounds \[0.001, 5.0\]"),
        ("bounds", r"Own.bounds has the shape \(2, 2\) for 3 domains; expected \(1, 2\)"),
    ],
)
def test_a_law_of_your_own_whose_parts_disagree_is_refused(parts, words):
    with pytest.raises(ValueError, match=words):
        bx.fit(bx.read_sweep(frame()), Own(parts))


@dataclasses.dataclass(frozen=True)
class Shared(bx.TransferBiMix):
    """A law whose `log_worth` may see more than the mixture."""

    sees: str = ""
    name = "Shared"

    def features_at_size(self, mixture, own, budget, size):
        beside = budget if self.sees == "budget" else size if self.sees == "size" else 1.0
        return self.features(mixture, own, budget), beside

    def log_worth(self, exponents, features):
        return super().log_worth(exponents, features[0]) + exponents[0] * jnp.log(features[1])

    def basis_at(self, exponents, log_worth, features):
        return super().basis_at(exponents, log_worth, features[0])


@pytest.mark.parametrize("sees", ["budget", "size"])
def test_a_law_whose_log_worth_sees_more_than_the_mixture_is_refused(sees):
    check_parts(Shared(), 3)
    with pytest.raises(ValueError, match=r"Shared.log_worth changes with the budget or the model"):
        check_parts(Shared(sees), 3)
