"""From logs to a config, line for line as README and guide have it, from tests/example."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from bimix_jax.report.plan import Plan

ROOT = Path(__file__).parent.parent


PAGE = (ROOT / "bimix_jax" / "guide" / "logs.md").read_text(encoding="utf-8")


def lines_of(text):
    return re.findall(r"^    bimix (.*)$", text.replace("\\\n", " "), re.M)


def test_readme_and_guide_show_one_command_that_decides(tmp_path, monkeypatch):
    (line,) = lines_of((ROOT / "README.md").read_text(encoding="utf-8"))
    guide = (ROOT / "bimix_jax" / "guide" / "decide.md").read_text(encoding="utf-8")
    assert line in lines_of(guide)
    shutil.copytree(ROOT / "tests" / "example", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    further = ["--law", "BiMix", "--propose", "0", "--quiet"]  # to save time
    result = CliRunner().invoke(app, [*line.split(), *further])
    assert result.exit_code == 0, result.output
    plan = Plan.load("decision/plan.toml")
    assert plan.has_logs
    assert dict(plan.read) == {"tokens_per_step": 4096.0}
    written = {path.name for path in (tmp_path / "decision").iterdir()}
    assert {"index.html", "decision.json", "mixture.csv", "megatron.txt"} <= written
    assert (tmp_path / "decision" / "megatron.txt").read_text().count("\n") == 7


def test_the_commands_run_and_end_in_the_file_shown(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "tests" / "example", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    lines = lines_of(PAGE)
    assert [line.split()[0] for line in lines] == ["import", "check", "fit", "optimize"]
    for line in lines:
        result = CliRunner().invoke(app, line.split())
        assert result.exit_code == 0, result.output
    blend = (tmp_path / "blend.txt").read_text()
    shown = re.search(r"```text\n(.*?)```", PAGE, re.S)[1]
    for found, expected in zip(blend.splitlines(), shown.splitlines(), strict=True):
        assert found.split()[1] == expected.split()[1]
        assert float(found.split()[0]) == pytest.approx(float(expected.split()[0]), abs=1e-5)
    sweep = bx.read_sweep(tmp_path / "sweep.parquet")
    embedded = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    pd.testing.assert_frame_equal(sweep.mixtures, embedded.mixtures, atol=1e-6)
    assert sweep.metadata.stated() == {"tokenizer": "bpe-4096", "loss_unit": "nats"}
    assert (tmp_path / "blend.txt.stamp.json").is_file()
