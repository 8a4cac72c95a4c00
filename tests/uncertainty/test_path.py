"""The best mixture along the budget, and the mixtures that cannot be told from it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.mixture import decision as decision_module
from bimix_jax.mixture.decision import Decision
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.uncertainty._differences import Differences
from bimix_jax.uncertainty._near_best import TOLERANCES, law_regret
from tests.fits import Geometric, frame, geometric_sweep, last_budget

WEIGHTS = {"web": 1.0, "code": 3.0, "books": 1.0}


@pytest.fixture(scope="module")
def drawn():
    return bx.bootstrap(bx.read_sweep(frame(noise=0.01)), bx.BiMix(), n=20)


@pytest.fixture(scope="module")
def fitted():
    return bx.fit(bx.read_sweep(frame()), bx.BiMix())


@pytest.fixture(scope="module")
def geometric():
    return bx.fit(geometric_sweep(), Geometric())


def test_every_point_of_the_path_is_the_optimum_there(fitted):
    found = bx.optimal_path(fitted, weights=WEIGHTS)
    assert found.mixtures.index[0] == fitted.observed_budgets[0]
    assert found.mixtures.index[-1] == pytest.approx(2 * fitted.observed_budgets[1])
    for budget in found.mixtures.index[::8]:
        best = bx.optimize_mixture(fitted, budget, WEIGHTS)
        np.testing.assert_allclose(found.mixtures.loc[budget], best.mixture, atol=1e-9)
        np.testing.assert_allclose(found.losses.loc[budget], best.losses, rtol=1e-9)
        assert found.objective[budget] == pytest.approx(best.objective, rel=1e-9)
    assert found.low is None


def test_a_path_that_stays_where_it_is_says_so(geometric):
    found = bx.optimal_path(geometric, [1e9, 4e9])
    np.testing.assert_allclose(found.mixtures, [Geometric().shares] * 2, atol=1e-6)
    assert any("one mixture serves all budgets" in note for note in found.notes)


def test_bands_are_what_certainty_cannot_tell_from_the_best_in_any_order(drawn):
    found = bx.optimal_path(drawn.fitted, [4e9, 1e9], WEIGHTS, bootstrap=drawn, level=0.8)
    for budget in (1e9, 4e9):
        alone = bx.certainty(drawn, budget, WEIGHTS, level=0.8).indistinct
        np.testing.assert_allclose(found.low.loc[budget], alone["low"], atol=1e-9)
        np.testing.assert_allclose(found.high.loc[budget], alone["high"], atol=1e-9)
    compiled = decision_module._solved.compilations()
    ten = np.geomspace(1e9, 4e9, 10)
    longer = bx.optimal_path(drawn.fitted, ten, WEIGHTS, bootstrap=drawn, level=0.8)
    assert decision_module._solved.compilations() == compiled
    pd.testing.assert_frame_equal(longer.low.iloc[[0, -1]], found.low.iloc[::-1], atol=1e-9)
    # Not searched at the second budget, but between those at the first and the third.
    assert longer.high.iloc[1].between(*np.sort(longer.high.iloc[[0, 2]], axis=0)).all()
    assert (longer.low <= longer.mixtures).all(axis=None)
    assert (longer.mixtures <= longer.high).all(axis=None)


def test_bands_need_resamples_of_the_same_law_and_enough_mixtures(drawn, geometric):
    with pytest.raises(ValueError, match="bootstrap: of BiMix on web, code, books; expected Geo"):
        bx.optimal_path(geometric, bootstrap=drawn)
    few = bx.read_sweep(frame(noise=0.01).query("run < 'run06'"))
    made = bx.bootstrap(few, bx.BiMix(), n=20)
    found = bx.optimal_path(made.fitted, [1e9, 4e9], bootstrap=made)
    assert found.low.isna().all(axis=None)
    decision = Decision.of(made.fitted)
    errors = Differences.of(made, decision)
    assert law_regret(decision, errors) > 0
    spread = dataclasses.replace(errors.spread, error=errors.spread.error[:3])
    assert np.isnan(law_regret(decision, dataclasses.replace(errors, spread=spread)))


def test_path_refuses_a_single_budget_and_bad_ones(fitted):
    single = bx.fit(bx.read_sweep(last_budget(frame())), bx.BiMix())
    with pytest.raises(ValueError, match=r"the single budget 6.4B tokens"):
        bx.optimal_path(single)
    with pytest.raises(ValueError, match="expected tokens above 0"):
        bx.optimal_path(fitted, [1e9, 0.0])
    far = bx.optimal_path(fitted, [1e9, 1e12])
    assert any("156 × the largest observed" in note for note in far.notes)


def test_the_regret_of_a_laws_errors_is_the_mean_over_draws_of_them(drawn):
    """Errors are sums of independent ones along each share, of the variance of differences."""
    decision = Decision.of(drawn.fitted, 3e9)
    errors, best = Differences.of(drawn, decision), Optimum.of(decision)
    near = np.concatenate([best.mixture.to_numpy()[None], best.within(TOLERANCES)])
    means = drawn.fitted.predict_points(near, 3e9).mean(axis=1)
    (each,) = errors.variance(np.zeros(1), np.ones(1))
    rng = np.random.default_rng(1)
    total = np.zeros((20_000, len(near)))
    for share in near.T:
        order = np.argsort(share)
        # The standard deviation that 12 errors let expect is larger than theirs.
        steps = 1.0753 * np.sqrt(each / 2 * np.diff(share[order], prepend=share[order[0]]))
        total[:, order] += np.cumsum(steps * rng.standard_normal(total.shape), axis=1)
    better = total - total[:, :1] - errors.slope * (means / means[0] - 1)
    expected = means[0] * np.maximum(better.max(axis=1), 0).mean()
    assert expected > 0.001
    assert law_regret(decision, errors) == pytest.approx(expected, rel=0.06)
