"""The commands: what they print and write, and how they refuse."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli import main, show
from bimix_jax.cli.app import FILES, app
from bimix_jax.cli.show import plain, show_line, show_table
from bimix_jax.quantities import number_text, quantity_text
from tests.fits import DOMAINS, frame, last_budget

MIXTURE = {"web": 0.2, "code": 0.3, "books": 0.5}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder of good and bad files."""
    folder = tmp_path_factory.mktemp("inputs")
    table = frame(noise=0.01)
    table.to_csv(folder / "sweep.csv", index=False)
    table.to_parquet(folder / "sweep.parquet")
    sizes = pd.concat([table.assign(model_size=size) for size in (70_000_000, 160_000_000)])
    sizes.to_csv(folder / "sizes.csv", index=False)
    last_budget(table).to_csv(folder / "single.csv", index=False)
    early = table["tokens"].isin(sorted(table["tokens"].unique())[:2])
    table[early].to_csv(folder / "two.csv", index=False)
    wrong = table.assign(r_web=table["r_web"].where(table.index != 4, -0.5))
    wrong["loss_code"] = wrong["loss_code"].where(wrong.index != 7, 0.0)
    wrong.to_csv(folder / "wrong.csv", index=False)
    bx.fit(bx.read_sweep(table), bx.BiMix()).save(folder / "fit.json")
    bx.fit(bx.read_sweep(last_budget(table)), bx.BiMix()).save(folder / "single.json")
    whole = (folder / "fit.json").read_text()
    (folder / "truncated.json").write_text(whole[: len(whole) // 2])
    newer = json.loads(whole) | {"format": 99, "version": "9.9"}
    (folder / "newer.json").write_text(json.dumps(newer))
    (folder / "mixture.json").write_text(json.dumps(MIXTURE))
    (folder / "short.json").write_text('{"web": 0.5, "code": 0.5}')
    (folder / "list.json").write_text("[0.2, 0.3, 0.5]")
    mixtures = pd.DataFrame([MIXTURE, {**MIXTURE, "web": 0.3, "books": 0.4}])
    mixtures.assign(name=["plain", "webby"], why="?").to_csv(folder / "mixtures.csv", index=False)
    mixtures.assign(name="same").to_csv(folder / "twins.csv", index=False)
    mixtures.assign(web=[0.21, 0.3]).to_csv(folder / "rounded.csv", index=False)
    mixtures.assign(web=["much", "little"]).to_csv(folder / "words.csv", index=False)
    mixtures.iloc[:0].to_csv(folder / "none.csv", index=False)
    return folder


@pytest.fixture
def run(inputs):
    """Run a command on names of input files; must succeed; gives what it printed."""

    def invoke(*arguments):
        given = [str(inputs / a) if (inputs / a).is_file() else str(a) for a in arguments]
        result = CliRunner().invoke(app, given)
        assert result.exception is None, result.exception
        assert result.exit_code == 0
        return result.stdout

    return invoke


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


# ---- fit -----------------------------------------------------------------------------------------


def test_fit_writes_what_python_would(run, inputs, out):
    shown = run("fit", "sweep.csv", "-o", out / "fit.json")
    fitted = bx.fit(bx.read_sweep(inputs / "sweep.csv"), bx.BiMix())
    loaded = bx.load_fit(out / "fit.json")
    pd.testing.assert_frame_equal(loaded.table(), fitted.table())
    for domain, row in fitted.table().iterrows():
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{domain} ")]
        assert number_text(row["alpha"]) in line
        assert "converged" in line
    assert "12 runs of 12 mixtures at 8 budgets" in shown
    assert f"Written: {out / 'fit.json'}" in shown
    assert [path.name for path in out.iterdir()] == ["fit.json"]


def test_fit_prints_json_and_draws(run, inputs, out):
    shown = run(
        "fit", "sweep.parquet", "-o", out / "fit.json", "--plot", out / "curves.png", "--json"
    )
    document = json.loads(shown)
    table = bx.fit(bx.read_sweep(inputs / "sweep.csv"), bx.BiMix()).table()
    assert document["fit"]["web"]["alpha"] == pytest.approx(table.loc["web", "alpha"])
    assert document["fit"]["books"]["code"] == "converged"
    assert document["file"] == str(out / "fit.json")
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in out.iterdir()} == {"fit.json", "curves.png"}


def test_fit_options_reach_the_fit(run, out):
    run("fit", "sweep.csv", "-o", out / "log.json", "--residual", "log")
    run("fit", "sweep.csv", "-o", out / "tied.json", "--tied", "beta")
    held = ("fit", "sweep.csv", "--law", "TransferBiMix", "-o", out / "held.json", "--shrinkage")
    assert "strength 0.5, as asked" in run(*held, "0.5")
    assert "cross-validation by later budgets found no cross-domain effect" in run(*held, "budgets")
    assert "weighted by budget^2" in run(
        "fit", "sweep.csv", "-o", out / "late.json", "--budget-power", "2"
    )
    assert bx.load_fit(out / "late.json").options.budget_power == 2
    log, tied = bx.load_fit(out / "log.json"), bx.load_fit(out / "tied.json")
    assert (log.options.residual, log.options.tied) == ("log", ())
    assert (tied.options.residual, tied.options.tied) == ("relative", ("beta",))
    assert [fitted.table()["beta"].nunique() for fitted in (log, tied)] == [3, 1]


def test_fit_selects_and_says_so(run, out):
    options = ("--select", "model_size=70000000", "--from-budget", "1e8", "--run-column", "run")
    shown = run("fit", "sizes.csv", "-o", out / "fit.json", *options)
    assert "96 of 192 rows selected by model_size = 70000000" in shown
    assert "Notes" in shown
    assert bx.load_fit(out / "fit.json").points.tolist() == [96, 96, 96]


def test_fit_of_a_single_budget_says_what_is_not_known(run, out):
    document = json.loads(run("fit", "single.csv", "-o", out / "fit.json", "--json"))
    assert document["fit"]["web"]["beta"] is None
    assert any("β needs several budgets" in note for note in document["notes"])


# ---- predict -------------------------------------------------------------------------------------


def test_predict_prints_json_as_python_would(run, inputs):
    document = json.loads(run("predict", "fit.json", "mixtures.csv", "--budget", "1e10", "--json"))
    fitted = bx.load_fit(inputs / "fit.json")
    assert document["losses"]["plain"] == pytest.approx(fitted.predict(MIXTURE, 1e10).to_dict())
    assert list(document["losses"]) == ["plain", "webby"]
    assert (document["budget"], document["unit"], document["notes"]) == (1e10, "tokens", [])


def test_predict_writes_a_table_and_notes_a_far_budget(run, inputs, out):
    shown = run("predict", "fit.json", "mixtures.csv", "--budget", "1e11", "-o", out / "losses.csv")
    written = pd.read_csv(out / "losses.csv", index_col="mixture")
    expected = bx.load_fit(inputs / "fit.json").predict(MIXTURE, 1e11)
    np.testing.assert_allclose(written.loc["plain", list(DOMAINS)].astype(float), expected)
    assert number_text(expected["web"]) in shown
    assert "15.6 × the largest observed one" in shown


def test_predict_gives_intervals_with_the_sweep_that_was_fitted(run, inputs):
    given = ("predict", "fit.json", "mixtures.csv", "--sweep", "sweep.csv")
    sweep, fitted = bx.read_sweep(inputs / "sweep.csv"), bx.load_fit(inputs / "fit.json")
    drawn = bx.bootstrap(sweep, fitted, 200)
    for together in (False, True):
        option = ["--simultaneous"] * together
        document = json.loads(run(*given, "--level", "80%", *option, "--json"))
        expected = drawn.predict(MIXTURE, level=0.8, simultaneous=together)
        found = pd.DataFrame(document["intervals"]["plain"]).T
        pd.testing.assert_frame_equal(found[expected.columns], expected, check_names=False)
        assert (document["level"], document["simultaneous"]) == (0.8, together)
    assert "80 % simultaneous intervals for a new run" in run(*given, "--level", "80%", *option)
    shown = run(*given)
    assert "90 % intervals for a new run of mixture plain" in shown
    assert "error of the law, ± %" in shown


def test_predict_reads_the_sweep_with_the_options_of_its_fit(run, inputs, out, refuse):
    kept = ("--select", "model_size=70000000", "--from-budget", "1e9", "--exclude", "run00")
    fit, given = out / "of_part.json", ("mixture.json", "--sweep", "sizes.csv")
    run("fit", "sizes.csv", *kept, "--law", "BiMix", "-o", fit)
    document = json.loads(run("predict", fit, *given, *kept, "--json"))
    sweep = bx.read_sweep(inputs / "sizes.csv", select={"model_size": 70_000_000})
    sweep = sweep.without_runs(["run00"]).from_budget(1e9)
    expected = bx.bootstrap(sweep, bx.load_fit(fit), 200).predict(MIXTURE)
    found = pd.DataFrame(next(iter(document["intervals"].values()))).T
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_names=False)
    assert "a Fit to another sweep" in refuse(["predict", str(fit), *given, *kept[:4]])
    said = refuse(["predict", str(fit), "mixture.json", *kept])
    assert "--sweep is missing; --select says how it is read" in said


