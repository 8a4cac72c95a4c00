"""Time that a user waits for a command, from process start to its end.

    python -m benchmarks.commands [--sweep FILE --select model_size=122000000] [--runs 3]

Each command starts with no compiled programs, and then again in a second process, with those of the
first. FILE is a sweep that `bimix compare` judges beside the embedded ones. Clock and processor
seconds of the whole process; a machine that does other things shows in the first, not in the
second.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import bimix_jax as bx
from benchmarks.report import report

SWEEP = str(bx.datasets.debian_sweep())
DECISION = "decision"
COMMANDS = {
    "fit by BiMix": ("fit", SWEEP, "--law", "BiMix"),
    "fit by the law that is picked": ("fit", SWEEP),
    "demo": ("demo", "--output", "demo"),
    "decide": ("decide", SWEEP, "--output", DECISION, "--quiet"),
    "decide at another budget": (
        *("decide", SWEEP, "--output", DECISION, "--quiet", "--budget", "9e6"),
    ),
    "compare": ("compare", SWEEP),
}
AGAIN = "decide at another budget"
"""It asks an old decision anew, so that there is no first process without programs."""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", help="one more sweep to compare laws on")
    parser.add_argument("--select", action="append", default=[], help="COLUMN=VALUE of it")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    commands: dict[str, Sequence[str]] = dict(COMMANDS)
    if arguments.sweep:
        chosen = [word for one in arguments.select for word in ("--select", one)]
        commands[f"compare {Path(arguments.sweep).stem}"] = (
            *("compare", str(Path(arguments.sweep).resolve()), *chosen),
        )
    rows = [row for _ in range(arguments.runs) for row in times_of(commands)]
    table = pd.DataFrame(rows).groupby("command", sort=False).median()
    report("commands", table, "Seconds of a command, medians", runs=arguments.runs)


def times_of(commands: dict[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Rows of every command, without kept programs and with them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, words in commands.items():
            if name != AGAIN:
                shutil.rmtree(Path(folder, "cache"), ignore_errors=True)
                shutil.rmtree(Path(folder, DECISION), ignore_errors=True)
                yield {"command": f"{name}, first process"} | seconds_of(words, folder)
                shutil.rmtree(Path(folder, DECISION), ignore_errors=True)
            yield {"command": f"{name}, again"} | seconds_of(words, folder)


def seconds_of(words: Sequence[str], folder: str) -> dict[str, float]:
    """Seconds of one process in a folder, which also holds its compiled programs."""
    # A cache of one's own, and none of the settings of this process.
    environment = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    environment["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "bimix_jax.cli", *words]
    used, begin = processor_seconds(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)
    return {"seconds": time.perf_counter() - begin, "processor": processor_seconds() - used}


def processor_seconds() -> float:
    """Processor seconds of all processes that this one has started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
