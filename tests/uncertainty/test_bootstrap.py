"""Resampled fits against fits one by one, and what is read off them."""

import dataclasses

import jax
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.fitting import searches
from bimix_jax.fitting.options import FitOptions
from bimix_jax.uncertainty import _resamples as resamples
from bimix_jax.uncertainty._resamples import RESAMPLINGS, draw, leave_one_out
from bimix_jax.uncertainty.intervals import Freedom, _expanded_tail, interval
from tests.fits import DOMAINS, frame

N = 60
BUDGET = 1e10
WEIGHTS = {"web": 2.0, "code": 1.0, "books": 0.5}


@dataclasses.dataclass(frozen=True)
class Other(bx.BiMix):
    """BiMix under another name."""

    name = "Other"


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(frame(noise=0.01))


@pytest.fixture(scope="module")
def drawn(sweep):
    return bx.bootstrap(sweep, bx.BiMix(), n=N, seed=3)


@pytest.fixture(scope="module")
def sure(drawn):
    return bx.certainty(drawn, BUDGET, WEIGHTS)


def run_weights(sweep, factor):
    return factor[np.unique(sweep.run, return_inverse=True)[1]]


def single(drawn, number):
    """One resample as a fit of its own."""
    coefficients = jax.tree.map(lambda leaf: leaf[number], drawn.resampled.coefficients)
    return dataclasses.replace(drawn.fitted, coefficients=coefficients)


@pytest.mark.parametrize("kind", RESAMPLINGS)
def test_a_resample_depends_on_seed_and_number_alone(kind):
    many, few = draw(kind, 7, 50, 9), draw(kind, 7, 3, 9)
    np.testing.assert_array_equal(many[:3], few)
    assert len(np.unique(many, axis=0)) > 45
    assert not np.array_equal(draw(kind, 8, 3, 9), few)
    if kind != "residuals":
        np.testing.assert_allclose(many.sum(axis=1), 9)
        assert np.all(many >= 0)


def test_resamples_have_the_moments_that_they_should():
    drawn = {kind: draw(kind, 0, 20_000, 6) for kind in RESAMPLINGS}
    np.testing.assert_allclose(drawn["multinomial"].var(axis=0), 5 / 6, rtol=0.05)
    np.testing.assert_allclose(drawn["weights"].var(axis=0), 5 / 7, rtol=0.05)
    np.testing.assert_allclose(drawn["residuals"].var(axis=0), 1.0, rtol=0.05)
    np.testing.assert_allclose(drawn["residuals"].mean(axis=0), 0.0, atol=0.03)


def test_an_unknown_way_to_resample_is_refused():
    with pytest.raises(ValueError, match="resampling is 'rows'; expected one of multinomial"):
        draw("rows", 0, 5, 3)


def assert_near(drawn, number, alone, sweep):
    """A resample predicts what a fit does, but for a part of the spread of all resamples."""
    losses = np.log(drawn.predict_points(sweep.mixture, sweep.budget))
    expected = np.log(alone.predict_points(sweep.mixture, sweep.budget))
    apart = np.sqrt(np.mean((losses[number] - expected) ** 2, axis=0))
    assert np.all(apart < 0.02 * np.sqrt(np.mean(losses.var(axis=0), axis=0)))


def test_a_resample_is_the_fit_with_its_weights(sweep, drawn):
    factor = draw("multinomial", 3, N, 12)
    for number in (0, 1, 17):
        alone = bx.fit(sweep, bx.BiMix(), weight=factor[number][sweep.mixture_group])
        assert_near(drawn, number, alone, sweep)


def test_resamples_count_points_as_the_fit_did(sweep):
    drawn = bx.bootstrap(sweep, bx.fit(sweep, bx.BiMix(), budget_power=2.0), 20, seed=3)
    factor = draw("multinomial", 3, 20, 12)
    weight = factor[4][sweep.mixture_group] * (sweep.budget / sweep.largest_budget) ** 2
    alone = bx.fit(sweep, bx.BiMix(), weight=weight)
    assert drawn.resampled.options.budget_power == 2
    assert_near(drawn, 4, alone, sweep)


def test_resamples_of_a_stack_are_those_of_its_laws_refitted(sweep):
    """The tolerance of a resample costs little of the spread, whatever the law's convergence."""
    law = bx.Stacked((bx.BiMix(), bx.SubstitutionBiMix()))
    drawn = bx.bootstrap(sweep, bx.fit(sweep, law, shrinkage=1e-3), 20, seed=3)
    for number in (0, 7):
        factor = draw("multinomial", 3, 20, 12)[number][sweep.mixture_group]
        assert_near(drawn, number, bx.fit(sweep, law, weight=factor, shrinkage=1e-3), sweep)


