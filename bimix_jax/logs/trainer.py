"""Hugging Face `trainer_state.json`: what the Trainer keeps beside every checkpoint."""

import json
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from bimix_jax.checks import SweepError
from bimix_jax.logs.history import Keep, Keys, LogFile, of_runs

ENDINGS = ("trainer_state.json",)
PATTERN = "eval_{target}_loss"
NUMBER = re.compile(r"checkpoint[-_](\d+)", re.I)


def read(file: LogFile, keys: Keys, keep: Keep) -> pd.DataFrame:
    """The `log_history` of a file, one row an entry.

    Raises:
        SweepError: if the file is no complete JSON, or holds no log_history.
    """
    try:
        state = json.loads(file.path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise SweepError(
            f"{file.path} is not a complete JSON file ({error}). Copy it again, or leave the run "
            "out."
        ) from error
    entries = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SweepError(
            f"{file.path} holds no log_history; expected a trainer_state.json that the Trainer "
            "wrote."
        )
    step = keys.step or "step"
    wanted = {c for c in keep(list(dict.fromkeys(k for e in entries for k in e))) if c != step}
    rows = _by_step(entries, step, wanted)
    steps = [row.pop(step) for row in rows]
    return of_runs(pd.DataFrame(rows, index=range(len(rows))), file.run, steps)


def _by_step(entries: list[dict[str, Any]], step: str, wanted: set[str]) -> list[dict[str, Any]]:
    """The entries of a step as one, where they differ in what they hold: an entry an evaluation."""
    rows, of_step = list[dict[str, Any]](), dict[Any, dict[str, Any]]()
    for entry in entries:
        held = {name: entry[name] for name in entry if name in wanted}
        if not held or step not in entry:
            continue
        row = of_step.get(entry[step])
        if row is None or not row.keys().isdisjoint(held):
            row = of_step[entry[step]] = {step: entry[step]}
            rows.append(row)
        row.update(held)
    return rows


def latest(files: Iterable[LogFile]) -> list[LogFile]:
    """Of each run the file of its last checkpoint, which holds the whole history."""
    of_run: dict[tuple[str, str], LogFile] = {}
    for file in sorted(files, key=_checkpoint):
        of_run[str(file.root), file.run] = file
    return list(of_run.values())


def _checkpoint(file: LogFile) -> float:
    found = NUMBER.fullmatch(file.path.parent.name)
    return float(found[1]) if found else float("inf")  # beside the run itself: its end
