"""`bimix decide`: one command from a table or logs to files, and what it says."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bimix_jax.cli._stages import PARTS, Stages
from bimix_jax.cli.app import app
from tests.fits import frame

LAWS = ("--law", "BiMix", "--law", "LogLinear")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a sweep, one that is too small, and a table of tokens."""
    place = tmp_path_factory.mktemp("decide")
    table = frame(noise=0.01)
    table.to_csv(place / "sweep.csv", index=False)
    (place / "empty.toml").write_text("budget = 1e10\n")
    table[table["run"] < "run05"].to_csv(place / "few.csv", index=False)
    tokens = {"web": 9e10, "code": 3e9, "books": 5e8}
    pd.Series(tokens, name="tokens").rename_axis("domain").to_csv(place / "tokens.csv")
    return place


@pytest.fixture
def call(folder, monkeypatch):
    """Run the command in that folder; gives its exit code, and what it printed to both streams."""
    monkeypatch.chdir(folder)

    def invoke(*arguments, width="80", env=None):
        env = {"COLUMNS": width, **(env or {})}
        ended = CliRunner().invoke(app, ["decide", *map(str, arguments)], env=env)
        if isinstance(ended.exception, Exception):
            raise ended.exception
        return ended.exit_code, ended.stdout, ended.stderr

    return invoke


def test_one_command_writes_and_says_the_decision(call, folder, monkeypatch):
    told, stages = Stages.told, []
    monkeypatch.setattr(Stages, "told", lambda self, text: stages.append(text) or told(self, text))
    code, shown, progress = call(
        "sweep.csv", "--budget", "12.8B", "--available", "tokens.csv", "--epochs", "4",
        "--lower", "web=70%", "--propose", "0", "-o", "one", *LAWS,
    )  # fmt: skip
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    document = json.loads((folder / "one" / "decision.json").read_text())
    assert " ".join(shown.split()).find(document["recommendation"]) > 0
    assert "best run (" in shown
    assert "Binding: web ≥ 0.7." in shown
    assert "--law Stacked" not in shown
    assert "Written: one/index.html, one/decision.json" in shown
    assert "bimix decide --plan one/plan.toml" in " ".join(shown.split())
    # In a pipe there is no progress.
    assert progress == ""
    assert stages[0] == "reading"
    assert stages[-1] == "writing"
    assert len({stage.partition(":")[0] for stage in stages}) == len(PARTS)
    assert any(": judging 2 laws on " in stage for stage in stages)
    stamp = json.loads((folder / "one" / "recipe.json").read_text())["stamp"]
    assert stamp["budget"] == "1.28e+10 tokens"


def test_a_terminal_shows_the_stage_and_what_is_left(call):
    _, _, progress = call(
        "sweep.csv", "--propose", "0", "-o", "one", *LAWS, env={"FORCE_COLOR": "1"}
    )
    assert "6/6 writing" in re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", progress)
    clock = iter([0.0, 40.0]).__next__
    stages = Stages(clock)
    assert stages.told("reading") == "reading"
    assert stages.told("comparing laws") == "comparing laws"
    within = "comparing laws: judging 4 laws, about 20 s left"
    assert stages.told(within) == within
    assert stages.number == 2
    # Half of the time is gone after the comparison, so that about as much is left.
    assert stages.told("fitting BiMix") == "fitting BiMix, about 40 s left"


def test_the_plan_that_is_written_makes_the_same_decision(call, folder):
    call("sweep.csv", "--lower", "web=0.3", "--reference", "uniform", "-o", "two", "-q", *LAWS)
    before = (folder / "two" / "decision.json").read_bytes()
    code, shown, progress = call("--plan", "two/plan.toml", "-o", "two", "-q")
    assert (code, progress) == (0, "")
    assert (folder / "two" / "decision.json").read_bytes() == before
    code, shown, _ = call("--plan", "two/plan.toml", "--lower", "web=0.4", "--json", "-o", "two")
    assert json.loads(shown)["decision"]["constraints"]["lower"] == {"web": 0.4}
    assert json.loads(shown)["plan"]["reference"] == "uniform"


def test_a_plan_is_begun_from_a_sweep(call, folder):
    code, shown, _ = call("sweep.csv", "--write-plan", "begun.toml", "--exclude", "run03", "-q")
    assert (code, shown) == (0, "Written: begun.toml; next: bimix decide --plan begun.toml\n")
    assert "# [lower]\n# web = 0.01" in (folder / "begun.toml").read_text()
    assert not (folder / "decision").exists()


def test_a_sweep_that_is_too_small_names_runs_and_ends_with_1(call, folder):
    code, shown, _ = call("few.csv", "-o", "few", "--law", "BiMix", "--propose", "3", "-q")
    assert code == 1
    assert "Not enough to decide: the sweep has 5 mixtures" in " ".join(shown.split())
    assert "3 runs to do" in shown
    runs = pd.read_csv(folder / "few" / "next_runs.csv", index_col="run")
    assert list(runs.columns) == ["r_web", "r_code", "r_books"]
    np.testing.assert_allclose(runs.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep.csv", "--lower", "web=0.7", "--lower", "code=0.4"), "web"),
        (("sweep.csv", "--lower", "wbe=0.7"), "Did you mean web"),
        (("sweep.csv", "--reference", "best"), "Did you mean best-run"),
        (("sweep.csv", "--emit", "megatron"), "megatron names the data of every domain"),
        ((), "SWEEP is missing; .* Type: bimix decide sweep.csv"),
        (("--plan", "empty.toml"), "the plan names no table of runs"),
        (("sweep.csv", "--plan", "tokens.csv"), "tokens.csv is not a complete TOML file"),
    ],
)
def test_bad_questions_end_before_anything_is_fitted(call, monkeypatch, arguments, words):
    def refuse(*given, **options):
        raise AssertionError("fitted")

    monkeypatch.setattr("bimix_jax.report.decide.compare", refuse)
    with pytest.raises(ValueError, match=words):
        call(*arguments, "-o", "bad")