def test_predict_takes_one_mixture_as_json(run, inputs):
    document = json.loads(run("predict", "fit.json", "mixture.json", "--json"))
    (losses,) = document["losses"].values()
    expected = bx.load_fit(inputs / "fit.json").predict(MIXTURE)
    assert losses == pytest.approx(expected.to_dict())


def test_predict_reads_what_optimize_prints(run, inputs, out):
    (out / "best.json").write_text(run("optimize", "fit.json", "--json"))
    document = json.loads(run("predict", "fit.json", str(out / "best.json"), "--json"))
    best = bx.optimize_mixture(bx.load_fit(inputs / "fit.json"))
    (losses,) = document["losses"].values()
    assert losses == pytest.approx(best.losses.to_dict())


# ---- evaluate ------------------------------------------------------------------------------------


def test_evaluate_judges_runs_and_budgets(run, inputs, out):
    document = json.loads(run("evaluate", "sweep.csv", "--plot", out / "p.svg", "--json"))
    mixtures, budgets, notes = document.items()
    sweep = bx.read_sweep(inputs / "sweep.csv")
    for (name, table), parts, power in (
        (mixtures, sweep.split_runs(0.3, 0), 0.0),
        (budgets, sweep.split_budgets(0.5), 2.0),
    ):
        expected = bx.evaluate(bx.fit(parts[0], budget_power=power), parts[1]).table()
        assert name.startswith("held-out")
        assert table["overall"]["mre"] == pytest.approx(expected.loc["overall", "mre"])
        assert list(table) == [*DOMAINS, "overall"]
    assert notes[0] == "notes"
    assert (out / "p.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "noisy.csv"),
        ("compare", "noisy.csv", "--law", "BiMix", "--split", "budgets"),
        ("certainty", "noisy.csv", "--resamples", "20", "--budget", "1e10"),
    ],
    ids=lambda command: command[0],
)
def test_an_emphasis_reaches_every_fit_of_a_command(run, inputs, command):
    frame(noise=0.02).to_csv(inputs / "noisy.csv", index=False)
    even, late = (run(*command, "--json", "--budget-power", power) for power in ("0", "3"))
    assert even != late


