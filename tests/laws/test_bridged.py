"""Bridges from small to large models, against maps fitted by SciPy and worlds where they hold."""

import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from bimix_jax.laws import LAWS, Bridged
from bimix_jax.laws.bridged import STEEPEST
from bimix_jax.mixture._near import near_mixture
from bimix_jax.xla.compilation import jit
from tests.fits import DOMAINS, frame

LEVEL, SLOPE = np.array([0.1, 0.2, 0.3]), np.array([0.8, 0.9, 0.7])


@pytest.fixture(scope="module")
def small():
    return bx.fit(bx.read_sweep(frame(noise=0.003)), "BiMix")


def large_runs(small, runs=6, ratio=1.0, noise=0.0, seed=7, further=1.0):
    """A table of large runs, whose losses are a map of those of the small fit at ratio·budget."""
    table = frame(seed=seed)
    rows = table["run"] < f"run{runs:02}"
    table = table[rows].assign(tokens=further * table["tokens"][rows])
    shares = table[[f"r_{domain}" for domain in DOMAINS]].to_numpy()
    losses = np.exp(LEVEL + SLOPE * np.log(small.predict_points(shares, ratio * table["tokens"])))
    losses *= np.exp(noise * np.random.default_rng(seed).standard_normal(losses.shape))
    return table.assign(**{f"loss_{d}": losses[:, i] for i, d in enumerate(DOMAINS)})


@pytest.fixture(scope="module")
def large(small):
    return bx.read_sweep(large_runs(small, noise=0.005))


@pytest.fixture(scope="module")
def bridged(small, large):
    return bx.bridge(small, large)


@pytest.mark.parametrize("ratio", [1.0, 0.125])
def test_where_the_map_holds_it_is_found_with_its_ratio(small, ratio):
    # The largest budgets coincide at an eighth of the budget.
    large = bx.read_sweep(large_runs(small, ratio=ratio, further=8.0))
    found = bx.bridge(small, large, shrinkage=0.0)
    assert found.law.ratio == pytest.approx(ratio)
    table = found.table()
    np.testing.assert_allclose(table["a"], LEVEL, atol=1e-6)
    np.testing.assert_allclose(table["b"], SLOPE, atol=1e-6)
    np.testing.assert_allclose(
        found.predict_points(large.mixture, large.budget), large.loss, rtol=1e-8
    )
    assert any(("0.125 ×" if ratio < 1 else "at the same budget") in n for n in found.notes)


def test_a_map_is_that_of_scipy_at_the_strength_that_was_chosen(small, large, bridged):
    logs = np.log(small.predict_points(large.mixture, large.budget))
    strength = bridged.shrinkage[0]
    assert 0 < strength < np.inf

    def rest(x, logs, loss):
        pull = np.sqrt(strength * len(loss)) * (x[1] - 1)
        return np.append(np.exp(x[0] + x[1] * logs) / loss - 1, pull)

    for i, row in enumerate(bridged.table().itertuples()):
        best = least_squares(rest, [0.0, 1.0], args=(logs[:, i], large.loss[:, i]), xtol=1e-14)
        np.testing.assert_allclose([row.a, row.b], best.x, atol=1e-6)


def test_few_large_runs_keep_the_slope_at_1(small):
    two = bx.bridge(small, bx.read_sweep(large_runs(small, runs=2)))
    assert (two.table()["b"] == 1).all()
    assert any("no slopes b that predict better than 1" in note for note in two.notes)


def test_names_decide_and_not_their_order_or_spelling(small, large, bridged):
    table = large_runs(small, noise=0.005)
    mixed = table[table.columns[::-1]].rename(columns={"r_web": "r_Web", "loss_web": "loss_Web"})
    more = mixed.assign(loss_exam=2.0)
    found = bx.bridge(small, bx.read_sweep(more, budget="tokens", run="run"))
    assert set(found.targets) == {"Web", "code", "books"}
    assert any("cannot express them: exam" in note for note in found.notes)
    renamed = found.predict(large.mixtures.rename(columns={"web": "Web"}))
    expected = bridged.predict(large.mixtures).rename(columns={"web": "Web"})
    pd.testing.assert_frame_equal(renamed[list(expected)], expected, rtol=1e-9)


def test_a_fit_knows_the_small_mixtures_too(small, large, bridged):
    both = np.concatenate([small.observed_mixtures, large.mixture])
    np.testing.assert_array_equal(bridged.observed_proportions[1], both.max(axis=0))
    assert bridged.notes_on_mixtures(small.observed_mixtures) == ()
    assert bridged.observed_budgets[1] == large.largest_budget


