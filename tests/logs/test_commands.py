"""`bimix import`, `bimix check` and `bimix optimize --emit`: what they print, write and refuse."""

import importlib
import json
import sys

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.cli import main
from tests.fits import DOMAINS, frame
from tests.logs import exports


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    measured = exports.measured()
    (folder / "logs").mkdir()
    exports.wandb_csv(measured, folder / "logs")
    exports.mixtures(measured).to_csv(folder / "runs.csv", index=False)
    exports.mixtures(measured).iloc[:9].to_csv(folder / "some.csv", index=False)
    mixtures = exports.mixtures(measured)
    ghost = mixtures.iloc[:1].assign(run="ghost")
    pd.concat([mixtures, ghost]).to_csv(folder / "more.csv", index=False)
    (folder / "twice").mkdir()
    exports.wandb_csv(measured, folder / "twice")
    log = exports.histories(measured, "eval/{target}/loss")["uniform"]
    before = log.iloc[:2].assign(**{"eval/c/loss": 9.0})
    pd.concat([before, log]).to_csv(folder / "twice" / "uniform.csv", index=False)
    (folder / "cut" / "uniform").mkdir(parents=True)
    cut = folder / "cut" / "uniform" / "trainer_state.json"
    cut.write_text('{"log_history": [{"step": 3, "eval_c_lo')
    stated = {"tokenizer": "gpt2"}
    bx.read_sweep(measured.to_frame(), metadata=stated).save(folder / "gpt2.parquet")
    (folder / "broken").mkdir()
    (folder / "broken" / "uniform.jsonl").write_text('{"_step": 3, "eval/c/lo')
    frame(noise=0.002).to_csv(folder / "sweep.csv", index=False)
    doubtful = frame(noise=0.002).assign(r_wiki=0.0)
    doubtful.to_csv(folder / "doubtful.csv", index=False)
    huge = frame(noise=0.002).assign(**{f"loss_{d}": 50.0 for d in DOMAINS})
    huge.to_csv(folder / "huge.csv", index=False)
    bx.fit(bx.read_sweep(frame(noise=0.01)), bx.BiMix()).save(folder / "fit.json")
    (folder / "sources.toml").write_text('web = "/w"\ncode = "/c"\nbooks = "/b"\n')
    (folder / "short.toml").write_text('web = "/w"\ncode = "/c"\n')
    pd.DataFrame({"domain": DOMAINS, "tokens": 1e9}).to_csv(folder / "there.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def one_law(monkeypatch):
    """`check` counts the coefficients of one law: which laws it takes is tested beside it."""
    module = importlib.import_module("bimix_jax.diagnosis.diagnose")
    monkeypatch.setattr(module, "LAWS", {"BiMix": bx.BiMix})


@pytest.fixture
def call(inputs, monkeypatch, capsys):
    """Run the entry point beside the inputs: exit code, stdout, stderr."""

    def invoke(*arguments):
        monkeypatch.chdir(inputs)
        monkeypatch.setattr(sys, "argv", ["bimix", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return invoke


def test_import_writes_a_sweep_that_reads_back(call, tmp_path):
    out = tmp_path / "sweep.parquet"
    options = ("--mixtures", "runs.csv", "--tokens-per-step", 4096, "--metadata", "tokenizer=x")
    code, printed, error = call("import", "logs", *options, "-o", out)
    assert (code, error) == (0, "")
    assert "16 runs of 15 mixtures at 11 budgets" in printed
    assert "Not stated with the sweep, so not checked: unit of the losses" in printed
    assert bx.read_sweep(out).digest() == exports.measured().digest()
    document = json.loads(call("import", "logs", *options, "-o", out, "--json")[1])
    assert (document["runs"], document["unit"], document["points"]) == (16, "tokens", 176)


def test_import_counts_what_was_logged_twice_and_what_was_left_out(call, tmp_path):
    out = tmp_path / "sweep.parquet"
    options = ("--mixtures", "more.csv", "--drop-unmatched", "--json")
    notes = json.loads(call("import", "twice", *options, "-o", out)[1])["notes"]
    assert notes[:2] == [
        "Logged more than once: 2 steps of 1 run (uniform). The last value was kept.",
        "Left out: 1 mixture without a run: ghost.",
    ]
    np.testing.assert_array_equal(bx.read_sweep(out).loss, exports.measured().loss)
    ends = json.loads(call("import", "logs", *options, "--endpoints-only", "-o", out)[1])
    assert (ends["points"], ends["unit"]) == (16, "steps")
    assert "160 points before the ends of their runs left out." in ends["notes"]


@pytest.mark.parametrize(
    ("file", "severity"), [("sweep.csv", 0), ("doubtful.csv", 1), ("huge.csv", 2)]
)
def test_check_ends_with_the_severity(call, file, severity):
    code, printed, _ = call("check", file)
    assert code == severity
    assert printed.splitlines()[1].split()[0] == ("note", "warning", "error")[severity]
    code, printed, _ = call("check", file, "--json")
    assert code == severity
    assert json.loads(printed)["severity"] == ("note", "warning", "error")[severity]


def test_emitted_files_carry_the_command_and_print_alone(call, inputs, tmp_path):
    options = ("optimize", "fit.json", "--emit", "text")
    code, printed, _ = call(*options)
    assert code == 0
    lines = printed.splitlines()
    assert lines[3] == "# bimix_jax command: bimix optimize fit.json --emit text"
    assert sum(float(line.split()[0]) for line in lines if line[0] != "#") == pytest.approx(1)
    out = tmp_path / "mix.json"
    code, printed, _ = call("optimize", "fit.json", "--available", "there.csv", "--emit", "json",
                            "--digits", 3, "-o", out)  # fmt: skip
    assert code == 0
    assert "epochs" in printed.partition("Tokens needed")[2]
    assert f"Written: {out}" in printed.replace("\n", "")
    code, _, _ = call("optimize", "fit.json", "--reference", out)
    assert code == 0
    document = json.loads(call("optimize", "fit.json", "--available", "there.csv", "--json")[1])
    assert set(document["recipe"]["web"]) >= {"tokens", "epochs", "rounded"}


BAD = {
    "a run without a mixture": (
        ["import", "logs", "--mixtures", "some.csv", "-o", "x.parquet"],
        "7 runs without a mixture",
    ),
    "a pattern that matches nothing": (
        ["import", "logs", "--mixtures", "runs.csv", "--loss-pattern", "{target}_nll",
         "-o", "x.parquet"],
        "no column matches '{target}_nll'. The nearest of 10: ",
    ),
    "a mixture without a run": (
        ["import", "logs", "--mixtures", "more.csv", "-o", "x.parquet"],
        "1 mixture without a run: ghost",
    ),
    "a truncated trainer_state.json": (
        ["import", "cut", "--mixtures", "runs.csv", "-o", "x.parquet"],
        "cut/uniform/trainer_state.json is not complete JSON",
    ),
    "meaning that contradicts the file": (
        ["fit", "gpt2.parquet", "--metadata", "tokenizer=llama", "-o", "x.json"],
        "that of gpt2.parquet gpt2",
    ),
    "truncated JSON": (
        ["import", "broken", "--mixtures", "runs.csv", "-o", "x.parquet"],
        "line 1 is not complete JSON",
    ),
    "tokens without a rate": (
        ["import", "logs", "--mixtures", "runs.csv", "--unit", "tokens", "-o", "x.parquet"],
        "--tokens-per-step",
    ),
    "no logs": (["import", "gone", "--mixtures", "runs.csv", "-o", "x.parquet"], "gone does not"),
    "no Parquet": (["import", "logs", "--mixtures", "runs.csv", "-o", "x.csv"], ".parquet"),
    "an entry that is none": (
        ["import", "logs", "--mixtures", "runs.csv", "--metadata", "vocab=3", "-o", "x.parquet"],
        "vocab is not an entry",
    ),
    "a path map that misses a domain": (
        ["optimize", "fit.json", "--emit", "megatron", "--paths", "short.toml"],
        "no value for books",
    ),
    "no paths": (["optimize", "fit.json", "--emit", "streaming"], "give them (--paths)"),
    "unknown form": (["optimize", "fit.json", "--emit", "xml"], "form is 'xml'"),
    "paths alone": (["optimize", "fit.json", "--paths", "sources.toml"], "goes with --emit"),
    "two on one stream": (["optimize", "fit.json", "--emit", "text", "--json"], "both print"),
    "digits": (["optimize", "fit.json", "--digits", "0"], "digits is 0"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_ends_in_a_paragraph_and_leaves_nothing(call, inputs, arguments, words):
    code, printed, error = call(*arguments)
    assert (code, printed) == (2, "")
    assert error.startswith("bimix: ")
    assert words in error
    assert "\n" not in error.rstrip("\n")
    assert not list(inputs.glob("x.*"))
