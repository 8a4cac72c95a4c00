"""Calibration at the mixtures that a bootstrap left out, beside the same done slowly."""

import dataclasses
import warnings

import numpy as np
import pytest
from scipy import stats

import bimix_jax as bx
from bimix_jax.fitting.program import refit
from bimix_jax.mixture.decision import Decision
from bimix_jax.uncertainty import _left_out
from bimix_jax.uncertainty._differences import Differences
from bimix_jax.uncertainty._resamples import Drawn, fit_resamples, leave_one_out, task_of
from bimix_jax.uncertainty.calibration import LEVELS
from tests.fits import frame
from tests.uncertainty.test_held_out import bent

NORMAL = stats.norm.cdf([-1.0, 1.0])
"""Quantiles that are one standard deviation from the middle of a normal distribution."""


@pytest.fixture(scope="module")
def sure():
    table = frame(noise=0.01)
    # The last run ended earlier, so that no loss of another one is comparable with its own.
    ended = (table["run"] == "run11") & (table["tokens"] == table["tokens"].max())
    sweep = bx.read_sweep(table[~ended])
    return bx.certainty(bx.bootstrap(sweep, bx.BiMix(), n=60, seed=3), sweep.largest_budget)


def without(drawn, units):
    """The bootstrap without what is known of some units."""
    rows = drawn.held_out_rows
    return dataclasses.replace(drawn, held_out=rows.take(~np.isin(rows.unit, units)))


def test_intervals_come_from_the_errors_at_the_other_units(sure):
    found, drawn, budget = sure.calibration, sure.bootstrap, sure.optimum.budget
    rows = drawn.held_out_rows.nearest(budget, None)
    np.testing.assert_allclose(found.error, np.log(rows.measured / rows.predicted), rtol=1e-9)
    for unit in (0, 7):
        others = without(drawn, [unit]).spread(budget)
        variance = others.variance(drawn.spread(budget).sampling[[unit]])
        expected = [others.half_width(variance, level)[0] for level in LEVELS]
        np.testing.assert_allclose(found.half_width[:, unit], expected, rtol=1e-9)


def test_fits_that_end_above_the_fit_to_more_runs_are_searched_again():
    sweep = bent()
    fitted = bx.fit(sweep, bx.AdditiveLaw())
    _, unit = np.unique(sweep.run, return_inverse=True)
    drawn = Drawn(leave_one_out(unit.max() + 1)[:2], unit)
    # Steep in all proportions from the outset, where the search ends at once.
    start = np.array([10.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0])
    task, starts = task_of(sweep, fitted, None), np.broadcast_to(start, (2, 3, 7))
    alone = refit(task, drawn, starts, 0.0, 1e-4)
    assert np.any(alone.sum_of_squares > 100 * fitted.sum_of_squares)
    found = fit_resamples(fitted, task, drawn, starts, 1e-4)
    assert np.all(found.sum_of_squares < 1.001 * fitted.sum_of_squares)


def test_pairs_are_judged_by_the_errors_at_the_other_units(sure):
    found, drawn, decision = sure.calibration, sure.bootstrap, sure.optimum.decision
    rows = drawn.held_out_rows.nearest(decision.budget, None)
    pairs = [(i, j) for i in range(11) for j in range(i + 1, 11)]
    assert len(found.claimed) == len(pairs)
    predicted, measured = rows.predicted.mean(axis=1), rows.measured.mean(axis=1)
    distance = Differences.of(drawn, decision).distance
    for number, (i, j) in list(enumerate(pairs))[::9]:
        errors = Differences.of(without(drawn, [i, j]), decision)
        errors = dataclasses.replace(errors, distance=distance)
        each = drawn.predict_points(rows.mixture[[i, j]], decision.budget).mean(axis=2)
        apart = np.abs(rows.mixture[i] - rows.mixture[j]).sum() / 2
        ratio, neither = each[:, 1] / each[:, 0], drawn.absent[:, [i, j]].all(axis=1)
        low, high = np.quantile(ratio[neither] if neither.sum() >= 8 else ratio, NORMAL)
        variance = errors.variance(np.array([((high - low) / 2) ** 2]), np.array([apart]))
        difference = np.array([predicted[j] / predicted[i] - 1])
        (above,) = errors.probability(difference, variance)
        assert found.claimed[number] == pytest.approx(max(above, 1 - above), rel=1e-9)
        assert found.right[number] == ((above >= 0.5) == (measured[i] < measured[j]))


def test_intervals_of_a_true_law_hold_about_as_often_as_they_say(sure):
    covered = sure.calibration.coverage()["covered"]
    # 36 losses: three standard errors at 50 %.
    np.testing.assert_allclose(covered, LEVELS, atol=0.25)
    assert covered.is_monotonic_increasing
    assert "Of 55 pairs of held-out runs" in sure.calibration.verdict()
    assert sure.calibration.verdict().startswith("Of the held-out values, ")
    assert sure.calibration.wrong_when_sure < 0.1


def test_of_many_pairs_some_are_judged(sure, monkeypatch):
    monkeypatch.setattr(_left_out, "MOST_PAIRS", 20)
    some = _left_out.calibration_of_left_out(sure.bootstrap, sure.optimum.decision)
    assert len(some.claimed) == 20
    assert set(some.claimed) < set(sure.calibration.claimed)


def test_eight_units_have_intervals_of_lower_levels_alone(sure):
    few = without(sure.bootstrap, range(8, 12))
    decision = Decision.of(few.fitted, sure.optimum.budget)
    found = _left_out.calibration_of_left_out(few, decision)
    assert np.isnan(found.coverage()["covered"]).tolist() == [False, False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left, right = bx.plots.plot_calibration(found).axes
    lines = [line for line in left.lines if line.get_label() == "one target"]
    assert [len(line.get_xdata()) for line in lines] == [2, 2, 2]
    assert right.get_title() == "0 pairs of held-out runs"


def test_few_units_have_neither_intervals_nor_probabilities(sure):
    few = without(sure.bootstrap, range(4, 12))
    decision = Decision.of(few.fitted, sure.optimum.budget)
    found = _left_out.calibration_of_left_out(few, decision)
    assert np.isnan(found.half_width).all()
    assert np.isnan(found.claimed).all()
    assert found.verdict() == "There are too few mixtures for intervals and probabilities."
