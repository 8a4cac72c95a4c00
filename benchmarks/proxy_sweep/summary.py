"""Summary of a sweep's tables: seeds, schedules, and other machines.

    python -m benchmarks.proxy_sweep.summary sweep
    python -m benchmarks.proxy_sweep.summary sweep --beside other

SWEEP is the folder that benchmarks.proxy_sweep worked in. First, by how much seeds of a mixture
differ at the end of the sweep, of the mean over targets and of a target. Then how far a checkpoint
of a constant rate is from the end of a run of that length whose rate decays. With --beside, by how
much the runs differ that both folders hold, trained on another machine for example.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import report

LOSSES = "^loss_"


def main() -> None:
    """Print the table and write results/proxy_sweep.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--beside", type=Path)
    arguments = parser.parse_args()
    losses = pd.read_csv(arguments.sweep / "losses.csv")
    rows = [*seeds(losses), *schedules(losses, pd.read_csv(arguments.sweep / "decay.csv"))]
    if arguments.beside:
        rows += list(repeated(losses, pd.read_csv(arguments.beside / "losses.csv")))
    table = pd.DataFrame(rows).set_index("what")
    settings = json.loads((arguments.sweep / "settings.json").read_text(encoding="utf-8"))
    trained = {name: settings[name] for name in ("model", "machine", "sha256 of the tokens")}
    report("proxy_sweep", table, "Noise and schedules of the sweep, nats", sweep=trained)


def seeds(losses: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row per mixture that has several: standard deviation of the mean loss and of a target."""
    last = losses[losses["tokens"] == losses["tokens"].max()]
    for mixture, rows in last.groupby("mixture", sort=False):
        each = rows.filter(regex=LOSSES)
        if len(each) > 1:
            yield {
                "what": f"{len(each)} seeds of {mixture}", "tokens": rows["tokens"].iloc[0],
                "mean loss": each.mean(axis=None), "spread": each.mean(axis=1).std(ddof=1),
                "spread of a target": float(np.sqrt(each.var(ddof=1).mean())),
            }  # fmt: skip


def schedules(losses: pd.DataFrame, decay: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row per run that decays: its end, and the checkpoint there of the same run without."""
    for _, run in decay[decay["tokens"] == decay["length"]].iterrows():
        same = (losses["run"] == run["mixture"]) & (losses["tokens"] == run["tokens"])
        constant = losses[same].filter(regex=LOSSES).to_numpy().mean()
        decayed = run.filter(regex=LOSSES).astype(float).mean()
        yield {
            "what": f"{run['run']} less constant", "tokens": run["tokens"],
            "mean loss": decayed, "apart": decayed - constant,
        }  # fmt: skip


def repeated(losses: pd.DataFrame, other: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row: how much the runs at the end differ, of the mean loss and of a target's."""
    last = losses["tokens"].max()
    here, there = (
        table[table["tokens"] == last].set_index("run").filter(regex=LOSSES)
        for table in (losses, other)
    )
    both = here.index.intersection(there.index)
    change = here.loc[both] - there.loc[both]
    yield {
        "what": f"{len(both)} runs trained again", "tokens": last,
        "mean loss": here.loc[both].mean(axis=None), "apart": change.mean(axis=None),
        "spread": change.mean(axis=1).std(), "spread of a target": float(change.stack().std()),
    }  # fmt: skip


if __name__ == "__main__":
    main()
