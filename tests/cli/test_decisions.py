"""`bimix path`, `tradeoff`, `sensitivity`, `propose`, `certainty`: what they print and refuse."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from tests.fits import DOMAINS, frame


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    table = frame(noise=0.01)
    table.to_csv(folder / "sweep.csv", index=False)
    bx.fit(bx.read_sweep(table), bx.BiMix()).save(folder / "fit.json")
    (folder / "mixture.json").write_text('{"web": 0.2, "code": 0.3, "books": 0.5}')
    return folder


@pytest.fixture
def run(inputs):
    """Run a command on names of input files; must succeed; gives what it printed."""

    def invoke(*arguments):
        given = [str(inputs / str(a)) if (inputs / str(a)).is_file() else str(a) for a in arguments]
        result = CliRunner().invoke(app, given)
        assert result.exception is None, result.exception
        return result.stdout

    return invoke


def test_path_gives_what_python_does_as_table_json_and_picture(run, inputs, tmp_path):
    options = ("--from", 1e9, "--to", 8e9, "--steps", 3, "--weight", "web=2", "--weight", "code=1")
    document = json.loads(run("path", "fit.json", *options, "--json"))
    budgets = np.geomspace(1e9, 8e9, 3)
    found = bx.optimal_path(bx.load_fit(inputs / "fit.json"), budgets, {"web": 2, "code": 1})
    assert list(document["mixtures"]) == [str(b) for b in budgets]
    last = document["mixtures"][str(budgets[-1])]
    assert last["web"] == pytest.approx(found.mixtures["web"].iloc[-1])
    assert document["low"] is None
    assert "Best mixture along the budget" in run("path", "fit.json", "--plot", tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_tradeoff_shows_the_front(run, inputs, tmp_path):
    shown = run("tradeoff", "fit.json", "--first", "web", "--plot", tmp_path / "front.svg")
    assert "The first group: web.\nThe second group: code, books.\n" in shown
    assert "Mean losses of both groups at 6.4B tokens" in shown
    assert "0.500" in shown
    document = json.loads(run("tradeoff", "fit.json", "--first", "web", "--json"))
    front = bx.tradeoff(bx.load_fit(inputs / "fit.json"), ["web"]).front
    assert document["front"]["0.5"]["second"] == pytest.approx(front["second"].loc[0.5])
    assert (tmp_path / "front.svg").stat().st_size > 1000


def test_sensitivity_shows_every_move(run, inputs, tmp_path):
    options = ("--mixture", "mixture.json", "--budget", 3e9)
    shown = run("sensitivity", "fit.json", *options, "--plot", tmp_path / "moves.png")
    assert "one more point" in shown
    document = json.loads(run("sensitivity", "fit.json", *options, "--json"))
    mixture = json.loads((inputs / "mixture.json").read_text())
    found = bx.sensitivity(bx.load_fit(inputs / "fit.json"), mixture, 3e9)
    assert document["nats"]["web"]["code"] == pytest.approx(found.nats.loc["web", "code"])
    assert document["percent"]["web"]["web"] < 0


def test_propose_writes_mixtures_that_predict_reads(run, inputs, tmp_path):
    limits = ("--run-lower", "web=10%", "--run-upper", "web=0.4")
    options = ("-n", 3, "-o", tmp_path / "next.csv", *limits, "--plot")
    shown = run("propose", "sweep.csv", *options, tmp_path / "next.png")
    assert "Runs to do next, best first, for the decision at 6.4B tokens" in shown
    mixtures = pd.read_csv(tmp_path / "next.csv", index_col="run")
    assert mixtures.columns.tolist() == list(DOMAINS)
    assert mixtures["web"].between(0.1 - 1e-9, 0.4 + 1e-9).all()
    predicted = json.loads(run("predict", inputs / "fit.json", tmp_path / "next.csv", "--json"))
    assert list(predicted["losses"]) == ["next1", "next2", "next3"]
    assert (tmp_path / "next.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("tradeoff", "fit.json", "--first", "mail"), "first is mail; expected some of"),
        (("path", "fit.json", "--from", -1.0), "expected tokens above 0"),
        (("path", "fit.json", "--to", 1.0), "is not below --to 1 tokens; expected a range"),
        (
            ("propose", "sweep.csv", "--run-lower", "web=0.1:1"),
            "expected a share, like 0.25 or 25%",
        ),
        (("optimize", "fit.json", "--objective", "wrost"), "mean or worst. Did you mean worst?"),
        (("tradeoff", "fit.json", "--first", "boks"), "Did you mean books?"),
        (("path", "fit.json", "--lower", "web=0.1,code=0.2"), "repeat --lower for each name"),
        (("optimize", "sweep.csv"), "is a table, not a fit; fit the sweep first"),
        (("check", "fit.json"), "is a fit, not a table of runs; give the sweep"),
        (("check", "sweep.csv", "--losses", "sweep.csv"), "leave that out (--losses)"),
        (("check", "sweep.csv", "--exclude", "run99"), "there is no run run99"),
        (("propose", "sweep.csv", "--run-upper", "mail=1"), "bounds: mail is unknown"),
        (("sensitivity", "fit.json", "--weight", "web=much"), "expected one number"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(inputs, command, message):
    given = [str(inputs / a) if (inputs / str(a)).is_file() else str(a) for a in command]
    error = CliRunner().invoke(app, given).exception
    assert isinstance(error, ValueError)
    assert message in str(error)


def test_certainty_says_how_sure_within_constraints_and_between_laws(run, inputs, tmp_path):
    (inputs / "limits.toml").write_text("upper = {web = 0.25}")
    document = json.loads(
        run("certainty", "sweep.csv", "--law", "BiMix", "--law", "LogLinear", "--resamples", 60,
            "--constraints", "limits.toml", "--plot", tmp_path / "sure.png", "--json")
    )  # fmt: skip
    assert document["resamples"] == 60
    assert document["mixture"]["web"] <= 0.25 + 1e-9
    assert document["intervals"]["web"]["high"] <= 0.25 + 1e-9
    assert document["between_laws"]["mixtures"]["web"]["LogLinear"] <= 0.25 + 1e-9
    gain = document["gain"]
    assert gain["low"] < gain["value"] < gain["high"]
    assert (tmp_path / "sure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--level", "90"), "level is 90"),
        (("--resamples", "1"), "n is 1; expected 2 resamples or more"),
        (("--unit", "row"), "unit is 'row'; expected one of mixture, run"),
        (("--resampling", "rows"), "resampling is 'rows'"),
        (("--law", "BiMx"), "BiMix"),
    ],
)
def test_certainty_refuses(inputs, options, words):
    given = ["certainty", str(inputs / "sweep.csv"), *options]
    result = CliRunner().invoke(app, given)
    assert words in str(result.exception)
    assert not isinstance(result.exception, (KeyError, IndexError))
