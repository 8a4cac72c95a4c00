"""Scalars that were logged one by one: TensorBoard's event files and the Trainer's states."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.csv

from bimix_jax.logs._history import (
    Cells,
    History,
    LogFile,
    history_of_cells,
)
from bimix_jax.logs._numbers import amounts
from bimix_jax.logs._settings import Reading
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.nested import parse_json
from bimix_jax.reading.tables import listed

EVENTS = "tfevents"
"""Part of the name of every event file."""
BEGIN = re.compile(rb'"log_history"\s*:\s*\[')
TO_LINES = bytes.maketrans(b"\n\r},", b"\t\t \n")
"""Translation to one pair per line. A tab is ignored beside names and numbers, and refused
inside a name, as JSON refuses line breaks there; braces were found to close entries."""
COMMA = np.array([[ord(",")]], np.uint8)


def read_event_file(file: LogFile, reading: Reading) -> History:
    """Read the scalars of an event file of TensorBoard, in single precision, one row per step.

    Raises:
        SweepError: if the tensorboard package is not installed.
    """
    scalars = list(_scalars(file))
    seen = list(dict.fromkeys(name for _, name, _ in scalars))
    place = {name: i for i, name in enumerate(reading.keep(seen))}
    wanted = [scalar for scalar in scalars if scalar[1] in place]
    cells = Cells(
        steps=[step for step, _, _ in wanted],
        columns=[place[name] for _, name, _ in wanted],
        values=[value for _, _, value in wanted],
    )
    return history_of_cells(file.run, cells, list(place), seen)


def _scalars(file: LogFile) -> Iterator[tuple[int, str, float]]:
    """Yield step, name and value, in the order of the file."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise SweepError(
            f"{file.path} is read with the tensorboard package, which is not installed; "
            "python -m pip install 'bimix_jax[tensorboard]'."
        ) from error
    for event in EventFileLoader(os.fspath(file.path)).Load():
        for value in event.summary.value:
            # The loader turns the scalars of older writers into tensors, too.
            if value.HasField("tensor"):
                number = make_ndarray(value.tensor)
                # Histograms and images have more entries.
                if number.size == 1:
                    yield event.step, value.tag, number.item()


STATE = "trainer_state.json"
"""Last part of the names of the Trainer's files."""
GLOBAL_STEP = re.compile(rb'"global_step"\s*:\s*(\d+)')
BESIDE = 1 << 16
"""Bytes at each end of a file that are searched for its step; a history may have gigabytes."""
NUMBER = re.compile(r"checkpoint[-_](\d+)", re.I)


def read_trainer_state(file: LogFile, reading: Reading) -> History:
    """Read the `log_history` of a `trainer_state.json`, one row per step.

    The Trainer of Hugging Face writes the file into every checkpoint.

    Raises:
        SweepError: if the file is not complete JSON, or holds no log_history.
    """
    log = _log_history(file)
    step = reading.asked.step_key or "step"
    metrics = [name for name in reading.keep(log.names) if name != step]
    # The step is one column more, so that all cells are placed at once.
    place = {name: i for i, name in enumerate(metrics)} | {step: len(metrics)}
    column = np.array([place.get(name, -1) for name in log.names], int)[log.name]
    is_step, is_metric = column == len(metrics), (column >= 0) & (column < len(metrics))
    steps = np.full(log.entry.max(initial=-1) + 1, np.nan)
    steps[log.entry[is_step]] = amounts(log.value[is_step]).values
    cells = Cells(steps[log.entry[is_metric]], column[is_metric], log.value[is_metric])
    return history_of_cells(file.run, cells, metrics, log.names)


class _LogHistory(NamedTuple):
    """A log history, one cell after another."""

    names: list[str]
    """names of metrics, in the order of the log"""
    name: np.ndarray
    """(cells,) int: index in `names`"""
    entry: np.ndarray
    """(cells,) int: index of the entry of the log"""
    value: np.ndarray
    """(cells,) float, or object where some are not numbers"""


def _log_history(file: LogFile) -> _LogHistory:
    try:
        return _parsed(file.path.read_bytes(), str(file.path))
    except (ValueError, OSError) as error:
        raise SweepError(f"{error} Copy it again, or leave the run out.") from error
    except LookupError as error:
        raise SweepError(
            f"{file.path} holds no log_history; expected a trainer_state.json that the Trainer "
            "wrote."
        ) from error


