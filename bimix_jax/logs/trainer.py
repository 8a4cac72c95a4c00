"""Hugging Face `trainer_state.json`: what the Trainer keeps beside every checkpoint."""

import json
import re
from collections.abc import Iterable
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from bimix_jax.checks import SweepError
from bimix_jax.logs.history import Cells, History, Keep, Keys, LogFile, history_of_cells

ENDINGS = ("trainer_state.json",)
PATTERN = "eval_{target}_loss"
NUMBER = re.compile(r"checkpoint[-_](\d+)", re.I)


def read(file: LogFile, keys: Keys, keep: Keep) -> History:
    """The `log_history` of a file, one row a step.

    Raises:
        SweepError: if the file is no complete JSON, or holds no log_history.
    """
    entries = _log_history(file)
    step = keys.step or "step"
    # Entries of one form have the same keys, and few forms make up a log of many entries.
    forms: dict[tuple[str, ...], list[int]] = {}
    for number, entry in enumerate(entries):
        forms.setdefault(tuple(entry), []).append(number)
    seen = list(dict.fromkeys(chain.from_iterable(forms)))
    metrics = [name for name in keep(seen) if name != step]
    return history_of_cells(file.run, _cells(entries, forms, step, metrics), metrics, seen)


def _cells(
    entries: list[dict[str, Any]], forms: dict[tuple[str, ...], list[int]], step: str,
    metrics: list[str],
) -> Cells:  # fmt: skip
    """The cells of metrics, in the order of the entries."""
    parts = [(np.empty(0, int), np.empty(0), np.empty(0, int), np.empty(0))]
    for form, numbers in forms.items():
        members = [entries[number] for number in numbers]
        at = _column(members, step) if step in form else np.full(len(members), np.nan)
        for column, name in enumerate(metrics):
            if name in form:
                place = np.full(len(members), column)
                parts.append((np.array(numbers), at, place, _column(members, name)))
    entry, steps, columns, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(entry, kind="stable")
    return Cells(steps[order], columns[order], values[order])


def _column(entries: list[dict[str, Any]], name: str) -> np.ndarray:
    """(entries,) float, or object where some are no numbers."""
    cells = list(map(itemgetter(name), entries))
    if set(map(type, cells)) <= {int, float}:
        return np.array(cells, float)
    return np.fromiter(cells, object, len(cells))


def _log_history(file: LogFile) -> list[dict[str, Any]]:
    try:
        state = _parsed(file.path.read_bytes())
    except (ValueError, OSError) as error:
        raise SweepError(
            f"{file.path} is not a complete JSON file ({error}). Copy it again, or leave the run "
            "out."
        ) from error
    entries = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(entries, list) or not set(map(type, entries)) <= {dict}:
        raise SweepError(
            f"{file.path} holds no log_history; expected a trainer_state.json that the Trainer "
            "wrote."
        )
    return entries


def _parsed(text: bytes) -> Any:
    """By orjson, four times as fast; what it refuses by the standard library, which takes NaN."""
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def latest(files: Iterable[LogFile]) -> list[LogFile]:
    """Of each run the file of its last checkpoint, which holds the whole history."""
    of_run: dict[tuple[str, str], LogFile] = {}
    for file in sorted(files, key=_checkpoint):
        of_run[str(file.root), file.run] = file
    return list(of_run.values())


def _checkpoint(file: LogFile) -> float:
    found = NUMBER.fullmatch(file.path.parent.name)
    return float(found[1]) if found else float("inf")  # beside the run itself: its end
