"""Errors at mixtures that were left out, and the intervals and probabilities made of them."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

import bimix_jax as bx
from bimix_jax.mixture.decision import Decision
from bimix_jax.uncertainty._differences import Differences, _slopes, better
from bimix_jax.uncertainty._held_out import HeldOut
from bimix_jax.uncertainty._resamples import draw
from bimix_jax.uncertainty._spread import (
    Spread,
    expected_growth,
    growth_of,
    known_variance,
    note_on_reach,
    pooled,
    units_needed,
)
from tests.fits import DOMAINS, frame

N = 60


def bent(seed=0, **options):
    """A sweep whose losses depend on mixtures otherwise than BiMix says, by about 2 %."""
    table = frame(seed=seed, **options)
    rng = np.random.default_rng(seed)
    bend = rng.uniform(-0.4, 0.4, (3, 3))
    for target, row in zip(DOMAINS, bend, strict=True):
        shares = table[[f"r_{d}" for d in DOMAINS]].to_numpy()
        table[f"loss_{target}"] *= np.exp(
            shares**2 @ row - 1.5 * shares[:, 0] * shares[:, 1] * row[0]
        )
    return bx.read_sweep(table)


@pytest.fixture(scope="module")
def sweep():
    table = frame(noise=0.01)
    first = table.loc[table["run"] == "run00", [f"r_{d}" for d in DOMAINS]].to_numpy()
    table.loc[table["run"] == "run01", [f"r_{d}" for d in DOMAINS]] = first
    return bx.read_sweep(table)


@pytest.fixture(scope="module")
def drawn(sweep):
    return bx.bootstrap(sweep, bx.BiMix(), n=N, seed=3)


@pytest.fixture(scope="module")
def sure(drawn):
    return bx.certainty(drawn, 1e10)


def test_a_mixture_is_predicted_by_the_fit_without_all_its_runs(sweep, drawn):
    assert drawn.runs[0] == "run00, run01"
    assert len(drawn.runs) == len(drawn.left_out.code) == 11
    rows = drawn.held_out.take(drawn.held_out.within)
    assert len(rows.budget) == len(sweep.budget)
    for number, label in ((0, "run00, run01"), (6, "run07")):
        assert drawn.runs[number] == label
        inside = np.isin(sweep.run, label.split(", "))
        alone = bx.fit(sweep, bx.BiMix(), weight=np.where(inside, 0.0, 1.0))
        here = rows.take(rows.unit == number)
        expected = alone.predict_points(here.mixture, here.budget)
        np.testing.assert_allclose(here.predicted, expected, rtol=1e-5)
        np.testing.assert_array_equal(np.sort(here.measured[:, 0]), np.sort(sweep.loss[inside, 0]))
    by_run = bx.bootstrap(sweep, drawn.fitted, N, unit="run")
    assert by_run.runs[:2] == ("run00", "run01")


def test_later_budgets_are_predicted_without_them_and_without_the_mixture(sweep, drawn):
    later = drawn.held_out.beyond
    budgets = np.unique(sweep.budget)
    assert set(later.last) == {budgets[3], budgets[6]}
    assert drawn.held_out.tested == pytest.approx(budgets[7] / budgets[3])
    assert np.all(later.budget > later.last)
    # Every later loss is predicted once for each end of the cut sweep.
    assert len(later.budget) == 12 * (4 + 1)
    cut = later.take((later.last == budgets[3]) & (later.unit == 6))
    # The parts are dealt in turn: mixtures 2, 6 and 10 were left out together.
    kept = ~np.isin(sweep.run, ["run03", "run07", "run11"]) & (sweep.budget <= budgets[3])
    alone = bx.fit(sweep, bx.BiMix(), weight=kept.astype(float))
    expected = alone.predict_points(cut.mixture, cut.budget)
    np.testing.assert_allclose(cut.predicted, expected, rtol=1e-4)


@pytest.mark.parametrize("rounding", [0.0, 1e-9])
def test_errors_that_are_mostly_0_leave_their_size_to_the_others(rounding):
    error = np.full((9, 1), rounding)
    error[:3] = 0.03
    size = np.sqrt(Spread.of(error, error**2).square)
    np.testing.assert_allclose(size, np.sqrt(np.pi / 2) * 0.01, rtol=1e-6)
    differences = Spread.of_differences(error[:, 0], np.zeros((2, 9)))
    expected = 9 / 8 * 2 * np.mean(error**2)
    np.testing.assert_allclose(differences.square, expected, rtol=1e-6)


def test_too_few_budgets_are_not_cut(sweep, drawn):
    table = sweep.to_frame()
    few = bx.read_sweep(table[table["tokens"] >= np.unique(sweep.budget)[-3]])
    made = bx.bootstrap(few, bx.BiMix(), n=N)
    assert made.held_out.tested == 1
    assert "as errors did on other sweeps" in note_on_reach(2.0, 1.0)[0]
    growth, square = (getattr(made.spread(1e99), name) for name in ("growth", "square"))
    assert np.all(growth > square)
    assert "tests up to 2 ×" in note_on_reach(4.0, 2.0)[0]


def test_the_nearest_budget_of_every_mixture_is_taken(sweep, drawn):
    budgets = np.unique(sweep.budget)
    middle = drawn.held_out.nearest(budgets[4] * 1.1, None)
    assert np.unique(middle.budget).tolist() == [budgets[4]]
    assert middle.unit.tolist() == list(range(11))
    assert set(drawn.held_out.nearest(1e99, None).budget) == {budgets[-1]}


def held_out_rows(budgets, error):
    """Rows of units (units, budgets) with these errors of one target; nan where not measured."""
    unit, place = np.nonzero(np.isfinite(error))
    measured = np.exp(error[unit, place])[:, None]
    count = len(unit)
    last = np.full(count, budgets[-1])
    points = np.full((count, 2), 0.5), budgets[place], unit
    return HeldOut(*points, measured, np.ones((count, 1)), last, np.ones(count))


def test_errors_of_runs_that_ended_earlier_grow_as_those_of_the_others():
    budgets = np.array([1.0, 2.0, 4.0, 8.0])
    error = np.outer(np.linspace(0.01, 0.05, 9), [3.0, 1.0, 1.0, 2.5])
    whole = held_out_rows(budgets, error)
    error[4:, 3] = np.nan
    some = held_out_rows(budgets, error)
    for at in (3.9, 8.0, 20.0):
        expected = whole.nearest(at, None).error
        np.testing.assert_allclose(some.errors_at(at, None, some.nearest(at, None)), expected)
        np.testing.assert_allclose(whole.errors_at(at, None, whole.nearest(at, None)), expected)
    # They do not shrink, and two runs do not show how they grow.
    error[:, 3] *= 0.1
    less = held_out_rows(budgets, error)
    near = less.nearest(8.0, None)
    np.testing.assert_allclose(less.errors_at(8.0, None, near), near.error)
    error[:, 3] *= 20
    error[2:, 3] = np.nan
    two = held_out_rows(budgets, error)
    near = two.nearest(8.0, None)
    np.testing.assert_allclose(two.errors_at(8.0, None, near), near.error)


def middle_variance(values):
    """Square of half the distance between the quantiles of one standard deviation."""
    low, high = np.nanquantile(values, stats.norm.cdf([-1, 1]), axis=0)
    return ((high - low) / 2) ** 2


def pooled_slowly(error, square):
    """Squared sizes and degrees of freedom of few quantities, from their common distribution."""
    units, count = error.shape
    freedom = (units - 1) / (np.pi - 2)
    scaled = error / np.sqrt((error**2).mean(axis=0))
    pairs = itertools.combinations(scaled.T, 2)
    alike = np.mean([np.mean(one * other) ** 2 for one, other in pairs])
    whole_noise = special.polygamma(1, freedom / 2)
    noise = (1 - alike) * whole_noise

    def density(apart):
        variance = noise + apart**2
        scatter = np.sum((np.log(square) - np.log(square).mean()) ** 2)
        return variance ** (-(count - 1) / 2) * np.exp(-scatter / 2 / variance)

    whole, _ = integrate.quad(density, 0, 4)
    part, _ = integrate.quad(lambda a: density(a) * noise / (noise + a**2) / whole, 0, 4)
    independent = count / (1 + (count - 1) * alike)
    left = 1 - part + part / independent
    logs = (1 - part) * np.log(square) + part * np.log(square).mean()
    return np.exp(logs + whole_noise * (1 - left) / 2), freedom / left


def test_a_resample_is_without_the_units_that_were_not_drawn(sweep, drawn):
    times = draw("multinomial", 3, N, 11)
    for number, label in enumerate(drawn.runs):
        (group,) = np.unique(sweep.mixture_group[np.isin(sweep.run, label.split(", "))])
        np.testing.assert_array_equal(drawn.absent[:, number], times[:, group] == 0)
    assert bx.bootstrap(sweep, drawn.fitted, N, resampling="weights").absent is None


def test_an_interval_is_the_errors_of_the_left_out_by_an_obvious_way(sweep, drawn):
    mixture = np.array([[0.5, 0.3, 0.2]])
    budget = float(np.unique(sweep.budget)[5])
    table = drawn.predict(mixture, budget, level=0.8)
    whole = drawn.fitted.predict_points(mixture, budget)[0]
    logs = np.log(drawn.predict_points(mixture, budget)[:, 0])
    rows = drawn.held_out.nearest(budget, None)
    error = np.log(rows.measured) - np.log(rows.predicted)
    at_units = np.log(drawn.predict_points(rows.mixture, rows.budget))
    there = middle_variance(np.where(drawn.absent[:, :, None], at_units, np.nan))
    standard = []
    most = 5 * np.median(np.abs(error), axis=0) / stats.norm.ppf(0.75)
    mean = np.minimum(np.abs(error), most).mean(axis=0)
    square, freedom = pooled_slowly(error, np.pi / 2 * mean**2)
    for target in range(3):
        spread = square[target] + there[:, target] - there[:, target].mean()
        z = error[:, target] / np.sqrt(np.maximum(spread, square[target] / 2))
        standard += list(np.abs(z))
    standard += list(stats.norm.ppf((1 + (np.arange(10) + 0.5) / 10) / 2))
    wide = stats.t.ppf(0.9, freedom) / stats.norm.ppf(0.9) * np.quantile(standard, 0.8)
    new = middle_variance(logs)
    variance = np.maximum(square + new - there.mean(axis=0), square / 2)
    half = wide * np.sqrt(variance)
    np.testing.assert_allclose(table["low"], whole * np.exp(-half), rtol=1e-7)
    np.testing.assert_allclose(table["high"], whole * np.exp(half), rtol=1e-7)
    np.testing.assert_allclose(table["noise"] + table["law"], half, rtol=1e-6)
    share = (new + drawn.noise**2) / variance
    np.testing.assert_allclose(table["noise"], half * np.minimum(share, 1), rtol=1e-6)


def test_intervals_widen_away_from_the_runs_and_beyond_the_budgets(drawn, sweep):
    def width(mixture, budget):
        table = drawn.predict(dict(zip(DOMAINS, mixture, strict=True)), budget)
        return (np.log(table["high"] / table["low"])).mean()

    largest = sweep.largest_budget
    middle, edge = (0.4, 0.3, 0.3), (0.998, 0.001, 0.001)
    assert width(edge, largest) > width(middle, largest)
    growing = [width(middle, largest * ratio) for ratio in (1, 4, 16)]
    assert growing == sorted(growing)


def test_noise_and_law_are_told_apart():
    noisy = bx.bootstrap(bx.read_sweep(frame(noise=0.01)), n=N)
    wrong = bx.bootstrap(bent(noise=0.001), n=N)
    mixture = {"web": 0.4, "code": 0.3, "books": 0.3}
    share = [made.predict(mixture).eval("noise / (noise + law)").mean() for made in (noisy, wrong)]
    assert share[0] > 0.8
    assert share[1] < 0.3


def test_new_runs_lie_inside_though_the_law_is_wrong():
    inside, if_true = [], []
    for seed in range(6):
        sweep = bent(seed, noise=0.002)
        found = bx.calibration(
            sweep, splits=bx.standard_splits(sweep, "mixtures", 1, seed=seed), n=N
        )
        inside.append(found.coverage().loc[0.9, "covered"])
        train, test = sweep.split_runs(0.3, seed=seed)
        drawn = bx.bootstrap(train, bx.BiMix(), n=N)
        low, high = drawn.interval(drawn.predict_points(test.mixture, test.budget))
        if_true.append(np.mean((low <= test.loss) & (test.loss <= high)))
    assert np.mean(inside) > 0.8
    assert np.mean(if_true) < np.mean(inside) - 0.15


def test_simultaneous_intervals_hold_whole_runs(drawn):
    """At 80 %, where the law is true and where it is not, as many runs lie inside all along."""
    whole, alone = [], []
    for make in (bent, lambda seed, noise: bx.read_sweep(frame(seed=seed, noise=noise))):
        for seed in range(1, 7):
            train, test = make(seed, noise=0.01).split_runs(0.3, seed=seed)
            made = bx.bootstrap(train, bx.BiMix(), n=N)
            error = np.log(test.loss / made.fitted.predict_points(test.mixture, test.budget))
            for found, together in ((whole, True), (alone, False)):
                half, _ = made.half_widths(test.mixture, test.budget, 0.8, together)
                inside = np.abs(error) <= half
                found += [inside[test.run == run].all(axis=0) for run in test.runs]
    assert 0.7 < np.mean(whole) < 0.95
    assert np.mean(alone) < np.mean(whole) - 0.1
    mixture = {"web": 0.4, "code": 0.3, "books": 0.3}
    each, together = (drawn.predict(mixture, simultaneous=choice) for choice in (False, True))
    widths = [np.log(table["high"] / table["low"]) for table in (each, together)]
    # One factor for all targets and budgets: the quantile of the largest errors over that of all.
    np.testing.assert_allclose(widths[1] / widths[0], (widths[1] / widths[0]).iloc[0], rtol=1e-9)
    assert (widths[1] > widths[0]).all()
    shares = [table["noise"] / (table["noise"] + table["law"]) for table in (each, together)]
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-9)


def test_of_few_mixtures_no_interval_is_given_and_the_number_is_said():
    sweep = bx.read_sweep(frame(noise=0.01).query("run < 'run06'"))
    drawn = bx.bootstrap(sweep, bx.BiMix(), n=N)
    assert any("8 are needed, and there are 6. Measure 2 more" in note for note in drawn.notes)
    mixture = {"web": 0.4, "code": 0.3, "books": 0.3}
    assert drawn.predict(mixture)[["low", "high", "noise", "law"]].isna().all(axis=None)
    assert drawn.predict(mixture, level=0.8)["low"].notna().all()
    sure = bx.certainty(drawn)
    assert np.isnan(sure.probability)
    assert "cannot be said" in sure.verdict()
    assert any("needs 8 mixtures" in note for note in sure.notes())
    assert sure.indistinct.isna().all(axis=None)
    assert drawn.table()[["low", "high"]].isna().all(axis=None)
    assert drawn.table(level=0.5)["low"].notna().any()
    assert [units_needed(level) for level in (0.5, 0.9, 0.95)] == [4, 8, 16]


@given(
    scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99), level=st.sampled_from([0.5, 0.8, 0.9]),
)  # fmt: skip
def test_intervals_scale_with_the_errors_and_not_with_their_order(scale, seed, level):
    rng = np.random.default_rng(seed)
    error, sampling = rng.normal(size=(12, 3)), rng.uniform(0, 0.2, (12, 3))
    growth, at = rng.uniform(0, 1, 3), rng.uniform(0, 1, (5, 3))
    plain, order = Spread.of(error, sampling), rng.permutation(12)
    plain = dataclasses.replace(plain, growth=growth)
    other = Spread.of(scale * error[order], scale**2 * sampling[order])
    other = dataclasses.replace(other, growth=scale**2 * growth)
    halves = [
        one.half_width(one.variance(factor * at, 1.5), level)
        for one, factor in ((plain, 1.0), (other, scale**2))
    ]
    np.testing.assert_allclose(halves[1], scale * halves[0], rtol=1e-9)
    assert np.all(halves[0] > 0)


def mean_squares(scale, units, seeds=300):
    """Errors of normal quantities: their squares alone and pooled (seeds, quantities), freedom."""
    found = []
    for seed in range(seeds):
        error = scale * np.random.default_rng(seed).standard_normal((units, len(scale)))
        alone = np.pi / 2 * np.abs(error).mean(axis=0) ** 2
        found.append((alone, *pooled(error, alone)))
    return (np.array(part) for part in zip(*found, strict=True))


def test_sizes_of_errors_are_known_better_together_where_they_are_alike():
    alone, together, freedom = mean_squares(np.ones(5), 8)
    np.testing.assert_allclose(together.mean(), 1, rtol=0.08)
    assert together.var() < 0.5 * alone.var()
    assert freedom.mean() > 9 > 7 / (np.pi - 2)
    # What the degrees of freedom claim is what the squares vary.
    np.testing.assert_allclose(together.var(), np.mean(2 / freedom), rtol=0.35)


def test_sizes_of_errors_that_differ_stay_their_own():
    scale = np.array([0.1, 1.0, 10.0, 100.0])
    alone, together, freedom = mean_squares(scale, 20)
    assert np.median(np.abs(np.log(together / alone)), axis=0)[1:].max() < 0.1
    assert freedom.max() < 1.1 * 19 / (np.pi - 2)


def test_a_fit_that_went_astray_without_a_unit_widens_intervals_little():
    error = np.random.default_rng(5).standard_normal((18, 4))
    wild = error.copy()
    wild[3, 1] = 800.0
    one, other = (Spread.of(each, np.zeros((18, 4))) for each in (error, wild))
    assert np.all(other.square < 1.7 * one.square)
    at = np.zeros((1, 4))
    halves = [each.half_width(each.variance(at), 0.9) for each in (one, other)]
    np.testing.assert_allclose(halves[1], halves[0], rtol=0.25)


def test_quantities_with_the_same_errors_tell_nothing_of_each_other():
    rng = np.random.default_rng(0)
    same = np.repeat(rng.standard_normal((8, 1)), 6, axis=1)
    _, freedom = pooled(same, (same**2).mean(axis=0))
    assert freedom.max() < 1.1 * 7 / (np.pi - 2)
    apart = rng.standard_normal((8, 6))
    assert pooled(apart, (apart**2).mean(axis=0))[1].min() > freedom.max()


def test_a_quantity_without_errors_or_of_exact_losses_changes_no_other():
    error = np.random.default_rng(0).standard_normal((9, 3))
    wide = np.column_stack([error, np.zeros(9), np.full(9, np.nan)])
    square = np.concatenate([(error**2).mean(axis=0), [0.0, np.nan]])
    found, freedom = pooled(wide, square)
    expected, of_each = pooled(error, square[:3])
    np.testing.assert_allclose(found, [*expected, 0.0, np.nan])
    np.testing.assert_allclose(freedom[:4], [*of_each, 8 / (np.pi - 2)])


def test_growth_is_that_of_a_slope_known_along_the_budgets_of_each_cut():
    rng = np.random.default_rng(0)
    observed, last = np.exp([0.0, 3.0]), np.repeat(np.exp([1.0, 2.0]), 40_000)
    along = np.tile(np.linspace(0.05, 1.0, 20), 4000)
    wander = np.array([0.7, 0.0])
    variance = 0.3 + (along**2 / np.log(last))[:, None] * wander
    error = np.sqrt(variance) * rng.standard_normal((len(last), 2))
    error[rng.random(error.shape) < 0.1] = np.nan
    budget, square = last * np.exp(along), np.full(2, 0.3)
    growth = growth_of(error, square, budget, last, observed)
    np.testing.assert_allclose(growth, wander / 3.0, atol=0.02)
    none = growth_of(error[:0], square, budget[:0], last[:0], observed)
    assert none.tolist() == [0, 0]
    # A fit to the first budget alone has no slope, and changes nothing.
    more = np.append(error, error[:1], axis=0), square, np.append(budget, 2.0), np.append(last, 1.0)
    assert growth_of(*more, observed).tolist() == growth.tolist()


def test_expected_growth_lies_between_that_of_the_sweep_and_the_usual_one():
    square, own = np.array([1.0, 2.0, 3.0, 1.0]), np.array([7.5, 0.0, 9.0, 512.0])
    tested = np.array([True, True, False, True])
    found = expected_growth(own, square, np.exp([1.0, 3.0]), tested)
    np.testing.assert_allclose(found, [8.0, 4.0, 24.0, np.sqrt(8.0 * 512.5)])
    # A sweep of one budget has no curve that could be carried on.
    assert expected_growth(0 * own, square, np.ones(2), ~tested).tolist() == [0, 0, 0, 0]


def test_differences_between_units_are_those_of_all_pairs():
    rng = np.random.default_rng(1)
    # None of these errors is so far off that it counts as less.
    error, resampled = rng.permutation(np.linspace(-1, 1, 9)) + 0.3, rng.normal(size=(4000, 9))
    spread = Spread.of_differences(error, resampled)
    pairs = list(itertools.combinations(range(9), 2))
    square = np.mean([(error[i] - error[j]) ** 2 for i, j in pairs])
    assert spread.square[0] == pytest.approx(square)
    apart = [np.var(resampled[:, i] - resampled[:, j]) for i, j in pairs]
    assert spread.sampling.mean() == pytest.approx(np.mean(apart), rel=0.1)


def test_a_fit_that_went_astray_without_a_unit_decides_neither_slope_nor_spread():
    rng = np.random.default_rng(3)
    predicted = 3 + 0.1 * rng.standard_normal(40)
    measured = 3 + 0.8 * (predicted - 3) + 0.01 * rng.standard_normal(40)
    slope, error = _slopes(predicted, measured)
    wild = np.concatenate([predicted, [5.0]]), np.concatenate([measured, [3.0]])
    again, further = _slopes(*wild)
    assert again == pytest.approx(slope, abs=0.01)
    one, other = (Spread.of_differences(e, np.zeros((9, len(e)))) for e in (error, further))
    assert 1 < other.square[0] / one.square[0] < 1.7
    at = rng.normal(size=(2000, 5))
    astray = np.where(rng.random(at.shape) < 0.05, 1e6, at)
    np.testing.assert_allclose(known_variance(at), 1, rtol=0.15)
    np.testing.assert_allclose(known_variance(astray), 1, rtol=0.3)


def test_probabilities_of_pairs_are_students(drawn):
    decision = Decision.of(drawn.fitted, 3e9)
    rng = np.random.default_rng(0)
    one, other = rng.dirichlet(np.full(3, 3.0), (2, 20))
    above = better(drawn, decision, one, other)
    np.testing.assert_allclose(above, 1 - better(drawn, decision, other, one), atol=0.01)
    np.testing.assert_allclose(better(drawn, decision, one, one), 0.5, atol=1e-9)
    made = Differences.of(drawn, decision)
    predicted = drawn.fitted.predict_points(np.concatenate([one, other]), 3e9).mean(axis=1)
    resampled = drawn.predict_points(np.concatenate([one, other]), 3e9).mean(axis=2)
    apart = middle_variance(resampled[:, 20:] / resampled[:, :20])
    square, inside = made.spread.square[0], made.spread.sampling.mean()
    share = np.abs(one - other).sum(axis=1) / 2 / made.distance
    variance = np.maximum(share * (square - inside) + made.slope**2 * apart, share * square / 2)
    value = made.slope * (predicted[20:] / predicted[:20] - 1)
    np.testing.assert_allclose(above, stats.t.cdf(value / np.sqrt(variance), 10), rtol=1e-6)
    assert np.mean((above > 0.5) == (value > 0)) == 1


def test_a_law_that_exaggerates_expects_less():
    rng = np.random.default_rng(2)
    predicted = 3 + 0.1 * rng.standard_normal(400)
    for true, expected in ((0.5, 0.5), (1.0, 1.0), (1.3, 1.0)):
        measured = 3 + true * (predicted - 3) + 0.01 * rng.standard_normal(400)
        slope, error = _slopes(predicted, measured)
        assert slope == pytest.approx(expected, abs=0.02)
        left = np.hypot((true - slope) * 0.1, 0.01) / 3
        assert error.std() == pytest.approx(left, rel=0.1)
    # Of few and scattered mixtures the slope is not known, and stays near 1.
    few, error = _slopes(predicted[:8], predicted[:8] * 0.5 + 1.5 + rng.standard_normal(8))
    assert few > 0.9
    assert _slopes(np.array([3.0, np.nan]), np.array([3.0, 2.0]))[0] == 1


def test_regressions_of_several_sets_are_those_of_each():
    rng = np.random.default_rng(5)
    predicted = 3 + 0.1 * rng.standard_normal((12, 6))
    measured = 3 + 0.7 * (predicted - 3) + 0.02 * rng.standard_normal((12, 6))
    predicted[:, 1], measured[3, 2], measured[:9, 3] = 3.0, np.nan, np.nan
    measured[:, 4] = predicted[:, 4]
    slopes, errors = _slopes(predicted, measured)
    for k in range(6):
        known = np.isfinite(predicted[:, k]) & np.isfinite(measured[:, k])
        slope, error = _slopes(predicted[known, k], measured[known, k])
        assert slopes[k] == pytest.approx(slope)
        np.testing.assert_allclose(errors[known, k], error, atol=1e-12)
    # Neither what does not vary nor three units tell a slope.
    assert slopes[0] < 0.85
    assert slopes[1] == slopes[3] == slopes[4] == 1


def test_the_gain_has_the_interval_of_its_probability(sure):
    low, high = sure.gain_interval()
    at = stats.t.cdf(sure.corrected_gain / np.sqrt(sure.variance[0]), 10)
    assert sure.probability == pytest.approx(at)
    assert (low + high) / 2 == pytest.approx(sure.errors.slope * (sure.gain - sure.optimism))
    assert np.mean((sure.plausible_gains(2000) > low) & (sure.plausible_gains(2000) < high)) == 0.9
    whole, sampling = sure.variance
    assert 0 < sampling < whole
    assert "is from the choice of the runs" in sure.verdict()


def test_what_cannot_be_told_from_the_best_holds_it_and_is_no_better(sure):
    ends, best = sure.indistinct, sure.optimum.mixture
    assert ((ends["low"] <= best) & (best <= ends["high"])).all()
    assert (ends["high"] - ends["low"]).max() > 0.02
    shares = pd_mixtures(best.to_numpy(), ends)
    assert (sure.beats(shares) < 1).all()
    assert sure.beats(best).iloc[0] == pytest.approx(0.5)
    far = np.array([[0.01, 0.01, 0.98]])
    assert sure.beats(far).iloc[0] > 0.9


def test_a_guardrail_is_kept_with_the_probability_of_its_target(drawn):
    allowed = {"web": 0.0, "code": 0.5}
    weights = {"books": 1.0, "code": 1.0}
    sure = bx.certainty(drawn, 3e9, weights, constraints=bx.Constraints(guardrail=allowed))
    table = sure.guardrails
    assert table.index.tolist() == ["web", "code"]
    # The guardrail on web binds: it is kept or not as a coin falls. That on code has room.
    assert table.loc["web", "increase"] == pytest.approx(0, abs=1e-4)
    assert table.loc["web", "probability"] == pytest.approx(0.5, abs=0.05)
    assert table.loc["code", "probability"] > 0.95
    best, guarded = sure.optimum.losses, sure.optimum.reference_losses
    np.testing.assert_allclose(table["increase"], (best / guarded - 1)[["web", "code"]], atol=1e-9)
    assert len(bx.certainty(drawn, 3e9).guardrails) == 0


def test_a_guardrail_can_be_kept_with_a_stated_probability():
    """The mixture keeps it with 0.9, and of those around it none that is better does."""
    drawn = bx.bootstrap(bx.read_sweep(frame(noise=0.003)), bx.BiMix(), n=N)
    weights = {"books": 1.0, "code": 1.0}
    asked = {"constraints": bx.Constraints(guardrail={"web": 0.05})}
    plain = bx.certainty(drawn, 3e9, weights, **asked)
    sure = bx.certainty(drawn, 3e9, weights, guard_probability=0.9, **asked)
    assert plain.guardrails.loc["web", "probability"] == pytest.approx(0.5, abs=0.05)
    assert sure.guardrails.loc["web", "probability"] == pytest.approx(0.9, abs=0.01)
    assert sure.guardrails.loc["web", "allowed"] == 0.05
    assert sure.optimum.objective > plain.optimum.objective
    near = sure.optimum.mixture.to_numpy() + 0.02 * simplex_directions(40)
    losses = sure.optimum.decision.values_of(near, np.full(len(near), 3e9))
    kept = [sure.asked_guardrails.at(mixture).probability[0] for mixture in near]
    better = losses < sure.optimum.objective * (1 - 1e-4)
    assert better.any()
    assert np.max(np.array(kept)[better]) < 0.9


def test_guardrails_that_cannot_be_kept_so_surely_are_refused(drawn):
    weights = {"books": 1.0, "code": 1.0}
    with pytest.raises(ValueError, match="guard_probability is given without a guardrail"):
        bx.certainty(drawn, 3e9, weights, guard_probability=0.9)
    with pytest.raises(ValueError, match=r"guard_probability is 90; expected a number"):
        bx.certainty(drawn, guard_probability=90)
    far = bx.Constraints(guardrail={"web": 0.0}, upper={"web": 0.3}, fixed={"code": 0.3})
    guarded = {"web": 0.3, "code": 0.3, "books": 0.4}
    with pytest.raises(ValueError, match="no mixture that was tried keeps the guardrails on web"):
        bx.certainty(
            drawn, 3e9, weights, guard_probability=0.99, constraints=far, reference=guarded
        )


def simplex_directions(count):
    """Directions (count, 3) of length 1 in which shares sum to 0."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    across = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) @ across