@pytest.mark.filterwarnings("ignore::bimix_jax.SweepWarning")
def test_evaluate_counts_how_often_intervals_hold(run, inputs, out):
    given = ("evaluate", "sweep.csv", "--law", "BiMix", "--intervals")
    document = json.loads(run(*given, "--plot", out / "c.svg", "--json"))
    sweep = bx.read_sweep(inputs / "sweep.csv")
    expected = bx.calibration(sweep, bx.BiMix(), splits=bx.standard_splits(sweep, "mixtures"))
    assert document["calibration_error"] == pytest.approx(expected.calibration_error)
    assert document["verdict"] == expected.verdict()
    assert "probability that one run is better" in (out / "c.svg").read_text()
    shown = run(*given)
    assert expected.verdict().split(".")[0] in " ".join(shown.split())
    assert "worst target" in shown


def test_evaluate_leaves_out_budgets_where_one_would_be_left(run):
    shown = run("evaluate", "two.csv")
    assert "Error on held-out mixtures" in shown
    assert "No error on held-out budgets (the later 0.5): what is left has a single" in shown


def test_evaluate_says_what_a_fit_could_not_know(run):
    document = json.loads(run("evaluate", "single.csv", "--json"))
    assert len(document) == 2
    assert any("unidentified" in note for note in document["notes"])


