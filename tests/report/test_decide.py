"""The way from a sweep to a report, beside the same verbs called by hand."""

import dataclasses
import html
import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from bimix_jax.cli.decide import _fitted
from bimix_jax.printable import plain
from bimix_jax.report import decide as stages
from bimix_jax.report._baselines import RECOMMENDED, unimax
from tests.fits import DOMAINS, frame

LAWS = ("BiMix", "LogLinear")
TOKENS = {"web": 9e10, "code": 3e9, "books": 5e8}
ASKED = bx.Constraints(available=TOKENS, epochs=4, lower={"web": 0.3})
BUDGET = 12.8e9


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(frame(noise=0.01))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("decision")


@pytest.fixture(scope="module")
def decided(sweep, folder):
    report = bx.decide(sweep, folder=folder, laws=LAWS, constraints=ASKED, budget=BUDGET, propose=2)
    report.save(folder)
    return report


def test_the_stack_is_named_where_no_laws_were(decided):
    assert _fitted(decided) == f"Fitted: {decided.fitted.label}."
    unasked = dataclasses.replace(decided, plan=dataclasses.replace(decided.plan, laws=()))
    assert _fitted(unasked).endswith(": --law Stacked.")


def test_the_stages_are_the_verbs(sweep, decided):
    judged = bx.compare(sweep, LAWS, "both", repeats=stages.REPEATS)
    pd.testing.assert_frame_equal(decided.comparison.table(), judged.table())
    assert decided.comparison.notes == judged.notes
    law = bx.law_named(judged.best)
    fitted = bx.fit(sweep, law, budget_power=2)
    pd.testing.assert_frame_equal(decided.fitted.table(), fitted.table())
    goal = {"reference": "best-run", "constraints": ASKED}
    drawn = bx.bootstrap(sweep, fitted, 64)
    sure = bx.certainty(drawn, BUDGET, **goal)
    pd.testing.assert_series_equal(decided.optimum.mixture, sure.optimum.mixture)
    assert plain(decided.certainty.document()) == plain(sure.document())
    path = bx.optimal_path(fitted, **goal)
    pd.testing.assert_frame_equal(decided.path.mixtures, path.mixtures)
    moves = bx.sensitivity(fitted, sure.optimum.mixture, BUDGET, **goal)
    pd.testing.assert_frame_equal(decided.sensitivity.nats, moves.nats)
    even = bx.fit(sweep, law)
    pool = decided.next_runs.mixtures
    assert len(pool) == 2
    proposed = bx.propose_runs(even, sweep, 2, BUDGET, pool, bootstrap=drawn, **goal)
    assert decided.next_runs.regret_now == pytest.approx(proposed.regret_now, rel=1e-6)
    assert decided.next_runs.law_regret == pytest.approx(proposed.law_regret)
    assert bx.diagnose(sweep).document() == decided.diagnosis.document()


def test_baselines_are_predicted_with_their_intervals(decided):
    table = decided.baselines
    best, drawn = decided.optimum, decided.certainty.bootstrap
    name, _ = decided.fitted.runs.best(best.weights.to_numpy())
    assert list(table.index) == [
        RECOMMENDED,
        f"best run ({name})",
        "uniform",
        "proportional",
        "UniMax",
    ]
    shares = table["share"]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares.loc["proportional"], np.array([90, 3, 0.5]) / 93.5)
    expected = drawn.predict(shares.loc["uniform"].to_dict(), BUDGET)
    for part in ("loss", "low", "high"):
        np.testing.assert_allclose(table[part].loc["uniform"], expected[part])
    summary = table["summary"]
    assert summary.loc[RECOMMENDED, "gain"] == pytest.approx(decided.certainty.gain)
    assert summary["probability"].iloc[1] == decided.certainty.probability
    assert np.isnan(summary.loc[RECOMMENDED, "probability"])
    np.testing.assert_allclose(table["epochs"].loc[RECOMMENDED], best.epochs)
    np.testing.assert_allclose(
        table["epochs"].loc["uniform"], BUDGET / 3 / np.array(list(TOKENS.values()))
    )