def test_a_proven_optimum_is_that_of_a_search(small, large, bridged):
    best = bx.optimize_mixture(bridged)
    assert best.proven
    assert abs(best.gap) < 1e-8
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 4000)
    losses = bridged.predict_points(grid, large.largest_budget).mean(axis=1)
    assert best.objective <= losses.min() < best.objective * 1.001
    # Without the power of the own share the general search has to find the same.
    general = bx.bridge(bx.fit(bx.read_sweep(frame(noise=0.003)), "TransferBiMix"), large)
    other = bx.optimize_mixture(general)
    assert other.proven
    np.testing.assert_allclose(other.mixture, best.mixture, atol=5e-3)


def test_an_optimum_is_not_proven_where_the_small_log_loss_need_not_be_convex(large):
    few = bx.fit(bx.read_sweep(frame(noise=0.003)), "AdditiveLaw")
    best = bx.optimize_mixture(bx.bridge(few, large))
    assert not best.proven
    assert any("the optimum may be a local one" in note for note in best.notes)


CONVEX = [law() for law in LAWS.values() if law.log_convex]


@pytest.mark.parametrize("law", CONVEX, ids=lambda law: law.label)
def test_log_losses_of_the_laws_that_say_so_are_convex(law):
    lower, upper = np.asarray(law.bounds(3), float).clip(-2, 2).T
    budget = jnp.array(0.5)

    @jit
    def log_loss(exponents, amplitudes, mixture):
        columns = law.basis(exponents, law.features(mixture, jnp.array([1.0, 0, 0]), budget))
        return jnp.log(law.total(amplitudes, columns))

    @given(st.integers(0, 2**32 - 1))
    def holds(seed):
        rng = np.random.default_rng(seed)
        at = rng.uniform(lower, upper), rng.exponential(size=len(law.amplitude_names))
        one, other = 1e-3 + rng.dirichlet(np.ones(3), 2)
        middle, *ends = (log_loss(*at, x) for x in ((one + other) / 2, one, other))
        assert middle <= sum(ends) / 2 + 1e-5

    holds()


def test_every_convex_law_of_the_package_has_a_convex_logarithm():
    # Otherwise a bridge of it would lose its proof for no reason.
    assert all(law.log_convex == law.convex for law in LAWS.values())
    mean = bx.Stacked((bx.BiMix(), bx.TransferBiMix()), scale=None)
    assert mean.log_convex
    assert not bx.Stacked((bx.BiMix(), bx.TransferBiMix())).log_convex
    assert bx.WithWarmUp(bx.BiMix()).log_convex
    assert not bx.WithRepetition(bx.BiMix(), {"web": 1e9}).log_convex


def test_derivatives_by_the_mixture_agree_with_differences(bridged):
    mixture, budget, step = np.array([0.5, 0.3, 0.2]), bridged.observed_budgets[1], 1e-6

    def near(shares):
        return near_mixture(bridged.law, bridged.coefficients, budget, shares, np.ones(3))

    pairs = [(near(mixture + move), near(mixture - move)) for move in step * np.eye(3)]
    slopes = np.stack([(a.losses - b.losses) / 2 / step for a, b in pairs], axis=1)
    curvature = np.stack([(a.slopes - b.slopes).sum(axis=0) / 2 / step for a, b in pairs])
    found = near(mixture)
    np.testing.assert_allclose(found.slopes, slopes, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.curvature, curvature, rtol=1e-5, atol=1e-6)


def test_a_saved_bridge_is_the_same_and_bridges_on(tmp_path, small, large, bridged):
    bridged.save(tmp_path / "fit.json")
    loaded = bx.load_fit(tmp_path / "fit.json")
    assert loaded.law == bridged.law
    for one, other in zip(loaded.coefficients, bridged.coefficients, strict=True):
        np.testing.assert_array_equal(one, other)
    # To a third size whose losses are those of the second.
    again = bx.bridge(loaded, large)
    np.testing.assert_allclose(again.table()["b"], 1.0, atol=2e-3)
    assert again.label == "Bridged(Bridged(BiMix))"


def test_intervals_rest_on_maps_without_a_large_run(small, large, bridged):
    drawn = bx.bootstrap(large, bridged, n=20)
    strength = float(bridged.shrinkage[0])
    held_out = drawn.held_out_rows
    inside = held_out.take(held_out.within)
    (first, *_) = np.unique(inside.unit)
    rows = inside.take(inside.unit == first)
    gone = (large.mixture[:, None] == rows.mixture).all(axis=2).any(axis=1)
    without = bx.bridge(small, large.take(~gone), shrinkage=strength)
    np.testing.assert_allclose(
        rows.predicted, without.predict_points(rows.mixture, rows.budget), rtol=1e-5
    )
    # Six mixtures are too few for an interval, and what is missing is said.
    assert drawn.predict(large.mixtures)["low"].isna().all()
    assert any("8 are needed, and there are 6. Measure 2 more" in note for note in drawn.notes)


