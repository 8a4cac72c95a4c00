"""Log losses summed by budget give what all points give, whatever the weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.fit import synthetic
from benchmarks.ill_conditioned import rows_of
from bimix_jax import BiMix
from bimix_jax.batching import _run as run
from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.batching._rows import MOST_LEVELS, SweepRows, buckets, shared_budgets
from bimix_jax.batching.rates import synthetic_rows
from bimix_jax.fitting.kernel._fit import fit_in_kernel
from bimix_jax.fitting.kernel._terms import Collapsed
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.residual import Points, full_value, summary
from bimix_jax.xla.compilation import jit
from tests.programs import fit_points

RUNS, LEVELS = 6, 5


def grid(seed, shared_mixtures=True):
    """Shares, budgets, losses and weights (points,) of runs at the same budgets, some missing."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.05, 0.5, (RUNS, 1 if shared_mixtures else LEVELS))
    share = np.broadcast_to(share, (RUNS, LEVELS))
    budget = np.broadcast_to(np.geomspace(1 / 30, 1, LEVELS), (RUNS, LEVELS))
    loss = 3 * share**-0.2 * (0.3 * budget**-0.6 + 0.5)
    loss = loss * np.exp(0.03 * rng.standard_normal(loss.shape))
    weight = rng.uniform(0.2, 2.0, loss.shape) * (rng.random(loss.shape) > 0.15)
    return [np.ravel(part) for part in (share, budget, loss, weight)]


def points_of(share, budget, loss, weight):
    return Points((np.log(share), np.log(budget)), loss, weight)


@jit
def squares(points, params):
    """Squares and summaries of all points, and of those that are summed by budget."""
    law, collapsed = BiMix(), Collapsed.of(points, jnp.log(points.loss), LEVELS)
    whole = full_value(law, points, "log", None, params)
    mean = full_value(law, collapsed.mean, "log", None, params)
    within = collapsed.within
    added = (within.curvature * (params[0] - within.centre) ** 2 + within.least) / 2
    said = collapsed.summary(law, params[:2], params[2:])
    expected = summary(law, points, "relative", params[:2], params[2:])
    return whole, mean + added, said, expected


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shared_mixtures", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_squares_are_those_of_all_points_at_any_coefficients(seed, shared_mixtures):
    points = points_of(*grid(seed, shared_mixtures))
    rng = np.random.default_rng(seed)
    for _ in range(5):
        whole, summed, said, expected = squares(points, rng.uniform(0.1, 2.0, 4))
        np.testing.assert_allclose(summed, whole, rtol=1e-12)
        np.testing.assert_allclose(said.square, 2 * whole, rtol=1e-12)
        np.testing.assert_allclose(said.error, expected.error, rtol=1e-12)
        assert said.points == expected.points


@functools.cache
def compiled_fits():
    def kernel(levels, share, budget, loss, weight):
        mixture = jnp.stack([share, 1 - share], axis=1)
        return fit_in_kernel(
            BiMix(), mixture, budget, loss, weight, own=0, budget_scale=1.0, residual="log",
            levels=levels,
        )  # fmt: skip

    return {levels: jit(functools.partial(kernel, levels)) for levels in (0, LEVELS)}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seed", range(8))
def test_fits_are_those_of_all_points(seed):
    share, budget, loss, weight = grid(seed, shared_mixtures=seed % 2 == 0)
    (found, error, settled), (whole, same, sure) = (
        compiled_fits()[levels](share, budget, loss, weight) for levels in (LEVELS, 0)
    )
    assert settled
    assert sure
    np.testing.assert_allclose(found.sum_of_squares, whole.sum_of_squares, rtol=1e-9)
    np.testing.assert_allclose(
        found.coefficients.exponents, whole.coefficients.exponents, rtol=1e-5
    )
    np.testing.assert_allclose(error, same, rtol=1e-6)
    assert found.points == whole.points == np.sum(weight > 0)