@pytest.mark.parametrize("most", [[0.5, 0.5, 0.5], [0.1, 0.2, 5.0], [0.05, 0.3, 0.9], [0.1] * 3])
def test_unimax_is_even_up_to_its_limits(most):
    """Against a bisection for the level."""
    found = unimax(np.array(most))
    if sum(most) <= 1:
        np.testing.assert_allclose(found, np.array(most) / sum(most))
        return
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(most, middle).sum() < 1 else (low, middle)
    np.testing.assert_allclose(found, np.minimum(most, low), atol=1e-12)


def test_the_document_and_the_files_hold_the_numbers(decided, folder):
    document = json.loads((folder / "decision.json").read_text())
    assert document == json.loads(json.dumps(decided.to_dict()))
    assert document["decision"]["mixture"] == decided.optimum.mixture.to_dict()
    assert document["decision"]["probability"] == decided.certainty.probability
    assert document["baselines"]["uniform"]["share"] == dict.fromkeys(DOMAINS, 1 / 3)
    assert document["recommendation"] == decided.sentence()
    mixtures = pd.read_csv(folder / "mixture.csv", index_col="domain")
    np.testing.assert_array_equal(mixtures[RECOMMENDED], decided.optimum.mixture)
    np.testing.assert_allclose(mixtures["epochs"], decided.optimum.epochs)
    assert bx.load_fit(folder / "fit.json").table().equals(decided.fitted.table())
    recipe = json.loads((folder / "recipe.json").read_text())
    np.testing.assert_allclose(list(recipe["mixture"].values()), decided.optimum.mixture, atol=1e-8)
    assert decided.sentence() in html.unescape((folder / "index.html").read_text())
    runs = pd.read_csv(folder / "next_runs.csv", index_col="run")
    np.testing.assert_allclose(runs, decided.next_runs.mixtures)


@pytest.fixture
def no_fits(monkeypatch):
    def refuse(*given, **options):
        raise AssertionError("a stage was computed again")

    for verb in ("diagnose", "compare", "fit", "bootstrap"):
        monkeypatch.setattr(stages, verb, refuse)


