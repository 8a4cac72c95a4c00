"""Scores from the fit to the decision: mirror images of losses, shown in their own units."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from tests.fits import DOMAINS, frame

LAW = bx.LogLinear()
TESTS = ["quiz", "exam", "riddle"]


def mirrored_tables():
    """Losses up to 1, and the scores, in percent, whose distances to 100 they are."""
    named = {f"loss_{d}": f"loss_{test}" for d, test in zip(DOMAINS, TESTS, strict=True)}
    table = frame(noise=0.002).rename(columns=named)
    columns = [f"loss_{test}" for test in TESTS]
    table[columns] /= table[columns].max()
    scores = table.rename(columns=lambda c: c.replace("loss_", "score_"))
    scores[[f"score_{test}" for test in TESTS]] = 100 * (1 - table[columns].to_numpy())
    return table, scores


@pytest.fixture(scope="module")
def sweeps():
    return [bx.read_sweep(table) for table in mirrored_tables()]


@pytest.fixture(scope="module")
def fits(sweeps):
    losses, scores = sweeps
    return bx.fit(losses, LAW, residual="absolute"), bx.fit(scores, LAW)


def test_scores_are_fitted_as_losses_by_absolute_residuals(fits):
    losses, scores = fits
    for one, other in zip(losses.coefficients, scores.coefficients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    mixtures = {"web": 0.5, "code": 0.2, "books": 0.3}
    np.testing.assert_allclose(
        scores.predict(mixtures), 100 * (1 - losses.predict(mixtures)), rtol=1e-6
    )


def test_examples_weight_points_by_their_binomial_noise():
    table = mirrored_tables()[1]
    described = {f"score_{test}": {"examples": 200} for test in TESTS}
    sweep = bx.read_sweep(table, metadata={"targets": described})
    fitted = bx.fit(sweep, LAW, targets=TESTS[:1])
    share = np.clip(table[f"score_{TESTS[0]}"].to_numpy() / 100, 0, 1)
    share = (200 * share + 1) / 202
    weight = 1 / (share * (1 - share))
    losses = bx.fit(
        bx.read_sweep(mirrored_tables()[0]),
        LAW,
        targets=TESTS[:1],
        residual="absolute",
        weight=weight / weight.mean(),
    )
    np.testing.assert_allclose(
        fitted.coefficients.exponents, losses.coefficients.exponents, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("objective", ["mean", "worst"])
def test_mirrored_scores_give_the_mirrored_answer(fits, objective):
    least, most = (bx.optimize_mixture(f, objective=objective) for f in fits)
    np.testing.assert_allclose(least.mixture, most.mixture, atol=1e-4)
    for name in ("objective", "reference_objective"):
        assert getattr(most, name) == pytest.approx(100 * (1 - getattr(least, name)), rel=1e-6)
    assert most.objective >= most.reference_objective
    np.testing.assert_allclose(most.losses, 100 * (1 - least.losses), rtol=1e-4)
    np.testing.assert_allclose(most.improvements, 100 * least.improvements, atol=1e-2)
    assert f"{objective} score" in repr(most)
    assert f"{objective} loss" in repr(least)
    assert (most.document()["objective_unit"], least.objective_unit) == ("points", "nats")


def test_what_follows_from_the_decision_is_mirrored(fits):
    (first, second), budgets = TESTS[:2], [1e9, 4e9]
    losses, scores = (bx.optimal_path(f, budgets) for f in fits)
    np.testing.assert_allclose(losses.mixtures, scores.mixtures, atol=1e-3)
    np.testing.assert_allclose(scores.objective, 100 * (1 - losses.objective), rtol=1e-5)
    assert scores.objective.is_monotonic_increasing
    losses, scores = (bx.tradeoff(f, first, [second]) for f in fits)
    np.testing.assert_allclose(scores.front, 100 * (1 - losses.front), rtol=1e-3)
    np.testing.assert_allclose(scores.reference, 100 * (1 - losses.reference), rtol=1e-6)
    assert (scores.units, losses.units) == (("points",) * 2, ("nats",) * 2)
    np.testing.assert_allclose(scores.table()["price"], losses.table()["price"])
    at = {"web": 0.5, "code": 0.2, "books": 0.3}
    losses, scores = (bx.sensitivity(f, at) for f in fits)
    np.testing.assert_allclose(scores.table(), -100 * losses.table(), rtol=1e-4, atol=1e-6)
    assert (scores.better, losses.better) == ((1,) * 4, (-1,) * 4)


def test_intervals_are_mirrored(sweeps):
    at = {"web": 0.5, "code": 0.2, "books": 0.3}
    drawn = [
        bx.bootstrap(sweep, LAW, 100, residual=residual)
        for sweep, residual in zip(sweeps, ("absolute", "relative"), strict=True)
    ]
    losses, scores = (one.predict(at) for one in drawn)
    for end, other in (("loss", "loss"), ("low", "high"), ("high", "low")):
        np.testing.assert_allclose(scores[end], 100 * (1 - losses[other]), rtol=1e-3)
    sure = [bx.certainty(one) for one in drawn]
    np.testing.assert_allclose(sure[1].gain_interval(), sure[0].gain_interval(), rtol=0.02)
    np.testing.assert_allclose(sure[0].optimum.intervals, sure[1].optimum.intervals, atol=0.01)
    best = sure[1].optimum
    points = best.objective - best.reference_objective
    assert f"The predicted gain over the reference is {points:.2f} points" in sure[1].verdict()
    # Without any one run of many the gain is nearly the same, in points, too.
    assert 100 * sure[1].influence["gain"].median() == pytest.approx(points, rel=0.05)
    losses = sure[0].influence["gain"].median()
    assert losses == pytest.approx(
        1 - sure[0].optimum.objective / sure[0].optimum.reference_objective, rel=0.05
    )


def test_errors_of_scores_are_points(sweeps):
    scores = sweeps[1]
    train, test = scores.split_runs(0.3)
    fitted = bx.fit(train, LAW)
    found = bx.evaluate(fitted, test).table()
    for name in TESTS:
        predicted = fitted.predict_points(test.mixture, test.budget)
        apart = np.abs(predicted - test.loss)[:, fitted.targets.index(name)]
        assert found.loc[name, "mre"] == pytest.approx(apart.mean())
        assert found.loc[name, "worst"] == pytest.approx(apart.max())
    judged = bx.compare(scores, [LAW], ["mixtures"], repeats=2)
    apart = np.abs(judged.predicted[0] - judged.measured)
    held_out = np.where(judged.scored[0], apart, np.nan)
    expected = np.nanmean(np.nanmean(held_out, axis=1))
    assert judged.table()["mre"].item() == pytest.approx(expected)
    assert f"LogLinear is off by {100 * expected:.2f} points on unseen" in judged.verdict()
    assert bx.fit(scores, LAW).error.max() < 0.2
    assert judged.noise.curves < 0.02


def test_a_saved_fit_of_scores_keeps_their_direction(fits, tmp_path):
    fits[1].save(tmp_path / "fit.json")
    again = bx.load_fit(tmp_path / "fit.json")
    assert again.described == fits[1].described
    document = json.loads((tmp_path / "fit.json").read_text())
    assert document["format"] == 6
    np.testing.assert_allclose(
        bx.optimize_mixture(again).mixture, bx.optimize_mixture(fits[1]).mixture
    )


def shown(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_commands_say_scores_and_points(tmp_path):
    sweep, fit = tmp_path / "sweep.csv", tmp_path / "fit.json"
    mirrored_tables()[1].to_csv(sweep, index=False)
    shown("fit", sweep, "--law", "LogLinear", "-o", fit)
    said = shown("optimize", fit)
    assert "Predicted scores, percent, at" in said
    assert "Mean score" in said
    assert "nats" not in said
    said = shown("tradeoff", fit, "--first", TESTS[0])
    assert "Price: the points that the second group loses per point" in said
    assert "Change of every score, per further point of a domain" in shown("sensitivity", fit)
    assert "predicted mean score," in shown("path", fit)
    said = shown("compare", sweep, "--law", "LogLinear", "--repeats", 2)
    assert "Regret: the mean distance of scores to their maximum" in " ".join(said.split())
    assert "nats" not in said
    said = " ".join(shown("certainty", sweep, "--law", "LogLinear", "--resamples", 20).split())
    assert "gain without, points" in said


# ---- families, weights, guardrails and goals -----------------------------------------------------


def described(table, **entries):
    return bx.fit(bx.read_sweep(table, metadata={"targets": entries}), LAW)


@pytest.fixture(scope="module")
def families():
    """The scores, two of which are one family, with weights inside of it."""
    return described(
        mirrored_tables()[1],
        quiz={"family": "exams", "weight": 3, "unit": "percent"},
        exam={"family": "exams", "unit": "percent"},
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [0.75, 0.25, 1.0]),
        ({"exams": 2}, [1.5, 0.5, 0.0]),
        ({"exams": 2, "riddle": 3, "quiz": 1}, [2.5, 0.5, 3.0]),
        ([1, 2, 3], [1, 2, 3]),
    ],
)
def test_members_share_the_weight_of_their_family(families, given, expected):
    assert bx.optimize_mixture(families, weights=given).weights.tolist() == expected


def test_a_family_without_members_is_named(families):
    with pytest.raises(ValueError, match=r"tests is unknown.* Families with members are exams\."):
        bx.optimize_mixture(families, weights={"tests": 1})


def test_losses_and_scores_add_up_only_with_weights(families):
    table = mirrored_tables()[1].rename(columns={"score_riddle": "loss_riddle"})
    table["loss_riddle"] = 1 + (100 - table["loss_riddle"]) / 100
    mixed = bx.fit(bx.read_sweep(table), LAW)
    with pytest.raises(ValueError, match=r"losses \(riddle\) and scores \(quiz, exam\).*no common"):
        bx.optimize_mixture(mixed)
    best = bx.optimize_mixture(mixed, weights={"riddle": 1, "quiz": 1})
    distance = (100 - best.losses["quiz"]) / 100
    assert best.objective == pytest.approx((best.losses["riddle"] + distance) / 2)
    assert best.losses_text == "Predicted losses, nats, and scores"
    weighted = described(table, riddle={"weight": 1}, quiz={"chance": 25, "maximum": 100})
    assert bx.optimize_mixture(weighted).weights.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="first is riddle, quiz, losses and scores"):
        bx.tradeoff(mixed, ["riddle", "quiz"])


def test_chance_centres_the_mean():
    fitted = described(mirrored_tables()[1], quiz={"chance": 25, "maximum": 100})
    best = bx.optimize_mixture(fitted, weights={"quiz": 1, "exam": 1})
    centred = [100 * (best.losses["quiz"] - 25) / 75, best.losses["exam"]]
    assert best.objective == pytest.approx(np.mean(centred))


def test_guardrails_of_scores_are_in_points(fits):
    scores, weights = fits[1], {"exam": 1}
    free = bx.optimize_mixture(scores, weights=weights)
    assert free.improvements["quiz"] < -10
    rails = {"quiz": 0.05, "riddle": 0.02}
    held = bx.optimize_mixture(scores, weights=weights, constraints=bx.Constraints(guardrail=rails))
    assert held.improvements["quiz"] == pytest.approx(-5, abs=1e-4)
    assert held.objective < free.objective
    floor = held.reference_losses["quiz"] - 5
    assert held.binding.index.tolist() == [f"quiz ≥ {floor:.4g}"]
    # Relaxed by 1 % of the distance that it allows.
    wider = bx.Constraints(guardrail=rails | {"quiz": 0.05 + 0.01 * (100 - floor) / 100})
    gained = bx.optimize_mixture(scores, weights=weights, constraints=wider).objective
    assert held.binding["gain"].item() == pytest.approx(gained - held.objective, rel=1e-3)
    none = bx.Constraints(guardrail={"quiz": 0.0}, upper={"web": 0.01})
    with pytest.raises(bx.InfeasibleError, match=r"exceeds what is allowed of quiz .* points"):
        bx.optimize_mixture(scores, constraints=none)


def test_goals_of_scores_are_reached(fits):
    scores = fits[1]
    best = bx.least_budget(scores, {"quiz": 45.0, "riddle": 60.0})
    assert min(best.losses["quiz"] - 45, best.losses["riddle"] - 60) == pytest.approx(0, abs=1e-4)
    losses = bx.least_budget(fits[0], {"quiz": 0.55, "riddle": 0.4})
    assert best.budget == pytest.approx(losses.budget, rel=1e-3)
    with pytest.raises(ValueError, match="a score below its maximum"):
        bx.least_budget(scores, {"quiz": 100.0})


def test_runs_are_proposed_for_the_weights_of_the_targets():
    table = mirrored_tables()[1]
    scores = [f"score_{test}" for test in TESTS]
    table[scores] += 0.3 * np.random.default_rng(0).standard_normal((len(table), len(TESTS)))

    def regret(weights=None, **entries):
        units = {test: {"unit": "percent"} | entries.get(test, {}) for test in TESTS}
        sweep = bx.read_sweep(table, metadata={"targets": units})
        return bx.propose_runs(bx.fit(sweep, LAW), sweep, 1, weights=weights, seed=0).regret_now

    stated = {TESTS[0]: {"weight": 5}, TESTS[1]: {"weight": 0}}
    given = regret({TESTS[0]: 5, TESTS[2]: 1})
    assert regret(**stated) == pytest.approx(given, rel=1e-6, abs=0)
    assert regret() != pytest.approx(given, rel=1e-2, abs=0)