# ---- optimize ------------------------------------------------------------------------------------


def test_optimize_prints_json_and_draws(run, inputs, out):
    weights = ("--weight", "web=2", "--weight", "code=1")
    shown = run(
        "optimize", "fit.json", "--budget", "1e10", *weights, "--plot", out / "m.png", "--json"
    )
    document = json.loads(shown)
    best = bx.optimize_mixture(bx.load_fit(inputs / "fit.json"), 1e10, {"web": 2, "code": 1})
    assert document["mixture"] == pytest.approx(best.mixture.to_dict())
    assert document["losses"]["books"] is None
    assert document["weights"] == {"web": 2, "code": 1, "books": 0}
    assert document["notes"] == list(best.notes)
    assert (out / "m.png").read_bytes().startswith(b"\x89PNG")


def test_optimize_shows_the_mixture_the_reference_and_the_notes(run, inputs):
    options = ("--reference", "mixture.json", "--method", "gradient", "--budget", "2e10")
    shown = run("optimize", "fit.json", *options)
    best = bx.optimize_mixture(bx.load_fit(inputs / "fit.json"), 2e10)
    for domain in DOMAINS:
        rows = [line for line in shown.splitlines() if line.startswith(f"{domain} ")]
        shares, losses, *_, taken = rows
        assert f"{best.mixture[domain]:.4f}" in shares
        assert f"{MIXTURE[domain]:.4f}" in shares
        assert number_text(best.losses[domain]) in losses
        assert taken.split()[2] == quantity_text(best.mixture[domain] * 2e10)
    assert f"Mean loss {number_text(best.objective)}, mixture " in shown
    assert "(gradient)" in shown
    assert "A prediction for the model size and tokeniser of the sweep" in shown
    assert "3.12 × the largest observed one" in shown


# ---- demo ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "pictures"
    result = CliRunner().invoke(app, ["demo", "-o", str(folder)])
    assert result.exception is None, result.exception
    return result.stdout, folder


def test_demo_goes_the_whole_way(demo):
    shown, folder = demo
    sweep = bx.read_sweep(bx.datasets.debian_sweep())
    train, test = sweep.split_runs(0.3, seed=0)
    fitted = bx.fit(train, bx.BiMix())
    best = bx.optimize_mixture(fitted, 2 * sweep.largest_budget)
    clear = bx.optimize_mixture(fitted, sweep.largest_budget, {"c": 1, "python": 1})
    mre = bx.evaluate(fitted, test).table().loc["overall", "mre"]
    wanted = [
        number_text(fitted.table().loc["python", "alpha"]),
        number_text(100 * mre),
        f"{best.mixture['python']:.4f}",
        number_text(best.objective),
        "uniform",
        f"best run of the sweep ({bx.best_measured(sweep)})",
        "model size and tokeniser",
        "import bimix_jax as bx",
        f"{number_text(100 * (1 - clear.objective / clear.reference_objective))} % better",
        f"{clear.mixture['python']:.4f}",
    ]
    assert clear.mixture[["c", "python"]].sum() > 0.99
    assert [words for words in wanted if words not in shown] == []
    names = {"curves.png", "predicted.png", "proportions.png", "mixture.png"}
    assert {path.name for path in folder.iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.iterdir())


