"""Killed commands: `python -m benchmarks.kill [MOMENTS]`.

`bimix batch`, `import`, `entropy` and `fit` are each killed (SIGKILL) at MOMENTS moments, spread
evenly over the time that a whole run takes, each in a folder of its own. The output must then be
absent or whole; the same command once more must end with what an undisturbed run writes, and leave
no other file behind. Counts are printed and written to results/kill.json.
"""

import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet

import bimix_jax as bx
from benchmarks.report import report

MOMENTS = 60
BIMIX = [sys.executable, "-m", "bimix_jax.cli"]
SWEEPS, RUNS = 40, 30


def batch(folder: Path) -> list[str]:
    """Forty small sweeps in parts of about five."""
    rng = np.random.default_rng(0)
    rows = []
    for sweep, run in itertools.product(range(SWEEPS), range(4)):
        share = rng.dirichlet([4, 4])
        for budget in (1e9, 2e9, 4e9):
            loss = share**-0.1 * (budget**-0.2 * 60 + 1)
            cells = dict(
                zip(("r_web", "r_code", "loss_web", "loss_code"), (*share, *loss), strict=True)
            )
            rows.append({"sweep": f"s{sweep:02}", "run": run, "tokens": budget, **cells})
    pd.DataFrame(rows).to_parquet(folder / "in.parquet", row_group_size=50)
    return ["batch", "in.parquet", "-o", "out", "--rows", "60"]


def import_logs(folder: Path) -> list[str]:
    """Thirty histories of a run each."""
    wide = _wide(pd.read_csv(bx.datasets.proxy_sweep()))
    (folder / "logs").mkdir()
    runs = dict(zip((f"run{i}" for i in range(RUNS)), itertools.cycle(wide["run"].unique())))
    shares = []
    for run, name in runs.items():
        rows = wide[wide["run"] == name]
        losses = rows.filter(like="loss_").rename(columns=lambda c: f"eval/{c[5:]}/loss")
        losses.insert(0, "_step", rows["tokens"] // 4096)
        losses.to_csv(folder / "logs" / f"{run}.csv", index=False)
        shares.append(rows.filter(like="r_").iloc[:1].assign(run=run))
    pd.concat(shares).to_csv(folder / "runs.csv", index=False)
    return ["import", "logs", "--mixtures", "runs.csv", "-o", "out/sweep.parquet"]


def entropy(folder: Path) -> list[str]:
    """Two domains of a megabyte of text, with a cache of token ids."""
    rng = np.random.default_rng(0)
    for name in ("web", "code"):
        words = rng.choice(["alpha", "beta", "gamma", "delta", "\n"], 200_000)
        (folder / f"{name}.txt").write_text(" ".join(words))
    domains = ["web.txt", "code.txt", "--tokenizer", "bytes", "--cache", "cache"]
    return ["entropy", *domains, "-o", "out/mixture.json"]


def fit(folder: Path) -> list[str]:
    """A fit and its picture."""
    shutil.copy(bx.datasets.proxy_sweep(), folder / "sweep.csv")
    return ["fit", "sweep.csv", "-o", "out/fit.json", "--plot", "out/fit.png"]


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """The embedded sweep, a row per point."""
    index = ["run", "tokens"]
    shares = table.pivot(index=index, columns="domain", values="proportion").add_prefix("r_")
    losses = table.pivot(index=index, columns="domain", values="loss").add_prefix("loss_")
    return pd.concat([shares, losses], axis=1).reset_index()


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "batch": batch, "import": import_logs, "entropy": entropy, "fit": fit,
}  # fmt: skip


def contents(folder: Path) -> dict[str, object]:
    """Every file below a folder: tables by their cells, others by their bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _content(path) for path in files}


def _content(path: Path) -> object:
    if path.suffix == ".parquet" and ".partial" not in path.name:
        return pyarrow.parquet.read_table(path).to_pylist().__repr__()
    return path.read_bytes()


def measure(name: str, moments: int, folder: Path) -> dict[str, object]:
    """Kills of one command, what they left, and whether a rerun ended alike."""
    arguments = _prepared(name, folder / "whole")
    began = time.perf_counter()
    subprocess.run([*BIMIX, *arguments], cwd=folder / "whole", check=True, capture_output=True)
    seconds, expected = time.perf_counter() - began, contents(folder / "whole" / "out")
    counts = {"killed": 0, "left half a file": 0, "rerun differs": 0, "stray files": 0}
    for moment in range(moments):
        place = folder / "killed"
        shutil.rmtree(place, ignore_errors=True)
        _prepared(name, place)
        counts["killed"] += _kill(arguments, place, seconds * (moment + 0.5) / moments)
        left = {k: v for k, v in contents(place / "out").items() if ".partial" not in k}
        counts["left half a file"] += any(expected.get(k) != v for k, v in left.items())
        subprocess.run([*BIMIX, *arguments], cwd=place, check=True, capture_output=True)
        found = contents(place / "out")
        partial = any(".partial" in path.name for path in place.rglob("*"))
        counts["stray files"] += bool(found.keys() - expected.keys()) or partial
        counts["rerun differs"] += any(found.get(k) != v for k, v in expected.items())
    return {"command": name, "seconds": seconds, "moments": moments, **counts}


def _prepared(name: str, place: Path) -> list[str]:
    """The inputs of a command and the folder of its outputs; its arguments."""
    place.mkdir(parents=True)
    (place / "out").mkdir()
    return COMMANDS[name](place)


def _kill(arguments: list[str], place: Path, after: float) -> bool:
    """Run a command and kill it; True if it was still running then."""
    process = subprocess.Popen(
        [*BIMIX, *arguments], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def main() -> None:
    """Kill every command, print the counts and write them."""
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else MOMENTS
    rows = []
    for name in COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, moments, Path(folder)))
        print(rows[-1], flush=True)
    report("kill", pd.DataFrame(rows).set_index("command"), "Killed and run again", moments=moments)


if __name__ == "__main__":
    main()