def test_a_second_call_fits_nothing_and_writes_the_same_bytes(
    sweep, decided, folder, no_fits, monkeypatch
):
    again = bx.decide(sweep, decided.plan, folder=folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    again.save(folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()} == before
    other = bx.decide(sweep, decided.plan, folder=folder, budget=2e10, constraints=None, propose=0)
    assert other.optimum.budget == 2e10
    refused = {name: lambda *given: pytest.fail("drawn again") for name in vars(bx.plots)}
    for picture in ("plot_curves", "plot_predicted"):
        monkeypatch.setattr(bx.plots, picture, refused[picture])
    other.save(folder)
    for picture in bx.plots.PICTURES.values():
        monkeypatch.setattr(bx.plots, picture.__name__, refused[picture.__name__])
    decided.save(folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()} == before
    fresh = bx.certainty(again.certainty.bootstrap, 2e10, reference="best-run")
    assert other.certainty.probability == fresh.probability


def test_what_is_kept_belongs_to_the_sweep_and_a_damaged_file_is_made_anew(
    sweep, decided, folder, monkeypatch
):
    fitted = []
    monkeypatch.setattr(
        stages, "fit", lambda *given, **options: fitted.append(1) or bx.fit(*given, **options)
    )
    for file in (folder / "stages").glob("fit-*.json"):
        file.write_text(file.read_text()[:-40])
    again = bx.decide(sweep, decided.plan, folder=folder, propose=0)
    assert len(fitted) == 1
    pd.testing.assert_series_equal(again.optimum.mixture, decided.optimum.mixture)
    louder = bx.read_sweep(frame(noise=0.011))
    bx.decide(louder, decided.plan, folder=folder, propose=0)
    assert len(fitted) == 2


def test_other_tokens_in_the_same_file_are_another_question(sweep, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        stages,
        "propose_runs",
        lambda *given, **options: made.append(1) or bx.propose_runs(*given, **options),
    )
    tokens, plan = tmp_path / "tokens.csv", bx.Plan(laws="BiMix", propose=1)
    plan = dataclasses.replace(
        plan, available=str(tokens), constraints=bx.Constraints(epochs=4), reference="uniform"
    )
    for books in (5e8, 2e9, 2e9):
        pd.Series(TOKENS | {"books": books}, name="tokens").rename_axis("domain").to_csv(tokens)
        report = bx.decide(sweep, plan, folder=tmp_path)
        last = report.path.mixtures["books"].iloc[-1]
        assert last * report.path.mixtures.index[-1] <= 4 * books * (1 + 1e-6)
    assert len(made) == 2


def test_without_a_folder_nothing_is_written(sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = bx.decide(sweep, laws="BiMix", propose=0)
    assert report.optimum.budget == 2 * sweep.largest_budget
    assert report.reference_name.startswith("best run (")
    assert "train on" in repr(report)
    assert list(tmp_path.iterdir()) == []
    report.save("elsewhere")
    assert not (tmp_path / "elsewhere" / "stages").exists()


def test_too_few_mixtures_give_runs_to_do_instead_of_a_mixture(sweep, tmp_path):
    few = sweep.take(np.isin(sweep.run, sweep.runs[:5]))
    report = bx.decide(few, laws="BiMix", folder=tmp_path)
    assert (report.optimum, report.certainty, report.path) == (None, None, None)
    assert "5 mixtures" in report.missing
    assert len(report.next_runs.mixtures) == 4
    np.testing.assert_allclose(report.next_runs.mixtures.sum(axis=1), 1)
    report.save(tmp_path)
    assert json.loads((tmp_path / "decision.json").read_text())["missing"] == report.missing
    assert not (tmp_path / "mixture.csv").exists()
    two = sweep.take(np.isin(sweep.run, sweep.runs[:1]))
    assert len(bx.decide(two, laws="BiMix", propose=1).next_runs.mixtures) == 7


def test_a_domain_of_no_weight_may_get_nothing(sweep, tmp_path):
    """BiMix has no finite loss there, which must not stop the tables and the page."""
    limits = bx.Constraints(weights={"web": 1, "code": 2})
    report = bx.decide(sweep, laws="BiMix", constraints=limits, propose=0)
    assert report.optimum.mixture["books"] == 0
    assert report.sentence().partition(":")[0].endswith(", nothing of books")
    assert np.isinf(report.baselines.loc[RECOMMENDED, ("loss", "books")])
    assert report.baselines["summary"]["objective"].notna().all()
    report.save(tmp_path)
    document = json.loads((tmp_path / "decision.json").read_text())
    assert document["baselines"][RECOMMENDED]["loss"]["books"] is None


def test_guardrails_are_kept_as_surely_as_asked(sweep):
    limits = bx.Constraints(guardrail=0.02)
    question = {"laws": "BiMix", "constraints": limits, "propose": 0}
    surely = bx.decide(sweep, guard_probability=0.8, **question)
    assert surely.certainty.guardrails["probability"].min() >= 0.795
    assert bx.decide(sweep, **question).certainty.guardrails["probability"].min() < 0.6


@pytest.fixture
def sizes(tmp_path):
    """A table of two model sizes, of which the larger one has run fewer tokens."""
    small, large = (frame(noise=0.01).assign(model_size=size) for size in ("70M", "160M"))
    large[[f"loss_{domain}" for domain in DOMAINS]] *= 0.9
    large = large[large["tokens"] < 3e9].assign(run="large " + large["run"])
    pd.concat([small, large]).to_csv(tmp_path / "sizes.csv", index=False)
    return tmp_path / "sizes.csv"


def test_a_sweep_of_several_sizes_is_decided_at_one(sizes):
    read = {"model_size": "model_size"}
    plan = bx.Plan(sweep=[str(sizes)], read=read, laws=["WithModelSize(BiMix)"], budget=1e9)
    few = {"resamples": 8, "propose": 0}
    at_largest = bx.decide(plan.read_measured(), plan, **few)
    assert (at_largest.plan.model_size, at_largest.fitted.law.size) == (160e6, 160e6)
    assert at_largest.fitted.options.budget_power == 0
    # The least losses are those of the larger model, although the smaller one went on.
    assert any("is large run" in note for note in at_largest.optimum.notes)
    beyond = bx.decide(plan.read_measured(), plan, model_size="1B", **few)
    assert (beyond.fitted.law.size, beyond.fitted.options.budget_power) == (1e9, 2)
    assert beyond.optimum.objective < at_largest.optimum.objective
    with pytest.raises(ValueError, match="the sweep has no column of model sizes"):
        bx.decide(bx.read_sweep(frame()), model_size="1B")


def test_the_command_decides_at_a_size(sizes, monkeypatch):
    monkeypatch.chdir(sizes.parent)
    named = ["--model-size-column", "model_size", "--model-size", "1B", "--budget", "1e9"]
    few = ["--law", "WithModelSize(BiMix)", "--resamples", "8", "--propose", "0", "--quiet"]
    shown = CliRunner().invoke(app, ["decide", "sizes.csv", *named, *few, "-o", "page"])
    assert shown.exit_code == 0, shown.output
    assert bx.load_fit("page/fit.json").law.size == 1e9
    assert bx.Plan.load("page/plan.toml").model_size == 1e9
    sizes.with_name("even.json").write_text(json.dumps(dict.fromkeys(DOMAINS, 1 / 3)))
    fitted = bx.load_fit("page/fit.json")
    for size in (1e9, 3e9):
        asked = ["--budget", "1e9", "--model-size", f"{size:g}", "--json"]
        best = CliRunner().invoke(app, ["optimize", "page/fit.json", *asked])
        expected = bx.optimize_mixture(fitted.at_model_size(size), 1e9).objective
        assert json.loads(best.stdout)["objective"] == pytest.approx(expected)
        even = CliRunner().invoke(app, ["predict", "page/fit.json", "even.json", *asked])
        (losses,) = json.loads(even.stdout)["losses"].values()
        uniform = fitted.at_model_size(size).predict(dict.fromkeys(DOMAINS, 1 / 3), 1e9)
        assert losses == pytest.approx(dict(uniform))


def test_a_plan_names_the_fit_of_a_bridge_relative_to_its_folder(sweep, tmp_path):
    bx.fit(sweep, "BiMix").save(tmp_path / "small.json")
    (tmp_path / "plan.toml").write_text('laws = ["Bridged(small.json)", "BiMix"]')
    plan = bx.Plan.load(tmp_path / "plan.toml")
    assert plan.laws == (f"Bridged({tmp_path / 'small.json'})", "BiMix")
    assert 'laws = ["Bridged(small.json)", "BiMix"]' in plan.to_toml(tmp_path)
    (tmp_path / "plan.toml").write_text('laws = ["Bridged(none.json)"]')
    with pytest.raises(OSError, match=r"none.json does not exist"):
        bx.Plan.load(tmp_path / "plan.toml")


def test_one_budget_is_decided_at_itself(sweep):
    last = sweep.from_budget(sweep.largest_budget)
    report = bx.decide(last, laws="BiMix", propose=0)
    assert report.optimum.budget == sweep.largest_budget
    assert report.path is None
    assert report.fitted.options.budget_power == 0


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (
            {"constraints": bx.Constraints(lower={"web": 0.7, "code": 0.4})},
            bx.InfeasibleError,
            "web",
        ),
        ({"constraints": bx.Constraints(lower={"wbe": 0.7})}, ValueError, "Did you mean web"),
        ({"reference": "best"}, ValueError, "Did you mean best-run"),
        ({"reference": "run:run3"}, ValueError, "Did you mean run03"),
        ({"reference": "available"}, ValueError, "give the tokens of web, code, books"),
        ({"budgets": 3}, TypeError, "Did you mean budget"),
        ({"laws": "BiMxi"}, ValueError, "BiMix"),
    ],
)
def test_bad_questions_are_refused_before_anything_is_computed(
    sweep, no_fits, settings, error, words
):
    with pytest.raises(error, match=words):
        bx.decide(sweep, **settings)


def test_a_path_in_place_of_a_sweep_is_named():
    with pytest.raises(ValueError, match="read_sweep"):
        bx.decide("sweep.csv")