def test_readme_shows_what_demo_prints(demo):
    shown = " ".join(demo[0].split())
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for part in re.search(r"```text\n(.*?)```", readme, re.S)[1].split("\n  - "):
        for piece in part.split("\n\n"):
            assert " ".join(piece.split()) in shown


def test_what_demo_prints_as_python_runs_and_gives_the_same_mixture(demo, capsys):
    shown, _ = demo
    lines = shown[shown.index("    import bimix_jax") :].splitlines()
    scope = {}
    exec("\n".join(line.removeprefix("    ") for line in lines), scope)
    assert len(capsys.readouterr().out) > 500
    for domain, share in scope["best"].mixture.items():
        assert any(f"{domain} " in line and f"{share:.4f}" in line for line in shown.splitlines())


# ---- how they refuse -----------------------------------------------------------------------------

BAD = {
    "no such folder": (["fit", "sweep.csv", "-o", "gone/fit.json"], "gone does not exist"),
    "folder of the picture": (
        ["fit", "sweep.csv", "-o", "fit.json", "--plot", "gone/c.png"],
        "gone does not exist",
    ),
    "picture without extension": (
        ["fit", "sweep.csv", "-o", "fit.json", "--plot", "curves"],
        "expected .png, .pdf or .svg",
    ),
    "output is a folder": (["fit", "sweep.csv", "-o", "."], ". is a folder"),
    "unknown purpose": (
        ["fit", "sweep.csv", "-o", "fit.json", "--shrinkage", "budget"],
        "'budget'; expected a strength ≥ 0, or one of mixtures, budgets",
    ),
    "unknown loss": (
        ["fit", "sweep.csv", "-o", "fit.json", "--residual", "squares"],
        "'squares'; expected one of relative, log, absolute",
    ),
    "huber": (["fit", "sweep.csv", "-o", "fit.json", "--huber", "0"], "huber is 0.0"),
    "tied": (["fit", "sweep.csv", "-o", "fit.json", "--tied", "gamma"], "alpha, beta"),
    "several sizes": (["fit", "sizes.csv", "-o", "fit.json"], "160000000"),
    "no such selection": (
        ["fit", "sizes.csv", "-o", "fit.json", "--select", "model_size=7"],
        "70000000, 160000000",
    ),
    "half a selection": (
        ["fit", "sizes.csv", "-o", "fit.json", "--select", "model_size"],
        "--select is 'model_size'; expected NAME=VALUE",
    ),
    "budgets too late": (
        ["fit", "sweep.csv", "-o", "fit.json", "--from-budget", "1e12"],
        "largest budget is 6.4B",
    ),
    "unknown budget column": (
        ["fit", "sweep.csv", "-o", "fit.json", "--budget-column", "days"],
        "days",
    ),
    "share of runs": (["evaluate", "sweep.csv", "--runs", "1.5"], "between 0 and 1"),
    "share of budgets": (["evaluate", "sweep.csv", "--budgets", "0"], "between 0 and 1"),
    "no fit": (["predict", "mixture.json", "mixture.json", "-o", "l.csv"], "JSON but not a fit"),
    "newer fit": (["predict", "newer.json", "mixture.json", "-o", "l.csv"], "format 99"),
    "missing sweep": (["fit", "nowhere.csv", "-o", "fit.json"], "nowhere.csv does not exist"),
    "missing fit": (["optimize", "nowhere.json", "--plot", "m.png"], "nowhere.json does not exist"),
    "missing mixtures": (["predict", "fit.json", "nowhere.csv", "-o", "l.csv"], "does not exist"),
    "missing mixture": (["predict", "fit.json", "nowhere.json", "-o", "l.csv"], "does not exist"),
    "domain missing": (["predict", "fit.json", "short.json", "-o", "l.csv"], "no proportion for b"),
    "no object": (["predict", "fit.json", "list.json", "-o", "l.csv"], "JSON object"),
    "text for numbers": (["predict", "fit.json", "words.csv", "-o", "l.csv"], "'much'"),
    "no mixture": (["predict", "fit.json", "none.csv", "-o", "l.csv"], "holds no mixture"),
    "twins in JSON": (["predict", "fit.json", "twins.csv", "--json"], "same names several rows"),
    "budget 0": (
        ["predict", "fit.json", "mixture.json", "--budget", "0", "-o", "l.csv"],
        "budget is 0.0; expected tokens above 0",
    ),
    "other than the single budget": (
        ["predict", "single.json", "mixture.json", "--budget", "1e9", "-o", "l.csv"],
        "single budget 6.4B tokens",
    ),
    "budget below 0": (
        ["optimize", "fit.json", "--budget", "-1", "--plot", "m.png"],
        "expected tokens above 0",
    ),
    "unknown weight": (
        ["optimize", "fit.json", "--weight", "wiki=1", "--plot", "m.png"],
        "wiki is unknown; expected only web, code, books",
    ),
    "weight in words": (
        ["optimize", "fit.json", "--weight", "web=big", "--plot", "m.png"],
        "--weight web is 'big'; expected one number",
    ),
    "weight twice": (
        ["optimize", "fit.json", "--weight", "web=1", "--weight", "web=2"],
        "--weight web is there twice; expected every name once",
    ),
    "method": (["optimize", "fit.json", "--method", "luck"], "'luck'; expected one of auto"),
    "two references": (
        ["optimize", "fit.json", "--reference", "mixtures.csv", "--plot", "m.png"],
        "2 mixtures; expected one",
    ),
}


