"""Where every command ends: one paragraph and an exit code, whatever was raised or signalled."""

import os
import signal
import subprocess
import sys
import time

import pytest

from bimix_jax import cli
from bimix_jax.cli import _signals

COMMAND = [sys.executable, "-m", "bimix_jax.cli"]


@pytest.fixture
def ended(monkeypatch, capsys):
    """What `bimix` prints to standard error and exits with, where a command raises an error."""

    def run(error, *arguments):
        def fail(given):
            raise error

        monkeypatch.setattr(cli, "_run", fail)
        monkeypatch.setattr(sys, "argv", ["bimix", "fit", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("weights are [-1]; expected numbers."), "bimix: weights are [-1]"),
        (OSError(28, "No space left on device", "out.json"), "out.json: No space left on device"),
        (OSError(5, "Input/output error"), "the output: Input/output error"),
        (KeyError("r_web"), "KeyError: 'r_web'"),
        (RecursionError("maximum depth\nexceeded"), "RecursionError: maximum depth. --debug"),
        (MemoryError("Unable to allocate 7 TiB"), "the memory is not enough (Unable to allocate"),
        (AssertionError(), "AssertionError: no message"),
        (ValueError(), "ValueError: no message"),
    ],
)
def test_every_exception_is_one_paragraph_with_exit_code_2(ended, error, words):
    code, said = ended(error)
    assert code == 2
    assert words in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_the_signals_of_who_embeds_the_command_are_given_back(ended):
    before = [signal.getsignal(number) for number in _signals.SIGNALS]
    ended(ValueError("no"))
    assert [signal.getsignal(number) for number in _signals.SIGNALS] == before


@pytest.mark.parametrize("place", [("--debug", "x.csv"), ("x.csv", "--debug")])
def test_debug_lets_the_traceback_through_wherever_it_stands(ended, place):
    with pytest.raises(KeyError, match="r_web"):
        ended(KeyError("r_web"), *place)


def bimix(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_platform_that_does_not_exist_is_named(tmp_path):
    table = tmp_path / "s.csv"
    table.write_text("run,tokens,r_a,r_b,loss_a\nx,1,0.3,0.7,2\ny,1,0.6,0.4,3\nz,1,0.5,0.5,2.5\n")
    ended = bimix("fit", str(table), "-o", str(tmp_path / "f.json"), JAX_PLATFORMS="abacus")
    assert ended.returncode == 2
    assert ended.stderr.startswith("bimix: JAX_PLATFORMS is 'abacus'")
    assert not (tmp_path / "f.json").exists()


HANG = """
import gc, signal, sys
from bimix_jax import cli
def wait(given):
    from bimix_jax.files import atomic_path
    def collected(phase, info):
        print("waiting", flush=True)
        import time
        time.sleep(100)
    with atomic_path(sys.argv[1]) as beside:
        beside.write_text("half")
        if sys.argv[2] == "callback":
            # An exception that is raised in here is dropped.
            gc.callbacks.append(collected)
            gc.collect()
        if sys.argv[2] == "blocked":
            # The main thread learns nothing of the signal, as within compiled code.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
        collected(None, None)
cli._run = wait
cli.main()
"""


@pytest.mark.parametrize("place", ["code", "callback", "blocked"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_one_line_and_leaves_nothing(tmp_path, number, place):
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, str(tmp_path / "fit.json"), place],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert said == f"bimix: stopped by {number.name}; nothing half-written was left.\n"
    assert list(tmp_path.iterdir()) == []


SLOW_IMPORT = """
import sys, time
from bimix_jax import cli
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "bimix_jax.cli.app":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_an_import_ends_at_once(number):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_IMPORT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert said == f"bimix: stopped by {number.name}; nothing half-written was left.\n"


@pytest.mark.parametrize("seconds", [0.1, 0.4])
def test_a_signal_during_start_shows_no_traceback(seconds):
    process = subprocess.Popen(
        [*COMMAND, "demo", "-o", os.devnull], stderr=subprocess.PIPE, text=True
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert "Traceback" not in said