def latest_states(files: Iterable[LogFile]) -> tuple[list[LogFile], tuple[str, ...]]:
    """Return the state of each run with the most steps, which holds the whole history.

    The state in the run's own folder may be older than its checkpoints; a note reports this.
    """
    of_run: dict[tuple[str, str], list[LogFile]] = {}
    for file in files:
        of_run.setdefault((str(file.root), file.run), []).append(file)
    chosen = [
        max(states, key=_reached) if len(states) > 1 else states[0] for states in of_run.values()
    ]
    stale = [
        f"{own.path} ends before {last.path.parent.name}"
        for last, states in zip(chosen, of_run.values(), strict=True)
        for own in states
        if own is not last and not NUMBER.fullmatch(own.path.parent.name)
    ]
    count = "1 trainer_state.json" if len(stale) == 1 else f"{len(stale)} trainer_state.json"
    note = f"{count} left out, because a checkpoint has more steps: {listed(stale)}."
    return chosen, (note,) * bool(stale)


def _reached(file: LogFile) -> tuple[float, bool]:
    """Return the steps of a state, and True where it is in the run's own folder, at the end."""
    checkpoint = NUMBER.fullmatch(file.path.parent.name)
    stated = _global_step(file.path)
    if stated is None:
        # Training saves the state in the run's own folder at its end, so without a step it is last.
        stated = float(checkpoint[1]) if checkpoint else float("inf")
    return stated, checkpoint is None


def _global_step(path: Path) -> float | None:
    """Return the step count of a state, which is written before or after its long history."""
    try:
        with path.open("rb") as file:
            begin = file.read(BESIDE)
            file.seek(max(BESIDE, path.stat().st_size - BESIDE))
            found = GLOBAL_STEP.search(begin) or GLOBAL_STEP.search(file.read())
    except OSError:
        return None
    return float(found[1]) if found else None


def _parsed(text: bytes, where: str = "The text") -> _LogHistory:
    """Read the entries of `log_history`, by Arrow where all are numbers, else one by one.

    Args:
        text: of a `trainer_state.json`.
        where: begins messages.

    Raises:
        ValueError: if the text is not complete JSON, names an entry twice, or is nested too deep.
        LookupError: if it holds no log_history, or one whose entries are not objects.

    >>> found = _parsed(b'{"log_history": [{"step": 1, "loss": 3.5}, {"step": 2}]}')
    >>> found.names, found.name.tolist(), found.entry.tolist(), found.value.tolist()
    (['step', 'loss'], [0, 1, 0], [0, 0, 1], [1.0, 3.5, 2.0])
    """
    found = _of_numbers(text)
    if found is not None:
        return found
    try:
        return _of_anything(parse_json(text, where, unique=True))
    except OverflowError as error:
        raise SweepError(f"{where} holds a number beyond the range of floats: {error}.") from error


def _of_anything(state: Any) -> _LogHistory:
    entries = state["log_history"] if isinstance(state, dict) else None
    if not isinstance(entries, list) or not set(map(type, entries)) <= {dict}:
        raise LookupError("log_history")
    keys = list(chain.from_iterable(entries))
    names = list(dict.fromkeys(keys))
    place = {name: i for i, name in enumerate(names)}
    cells = list(chain.from_iterable(map(dict.values, entries)))
    # Truth values, text and null need objects.
    kind = float if set(map(type, cells)) <= {int, float} else object
    return _LogHistory(
        names,
        np.fromiter(map(place.__getitem__, keys), int, len(keys)),
        np.repeat(np.arange(len(entries)), list(map(len, entries))),
        np.fromiter(cells, kind, len(cells)),
    )


def _of_numbers(text: bytes) -> _LogHistory | None:
    """Return None unless all entries are `{"name": number, …}`, which Arrow reads as lines
    name:number.

    This is faster than Python objects, and other threads run meanwhile. Any other form, damage
    included, fails one of the checks and is left to the JSON reader.
    """
    begin = BEGIN.search(text)
    # Entries that hold lists end too early here, which the check of the rest finds.
    end = text.find(b"]", begin.end()) if begin else -1
    if begin is None or end < 0 or not _is_rest(text[: begin.end()] + text[end:]):
        return None
    entries = text[begin.end() : end].strip()
    codes = np.frombuffer(entries, np.uint8)
    count = _in_a_row(codes)
    pairs = _pairs(entries.translate(TO_LINES)) if count and _are_json_numbers(codes) else None
    return None if pairs is None else _taken_apart(*pairs, count)