def test_intervals_hold_for_new_large_runs(small):
    many = bx.read_sweep(large_runs(small, runs=12, noise=0.01))
    drawn = bx.bootstrap(many, bx.bridge(small, many), n=60)
    new = bx.read_sweep(large_runs(small, runs=12, noise=0.01, seed=8))
    half, _ = drawn.half_widths(new.mixture, new.budget, 0.9)
    error = np.log(new.loss / drawn.fitted.predict_points(new.mixture, new.budget))
    assert 0.8 < np.mean(np.abs(error) <= half) < 0.99
    assert half.max() < 0.05


def test_large_runs_are_proposed_within_the_range_of_the_small_ones(large, bridged):
    proposed = bx.propose_runs(bridged, large, 2, seed=0)
    assert (proposed.mixtures.to_numpy() <= bridged.observed_proportions[1] + 1e-9).all()
    assert proposed.regret_left.iloc[-1] <= proposed.regret_now


def test_a_small_fit_with_sizes_is_asked_at_the_large_one(small):
    both = bx.stack_sizes({size: bx.read_sweep(frame(noise=0.003)) for size in ("10M", "20M")})
    sized = bx.fit(both, "WithModelSize(BiMix)")
    table = large_runs(small)
    stated = bx.read_sweep(table, metadata={"model_size": 1e9})
    found = bx.bridge(sized, stated)
    assert found.law.size == 1e9
    np.testing.assert_allclose(
        found.predict_points(stated.mixture, stated.budget), stated.loss, rtol=1e-2
    )
    with pytest.raises(ValueError, match="predicts for one model size; say which"):
        bx.bridge(sized, bx.read_sweep(table))


def at_last(table):
    return table[table["tokens"] == table["tokens"].max()]


def test_a_single_budget_is_mapped_to_a_single_one(small):
    one = bx.read_sweep(at_last(frame(noise=0.003)))
    alone, table = bx.fit(one, "BiMix"), large_runs(small, further=20.0)
    found = bx.bridge(alone, bx.read_sweep(at_last(table)))
    assert found.law.ratio == pytest.approx(1 / 20)
    with pytest.raises(ValueError, match="the small fit has a single budget"):
        bx.bridge(alone, bx.read_sweep(table))
    # One budget of the large runs cannot decide; near those of the small runs, it is the same.
    near = bx.bridge(small, bx.read_sweep(at_last(large_runs(small, further=1.5))))
    far = bx.bridge(small, bx.read_sweep(at_last(table)))
    assert (near.law.ratio, far.law.ratio) == (1.0, pytest.approx(1 / 20))


def of_table(small, table, **options):
    sized = {"model_size": "model_size"} if "model_size" in table else {}
    return bx.bridge(small, bx.read_sweep(table, **sized), **options)


def only_exam(table):
    return table.drop(columns=[f"loss_{d}" for d in DOMAINS]).assign(loss_exam=2.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s, t: of_table(s, t.rename(columns={"r_web": "r_new"})), "domains of the small"),
        (lambda s, t: of_table(s, only_exam(t)), "of the small fit, and none of exam is among"),
        (lambda s, t: of_table(s, t, targets=["exam"]), "targets names exam"),
        (lambda s, t: of_table(s, t, budget_ratio=-1.0), "ratio is -1.0"),
        (lambda s, t: of_table(s, t.assign(model_size=[1e8, 2e8] * 24)), "several model sizes"),
        (lambda s, t: bx.fit_many([bx.read_sweep(t)], Bridged.of(s)), "call bx.bridge for each"),
        (lambda s, t: bx.WithWarmUp(Bridged.of(s)), "around the law of the small fit"),
        (lambda s, t: bx.law_named("Bridged(small.json)"), "needs the file of a fit"),
    ],
)
def test_what_cannot_be_bridged_is_refused(small, make, words):
    with pytest.raises(ValueError, match=words):
        make(small, large_runs(small))


def test_commands_take_a_bridge_as_a_law(tmp_path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    small.save("small.json")
    large_runs(small, runs=9, noise=0.005).to_csv("large.csv", index=False)
    law = ["--law", "Bridged(small.json)"]

    def call(*arguments):
        shown = CliRunner().invoke(app, list(map(str, arguments)))
        assert shown.exit_code == 0, shown.output
        return shown.output

    assert "Bridged(BiMix)" in call("fit", "large.csv", *law, "-o", "fit.json")
    found = bx.load_fit("fit.json")
    assert found.law.base == bx.BiMix()
    large_runs(small, noise=0.005).to_csv("few.csv", index=False)
    proposed = call("propose", "few.csv", *law, "-n", 1, "--resamples", 8)
    assert "need 2 more mixtures" in proposed
    # The map has few coefficients, and the small fit none: what they miss must count beside them.
    assert "errors of the law cost about" in proposed
    assert "Bridged(BiMix)" in call("compare", "large.csv", *law, "--split", "mixtures")
    call("decide", "large.csv", *law, "--resamples", 8, "--propose", 0, "-o", "page")
    said = json.loads((tmp_path / "page" / "decision.json").read_text())
    assert "Bridged(BiMix)" in json.dumps(said)
    assert found.table()["b"].between(0, STEEPEST).all()
