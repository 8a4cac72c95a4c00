"""Scores through losses, against links fitted by SciPy and worlds where they hold."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.special import expit
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from bimix_jax.fitting._links import RIDGE, fitted_links
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.task import FitTask
from bimix_jax.judging._searches import predict_splits
from bimix_jax.judging.linked import LINKED
from tests.fits import DOMAINS, frame

LAW = bx.ThroughLosses(bx.BiMix())
TESTS = ["quiz", "exam"]
LOSSES = [f"loss_{d}" for d in DOMAINS]
ALPHA = np.array([0.1, 0.15, 0.08])
SLOPES = np.array([[2.0, 0.0, 0.0], [0.0, 1.5, 2.5]])
CHANCE = np.array([0.25, 0.0])
EXAMPLES = 1000
DESCRIBED = {
    name: {"unit": "fraction", "chance": chance, "examples": EXAMPLES}
    for name, chance in zip(TESTS, CHANCE, strict=True)
}


LEVEL = SLOPES @ np.full(3, 2.6)


def scores_of(losses):
    """Scores (points, tests) at losses (points, domains)."""
    return CHANCE + (1 - CHANCE) * expit(LEVEL - losses @ SLOPES.T)


def table(seed=0, examples=EXAMPLES):
    """Losses of a world where BiMix is true, and scores that follow them; exact for no examples."""
    made, rng = frame(seed=seed), np.random.default_rng(seed)
    shares = made[[f"r_{d}" for d in DOMAINS]].to_numpy()
    losses = shares**-ALPHA * (1.5 + (made["tokens"].to_numpy()[:, None] / 1e9) ** -0.3)
    scores = scores_of(losses)
    if examples:
        scores = rng.binomial(examples, scores) / examples
        losses = losses * np.exp(0.002 * rng.standard_normal(losses.shape))
    made[LOSSES] = losses
    return made.assign(**{f"score_{name}": scores[:, i] for i, name in enumerate(TESTS)})


def read(made, **further):
    return bx.read_sweep(made, metadata={"targets": DESCRIBED | further})


@pytest.fixture(scope="module")
def sweep():
    return read(table())


@pytest.fixture(scope="module")
def fitted(sweep):
    return bx.fit(sweep, LAW)


def test_a_link_is_that_of_scipy_in_the_losses_that_count(sweep, fitted):
    assert fitted.label == "ThroughLosses(BiMix)"
    rows = fitted.table()
    for i, name in enumerate(TESTS):
        named = [f"w({d})" for d, slope in zip(DOMAINS, SLOPES[i], strict=True) if slope]
        weights = rows.loc[name, rows.columns.str.startswith("w(")].dropna()
        assert set(named) <= set(weights.index)
        losses = sweep.to_frame()[[f"loss_{w[2:-1]}" for w in weights.index]].to_numpy()
        score = sweep.to_frame()[f"score_{name}"].to_numpy()
        distance = (1 - score) / (1 - CHANCE[i])
        share = (EXAMPLES * score + 1) / (EXAMPLES + 2)
        root = 1 / np.sqrt(share * (1 - share))
        root = root / np.sqrt((root**2).sum())

        def rest(x, losses=losses, distance=distance, root=root):
            pull = np.sqrt(RIDGE) * losses.std(axis=0) * x[1:]
            return np.append(root * (expit(losses @ x[1:] - x[0]) - distance), pull)

        start = [LEVEL[i], *np.ones(losses.shape[1])]
        bounds = [-np.inf] + [0] * losses.shape[1], np.inf
        best = least_squares(rest, start, bounds=bounds, xtol=1e-14, ftol=1e-14)
        np.testing.assert_allclose([rows.loc[name, "a"], *weights], best.x, rtol=1e-4)
        for domain, slope in zip(DOMAINS, SLOPES[i], strict=True):
            assert not slope or weights[f"w({domain})"] == pytest.approx(slope, rel=0.12)


def test_losses_are_those_of_their_law(sweep, fitted):
    alone = bx.fit(sweep, "BiMix")
    mixtures = sweep.mixtures.iloc[:4]
    expected = alone.predict(mixtures, 3e9)
    pd.testing.assert_frame_equal(fitted.predict(mixtures, 3e9)[list(DOMAINS)], expected)
    true = fitted.predict(mixtures)[TESTS]
    losses = alone.predict(mixtures)[list(DOMAINS)].to_numpy()
    np.testing.assert_allclose(true, scores_of(losses), atol=0.01)


def test_an_optimum_and_its_derivatives_go_through_the_link(sweep, fitted):
    weights = dict.fromkeys(TESTS, 1.0)
    best = bx.optimize_mixture(fitted, weights=weights)
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 4000)
    distance = fitted.predict_points(grid, sweep.largest_budget)[:, -2:].mean(axis=1)
    assert best.objective == pytest.approx(100 * (1 - distance.min()), abs=0.05)
    assert best.objective >= 100 * (1 - distance.min()) - 1e-6
    assert not best.proven
    # Along the mixture, against differences.
    at, step = grid[0], 1e-5 * (grid[1] - grid[0])
    losses = fitted.predict_points(np.stack([at - step, at, at + step]), 1e10)
    slopes = slopes_of(fitted, at, 1e10) @ step
    np.testing.assert_allclose(slopes, (losses[2] - losses[0]) / 2, rtol=1e-5, atol=1e-12)


def slopes_of(fitted, at, budget):
    """(targets, domains) derivatives of distances and losses."""
    import jax

    from bimix_jax.fitting.coefficients import predict_losses

    def of(mixture):
        return predict_losses(fitted.law, fitted.coefficients, mixture[None], jnp.array(budget))[0]

    with jax.enable_x64(True):
        return np.asarray(jax.jacrev(of)(jnp.asarray(at)))


def test_a_saved_fit_predicts_the_same(sweep, fitted, tmp_path):
    fitted.save(tmp_path / "fit.json")
    again = bx.load_fit(tmp_path / "fit.json")
    pd.testing.assert_frame_equal(again.predict(sweep.mixtures), fitted.predict(sweep.mixtures))
    pd.testing.assert_frame_equal(again.table(), fitted.table())


@settings(max_examples=8)
@given(st.floats(-50, 50), st.floats(0.1, 300))
def test_the_scale_of_a_score_changes_no_answer(low, whole):
    made = table(examples=0).drop(columns="score_exam")
    moved = made.assign(score_quiz=low + whole * made["score_quiz"])
    usual, other = (
        {"unit": "stars", "chance": at + 0.25 * size, "maximum": at + size}
        for at, size in ((0.0, 1.0), (low, whole))
    )
    both = [
        bx.fit(bx.read_sweep(one, metadata={"targets": {"quiz": described}}), LAW)
        for one, described in ((made, usual), (moved, other))
    ]
    best = [bx.optimize_mixture(one, weights={"quiz": 1.0}).mixture for one in both]
    np.testing.assert_allclose(*best, atol=2e-3)
    first, second = (one.predict(best[0])["quiz"] for one in both)
    assert second == pytest.approx(low + whole * first, rel=1e-6, abs=1e-6 * whole)


def test_mirrored_domains_give_the_mirrored_answer():
    made = table(examples=0)
    swapped = {"web": "books", "books": "web", "code": "code"}
    mirror = made.rename(columns=lambda c: "_".join(swapped.get(p, p) for p in c.split("_")))
    fits = [bx.fit(read(one), LAW) for one in (made, mirror)]
    first, second = (
        pd.Series(bx.optimize_mixture(one, weights={"exam": 1.0}).mixture, list(one.domains))
        for one in fits
    )
    np.testing.assert_allclose(second.rename(swapped)[first.index], first, atol=2e-3)


@given(st.integers(0, 2**32 - 1))
def test_lower_losses_never_lower_a_score(seed):
    rng = np.random.default_rng(seed)
    made = table()
    made["score_quiz"], made["score_exam"] = rng.uniform(0, 1, (2, len(made)))
    task = FitTask.of(read(made), LAW, FitOptions())
    links = fitted_links(task, rng.uniform(0, 2, (1, len(made))))
    losses = rng.uniform(1, 4, (1, 3, 5))
    lower = losses - rng.uniform(0, 1, losses.shape)
    assert (links.weight >= 0).all()
    assert (links.distances(lower) <= links.distances(losses) + 1e-12)[:, -2:].all()


def test_nothing_that_is_held_out_enters_a_judged_link(sweep):
    (split,) = bx.standard_splits(sweep, ["mixtures"], repeats=1)
    changed = sweep.to_frame()
    columns = [c for c in changed if c.startswith(("loss_", "score_"))]
    rng = np.random.default_rng(1)
    changed.loc[split.test, columns] = rng.uniform(0.1, 0.9, (split.test.sum(), len(columns)))
    found = [
        predict_splits(one, LAW, [split], one.targets, FitOptions())
        for one in (sweep, read(changed))
    ]
    np.testing.assert_allclose(*(one.predicted for one in found), rtol=1e-6)
    # What is held out is predicted as well as the noise of the examples allows.
    scores = [sweep.targets.index(name) for name in TESTS]
    error = np.abs(found[0].predicted[0][:, scores] - sweep.loss[:, scores])[split.test]
    assert error.mean() < 0.02


def test_both_ways_are_judged_where_there_are_losses(sweep):
    judged = bx.compare(sweep, ["LogLinear", LAW], ["mixtures"], repeats=1)
    assert judged.targets == sweep.targets[: len(DOMAINS)] + tuple(TESTS)
    assert judged.best == LAW.label
    from bimix_jax.judging.compare import _able, _chosen

    chosen, notes = _able(sweep, _chosen(sweep, None), None, True)
    assert set(LINKED) <= set(chosen)
    assert "BiMix" not in [law.label for law in chosen]
    alone = sweep.to_frame().drop(columns=LOSSES)
    chosen, notes = _able(read(alone), _chosen(read(alone), None), None, True)
    assert not any(law.of_losses for law in chosen)
    assert any("no losses through which" in note for note in notes)


def test_intervals_go_through_the_link(sweep, fitted):
    drawn = bx.bootstrap(sweep, fitted, n=40)
    new = read(table(seed=5))
    ends = drawn.predict(new.mixtures, level=0.9)
    measured = new.take(new.budget == new.largest_budget).to_frame()
    for name in TESTS:
        rows = ends.xs(name, level="target")
        inside = measured[f"score_{name}"].to_numpy()
        assert ((rows["low"] <= inside) & (inside <= rows["high"])).mean() > 0.7
    assert drawn.left_out.coefficients.exponents.shape[0] == len(sweep.runs)
    sure = bx.certainty(drawn, weights=dict.fromkeys(TESTS, 1.0))
    low, high = sure.gain_interval()
    assert low < sure.gain < high


def test_some_scores_without_a_loss_beside_them_do_not_count():
    made = table(examples=0)
    gone = made.assign(loss_web=made["loss_web"].where(made.index % 11 > 0))
    one, other = (bx.fit(read(m), LAW) for m in (made, gone))
    rows = one.table().loc[TESTS, "points"], other.table().loc[TESTS, "points"]
    assert rows[0]["quiz"] == len(made)
    assert rows[1]["quiz"] == len(made) - (made.index % 11 == 0).sum()
    assert rows[1]["exam"] == len(made)


def test_what_it_cannot_do_is_said(sweep, fitted):
    losses = table()[["run", "tokens", *(f"r_{d}" for d in DOMAINS), *LOSSES]]
    scores = sweep.to_frame().drop(columns=LOSSES)
    with pytest.raises(ValueError, match="the sweep has none; fit BiMix to its losses"):
        bx.fit(bx.read_sweep(losses), LAW)
    with pytest.raises(ValueError, match=r"the sweep has scores only.*fit the scores directly"):
        bx.fit(read(scores), LAW)
    with pytest.raises(ValueError, match="'residuals', which ThroughLosses"):
        bx.bootstrap(sweep, fitted, n=5, resampling="residuals")
    with pytest.raises(ValueError, match="a law that is fitted by itself"):
        bx.ThroughLosses(bx.Stacked())
    with pytest.raises(ValueError, match="compare it with the stack"):
        bx.Stacked((LAW, bx.LogLinear()))
    with pytest.raises(ValueError, match=r"expected ThroughLosses\(WithWarmUp\(BiMix\)\)"):
        bx.WithWarmUp(LAW)
    with pytest.raises(ValueError, match="fitted by fit and compare only"):
        bx.fit_many([sweep], LAW, residual="absolute")
    with pytest.raises(ValueError, match="runs are proposed for one law"):
        bx.propose_runs(fitted, sweep, n=2, weights={"quiz": 1.0})


def test_limits_on_scores_go_through_the_links(sweep, fitted):
    even = dict.fromkeys(TESTS, 1.0)
    budget = sweep.largest_budget
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 20_000)
    on_grid = fitted.predict_points(grid, budget)
    best = bx.optimize_mixture(fitted, weights=even, objective="worst")
    # The least score, in parts of its range, is as large as any of the grid.
    least = ((best.losses[TESTS].to_numpy() - CHANCE) / (1 - CHANCE)).min()
    assert least >= 1 - on_grid[:, -2:].max(axis=1).min() - 1e-9
    alone = {"quiz": 1.0}
    free = bx.optimize_mixture(fitted, weights=alone)
    uniform = fitted.predict(dict.fromkeys(DOMAINS, 1 / 3))
    assert free.losses["exam"] < uniform["exam"] - 0.01
    kept = bx.optimize_mixture(
        fitted, weights=alone, constraints=bx.Constraints(guardrail={"exam": 0.01})
    )
    assert kept.losses["exam"] == pytest.approx(uniform["exam"] - 0.01, abs=1e-6)
    floor = 1 - (uniform["exam"] - 0.01)
    allowed = on_grid[on_grid[:, -1] <= floor, -2].min()
    assert kept.losses["quiz"] >= 0.25 + 0.75 * (1 - allowed) - 1e-9
    goals = {"quiz": 0.6, "exam": 0.5}
    reached = bx.least_budget(fitted, goals)
    assert (reached.losses[TESTS] >= [0.6 - 1e-6, 0.5 - 1e-6]).all()
    fewer = fitted.predict_points(grid, 0.98 * reached.budget)[:, -2:]
    distances = (1 - np.array([0.6, 0.5])) / (1 - CHANCE)
    assert not (fewer <= distances).all(axis=1).any()


def test_goals_need_more_than_one_budget(sweep):
    made = sweep.to_frame()
    last = bx.fit(read(made[made["tokens"] == made["tokens"].max()]), LAW)
    with pytest.raises(ValueError, match=r"goals: the sweep has the single budget .* a guardrail"):
        bx.least_budget(last, {"quiz": 0.6})


def test_it_is_a_law_of_the_command_line(sweep, tmp_path):
    assert bx.law_named("throughlosses(bimix)") == LAW
    assert bx.law_named("ThroughLosses") == bx.ThroughLosses()
    sweep.to_frame().to_csv(tmp_path / "sweep.csv", index=False)
    described = "\n".join(
        f'[{name}]\nunit = "fraction"\nchance = {chance}\nexamples = {EXAMPLES}'
        for name, chance in zip(TESTS, CHANCE, strict=True)
    )
    (tmp_path / "targets.toml").write_text(described)
    metadata = ["--metadata", f"targets={tmp_path / 'targets.toml'}"]
    made = [str(tmp_path / "sweep.csv"), "--law", "ThroughLosses(BiMix)", *metadata]
    shown = CliRunner().invoke(app, ["fit", *made, "-o", str(tmp_path / "fit.json")])
    assert shown.exit_code == 0, shown.output
    assert "sigmoid(a" in shown.output
    assert "w(books)" in shown.output
    best = [str(tmp_path / "fit.json"), "--weight", "quiz=1", "--weight", "exam=1"]
    shown = CliRunner().invoke(app, ["optimize", *best])
    assert shown.exit_code == 0, shown.output
    assert "Predicted losses, nats, and scores" in shown.output


def test_models_of_several_sizes(sweep):
    made = sweep.to_frame()
    small = made.assign(
        run=made["run"] + "-small",
        model_size=1e8,
        **{f"loss_{d}": 1.1 * made[f"loss_{d}"] for d in DOMAINS},
    )
    scores = scores_of(small[LOSSES].to_numpy())
    small = small.assign(**{f"score_{name}": scores[:, i] for i, name in enumerate(TESTS)})
    both = bx.read_sweep(
        pd.concat([made.assign(model_size=1e9), small], ignore_index=True),
        model_size="model_size",
        metadata={"targets": DESCRIBED},
    )
    law = bx.ThroughLosses(bx.WithModelSize(bx.BiMix()))
    found = bx.fit(both, law)
    mixture = sweep.mixtures.iloc[0]
    losses, less = (found.at_model_size(size).predict(mixture) for size in (1e9, 1e8))
    assert (losses[TESTS] > less[TESTS]).all()
    expected = scores_of(less[list(DOMAINS)].to_numpy(float)[None])[0]
    np.testing.assert_allclose(less[TESTS], expected, atol=0.01)
