"""The tables of a sweep's losses, in the form that `read_sweep` reads."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.proxy_sweep.groups import Group, Setting
from benchmarks.proxy_sweep.runs import Run

TABLES = {"constant": "losses.csv", "decay": "decay.csv"}
"""schedule → table of its runs"""


def loss_table(found: dict[Group, np.ndarray], setting: Setting, schedule: str) -> pd.DataFrame:
    """One row per run and checkpoint: names, seed, budget, proportions r_* and losses loss_*.

    Args:
        found: group → (checkpoints so far, runs, targets) nats per token.
        setting: of the sweep.
        schedule: of the runs that are listed. Runs that decay have their `length`, too, in tokens;
            only the row where that is reached is what a run so long ends with.
    """
    return pd.DataFrame([
        row
        for group, losses in found.items()
        if group.training.schedule == schedule
        for i, run in enumerate(group.runs)
        for row in _rows(run, losses[:, i], group.checkpoints, setting)
    ])  # fmt: skip


def _rows(
    run: Run, losses: np.ndarray, steps: list[int], setting: Setting
) -> Iterator[dict[str, Any]]:
    """Losses to a millionth of a nat, far below what seeds differ by."""
    domains, a_step = setting.tokens.domains, run.training.batch * setting.model.sequence
    proportions = {f"r_{d}": round(r, 9) for d, r in zip(domains, run.mixture, strict=True)}
    for step, values in zip(steps, losses, strict=False):
        row: dict[str, Any] = {"run": run.name, "mixture": run.mixture_name, "seed": run.seed}
        if run.training.schedule == "decay":
            row["length"] = run.training.steps * a_step
        row |= {"step": step, "tokens": step * a_step} | proportions
        yield row | {f"loss_{d}": round(x, 6) for d, x in zip(domains, values, strict=True)}