def _in_a_row(entries: np.ndarray) -> int:
    """Return the number of entries if the text is {…}, {…} and so on with equal separators, else
    0."""
    opens, closes = np.flatnonzero(entries == ord("{")), np.flatnonzero(entries == ord("}"))
    if len(opens) != len(closes) or not len(opens):
        return 0
    # Equal separators prove without parsing that no brace or comma belongs to a name.
    gaps = opens[1:] - closes[:-1]
    if opens[0] != 0 or closes[-1] != len(entries) - 1 or np.any(gaps != gaps[:1]):
        return 0
    between = entries[closes[:-1, None] + np.arange(1, gaps[0])] if len(gaps) else COMMA
    same = np.all(between == between[0]) and between[0].tobytes().strip() == b","
    return len(opens) if same else 0


def _are_json_numbers(entries: np.ndarray) -> bool:
    """True where no number is like 1. or .5 or 007 or +1, which Arrow accepts and JSON does not."""
    digit = (entries >= ord("0")) & (entries <= ord("9"))
    point, plus = (np.flatnonzero(entries == ord(mark)) for mark in ".+")
    zero = np.flatnonzero((entries[:-1] == ord("0")) & digit[1:])
    # A zero before a digit is wrong only where the number begins, perhaps after a minus.
    before = np.where(entries[zero - 1] == ord("-"), entries[zero - 2], entries[zero - 1])
    halved = digit[point - 1] != digit[point + 1]
    signed = ~np.isin(entries[plus - 1], list(b"eE"))
    led = np.isin(before, list(b": \t\n\r"))
    return not (halved.any() or signed.any() or led.any())


def _is_rest(text: bytes) -> bool:
    """True where the text around the entries is JSON, and they are its log_history."""
    try:
        state = parse_json(text, "", unique=True)
    except ValueError:
        return False
    return isinstance(state, dict) and state.get("log_history") == []


def _pairs(lines: bytes) -> tuple[pyarrow.DictionaryArray, np.ndarray] | None:
    """Return the text before the colons, and the numbers after them."""
    names = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    try:
        table = pyarrow.csv.read_csv(
            pyarrow.BufferReader(lines),
            pyarrow.csv.ReadOptions(
                column_names=["name", "value"], use_threads=False, block_size=len(lines) + 1
            ),
            # Quotes are left in the names, because JSON checks and unescapes them afterwards.
            pyarrow.csv.ParseOptions(delimiter=":", quote_char=False, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(
                column_types={"name": names, "value": pyarrow.float64()}, null_values=[]
            ),
        )
    except (pyarrow.ArrowInvalid, OverflowError):  # OverflowError: above 2 GB
        return None
    values = table["value"].to_numpy()
    # Arrow reads nan and inf in spellings that JSON refuses.
    return (table["name"].combine_chunks(), values) if np.isfinite(values).all() else None


def _taken_apart(
    keys: pyarrow.DictionaryArray, value: np.ndarray, entries: int
) -> _LogHistory | None:
    """Return None if a key is not a JSON string or comes twice in an entry, or an entry begins at a
    wrong place."""
    unlike = [key.strip() for key in keys.dictionary.to_pylist()]
    first = np.array([key.startswith("{") for key in unlike])
    try:
        found = [json.loads(key.removeprefix("{")) for key in unlike]
    except ValueError:
        return None
    code = keys.indices.to_numpy()
    begins = first[code]
    if begins.sum() != entries or not all(isinstance(name, str) for name in found):
        return None
    # Two spellings of a name, one with escapes, are one name.
    place = {name: i for i, name in enumerate(dict.fromkeys(found))}
    name = np.array([place[key] for key in found])[code]
    entry = np.cumsum(begins) - 1
    # A lost "},{" joins two entries into one that is valid JSON, of which readers keep half.
    if len(np.unique(entry * len(place) + name)) < len(name):
        return None
    return _LogHistory(list(place), name, entry, value)
