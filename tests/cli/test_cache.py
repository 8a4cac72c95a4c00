"""Kept programs and the line on the screen, as the commands have them."""

import io
import json
import os
import re
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax import cli
from bimix_jax.cli import waiting
from bimix_jax.cli.app import app

COUNTED = """
import json, sys
import jax
from bimix_jax.cli import main

events = []
jax.monitoring.register_event_listener(lambda name, **more: events.append(name))
try:
    main()
except SystemExit as ended:
    code = ended.code
kinds = ("cache_hits", "cache_misses")
counts = [sum(name.endswith(kind) for name in events) for kind in kinds]
print(json.dumps([code or 0, *counts]))
"""


@pytest.fixture
def fitted(tmp_path):
    """Fit the embedded sweep by the command in a new process: exit code, hits, misses, stderr."""
    sweep = bx.datasets.proxy_sweep()
    plain = {name: v for name, v in os.environ.items() if not name.startswith(("JAX_", "BIMIX_"))}

    def run(*options, **environment):
        written = tmp_path / "fit.json"
        written.unlink(missing_ok=True)
        asked = ["fit", str(sweep), "--law", "BiMix", "-o", str(written), *options]
        command = [sys.executable, "-c", COUNTED, *asked]
        plain["XDG_CACHE_HOME"] = str(tmp_path)
        done = subprocess.run(command, env=plain | environment, capture_output=True, text=True)
        assert written.exists(), done.stderr
        return (*json.loads(done.stdout.splitlines()[-1]), done.stderr)

    return run


def test_the_second_command_compiles_nothing_and_an_unsafe_folder_is_left_alone(fitted, tmp_path):
    code, hits, misses, said = fitted()
    assert (code, hits, said) == (0, 0, "")
    assert misses > 0
    assert fitted() == (0, misses, 0, "")
    folder = tmp_path / "bimix_jax"
    folder.chmod(0o777)
    code, hits, _, said = fitted()
    assert (code, hits) == (0, 0)
    assert said.startswith(f"bimix: compiled programs are not kept: others can write to {folder} ")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_neither_the_option_nor_the_variable_keeps_anything(fitted, tmp_path):
    assert fitted("--no-cache") == (0, 0, 0, "")
    assert fitted(BIMIX_CACHE="off") == (0, 0, 0, "")
    assert not (tmp_path / "bimix_jax").exists()
    assert fitted(BIMIX_CACHE=str(tmp_path / "named"))[2] > 0
    assert fitted(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "of-jax"))[0] == 0
    assert not (tmp_path / "bimix_jax").exists()


@pytest.mark.parametrize("arguments", [["--no-cache", "guide"], ["guide", "--no-cache"]])
def test_the_option_may_stand_anywhere(monkeypatch, capsys, arguments):
    monkeypatch.setenv("BIMIX_CACHE", "")
    monkeypatch.setattr(sys, "argv", ["bimix", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert os.environ["BIMIX_CACHE"] == "off"
    assert "cache " in capsys.readouterr().out


def test_the_help_names_the_option():
    assert "--no-cache" in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).output


# ---- the line on the screen ----------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def screen(self):
        """Return the text left on the line after all that was written."""
        return self.getvalue().rpartition(waiting.ERASED)[2]


def on_terminal(monkeypatch):
    """Called by a test itself, as pytest sets the stream between fixtures and test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_a_text_takes_the_place_of_the_one_before_and_goes(monkeypatch):
    terminal = on_terminal(monkeypatch)
    waiting.show("loading")
    assert terminal.screen() == "loading …"
    waiting.show("computing")
    assert terminal.screen() == "computing …"
    waiting.clear()
    assert terminal.screen() == ""
    length = len(terminal.getvalue())
    waiting.clear()
    assert len(terminal.getvalue()) == length


def test_the_time_is_counted_until_the_text_goes(monkeypatch):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr(waiting, "_begun", [time.monotonic() - 70])
    monkeypatch.setattr(waiting, "_clock", [])
    monkeypatch.setattr(waiting, "TICK", 0.01)
    waiting.show("fitting")
    until = time.monotonic() + 20
    while terminal.screen() == "fitting …" and time.monotonic() < until:
        time.sleep(0.01)
    waiting.clear()
    assert re.search(r"fitting … [7-9]\d s", terminal.getvalue())
    assert terminal.screen() == ""
    length = len(terminal.getvalue())
    time.sleep(0.1)
    assert len(terminal.getvalue()) == length


def test_a_pipe_gets_no_text(capsys):
    waiting.show("loading")
    waiting.clear()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["guide"], ["guide", "--help"], ["check", "none.csv"]])
def test_the_text_is_gone_before_a_command_prints(monkeypatch, arguments):
    terminal = on_terminal(monkeypatch)

    class Checked(io.StringIO):
        def write(self, text):
            assert terminal.screen() == ""
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Checked())
    monkeypatch.setattr(sys, "argv", ["bimix", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    assert f"bimix {arguments[0]}: loading" in terminal.getvalue()
    said = terminal.screen()
    assert said == "" or said.startswith("bimix: none.csv does not exist")


def test_the_text_is_shown_before_anything_heavy_is_imported():
    code = (
        "import sys\n"
        "from bimix_jax.cli import main, waiting\n"
        "def show(text):\n"
        "    heavy = {'jax', 'numpy', 'pandas', 'typer', 'rich'} & set(sys.modules)\n"
        "    print(text, sorted(heavy))\n"
        "    raise KeyboardInterrupt\n"
        "waiting.show = show\n"
        "sys.argv = ['bimix', 'fit', 'sweep.csv']\n"
        "try:\n"
        "    main()\n"
        "except KeyboardInterrupt:\n"
        "    pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "bimix fit: loading []\n", done.stderr