def placed(arguments, inputs):
    return [str(inputs / a) if (inputs / a).is_file() and "/" not in a else a for a in arguments]


def assert_paragraph(error, words):
    assert error.startswith("bimix: ")
    assert "Traceback" not in error
    assert words in error
    assert "\n\n" not in error
    assert "\n" not in error.rstrip("\n") or "problem" in error.splitlines()[0]


@pytest.fixture
def refuse(inputs, out, monkeypatch, capsys):
    """Run the entry point in an empty folder; must fail; gives what it printed to stderr."""

    def invoke(arguments):
        arguments = [*arguments]
        for i, argument in enumerate(arguments[:-1]):
            if argument not in {"-o", "--plot"}:
                (arguments[i + 1],) = placed(arguments[i + 1 : i + 2], inputs)
        monkeypatch.chdir(out)
        monkeypatch.setattr(sys, "argv", ["bimix", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        assert caught.value.code == 2
        assert printed.out == ""
        return printed.err

    return invoke


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_ends_in_a_paragraph_and_leaves_nothing(refuse, out, arguments, words):
    assert_paragraph(refuse(arguments), words)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "fit.json"], "{mixtures}"),
        (["fit", "sweep.csv", "-o", "fit.json", "--huber", "much"], "--huber"),
        (["mend", "sweep.csv"], "'mend'"),
        (["chek", "sweep.csv"], "Did you mean 'check'?"),
        (["optimize", "fit.json", "--colour"], "--colour"),
    ],
)
def test_bad_usage_is_told_and_leaves_nothing(refuse, out, arguments, words):
    error = refuse(arguments)
    assert "Usage" in error
    assert words in error
    assert "Traceback" not in error
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "wrong.csv", "-o", "fit.json", "--plot", "c.png"], ["r_web", "row 5", "-0.5"]),
        (["fit", "wrong.csv", "-o", "fit.json"], ["2 problems", "loss_code", "row 8"]),
        (["fit", "sweep.csv", "-o", "fit.json", "--plot", "c.xyz"], ["c.xyz", ".png"]),
    ],
)
def test_a_paragraph_names_all_that_is_wrong(refuse, out, arguments, words):
    error = refuse(arguments)
    for word in words:
        assert_paragraph(error, word)
    assert list(out.iterdir()) == []


