"""Scores against SciPy and obvious loops."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bimix_jax import Evaluation, best_measured, read_sweep
from bimix_jax.judging.evaluate import _errors, r_squared, spearman
from bimix_jax.reading.targets import Target
from tests.frames import wide_frame, with_cell

LOSSES = st.lists(st.floats(0.1, 10), min_size=3, max_size=30)


@settings(deadline=None)
@given(st.data(), LOSSES)
def test_errors_are_those_of_a_loop(data, measured):
    size = len(measured)
    predicted = data.draw(st.lists(st.floats(0.1, 10), min_size=size, max_size=size))
    arrays = np.array(measured), np.array(predicted)
    pairs = list(zip(measured, predicted, strict=True))
    relative = [abs(y - p) / y for y, p in pairs]
    assert _errors(*arrays, Target("web")) == pytest.approx(relative, abs=1e-12)
    score = Target("quiz", "higher", maximum=1)
    assert _errors(*arrays, score) == pytest.approx([abs(y - p) for y, p in pairs], abs=1e-12)


@settings(deadline=None)
@given(st.data(), LOSSES)
def test_r_squared_is_that_of_a_loop_on_logs(data, measured):
    size = len(measured)
    predicted = data.draw(st.lists(st.floats(0.1, 10), min_size=size, max_size=size))
    logs = [math.log(y) for y in measured]
    mean = sum(logs) / size
    total = sum((y - mean) ** 2 for y in logs)
    rest = sum((y - math.log(p)) ** 2 for y, p in zip(logs, predicted, strict=True))
    score = r_squared(np.array(measured), np.array(predicted))
    if total > 1e-12:
        assert score == pytest.approx(1 - rest / total, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=3, max_size=30))
def test_spearman_is_that_of_scipy_with_ties(pairs):
    measured, predicted = np.array(pairs, float).T
    score = spearman(measured, predicted)
    if np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        assert math.isnan(score)
    else:
        assert score == pytest.approx(spearmanr(measured, predicted).statistic, abs=1e-12)


def test_spearman_sees_order_alone():
    measured = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(measured, np.exp(measured)) == pytest.approx(1)
    assert spearman(measured, -(measured**3)) == pytest.approx(-1)


def test_the_mean_predicts_with_r_squared_0():
    measured = np.array([1.0, 2.0, 4.0])
    assert r_squared(measured, np.full(3, 2.0)) == pytest.approx(0, abs=1e-15)
    assert r_squared(measured, measured) == 1


@pytest.mark.parametrize("size", [0, 1, 2])
def test_too_few_points_have_no_rank_and_no_r_squared(size):
    y = np.arange(1.0, size + 1)
    assert math.isnan(r_squared(y, y))
    assert math.isnan(spearman(y, y))


def test_equal_losses_have_no_rank_and_no_r_squared():
    same, other = np.full(4, 2.0), np.array([1.0, 2.0, 3.0, 4.0])
    assert math.isnan(r_squared(same, other))
    assert math.isnan(spearman(same, other))
    assert math.isnan(spearman(other, same))


def test_no_points_have_no_error():
    empty = np.full((1, 1), np.nan)
    table = Evaluation(("web",), np.array(["a"]), np.ones(1), empty, empty, 1.0).table()
    assert table.loc["web", ["mre", "worst"]].isna().all()


# ---- tables --------------------------------------------------------------------------------------


def evaluation():
    """4 runs at 2 budgets and a fifth at the first alone; the second target lacks a point."""
    rng = np.random.default_rng(0)
    measured = rng.uniform(2, 4, (9, 2))
    predicted = measured * rng.uniform(0.9, 1.1, (9, 2))
    measured[7, 1] = np.nan
    return Evaluation(
        ("web", "code"), np.array(list("aabbccdde")), np.array([1, 2] * 4 + [1]) * 1e9,
        measured, predicted, 2e9,
    )  # fmt: skip


def test_a_table_scores_each_target_on_its_own_points():
    scores = evaluation()
    table = scores.table()
    here = np.arange(9) != 7
    y, p = scores.measured[here, 1], scores.predicted[here, 1]
    assert table.loc["code", "mre"] == pytest.approx(np.mean(np.abs(y - p) / y))
    assert table.loc["code", "worst"] == pytest.approx(np.max(np.abs(y - p) / y))
    assert table.loc["code", "r2"] == pytest.approx(r_squared(y, p))
    assert table["points"].tolist() == [9, 8, 17]


def test_ranks_are_taken_at_the_last_common_budget():
    scores = evaluation()
    table = scores.table()
    y, p = scores.measured[[1, 3, 5, 7], 0], scores.predicted[[1, 3, 5, 7], 0]
    assert table.loc["web", "spearman"] == pytest.approx(spearmanr(y, p).statistic)
    assert table.loc["web", "r2_mixtures"] == pytest.approx(r_squared(y, p))
    y, p = scores.measured[[1, 3, 5], 1], scores.predicted[[1, 3, 5], 1]
    assert table.loc["code", "spearman"] == pytest.approx(spearmanr(y, p).statistic)


def test_overall_is_the_mean_over_targets_but_the_largest_worst():
    table = evaluation().table()
    for column in ("mre", "r2", "r2_mixtures", "spearman"):
        mean = (table.loc["web", column] + table.loc["code", column]) / 2
        assert table.loc["overall", column] == pytest.approx(mean)
    assert table.loc["overall", "worst"] == table["worst"][["web", "code"]].max()


# ---- the best run --------------------------------------------------------------------------------


def test_the_best_run_has_the_least_mean_loss_at_the_last_common_budget():
    frame = wide_frame()
    at_end = frame[frame["tokens"] == 4e9].set_index("run")[["loss_web", "loss_code"]]
    assert best_measured(read_sweep(frame)) == at_end.mean(axis=1).idxmin()
    low = with_cell(frame, 1, "loss_web", 0.01).astype({"loss_web": float})
    with pytest.warns(UserWarning, match="end more than"):
        assert best_measured(read_sweep(low)) == at_end.mean(axis=1).idxmin()


@pytest.mark.parametrize("best", ["a", "b", "c"])
def test_the_best_run_is_found_wherever_it_stands(best):
    frame = wide_frame()
    there = (frame["run"] == best) & (frame["tokens"] == 4e9)
    lowered = frame.assign(loss_web=frame["loss_web"].where(~there, 0.1))
    assert best_measured(read_sweep(lowered.sample(frac=1, random_state=2))) == best


def test_runs_with_an_empty_loss_do_not_take_part():
    frame = wide_frame()
    frame.loc[(frame["run"] == "b") & (frame["tokens"] == 4e9), "loss_web"] = 0.1
    frame.loc[(frame["run"] == "b") & (frame["tokens"] == 4e9), "loss_code"] = np.nan
    assert best_measured(read_sweep(frame)) in ("a", "c")


def test_no_run_with_every_loss_is_an_error():
    frame = wide_frame()
    gone = frame["tokens"] == 4e9
    frame["loss_code"] = frame["loss_code"].where(~gone)
    with pytest.raises(ValueError, match=r"last common budget 4B tokens, so none can be called"):
        best_measured(read_sweep(pd.DataFrame(frame)))