def test_what_is_left_out_is_the_fit_without_it(sweep, drawn):
    number = drawn.runs.index("run05")
    alone = bx.fit(sweep, bx.BiMix(), weight=run_weights(sweep, leave_one_out(12)[number]))
    np.testing.assert_allclose(
        drawn.left_out.coefficients.exponents[number], alone.coefficients.exponents, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("law", "options"), [(bx.BiMix(), {}), (bx.SubstitutionBiMix(), {"shrinkage": 1e-4})]
)
def test_what_is_left_out_reaches_nothing_of_the_fit_without_it(sweep, law, options):
    chosen = sweep.run == "run05"
    noise = np.random.default_rng(0).uniform(1, 9, sweep.loss.shape)
    other = dataclasses.replace(sweep, loss=np.where(chosen[:, None], noise, sweep.loss))
    one, two = (bx.bootstrap(each, law, N, **options).left_out for each in (sweep, other))
    for name in ("exponents", "amplitudes"):
        before, after = (getattr(each.coefficients, name) for each in (one, two))
        np.testing.assert_array_equal(before[5], after[5])
        assert not np.array_equal(before[4], after[4])


@pytest.mark.filterwarnings("ignore:.*curves end more than:bimix_jax.SweepWarning")
def test_resamples_reach_their_best_end_where_some_lie_on_a_bound():
    table, rng = frame(noise=0.01), np.random.default_rng(0)
    late, noise = table["tokens"] / table["tokens"].max(), np.exp(0.1 * rng.normal(size=(2, 96)))
    table["loss_web"] = table["r_web"] ** -0.2 * (late**-0.15 - 0.3) * noise[0]
    table["loss_code"] = table["r_code"] ** -0.2 * (0.02 * late**-0.01 + 1) * noise[1]
    sweep = bx.read_sweep(table)
    drawn = bx.bootstrap(sweep, bx.BiMix(), n=12, seed=1)
    factor = draw("multinomial", 1, 12, 12)[:, sweep.mixture_group]
    without = np.stack([run_weights(sweep, each) for each in leave_one_out(12)])
    for found, weights in ((drawn.resampled, factor), (drawn.left_out, without)):
        alone = [bx.fit(sweep, bx.BiMix(), weight=weight).sum_of_squares for weight in weights]
        np.testing.assert_allclose(found.sum_of_squares, alone, rtol=1e-6)
    assert 0 < np.mean(drawn.resampled.code[:, :2] == bx.Code.BOUNDARY) < 1


def test_chunks_do_not_show(sweep, drawn, monkeypatch):
    monkeypatch.setattr(searches, "MOST", 7)
    again = bx.bootstrap(sweep, drawn.fitted, N, 3)
    np.testing.assert_allclose(
        again.resampled.coefficients.exponents, drawn.resampled.coefficients.exponents, rtol=1e-7
    )


def test_a_second_call_compiles_nothing(sweep, drawn):
    program = searches.compiled(drawn.fitted.law, FitOptions().static, None, False)
    before = program.compilations()
    assert before > 0
    with jax.log_compiles(False), jax.checking_leaks():
        bx.bootstrap(sweep, drawn.fitted, N, 4)
        bx.bootstrap(sweep, drawn.fitted, N + 1, 4, resampling="residuals")
    assert program.compilations() == before


def test_the_order_of_rows_and_columns_does_not_show(drawn):
    table = frame(noise=0.01).sample(frac=1.0, random_state=0)
    table = table[[*table.columns[:2], "r_books", "r_web", "r_code", *table.columns[5:][::-1]]]
    other = bx.bootstrap(bx.read_sweep(table), n=N, seed=3)
    order = [other.fitted.targets.index(target) for target in drawn.fitted.targets]
    np.testing.assert_allclose(
        other.resampled.coefficients.exponents[:, order],
        drawn.resampled.coefficients.exponents, rtol=1e-4,
    )  # fmt: skip


def test_resamples_share_one_gauge(sweep, drawn):
    scales = drawn.resampled.coefficients.budget_scale
    assert np.unique(scales).tolist() == [sweep.largest_budget]
    table = drawn.table()
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    assert table.loc[("web", "alpha"), "high"] - table.loc[("web", "alpha"), "low"] < 0.1


