"""Time and memory of `bimix batch` beside the fits alone: `python -m benchmarks.batch`.

The command fits a Parquet file of many sweeps of 64 points, two domains and one target in its own
process, including start, reading, checks and writing. Then processes limited to one core each share
a smaller file by rank, and are compared with one process on one core; the time of a file of few
sweeps, for start and compilation, is subtracted. Every process reads the whole file, so the fits
alone are timed in the same way, on data that each process has. --large takes a million sweeps.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from benchmarks.report import report
from bimix_jax.batching._run import fit_rows
from bimix_jax.batching.rates import Case, synthetic_rows

POINTS, GROUP = 64, 10_000
FEW, SHARED = 2_000, 300_000
CHILD = """
import os, resource, sys
if sys.argv[1] != "all":
    os.sched_setaffinity(0, {int(sys.argv.pop(1))})
else:
    sys.argv.pop(1)
from bimix_jax.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
"""


def write_sweeps(path: Path, sweeps: int) -> None:
    """Write a file of this many sweeps, in row groups of 10 000."""
    writer = None
    for first in range(0, sweeps, GROUP):
        count = min(GROUP, sweeps - first)
        rows = synthetic_rows(count, POINTS, seed=first)
        names = [f"s{first + i:07}" for i in range(count)]
        table = pa.table({
            "sweep": pa.array(np.repeat(names, POINTS)),
            "run": np.tile(np.arange(POINTS), count),
            "tokens": rows.budget,
            "r_own": rows.mixture[:, 0],
            "r_other": rows.mixture[:, 1],
            "loss_own": rows.loss[:, 0],
        })  # fmt: skip
        writer = writer or pa.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


FITS = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
import jax
from bimix_jax.batching._run import fit_rows
from bimix_jax.batching.rates import synthetic_rows
from bimix_jax.batching.rates import Case
rows, devices, fitted = synthetic_rows(10_000, 64), tuple(jax.local_devices()), 0
fit_rows(rows, Case().method, devices)
print("ready", flush=True)
sys.stdin.readline()
end = time.perf_counter() + 6
while time.perf_counter() < end:
    fit_rows(rows, Case().method, devices)
    fitted += 10_000
print(fitted / 6, flush=True)
"""
"""Program that fits for six seconds on one core, from a signal on."""


def rate_of_fits(cores: Sequence[str]) -> float:
    """Fits per second of one process per core, all at once."""
    children = [
        subprocess.Popen([sys.executable, "-c", FITS, core], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
        for core in cores
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    return sum(float(child.communicate()[0]) for child in children)


def run_commands(path: Path, output: Path, cores: Sequence[str]) -> tuple[float, float]:
    """Wall seconds of `bimix batch` in one process per core ("all": no limit), and largest MB."""
    began = time.perf_counter()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, core, "batch", str(path), "-o", str(output),
             "--rank", str(rank), "--processes", str(len(cores))],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for rank, core in enumerate(cores)
    ]  # fmt: skip
    said = [child.communicate()[1] for child in children]
    seconds = time.perf_counter() - began
    if any(child.returncode for child in children):
        raise SystemExit("\n".join(said))
    return seconds, max(float(text.split()[-1]) for text in said)


def seconds_of_fits(sweeps: int) -> float:
    """Seconds of the fits alone, in arrays and compiled, on all cores: the median of five calls."""
    rows, devices = synthetic_rows(GROUP, POINTS), tuple(jax.local_devices())
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        fit_rows(rows, Case().method, devices)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:])) * sweeps / GROUP


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    sweeps = 1_000_000 if parser.parse_args().large else 100_000
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))[:2]]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_sweeps(place / "all.parquet", sweeps)
        write_sweeps(place / "few.parquet", FEW)
        write_sweeps(place / "shared.parquet", SHARED)
        alone = seconds_of_fits(sweeps)
        rows = [_row("fits alone", sweeps, alone, np.nan)]
        whole, peak = run_commands(place / "all.parquet", place / "fits", ["all"])
        rows.append(_row("bimix batch", sweeps, whole, peak))
        for used in (cores[:1], cores):
            start, _ = run_commands(place / "few.parquet", place / f"few-{len(used)}", used)
            seconds, peak = run_commands(place / "shared.parquet", place / str(len(used)), used)
            what = f"{len(used)} processes of one core, after {start:.1f} s"
            rows.append(_row(what, SHARED - FEW, seconds - start, peak))
        for used in (cores[:1], cores):
            rate = rate_of_fits(used)
            rows.append({"what": f"fits in {len(used)} processes of one core", "sweeps/s": rate})
    rows[1]["× fits alone"] = whole / alone
    for one, two in ((2, 3), (4, 5)):
        rows[two]["× one process"] = rows[two]["sweeps/s"] / rows[one]["sweeps/s"]
    table = pd.DataFrame(rows).set_index("what")
    report("batch", table, "A file of sweeps, fitted", points=POINTS, large=sweeps > 100_000)


def _row(what: str, sweeps: int, seconds: float, peak: float) -> dict[str, object]:
    return {"what": what, "sweeps": sweeps, "seconds": seconds, "sweeps/s": sweeps / seconds,
            "peak MB": peak}  # fmt: skip


if __name__ == "__main__":
    main()