def pd_mixtures(best, ends):
    """The best mixture with one share at its low end, the others in proportion."""
    rows = []
    for i, low in enumerate(ends["low"]):
        row = best * (1 - low) / (1 - best[i])
        row[i] = low
        rows.append(row)
    return np.array(rows)


def hand_made(**changes):
    error = np.array([[0.01, -0.02], [0.03, np.nan], [-0.01, 0.005]])
    half = np.stack([np.full((3, 2), width) for width in (0.008, 0.015, 0.025)])
    claimed, right = np.array([0.51, 0.96, 0.97, 0.99]), np.array([True, True, False, True])
    return dataclasses.replace(bx.Calibration(("a", "b"), error, half, claimed, right), **changes)


def test_calibration_counts_what_lies_inside_and_what_was_right():
    found = hand_made()
    table = found.coverage()
    np.testing.assert_allclose(table["covered"], [1 / 5, 3 / 5, 4 / 5])
    assert table.loc[0.9, "worst_target"] == "a"
    assert table["losses"].tolist() == [5, 5, 5]
    assert table.loc[0.9, "worst"] == pytest.approx(2 / 3)
    pairs = found.reliability()
    assert pairs["pairs"].tolist() == [1, 3]
    assert found.calibration_error == pytest.approx(
        (abs(0.51 - 1) + 3 * abs((0.96 + 0.97 + 0.99) / 3 - 2 / 3)) / 4
    )
    assert (found.sure_pairs, found.wrong_when_sure) == (3, pytest.approx(1 / 3))
    assert "20, 60, 80 % lie inside intervals of 50, 80, 90 %." in found.verdict()
    assert "33.3 % wrongly" in found.verdict()
    none = hand_made(half_width=np.full((3, 3, 2), np.nan), claimed=np.full(4, np.nan))
    assert "too few mixtures" in none.verdict()
    assert np.isnan(none.wrong_when_sure)


def test_calibration_is_of_the_split_that_was_asked(sweep):
    (split,) = bx.standard_splits(sweep, "budgets", 1)
    found = bx.calibration(sweep, bx.BiMix(), splits=[split], n=N)
    assert found.error.shape == (int(split.test.sum()), 3)
    assert found.half_width.shape == (3, *found.error.shape)
    assert np.all(np.diff(found.half_width, axis=0) > 0)
    assert len(found.claimed) == 12 * 11 / 2
