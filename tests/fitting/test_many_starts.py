"""Searches from many starts: the promising ones go on, and reach what all of them would reach."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax import FitOptions
from bimix_jax.fitting import _many_starts
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.coefficients import Code, Coefficients
from bimix_jax.fitting.program import refit, solve
from bimix_jax.fitting.searches import Drawn, Searches, Solved
from bimix_jax.fitting.task import FitTask


def test_the_lowest_starts_go_on_from_where_they_are():
    objective = np.random.default_rng(0).uniform(size=(20, 2, 3))
    objective[3] = np.nan
    calls = []

    def search(starts, tolerance):
        calls.append((len(starts), tolerance))
        number = starts[..., 0].astype(int)
        value = np.take_along_axis(objective, number % 100, axis=0)
        ends = SimpleNamespace(exponents=starts + 100)
        return SimpleNamespace(objective=value, coefficients=ends)

    starts = np.broadcast_to(np.arange(20.0)[:, None, None, None], (20, 2, 3, 1))
    left = _many_starts.promising(search, starts)
    assert [count for count, _ in calls] == [20, 8]
    assert left.shape == (4, 2, 3, 1)
    expected = np.argsort(np.where(np.isnan(objective), np.inf, objective), axis=0)[:4]
    np.testing.assert_array_equal(left[..., 0], expected + 200)
    more = np.tile(starts, (2, 1, 1, 1))
    assert _many_starts.promising(search, more).shape[0] == 3
    few = starts[:4]
    assert _many_starts.promising(search, few) is few


def test_the_additive_law_ends_as_low_as_from_all_its_starts():
    sweep = bx.read_sweep(bx.datasets.proxy_sweep())
    task = FitTask.of(sweep, bx.AdditiveLaw(), FitOptions())
    everything = Drawn.of_points(np.ones((1, len(sweep.budget))))
    starts = np.asarray(task.law.starts(len(sweep.domains)))
    each = [
        refit(task, everything, np.broadcast_to(start, (1, 7, len(start))), 0.0, 1e-7)
        for start in starts
    ]
    assert len(each) == 16
    lowest = np.min([end.objective for end in each], axis=0)
    found = solve(task).fit
    assert np.all(found.objective <= lowest * (1 + 1e-6))
    assert np.all(found.steps < np.sum([end.steps for end in each], axis=0))


def test_fits_that_ran_out_of_steps_are_searched_once_more():
    short, done = int(Code.MAX_STEPS), int(Code.CONVERGED)
    begun = solved([short, done, short], [2.0, 2.0, 2.0])
    seen = []

    def search(starts):
        seen.append(starts)
        return jax.tree.map(lambda leaf: leaf[None], solved([done] * 3, [1.0, 1.0, 3.0]))

    found = _many_starts.searched_further(begun, search)
    assert found.code.tolist() == [[done, done, short]]
    assert found.objective.tolist() == [[1.0, 2.0, 2.0]]
    assert found.fit.steps.tolist() == [[200, 100, 100]]
    np.testing.assert_array_equal(seen[0], begun.fit.coefficients.exponents[None])
    complete = solved([done] * 3, [2.0, 2.0, 2.0])
    assert _many_starts.searched_further(complete, search) is complete


def solved(codes, objectives):
    """One fit of three targets with these codes and objectives, after 100 steps."""
    alike = np.zeros((1, 3))
    exponents = np.random.default_rng(0).uniform(size=(1, 3, 2))
    fit = ArrayFit(
        coefficients=Coefficients(exponents, alike, alike, alike),
        code=np.array([codes]),
        objective=np.array([objectives]),
        steps=np.full((1, 3), 100),
        sum_of_squares=alike,
        points=alike,
        identified=alike,
        agreement=alike,
        shrinkage=alike,
    )
    return Solved(fit, alike)


@pytest.mark.parametrize("law", [bx.AdditiveLaw(), bx.WithWarmUp(bx.SubstitutionBiMix())])
def test_the_values_of_starts_are_those_of_their_first_step(law):
    sweep = bx.read_sweep(bx.datasets.proxy_sweep())
    task = FitTask.of(sweep, law, FitOptions())
    factor = np.random.default_rng(0).integers(0, 2, (2, len(sweep.budget))).astype(float)
    drawn, strength = Drawn.of_points(factor), np.array([1e-3, np.inf])
    starts = np.asarray(law.starts(len(sweep.domains)))
    each = np.repeat(task.starts(starts)[:, None], 2, axis=1)
    with jax.enable_x64(True):
        searches = Searches.of(task)
        values = searches.values(drawn, strength, each)
        ends = [searches(drawn, begin, strength, 1.0, False).fit for begin in each]
    assert all(end.steps.max() == 1 for end in ends)
    np.testing.assert_allclose(values, [end.objective for end in ends], rtol=1e-12)
