"""Which run next: the noise, the posterior, the greedy picks and the verb."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.cli.show import plain
from bimix_jax.design._choice import (
    decide,
    mean_loss,
    mixtures_within,
    pick_runs,
    regret_curvature,
)
from bimix_jax.design._plan import Noise, estimate_noise, information, plan_runs
from bimix_jax.design.propose import propose_runs
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.mixture.feasible import simplex
from bimix_jax.mixture.proportions import MixtureArguments
from bimix_jax.xla.compilation import jit
from tests.conftest import synthetic_points
from tests.fits import DOMAINS, frame, web_failed
from tests.uncertainty.test_held_out import bent

PICKS = 3
"""Another number of picks, size of the pool or number of points is another program."""


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(frame(noise=0.01))


@pytest.fixture(scope="module")
def fitted(sweep):
    return bx.fit(sweep, bx.BiMix())


@pytest.fixture(scope="module")
def proposal(fitted, sweep):
    return bx.propose_runs(fitted, sweep, PICKS)


def test_a_fit_whose_points_count_by_their_budget_is_refused(sweep):
    with pytest.raises(ValueError, match="give a fit with budget_power=0"):
        bx.propose_runs(bx.fit(sweep, bx.BiMix(), budget_power=2.0), sweep, 3)


# ---- noise and information -----------------------------------------------------------------------


@pytest.mark.parametrize(("within", "between"), [(0.01, 0.03), (0.02, 0.0)])
def test_noise_is_found_within_runs_and_between_them(within, between, float64):
    rng = np.random.default_rng(0)
    targets, runs, points = 60, 15, 8
    run = np.repeat(np.arange(runs), points)
    slopes = rng.standard_normal((targets, runs, 1, 4)) + 0.3 * rng.standard_normal(
        (targets, runs, points, 4)
    )
    slopes = slopes.reshape(targets, -1, 4)
    noise = within * rng.standard_normal((targets, runs * points))
    noise += between * rng.standard_normal((targets, runs))[:, run]
    left = [
        e - J @ np.linalg.lstsq(J, e, rcond=None)[0] for J, e in zip(slopes, noise, strict=True)
    ]
    used = np.ones((targets, runs * points), bool)
    found = estimate_noise(
        jnp.asarray(slopes), jnp.asarray(left), used, run, runs, jnp.zeros((targets, 4))
    )
    assert np.sqrt(np.mean(found.within)) == pytest.approx(within, rel=0.05)
    assert np.sqrt(np.mean(found.between)) == pytest.approx(between, rel=0.1, abs=0.003)


def test_information_is_that_of_correlated_runs(float64):
    rng = np.random.default_rng(0)
    run = np.array([0, 0, 0, 1, 1, 2])
    used = np.array([[1, 1, 0, 1, 1, 1]], bool)
    slopes = rng.standard_normal((1, 6, 2)) * used[:, :, None]
    noise = Noise(jnp.array([0.04]), jnp.array([0.25]))
    found = information(jnp.asarray(slopes), used, run, 3, noise)[0]
    rows = used[0]
    covariance = 0.04 * np.eye(6) + 0.25 * (run[:, None] == run)
    inside = np.ix_(rows, rows)
    expected = slopes[0][rows].T @ np.linalg.solve(covariance[inside], slopes[0][rows])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# ---- regret --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth():
    """Coefficients of a world of BiMix, and draws about them."""
    exact = synthetic_points()[3]
    rng = np.random.default_rng(1)

    def around(scale, count):
        shapes = [(count, *value.shape) for value in exact.values()]
        moved = [1 + scale * rng.standard_normal(shape) for shape in shapes]
        exponents, amplitudes = (v * m for v, m in zip(exact.values(), moved, strict=True))
        own = np.broadcast_to(np.eye(3), (count, 3, 3))
        return Coefficients(exponents, amplitudes, own, np.full((count, 3), 6.4e9))

    return jax.tree.map(lambda leaf: leaf[0], around(0.0, 1)), around(0.03, 200)


def test_half_the_quadratic_form_is_the_regret(truth, float64):
    exact, draws = jax.tree.map(jnp.asarray, truth)
    decision = MixtureArguments(exact, jnp.asarray(6.4e9), jnp.ones(3), simplex(3))
    curvature, mixed = jit(regret_curvature, static_argnums=0)(bx.BiMix(), decision, draws)
    best = jit(decide, static_argnums=0)(bx.BiMix(), decision)

    def loss(mixture):
        return mean_loss(bx.BiMix(), decision, mixture)

    flat = np.eye(3) - 1 / 3
    inverse = np.linalg.pinv(flat @ np.asarray(jit(jax.hessian(loss))(best)) @ flat)
    np.testing.assert_allclose(curvature, inverse, rtol=0.05, atol=0.01)

    def change(leaf, exact):
        return np.asarray(leaf - exact)

    moved = np.concatenate(
        [change(draws.exponents, exact.exponents), change(draws.amplitudes, exact.amplitudes)], -1
    )
    slope = np.einsum("tmp,ktp->km", mixed, moved)
    predicted = np.einsum("km,mn,kn->k", slope, curvature, slope) / 2

    @jit
    @jax.vmap
    def regret(c):
        drawn = decision._replace(coefficients=c)
        own = decide(bx.BiMix(), drawn)
        first, second = (mean_loss(bx.BiMix(), drawn, r) for r in (best, own))
        return first - second

    found = np.asarray(regret(draws))
    assert np.mean(predicted) == pytest.approx(np.mean(found), rel=0.05)
    assert np.corrcoef(predicted, found)[0, 1] > 0.98


# ---- picks ---------------------------------------------------------------------------------------


def forms(rng, *shape):
    """Random positive definite matrices."""
    half = rng.standard_normal((*shape, shape[-1]))
    return half @ np.swapaxes(half, -1, -2) + 0.1 * np.eye(shape[-1])


def left_after(cost, precision, gains, chosen):
    total = precision + sum((gains[i] for i in chosen), np.zeros_like(precision))
    return sum(np.trace(m @ np.linalg.inv(p)) for m, p in zip(cost, total, strict=True)) / 2


def test_each_pick_is_the_best_by_brute_force(float64):
    rng = np.random.default_rng(0)
    cost, precision, gains = forms(rng, 2, 3), forms(rng, 2, 3), forms(rng, 6, 2, 3)
    allowed = np.array([True, True, False, True, True, True])
    found = pick_runs(*map(jnp.asarray, (cost, precision, gains, allowed)), 3, jax.random.key(0))
    chosen = []
    for pick, regret in zip(found.order, found.regret[1:], strict=True):
        rest = [i for i in range(6) if allowed[i] and i not in chosen]
        left = {i: left_after(cost, precision, gains, [*chosen, i]) for i in rest}
        assert int(pick) == min(left, key=left.get)
        assert float(regret) == pytest.approx(left[int(pick)])
        chosen.append(int(pick))
    assert float(found.regret[0]) == pytest.approx(left_after(cost, precision, gains, []))
    sets = [left_after(cost, precision, gains, [i]) for i in range(6) if allowed[i]]
    assert min(sets) <= float(found.random[0]) <= max(sets)


def test_drawn_mixtures_keep_bounds_and_the_sum():
    lower, upper = np.array([0.1, 0.0, 0.2, 0.05]), np.array([0.3, 0.6, 0.5, 0.05])
    drawn = mixtures_within(lower, upper, 300, seed=3)
    np.testing.assert_allclose(drawn.sum(axis=1), 1, atol=1e-12)
    assert np.all((drawn >= lower - 1e-12) & (drawn <= upper + 1e-12))
    np.testing.assert_array_equal(drawn, mixtures_within(lower, upper, 300, seed=3))
    with pytest.raises(ValueError, match=r"lower ones sum to 1\.2"):
        mixtures_within(np.full(3, 0.4), np.ones(3), 5)
    with pytest.raises(ValueError, match="expected 0 ≤ lower ≤ upper"):
        mixtures_within(np.array([0.5, 0.1]), np.array([0.4, 0.9]), 5)


# ---- the verb ------------------------------------------------------------------------------------


def test_proposed_runs_differ_lie_within_the_sweep_and_beat_random_ones(fitted, proposal):
    mixtures = proposal.mixtures
    assert mixtures.index.tolist() == ["next1", "next2", "next3"]
    np.testing.assert_allclose(mixtures.sum(axis=1), 1, atol=1e-12)
    low, high = fitted.observed_proportions
    assert np.all((mixtures >= low - 1e-12) & (mixtures <= high + 1e-12))
    assert not mixtures.duplicated().any()
    assert (mixtures.max() - mixtures.min()).max() > 0.1
    left = [proposal.regret_now, *proposal.regret_left]
    assert np.all(np.diff(left) < 0)
    assert np.all(proposal.regret_left < proposal.regret_random)
    assert plain(proposal.document())["mixtures"]["next1"].keys() == set(DOMAINS)
    json.dumps(plain(proposal.document()))


def test_measuring_what_is_proposed_leaves_what_was_expected(fitted, sweep, proposal):
    """The posterior of a sweep with the proposed runs, measured as predicted, is the fantasy."""
    table = frame(noise=0.01)
    budgets = np.sort(table["tokens"].unique())
    rows = []
    for name, mixture in proposal.mixtures.iterrows():
        losses = fitted.predict_points(np.tile(mixture, (len(budgets), 1)), budgets)
        for budget, loss in zip(budgets, losses, strict=True):
            row = {"run": name, "tokens": budget}
            row |= {f"r_{d}": mixture[d] for d in DOMAINS}
            rows.append(row | {f"loss_{d}": v for d, v in zip(DOMAINS, loss, strict=True)})
    longer = bx.read_sweep(pd.concat([table, pd.DataFrame(rows)]))
    after = bx.propose_runs(bx.fit(longer, bx.BiMix()), longer, 1)
    assert after.regret_now < proposal.regret_now
    # Runs without noise also lower the noise that is found, so it is a little less than expected.
    assert after.regret_now == pytest.approx(proposal.regret_left.iloc[-1], rel=0.3)


def test_a_pool_keeps_its_names_and_nothing_compiles_twice(fitted, sweep):
    rng = np.random.default_rng(0)
    pool = pd.DataFrame(rng.dirichlet(np.ones(3), 600), columns=["books", "web", "code"])
    pool.index = [f"mix{i}" for i in range(600)]
    found = bx.propose_runs(fitted, sweep, PICKS, 3e9, pool)
    chosen = pool.loc[found.mixtures.index, list(DOMAINS)]
    pd.testing.assert_frame_equal(found.mixtures, chosen)
    compiled = plan_runs.compilations()
    fewer = bx.propose_runs(fitted, sweep, PICKS, 4e9, pool[:520], weights={"web": 1.0})
    assert plan_runs.compilations() == compiled
    assert set(fewer.mixtures.index) <= set(pool.index[:520])


def test_points_of_weight_0_count_as_not_measured(sweep, fitted):
    half = np.isin(sweep.run, sweep.runs[:6]).astype(float)
    few = propose_runs(bx.fit(sweep, bx.BiMix(), weight=half), sweep, PICKS, weight=half)
    every = propose_runs(fitted, sweep, PICKS)
    assert few.regret_now > 1.2 * every.regret_now
    thrice = np.where(half > 0, 3.0, 1.0)
    again = propose_runs(fitted, sweep, PICKS, weight=thrice)
    assert again.regret_now == every.regret_now


def test_tied_exponents_share_what_is_learned(sweep):
    tied = bx.fit(sweep, bx.BiMix(), tied=("beta",))
    found = bx.propose_runs(tied, sweep, PICKS)
    assert np.all(np.diff([found.regret_now, *found.regret_left]) < 0)


def test_where_every_draw_recommends_the_same_there_is_nothing_to_learn(sweep):
    fitted = bx.fit(sweep, bx.TransferBiMix(), shrinkage=1e-6)
    found = bx.propose_runs(fitted, sweep, PICKS, weights={"web": 1.0})
    assert found.regret_now < 1e-9
    assert any("no further run would change the decision" in note for note in found.notes)
    both = bx.propose_runs(fitted, sweep, PICKS)
    assert both.regret_now > 1e-6
    assert np.all(both.regret_left < both.regret_random)
    assert not any("would change the decision" in note for note in both.notes)


def test_the_decision_keeps_its_constraints_and_the_runs_need_not(fitted, sweep, proposal):
    """A mixture that is fixed is decided whatever is learned; a bounded one has less to learn."""
    free = bx.propose_runs(fitted, sweep, PICKS, constraints=bx.Constraints())
    assert free.regret_now == proposal.regret_now
    fixed = bx.Constraints(fixed=dict(zip(DOMAINS, (0.5, 0.3, 0.2), strict=True)))
    assert bx.propose_runs(fitted, sweep, PICKS, constraints=fixed).regret_now < 1e-9
    some = bx.propose_runs(fitted, sweep, PICKS, constraints=bx.Constraints(upper={"web": 0.1}))
    assert 0 < some.regret_now < proposal.regret_now
    assert sweep.mixtures["web"].max() > some.mixtures["web"].iloc[0] > 0.1
    crowded = bx.Constraints(lower=dict.fromkeys(DOMAINS, 0.5))
    with pytest.raises(bx.InfeasibleError, match="floors sum to"):
        bx.propose_runs(fitted, sweep, 1, constraints=crowded)
    with pytest.raises(TypeError, match=r"argument 'constraint'.*Did you mean constraints\?"):
        bx.propose_runs(fitted, sweep, 1, constraint=fixed)


def test_errors_of_the_law_count_where_resamples_show_them():
    """The errors of a law that misses 2 % cost more than the regret that further runs lower."""
    wrong = bent(1, noise=0.002)
    fitted = bx.fit(wrong, bx.BiMix())
    drawn = bx.bootstrap(wrong, fitted, n=60)
    plain = bx.propose_runs(fitted, wrong, PICKS)
    found = bx.propose_runs(fitted, wrong, PICKS, bootstrap=drawn)
    assert np.isnan(plain.law_regret)
    assert found.law_regret > 5 * found.regret_now
    assert any("errors of the law cost about" in note for note in found.notes)
    spread, within = drawn.spread(found.budget), found.noise["within"] ** 2
    (left_out,) = spread.variance(np.zeros((1, 3)))
    between = np.maximum(plain.noise["between"] ** 2, left_out - within)
    np.testing.assert_allclose(found.noise["between"] ** 2, between, rtol=1e-6)
    assert (found.noise["between"] > plain.noise["between"]).any()
    # Each step of the picks is lowered by the same slope.
    ratio = found.regret_left / found.regret_now
    assert np.all((ratio > 0) & (ratio < 1))
    with pytest.raises(ValueError, match="bootstrap: of BiMix on web, code, books; expected Log"):
        bx.propose_runs(bx.fit(wrong, bx.LogLinear()), wrong, 1, bootstrap=drawn)


def test_targets_that_failed_do_not_spoil_the_rest():
    broken = bx.read_sweep(web_failed(frame(noise=0.01)))
    found = bx.propose_runs(bx.fit(broken, bx.BiMix()), broken, PICKS, bounds={"web": (0.1, 0.6)})
    assert np.isfinite(found.regret_left.iloc[0])
    assert any("Not counted, as their fit failed: web" in note for note in found.notes)


def test_what_cannot_be_proposed_is_refused(fitted, sweep):
    with pytest.raises(ValueError, match="n is 0; expected 1 to 1024"):
        bx.propose_runs(fitted, sweep, 0)
    with pytest.raises(ValueError, match="n is 13; expected 1 to 12"):
        bx.propose_runs(fitted, sweep, 13, pool=sweep.mixtures)
    with pytest.raises(ValueError, match="not the one that was fitted"):
        bx.propose_runs(fitted, sweep.take(sweep.budget > 1e9), 1)
    with pytest.raises(ValueError, match="bounds: mail is unknown"):
        bx.propose_runs(fitted, sweep, 1, bounds={"mail": (0.0, 1.0)})
    with pytest.raises(ValueError, match="without a pool"):
        bx.propose_runs(fitted, sweep, 1, pool=sweep.mixtures, bounds={"web": (0.0, 1.0)})
    with pytest.raises(ValueError, match="sweep domains: no value for"):
        bx.propose_runs(fitted, bx.read_sweep(bx.datasets.proxy_sweep()), 1)


def test_the_picture_names_every_run(proposal):
    figure = bx.plots.plot_proposal(proposal)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["next1", "next2", "next3"]