@pytest.mark.usefixtures("float64")
def test_the_optimum_is_the_plain_loops():
    share, budget, loss, _ = grid(0)
    found, _, settled = compiled_fits()[LEVELS](share, budget, loss, np.ones_like(loss))
    mixture = np.stack([share, 1 - share], axis=1)
    plain = fit_points(BiMix(), mixture, budget, loss[:, None], own=[0], residual="log")
    assert settled
    np.testing.assert_allclose(found.sum_of_squares, plain.sum_of_squares[0], rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_a_level_without_any_loss_takes_no_part():
    share, budget, loss, _ = grid(1)
    weight = np.where(budget == budget[2], 0.0, 1.0)
    there = weight > 0
    found, error, settled = compiled_fits()[LEVELS](share, budget, loss, weight)
    mixture = np.stack([share, 1 - share], axis=1)
    fewer = (mixture[there], budget[there], loss[there, None])
    plain = fit_points(BiMix(), *fewer, own=[0], residual="log")
    assert settled
    assert np.isfinite(error)
    np.testing.assert_allclose(found.sum_of_squares, plain.sum_of_squares[0], rtol=1e-9)


def rows_at(budgets):
    """Rows of one domain, with the budgets of every sweep."""
    every = np.concatenate(budgets)
    ones = np.ones((len(every), 1))
    return SweepRows(("a",), ("a",), np.array([len(b) for b in budgets]), ones, every, ones)


def period(budgets):
    """What `shared_budgets` says of one sweep, point by point."""
    again = [k for k in range(1, len(budgets)) if budgets[k] == budgets[0]]
    if not again or not 1 < again[0] <= MOST_LEVELS or len(budgets) % again[0]:
        return 0
    whole = all(b == budgets[k % again[0]] for k, b in enumerate(budgets))
    return again[0] if whole else 0


@pytest.mark.parametrize("alike", [True, False])
def test_shared_budgets_are_found_whatever_the_sweeps(alike):
    rng = np.random.default_rng(0)
    sweeps = []
    for _ in range(200):
        budgets = np.tile(rng.random(rng.integers(1, 30)), rng.integers(1, 9))
        if rng.random() < 0.3:
            budgets[rng.integers(len(budgets))] = rng.choice([0.5, np.nan])
        sweeps.append(budgets)
    if alike:
        sweeps = [sweeps[0]] * 9 + [sweeps[1]] * 9
    rows, order = rows_at(sweeps), rng.permutation(len(sweeps))
    found = shared_budgets(rows, order)
    np.testing.assert_array_equal(found, [period(sweeps[k]) for k in order])
    assert alike or 0 < np.mean(found > 0) < 1
    dealt = list(buckets(rows, np.arange(len(sweeps)), by_budget=True))
    together = np.concatenate([bucket.sweeps for bucket in dealt])
    assert sorted(together) == list(range(len(sweeps)))
    for bucket in dealt:
        assert {period(sweeps[k]) for k in bucket.sweeps} == {bucket.levels}
        assert bucket.levels == 0 or bucket.length % bucket.levels == 0
        assert bucket.length >= max(len(sweeps[k]) for k in bucket.sweeps)


def test_a_batch_of_both_kinds_gives_what_all_points_give(monkeypatch):
    rows = synthetic_rows(60, 40)
    budget = rows.budget.reshape(60, 40).copy()
    budget[::3, [7, 9]] = budget[::3, [9, 7]]
    loss = rows.loss.reshape(60, 40).copy()
    loss[::3, [7, 9]] = loss[::3, [9, 7]]
    mixed = dataclasses.replace(rows, budget=budget.ravel(), loss=loss.reshape(-1, 1))
    method, devices = BatchMethod(BiMix(), FitOptions("log")), tuple(jax.local_devices())
    kinds = {
        part.bucket.levels for part in run.parts_of(mixed, np.arange(60), method, devices, True)
    }
    assert kinds == {0, 8}
    found, errors = run.fit_rows(mixed, method, devices)
    monkeypatch.setattr(BatchMethod, "sums_by_budget", lambda self, domains: False)
    whole, same = run.fit_rows(mixed, method, devices)
    np.testing.assert_allclose(found.sum_of_squares, whole.sum_of_squares, rtol=1e-9)
    np.testing.assert_array_equal(found.code, whole.code)
    np.testing.assert_array_equal(found.points, whole.points)
    np.testing.assert_allclose(errors, same, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_narrow_valleys_and_bounds_end_where_all_points_do(monkeypatch, seed):
    rows = rows_of(synthetic(5_000, (0.05, 1.0), 10.0, seed))
    method, devices = BatchMethod(BiMix(), FitOptions("log")), tuple(jax.local_devices())
    found, _ = run.fit_rows(rows, method, devices)
    monkeypatch.setattr(BatchMethod, "sums_by_budget", lambda self, domains: False)
    whole, _ = run.fit_rows(rows, method, devices)
    np.testing.assert_allclose(found.sum_of_squares, whole.sum_of_squares, rtol=1e-5)


def test_only_log_losses_of_separable_laws_are_summed():
    assert BatchMethod(BiMix(), FitOptions("log")).sums_by_budget(3)
    assert not BatchMethod(BiMix(), FitOptions("relative")).sums_by_budget(3)
    assert not BatchMethod(BiMix(), FitOptions("log", huber=0.1)).sums_by_budget(3)
    assert not BatchMethod(BiMix(), FitOptions("log", tied=("beta",))).sums_by_budget(3)

    class OtherFeatures(BiMix):
        def features(self, mixture, own, budget):
            return super().features(mixture, own, budget)

    assert BiMix().is_separable
    assert not OtherFeatures().is_separable
