"""Signal of targets: between mixtures, beside the noise of one run."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app

RUNS = 24


def table(spread=5.0, noise=1.0, repeats=1, seed=0, **columns):
    """Scores of mixtures of two domains; that of maths rises with the share, the other is noise."""
    rng = np.random.default_rng(seed)
    share = np.repeat(np.linspace(0.1, 0.9, RUNS), repeats)
    mean = 50 + spread * (share - 0.5) / np.std(np.unique(share))
    count = len(share)
    found = {
        "run": [f"run{i}" for i in range(count)],
        "r_web": share,
        "r_code": 1 - share,
        "score_maths": mean + rng.normal(0, noise, count),
        "score_luck": 30 + rng.normal(0, noise, count),
    }
    return pd.DataFrame(found | columns)


@pytest.mark.parametrize("basis", ["stated", "examples", "replicates"])
def test_a_score_without_signal_is_told_from_one_with(basis):
    repeats = 3 if basis == "replicates" else 1
    # Binomial noise of 2500 examples at a half is 1 point.
    examples = {"examples": 2500} if basis == "examples" else {}
    beside = {"sd_maths": 1.0, "sd_luck": 1.0} if basis == "stated" else {}
    sweep = bx.read_sweep(
        table(repeats=repeats, **beside),
        metadata={"targets": {name: {"unit": "percent", **examples} for name in ("maths", "luck")}},
    )
    found = sweep.signal()
    assert set(found["basis"]) == {basis}
    assert found["clear"].to_dict() == {"maths": True, "luck": False}
    assert found.loc["maths", "signal"] == pytest.approx(5, rel=0.15)
    assert found.loc["maths", "noise"] == pytest.approx(1, rel=0.25)
    assert found.loc["maths", "ratio"] == pytest.approx(5, rel=0.3)
    assert found.loc["luck", "ratio"] < 1


def test_luck_is_called_a_signal_one_time_in_twenty():
    clear = [
        bx.read_sweep(table(seed=seed, sd_luck=1.0)).signal()["clear"]["luck"]
        for seed in range(200)
    ]
    assert 0.01 < np.mean(clear) < 0.1


def test_without_any_noise_nothing_is_said():
    found = bx.read_sweep(table()).signal()
    assert found["clear"].all()
    assert found[["signal", "noise", "ratio"]].isna().all(axis=None)


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(table(sd_maths=1.0, sd_luck=1.0))


def test_a_task_without_signal_counts_only_where_it_is_named(sweep):
    fitted = bx.fit(sweep, bx.LogLinear())
    best = bx.optimize_mixture(fitted)
    assert best.weights.to_dict() == {"maths": 1, "luck": 0}
    assert any("no more than the noise: luck. Give weights" in note for note in best.notes)
    named = bx.optimize_mixture(fitted, weights={"maths": 1, "luck": 1})
    assert named.weights.to_dict() == {"maths": 1, "luck": 1}
    judged = bx.compare(sweep, ["LogLinear"], ["mixtures"], repeats=1)
    assert judged.targets == ("maths",)
    assert any("Not judged, as mixtures differ by no more than" in note for note in judged.notes)


def test_without_any_signal_there_is_no_optimum(sweep, tmp_path):
    alone = table(sd_maths=1.0, sd_luck=1.0, spread=0.0)
    quiet = bx.read_sweep(alone)
    assert not quiet.signal()["clear"].any()
    fitted = bx.fit(quiet, bx.LogLinear())
    with pytest.raises(ValueError, match="no target carries a signal: mixtures differ by no more"):
        bx.optimize_mixture(fitted)
    assert bx.optimize_mixture(fitted, weights={"luck": 1}).weights["luck"] == 1
    judged = bx.compare(quiet, ["LogLinear"], ["mixtures"], repeats=1)
    assert any(note.startswith("No target carries a signal") for note in judged.notes)
    alone.to_csv(tmp_path / "quiet.csv", index=False)
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "quiet.csv"), "--json"])
    assert checked.exit_code == 2
    assert "which are all targets" in checked.output
    assert json.loads(checked.stdout)["signal"]["luck"]["clear"] is False


def test_commands_show_the_signal(tmp_path):
    table(sd_maths=1.0, sd_luck=1.0).to_csv(tmp_path / "sweep.csv", index=False)
    given = ["compare", str(tmp_path / "sweep.csv"), "--law", "LogLinear", "--split", "mixtures"]
    said = CliRunner().invoke(app, given, env={"COLUMNS": "200"}).output
    assert "Signal of the scores at the last common budget" in said
    assert "The noise of scores is that of columns sd_…: maths, luck." in said
