"""Errors and notes name the option that was typed, in every command that reads a sweep."""

import sys

import numpy as np
import pytest

from bimix_jax import __version__, cli
from bimix_jax.cli.wording import error_in_options, in_options, use_options
from tests.frames import random_frame, wide_frame

READ = ("check", "fit", "evaluate", "compare", "certainty", "propose")
"""Commands that take the options of a sweep."""


@pytest.fixture
def ended(monkeypatch, capsys, tmp_path):
    """Standard output, standard error and exit code of a command, in a folder of files."""
    monkeypatch.chdir(tmp_path)
    frame = wide_frame()
    frame.to_csv("sweep.csv", index=False)
    frame.rename(columns=lambda c: c.replace("r_", "share_")).to_csv("own.csv", index=False)
    frame.drop(columns=["loss_web", "loss_code"]).to_csv("shares.csv", index=False)
    frame.rename(columns={"tokens": "so far"}).to_csv("no_budget.csv", index=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bimix", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return run


@pytest.mark.parametrize("command", READ)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shares.csv",), ("--mixture-prefix and --loss-prefix", "losses by --losses.")),
        (("sweep.csv", "--budget-column", "epoch"), ("--budget-column: there is no column epoch",)),
        (("sweep.csv", "--run-column", "who"), ("--run-column: no column who",)),
        (("sweep.csv", "--select", "who=7"), ("--select: there is no column who",)),
        (("no_budget.csv",), ("with --budget-column 'so far', or keep",)),
        (("sweep.csv", "--losses", "shares.csv", "--key", "who"), ("--key: the two tables",)),
    ],
)
def test_an_error_of_reading_names_options(ended, command, arguments, words):
    code, _, said = ended(command, *arguments)
    assert code == 2
    assert "=," not in said.replace("\n", " ")
    assert "= " not in said.replace("\n", " ")
    for each in words:
        assert each in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("certainty", "sweep.csv", "--level", "2"), "--level is 2"),
        (("certainty", "sweep.csv", "--resamples", "1"), "--resamples is 1"),
        (("fit", "sweep.csv", "--law", "BeMix"), "--law is 'BeMix'"),
        (("compare", "sweep.csv", "--split", "weeks"), "--split"),
        (("import", "sweep.csv", "-o", "s.parquet", "--unit", "days"), "(--unit)"),
    ],
)
def test_an_error_of_an_option_begins_with_it(ended, arguments, words):
    code, _, said = ended(*arguments)
    assert code == 2
    assert words in said


def test_messages_turn_arguments_into_options_and_keep_everything_else():
    use_options({"run_column": "--run-column", "level": "--level", "budget": "--budget"})
    said = "a.csv: run: choose with run='x y' (--run-column 'x (y)') or level=; f(x=1, y=2), z=."
    assert error_in_options(said) == (
        "a.csv: --run-column: choose with --run-column 'x (y)' or --level; f(x=1, y=2), z=."
    )
    assert in_options("Two (level= or --level); x= or y=") == "Two (--level); x= or y="
    assert in_options("budget: 3 is in a note") == "budget: 3 is in a note"
    assert error_in_options("budget is -1") == "--budget is -1"


def test_a_right_guess_is_no_warning(ended):
    frame = wide_frame()
    frame[["r_web", "r_code"]] *= 100
    frame.to_csv("percent.csv", index=False)
    codes = [ended("check", file)[0] for file in ("sweep.csv", "own.csv", "percent.csv")]
    assert len(set(codes)) == 1
    _, out, _ = ended("check", "own.csv")
    assert "name the beginnings of the columns with --mixture-prefix and --loss-prefix" in out
    _, out, _ = ended("check", "percent.csv")
    assert "note  The proportions sum to 100" in out


def test_a_fit_is_shown_without_a_file(ended, tmp_path):
    there = set(tmp_path.iterdir())
    _, out, _ = ended("fit", "sweep.csv")
    assert "-o fit.json writes it" in out
    assert "alpha" in out
    assert set(tmp_path.iterdir()) == there


def test_the_version(ended):
    assert ended("--version")[:2] == (0, f"bimix_jax {__version__}\n")


@pytest.mark.parametrize("command", ["optimize", "path", "sensitivity", "certainty", "propose"])
def test_every_command_that_recommends_takes_a_run_as_reference(ended, command):
    random_frame(np.random.default_rng(3), runs=8, budgets=4, domains=3).to_csv("more.csv")
    ended("fit", "more.csv", "-o", "fit.json")
    reads_sweep = command in ("certainty", "propose")
    file = "more.csv" if reads_sweep else "fit.json"
    more = {"certainty": ("--resamples", "20"), "propose": ("-n", "1")}.get(command, ())
    code, _, said = ended(command, file, *more, "--reference", "best-run")
    assert (code, said) == (0, "")
    _, _, said = ended(command, file, *more, "--reference", "run:nobody")
    assert "--reference is 'run:nobody'; expected one of the 8 runs" in said
    _, _, said = ended(command, file, *more, "--reference", "bestrun")
    assert "expected uniform, available, best-run, run:NAME or a file that exists." in said