def test_predictions_are_those_of_the_fit_and_its_resamples(drawn):
    mixture = {"web": 0.5, "code": 0.3, "books": 0.2}
    table = drawn.predict(mixture, BUDGET, level=0.8)
    order = [mixture[d] for d in DOMAINS]
    one_by_one = np.array([single(drawn, i).predict(mixture, BUDGET) for i in range(N)])
    values = drawn.predict_points(np.array([order]), BUDGET)[:, 0]
    np.testing.assert_allclose(values, one_by_one, rtol=1e-12)
    np.testing.assert_allclose(table["loss"], drawn.fitted.predict(mixture, BUDGET))
    many = drawn.predict(np.array([order, order]), BUDGET)
    assert many.index.names == [None, "target"]
    assert len(many) == 6


def test_residuals_that_stay_leave_the_fit_where_it_is(sweep, drawn):
    task = resamples.task_of(sweep, drawn.fitted, None)
    run = np.unique(sweep.run, return_inverse=True)[1]
    factor = np.array([np.ones(12), np.zeros(12)])
    predicted = drawn.fitted.predict_points(sweep.mixture, sweep.budget)
    found = resamples.fit_resamples(drawn.fitted, task, searches.Drawn(factor, run, predicted))
    expected = drawn.fitted.coefficients.exponents
    np.testing.assert_allclose(found.coefficients.exponents, [expected] * 2, rtol=1e-4)
    np.testing.assert_allclose(found.sum_of_squares[1], 0.0, atol=1e-9)


def test_bimix_takes_one_coefficient_of_the_mixtures(sweep, drawn):
    assert drawn.freedom.units == 12
    assert drawn.freedom.coefficients == pytest.approx(1.0, abs=1e-6)
    assert "Too few" not in " ".join(drawn.notes)


def test_of_too_few_mixtures_no_interval_is_given(sweep):
    few = bx.bootstrap(sweep, bx.BiMix(), n=N, weight=(sweep.run <= "run02").astype(float))
    assert few.freedom.units == 3
    assert any("Too few mixtures for an interval: 3" in note for note in few.notes)
    assert few.table()[["low", "high"]].isna().all(axis=None)
    sure = bx.certainty(few, BUDGET)
    assert np.isnan(sure.probability)
    assert np.isnan(sure.gain_interval()).all()
    assert "cannot be said from so few mixtures" in sure.verdict()
    assert bx.plots.plot_certainty(sure).axes[1].get_title() == "too few mixtures for an interval"


def test_resamples_that_lose_an_exponent_are_counted_and_said(sweep):
    drawn = bx.bootstrap(sweep, bx.BiMix(), n=N, weight=(sweep.run <= "run02").astype(float))
    alone = (draw("multinomial", 0, N, 3) > 0).sum(axis=1) == 1
    assert alone.any()
    np.testing.assert_array_equal(drawn.failed.all(axis=1), alone)
    assert any(f"{alone.sum()} of {N} resamples failed" in note for note in drawn.notes)
    values = drawn.predict_points(sweep.mixture[:1], BUDGET)
    np.testing.assert_array_equal(np.isnan(values).all(axis=(1, 2)), alone)


def test_replicates_of_a_mixture_are_drawn_together():
    table = frame(noise=0.01)
    first = table.loc[table["run"] == "run00", [f"r_{d}" for d in DOMAINS]].to_numpy()
    table.loc[table["run"] == "run01", [f"r_{d}" for d in DOMAINS]] = first
    sweep = bx.read_sweep(table)
    together = bx.bootstrap(sweep, bx.BiMix(), n=N)
    assert together.freedom.units == 11
    weights = draw("multinomial", 0, N, 11)[:, np.unique(sweep.mixture_group[sweep.run == "run01"])]
    zero = weights[:, 0] == 0
    np.testing.assert_array_equal(together.resampled.points[zero, 0] <= 80, True)
    apart = bx.bootstrap(sweep, together.fitted, N, unit="run")
    assert apart.freedom.units == 12


def test_a_resamples_optimum_and_gains_are_those_of_its_fit(drawn, sure):
    number = 4
    alone = single(drawn, number)
    best = bx.optimize_mixture(alone, BUDGET, WEIGHTS)
    np.testing.assert_allclose(sure.mixtures[number], best.mixture, atol=1e-6)

    def mean_loss(fitted, mixture):
        return fitted.predict(mixture, BUDGET) @ [4 / 7, 2 / 7, 1 / 7]

    uniform = dict.fromkeys(DOMAINS, 1 / 3)
    gains = [
        1 - mean_loss(fitted, mixture) / mean_loss(fitted, uniform)
        for fitted, mixture in (
            (alone, sure.optimum.mixture), (alone, best.mixture), (drawn.fitted, best.mixture),
        )
    ]  # fmt: skip
    found = [x[number] for x in (sure.gains, sure.own_gains, sure.judged_gains)]
    np.testing.assert_allclose(found, gains, atol=1e-7)


