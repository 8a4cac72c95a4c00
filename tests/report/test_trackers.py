"""A decision in the stores of trackers, offline, where these are installed."""

import importlib.util
import json

import pytest

import bimix_jax as bx
from bimix_jax.report.trackers import TRACKERS, check_tracker, log_decision
from tests.fits import frame


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    report = bx.decide(bx.read_sweep(frame(noise=0.01)), laws=["BiMix", "LogLinear"], propose=0)
    return report, report.save(folder)


def test_mlflow_stores_files_and_numbers(decided, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # else a database is needed
    monkeypatch.chdir(tmp_path)
    report, files = decided
    log_decision(report, files, "mlflow")
    (run,) = mlflow.search_runs(output_format="list", search_all_experiments=True)
    assert run.data.tags["recommendation"] == report.sentence()
    assert run.data.metrics["share/web"] == pytest.approx(report.optimum.mixture["web"])
    assert run.data.metrics["gain"] == pytest.approx(report.certainty.gain)
    stored = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/decision/decision.json")
    (written,) = (path for path in files if path.name == "decision.json")
    assert json.loads(stored) == json.loads(written.read_text())


def test_wandb_stores_files_and_numbers_offline(decided, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    report, files = decided
    log_decision(report, files, "wandb")
    wandb.teardown()  # its service writes the file until it ends
    (stored,) = tmp_path.rglob("*.wandb")
    written = stored.read_bytes()
    assert b"share/web" in written
    for path in files:
        assert path.name.encode() in written


def test_a_tracker_that_is_unknown_or_not_installed_is_named(monkeypatch):
    with pytest.raises(ValueError, match="tracker is 'neptune'; expected one of wandb, mlflow"):
        check_tracker("neptune")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in TRACKERS:
        with pytest.raises(ValueError, match=rf"install it with pip install 'bimix_jax\[{name}\]'"):
            check_tracker(name)
