"""Fits that end on a bound or open are searched again, so that the best end is the one told."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax import Code
from bimix_jax.fitting.again import (
    Ended,
    all_starts,
    best_ends,
    compiled_best_ends,
    in_doubt,
    is_better,
)

SHARES = np.repeat([0.2, 0.3, 0.45, 0.6], 4)


def sweep_of(budgets, web, code):
    """Four mixtures of two domains at four budgets."""
    return bx.read_sweep(
        pd.DataFrame(
            {
                "run": np.repeat([f"m{i}" for i in range(4)], 4),
                "tokens": np.tile(budgets, 4) * 1e9,
                "r_web": SHARES, "r_code": 1 - SHARES, "loss_web": web, "loss_code": code,
            }
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def steep():
    """Losses over twenty decades, of which slow powers of the budget see the first one only."""
    budgets = np.geomspace(1e-5, 1, 4)
    late = np.tile(budgets, 4)
    return sweep_of(budgets, SHARES**-0.5 * (late**-4.0 + 1), (1 - SHARES) ** -0.3 * (late**-6 + 9))


@pytest.fixture(scope="module")
def bent():
    """Losses that rise where slow powers look, while a fast one explains the first budget."""
    losses = np.tile([1.038, 1.0, 1.005, 1.045], 4)
    return sweep_of(np.array([0.67, 0.76, 0.87, 1.0]), losses, 2 * losses)


@pytest.fixture(scope="module")
def fits(steep, bent):
    return bx.fit_many({"steep": steep, "bent": bent})


@pytest.mark.filterwarnings("ignore:.*curves end more than:bimix_jax.SweepWarning")
@pytest.mark.filterwarnings("ignore:The median loss is:bimix_jax.SweepWarning")
@pytest.mark.parametrize("one_by_one", [True, False])
def test_losses_over_decades_are_fitted(steep, fits, one_by_one):
    found = bx.fit(steep, bx.BiMix()) if one_by_one else fits["steep"]
    np.testing.assert_array_equal(found.code, Code.CONVERGED)
    np.testing.assert_allclose(found.coefficients.exponents, [[0.5, 4], [0.3, 6]], rtol=1e-6)
    assert np.all(found.sum_of_squares < 1e-12)


def test_the_judge_searches_as_a_fit_does(steep):
    split = bx.Split("last mixture", SHARES < 0.5, SHARES > 0.5)
    judged = bx.compare(steep, [bx.BiMix()], [split])
    assert np.all(judged.error[0, 0][split.test] < 1e-6)


@pytest.mark.parametrize("one_by_one", [True, False])
def test_an_amplitude_of_zero_is_not_the_end_where_a_fast_power_is_better(bent, fits, one_by_one):
    found = bx.fit(bent, bx.BiMix()) if one_by_one else fits["bent"]
    budget, loss = bent.budget / bent.budget.max(), bent.loss[:, 0]
    columns = np.stack([budget**-10.0, np.ones_like(budget)], axis=1) / loss[:, None]
    amplitudes, (least,), *_ = np.linalg.lstsq(columns, np.ones_like(loss))
    assert np.all(amplitudes > 0)
    assert least < 0.95 * np.sum((loss.mean() / loss - 1) ** 2)
    np.testing.assert_array_equal(found.code, Code.BOUNDARY)
    np.testing.assert_allclose(found.sum_of_squares, least, rtol=1e-6)
    np.testing.assert_allclose(found.coefficients.exponents[:, 1], 10)


def test_what_data_leave_open_stays_open(bent):
    once = bent.budget == bent.budget.max()
    found = bx.fit(bent.take(np.flatnonzero(once)))
    np.testing.assert_array_equal(found.code, Code.UNIDENTIFIED)
    assert found.table()["beta"].isna().all()


def test_further_searches_have_as_many_starts_and_lie_within_bounds():
    law = bx.BiMix()
    lower, upper = np.transpose(law.bounds(2))
    for starts in all_starts(law, (), 2):
        assert np.shape(starts) == np.shape(law.starts(2))
        assert np.all((lower <= starts) & (starts <= upper))
    assert len(all_starts(law, (), 2)) > 1
    assert len(all_starts(law, ("beta",), 2)) == 1
    assert len(all_starts(bx.LogLinear(), (), 2)) == 1


def test_a_poor_fit_is_in_doubt_though_it_converged():
    codes = np.array([Code.CONVERGED, Code.CONVERGED, Code.BOUNDARY])
    first = Ended(codes, np.array([1.0, 1e-3, 1e-3]), np.full(3, 10))
    np.testing.assert_array_equal(in_doubt(first), [True, False, True])
    lower = first._replace(objective=first.objective / 2)
    np.testing.assert_array_equal(is_better(first, lower), [True, False, True])


def test_a_compiled_search_ends_where_one_search_after_another_does():
    objective = np.array([[4.0, 1.0, 1e-4], [2.0, 3.0, 1e-5], [1e-3, 0.5, 0.0], [1e-5, 0.1, 0.0]])
    codes = np.where(objective < 1e-2, Code.CONVERGED, Code.BOUNDARY)
    table = Ended(*map(jnp.asarray, (codes, objective, np.full(codes.shape, 10))))
    law = SimpleNamespace(
        ties=lambda tied: (),
        starts=lambda domains: [[0.0]],
        further_starts=lambda domains: [[[1.0]], [[2.0]], [[3.0]]],
    )

    def search(starts):
        number = jnp.asarray(starts)[0, 0].astype(int)
        return jax.tree.map(lambda leaf: leaf[number], table)

    alone = best_ends(law, (), 2, search)
    starts = np.array(all_starts(law, (), 2))
    together = jax.jit(lambda starts: compiled_best_ends(search, starts))(starts)
    # The first is in doubt until its third search, the second to the end, the last never.
    np.testing.assert_allclose(together.objective, [1e-3, 0.1, 1e-4], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, together, alone)