def test_optima_promise_too_much(sure):
    assert np.all(sure.own_gains >= sure.gains - 1e-9)
    assert np.all(sure.judged_gains <= sure.gain + 1e-9)
    low, high = sure.gain_interval()
    assert low < sure.gain < high
    assert (sure.probability > 0.95) == (low > 0)


def test_influence_is_how_far_the_optimum_moves_without_a_run(sweep, sure):
    most = sure.influence.iloc[0]
    factor = np.where(sweep.run == sure.influence.index[0], 0.0, 1.0)
    alone = bx.optimize_mixture(bx.fit(sweep, bx.BiMix(), weight=factor), BUDGET, WEIGHTS)
    change = alone.mixture - sure.optimum.mixture
    assert most["moved"] == pytest.approx(change.abs().sum() / 2, rel=1e-3)
    assert most["domain"] == change.abs().idxmax()
    assert sure.influence["moved"].is_monotonic_decreasing


def test_a_fit_to_another_sweep_and_odd_numbers_are_refused(sweep, drawn):
    other = bx.read_sweep(frame(seed=1))
    cases = {
        "law is a Fit to another sweep": lambda: bx.bootstrap(other, drawn.fitted),
        "options huber are those of a fit": lambda: bx.bootstrap(sweep, drawn.fitted, huber=0.1),
        "n is 1; expected 2": lambda: bx.bootstrap(sweep, drawn.fitted, n=1),
        "unit is 'row'": lambda: bx.bootstrap(sweep, drawn.fitted, unit="row"),
        "level is 90": lambda: drawn.table(level=90),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_laws_are_compared_on_each_others_mixtures(drawn):
    fits = [drawn.fitted, dataclasses.replace(single(drawn, 5), law=Other())]
    mixtures, gains = bx.between_laws(fits, BUDGET)
    assert (mixtures["least"] <= mixtures["BiMix"]).all()
    np.testing.assert_allclose(mixtures[["BiMix", "Other"]].sum(), 1.0)
    assert gains.loc["BiMix", "BiMix"] > gains.loc["BiMix", "Other"]
    assert gains.loc["Other", "Other"] > gains.loc["Other", "BiMix"]
    with pytest.raises(ValueError, match="BiMix, BiMix; expected different laws"):
        bx.between_laws([drawn.fitted, drawn.fitted])


def test_expanded_percentiles_are_hesterbergs():
    # Two-sided 95 %, by quantiles of Student's distribution from a printed table.
    for n, tail in ((5, 0.00095), (10, 0.0086), (20, 0.0159), (100, 0.0231)):
        assert _expanded_tail(0.95, Freedom(n, 1.0)) == pytest.approx(tail, abs=2e-4)


def test_values_that_are_missing_do_not_count_until_they_are_most():
    values = np.linspace(0.0, 1.0, 101)
    freedom = Freedom(1000, 1.0)
    some = np.where(np.arange(101) % 4 == 0, np.nan, values)
    low, high = interval(np.stack([some, np.full(101, np.nan)], axis=1), 0.9, freedom)
    assert low[0] == pytest.approx(np.nanquantile(some, 0.05), abs=2e-3)
    assert np.isnan([low[1], high[1]]).all()


def test_the_picture_shows_the_gain(sure):
    title = bx.plots.plot_certainty(sure, "uniform").axes[1].get_title()
    assert f"{100 * sure.gain:.2f} %" in title


def test_a_fit_held_at_the_simpler_law_has_the_freedom_of_that(embedded):
    plain = bx.bootstrap(embedded, bx.BiMix(), n=20).freedom
    held = bx.bootstrap(embedded, bx.TransferBiMix(), n=20, shrinkage=np.inf).freedom
    assert held.units == plain.units
    assert held.coefficients == pytest.approx(plain.coefficients, rel=1e-6)


def test_laws_of_unlike_targets_share_what_weights_each_can_use(embedded):
    table = embedded.to_frame().assign(loss_novel=lambda t: t["loss_c"] * 1.1)
    sweep = bx.read_sweep(table)
    fits = [bx.fit(sweep, law) for law in (bx.BiMix(), bx.TransferBiMix())]
    found = bx.between_laws(fits, weights={"novel": 1.0, "c": 1.0})
    assert found.gains.shape == (2, 2)