def test_the_command_itself_ends_in_a_paragraph_and_leaves_nothing(inputs, out):
    arguments = placed(["predict", "truncated.json", "mixture.json", "-o", "l.csv"], inputs)
    command = [sys.executable, "-m", "bimix_jax.cli", *arguments]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert_paragraph(done.stderr, "not complete JSON")
    assert list(out.iterdir()) == []


def test_a_bad_run_leaves_an_older_fit_as_it_was(refuse, out):
    (out / "fit.json").write_text("old")
    refuse(["fit", "wrong.csv", "-o", "fit.json"])
    assert (out / "fit.json").read_text() == "old"
    assert len(list(out.iterdir())) == 1


def test_mixtures_that_were_normalised_are_said_in_one_line(inputs, monkeypatch, capsys):
    arguments = placed(["predict", "fit.json", "rounded.csv", "--json"], inputs)
    monkeypatch.setattr(sys, "argv", ["bimix", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    assert not caught.value.code
    assert json.loads(printed.out)["losses"].keys() == {"1", "2"}
    assert printed.err.startswith("bimix: mixtures: 1 of 2 did not sum to 1")
    assert printed.err.count("\n") == 1


# ---- help and printing ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "optimize", "demo"])
def test_help_has_an_example(run, command):
    shown = run(command, "--help")
    assert f"Example: bimix {command}" in shown.replace("`", "")


def test_help_lists_every_command(run):
    shown = run("--help")
    assert [name for name in FILES if f" {name} " not in shown] == []


def test_logs_are_imported_without_waiting_for_what_only_fits_need():
    code = "import sys, bimix_jax.cli.import_logs; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_names_are_printed_as_they_are(capsys):
    table = pd.DataFrame({"[red]x": [1.0]}, index=pd.Index(["[bold]a:smile:"], name="domain"))
    show_table(table, "title")
    show_line("[/] :rocket: " + "long " * 40)
    shown = capsys.readouterr().out
    assert "[bold]a:smile:" in shown
    assert "[red]x" in shown
    assert "[/] :rocket: " + "long " * 40 in shown


def test_cells_have_the_digits_that_matter():
    assert show.number(float("nan")) == show.share(float("nan")) == "–"
    assert show.number(12) == "12"
    assert show.percent(0.0512) == "5.120"
    assert show.number(1.25e-5) == "1.250e-05"
    assert (show.share(1.65e-11), show.share(0.0)) == ("<0.0001", "0")
    assert show.quantity(3865376694.8021803) == "3.865B"


def test_json_has_no_nan_and_refuses_two_rows_of_one_name():
    table = pd.DataFrame({"x": [1.0, np.nan]}, index=["a", "b"])
    assert plain(table) == {"a": {"x": 1.0}, "b": {"x": None}}
    with pytest.raises(ValueError, match="a names several rows"):
        plain(table.set_axis(["a", "a"]))


# ---- what comes next -----------------------------------------------------------------------------


def test_every_stage_prints_the_next_command_and_it_runs(run, inputs, out):
    """From a check to a mixture, each command as the one before it printed it."""
    options = ("--select", "model_size=70000000", "--from-budget", "1e8")
    checked = CliRunner().invoke(app, ["check", str(inputs / "sizes.csv"), *options])
    assert checked.exit_code < 2
    shown = checked.stdout
    for expected in ("compare", "fit", "optimize"):
        words = shlex.split(shown.rpartition("Next: bimix ")[2])
        assert words[0] == expected
        if expected == "compare":
            assert words[2:] == ["--select", "model_size=70000000", "--from-budget", "100000000"]
            words += ["--law", "BiMix", "--law", "LogLinear", "--repeats", "1"]
        shown = run(*(str(out / "fit.json") if word == "fit.json" else word for word in words))
    assert "Recommended mixture at" in shown
