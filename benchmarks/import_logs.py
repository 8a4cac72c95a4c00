"""Time and memory of importing large logs: `python -m benchmarks.import_logs`.

1 000 runs × 200 steps × 30 targets, written once in each form to a temporary folder, then read by
`bimix import` in a process of its own, so that start-up and peak memory are counted.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import report

RUNS, STEPS, TARGETS, DOMAINS = 1000, 200, 30, 8
CHILD = """
import resource, sys
from bimix_jax.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(f"{used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024}", file=sys.stderr)
"""


def logs(rng: np.random.Generator, prefix: str) -> pd.DataFrame:
    """One run's log: losses as trainers write them."""
    steps = 100 * np.arange(1, STEPS + 1)
    loss = 2 + rng.uniform(1, 4, TARGETS) * (steps[:, None] / 100) ** -0.3
    loss *= np.exp(0.01 * rng.standard_normal(loss.shape))
    columns = {
        prefix.format(i): loss[:, i].astype(np.float32).astype(float) for i in range(TARGETS)
    }
    return pd.DataFrame({"_step": steps, **columns})


def write_csv(folder: Path, rng: np.random.Generator) -> None:
    """Write a W&B history per run."""
    for run in range(RUNS):
        logs(rng, "eval/d{}/loss").to_csv(folder / f"run{run}.csv", index=False)


def write_json_lines(folder: Path, rng: np.random.Generator) -> None:
    """Write a W&B history per run as JSON lines."""
    for run in range(RUNS):
        log = logs(rng, "eval/d{}/loss")
        log.to_json(folder / f"run{run}.jsonl", orient="records", lines=True, double_precision=15)


def write_table(folder: Path, rng: np.random.Generator) -> None:
    """All runs in one CSV file."""
    parts = [logs(rng, "eval/d{}/loss").assign(run=f"run{run}") for run in range(RUNS)]
    pd.concat(parts).to_csv(folder / "all.csv", index=False)


def write_trainer(folder: Path, rng: np.random.Generator) -> None:
    """Write trainer_state.json, with an entry per evaluation."""
    for run in range(RUNS):
        log = logs(rng, "eval_d{}_loss").set_index("_step")
        history = [
            {"epoch": 0.1, "step": step, name: value}
            for step, row in zip(log.index.tolist(), log.to_dict("records"), strict=True)
            for name, value in row.items()
        ]
        (folder / f"run{run}").mkdir()
        text = json.dumps({"log_history": history})
        (folder / f"run{run}" / "trainer_state.json").write_text(text)


FORMS = {
    "W&B history, a CSV file a run": write_csv,
    "W&B history, a JSON-lines file a run": write_json_lines,
    "one CSV file of all runs": write_table,
    "trainer_state.json a run, an entry a loss": write_trainer,
}


def measure(name: str, folder: Path) -> dict[str, object]:
    """Seconds and peak MB of a `bimix import` of the folder's logs."""
    rng = np.random.default_rng(0)
    place = folder / name.replace("/", "").replace(" ", "_")
    place.mkdir()
    FORMS[name](place, rng)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    shares = rng.dirichlet(np.ones(DOMAINS), RUNS)
    mixtures = pd.DataFrame(shares, columns=[f"d{i}" for i in range(DOMAINS)])
    mixtures.insert(0, "run", [f"run{i}" for i in range(RUNS)])
    mixtures.to_csv(folder / "mixtures.csv", index=False)
    options = ["--mixtures", folder / "mixtures.csv", "--tokens-per-step", "1e6"]
    arguments = ["import", place, *options, "-o", folder / "sweep.parquet"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    whole = time.perf_counter() - began
    processor, peak = map(float, done.stderr.split()[-2:])
    assert f"{RUNS} runs" in done.stdout
    return {
        "form": name,
        "MB of logs": size / 1e6,
        "seconds": whole,
        "processor seconds": processor,
        "peak MB": peak,
    }


def main() -> None:
    """Measure every form and report."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, Path(folder)) for name in FORMS]
    table = pd.DataFrame(rows).set_index("form")
    report("import_logs", table, f"Importing {RUNS} runs × {STEPS} steps × {TARGETS} targets",
           runs=RUNS, steps=STEPS, targets=TARGETS)  # fmt: skip


if __name__ == "__main__":
    main()
