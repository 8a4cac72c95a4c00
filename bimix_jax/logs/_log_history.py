"""Entries of a trainer's log history as rows."""

import difflib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv

from bimix_jax.logs._history import RUN, STEP, History, LogFile, Read
from bimix_jax.logs._points import Steps, in_training_steps, one_row_a_step, step_notes
from bimix_jax.logs._run_ids import by_one
from bimix_jax.logs._settings import MARK, Reading
from bimix_jax.names import without_blanks
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.nested import parse_json
from bimix_jax.reading.tables import listed

MOSTLY = 0.5
"""Share of a file's steps above which repeated steps show another run; a run that resumes from a
checkpoint logs few of its steps again."""


def files_notes(
    files: Sequence[LogFile], parts: Sequence[History], targets: Collection[str]
) -> list[str]:
    """Return notes of files without losses, and of runs whose logs are in several files.

    Raises:
        SweepError: if two files of a run log the same metrics at the same steps, with other values.
    """
    of_run: dict[str, list[int]] = defaultdict(list)
    for i, (file, part) in enumerate(zip(files, parts, strict=True)):
        if len(part.run) and part.run[0] == file.run:
            of_run[file.run].append(i)
    several = {run: pieces for run, pieces in of_run.items() if len(pieces) > 1}
    for run, pieces in several.items():
        for one, other in pairwise(pieces):
            if _differ(parts[one], parts[other]):
                raise SweepError(
                    f"{files[one].path} and {files[other].path} are both taken for logs of run "
                    f"{run}, but differ at the same steps. Name files or folders after one run "
                    "each, or name the runs in a column (--run-key)."
                )
    gone = [
        str(file.path.relative_to(file.root))
        for file, part in zip(files, parts, strict=True)
        if not any(metric in targets for metric in part.metrics)
    ]
    notes = (
        [f"{counted(len(gone), 'file')} without losses left out: {listed(gone)}."] if gone else []
    )
    if several:
        notes.append(
            f"The logs of {counted(len(several), 'run')} are in several files: {listed(several)}."
        )
    return notes


def _differ(one: History, other: History) -> bool:
    """True where both log most steps of the shorter one, and mostly with different values."""
    metrics = [m for m in one.metrics if m in other.metrics]
    tables = [
        pd.DataFrame(part.values, columns=part.metrics)[metrics]
        .assign(**{"\0step": part.step})
        .dropna(subset=["\0step"])
        .drop_duplicates("\0step")
        .set_index("\0step")
        for part in (one, other)
    ]
    again = tables[0].index.intersection(tables[1].index)
    if not metrics or len(again) <= MOSTLY * min(map(len, tables)):
        return False
    values, others = (table.loc[again].to_numpy() for table in tables)
    both = np.isfinite(values) & np.isfinite(others)
    return bool(np.sum(both & (values != others)) > MOSTLY * max(np.sum(both), 1))


Progress = Callable[[str, float], object]
NEAREST = 10
"""Number of columns that an error names where none matches the pattern."""


class NoLosses(SweepError):
    """Logs in which no column matches the loss pattern."""


class Rows(NamedTuple):
    """The rows of all files."""

    table: pd.DataFrame
    """RUN, STEP and the columns that are used"""
    targets: dict[str, str]
    """column → target, of the losses"""
    text: dict[str, tuple[object, object]]
    """column → the first run and cell that is not a number"""
    notes: list[str]
    alike: list[str]
    """notes of runs that share a name"""


def read_rows(read: Read, files: Sequence[LogFile], reading: Reading, progress: Progress) -> Rows:
    """Return the rows of all files, one per run and step, with the columns that are used.

    Raises:
        SweepError: if a file cannot be read, no column matches, a loss or step is text, or a row
            names no run.
    """

    def of_file(file: LogFile) -> tuple[History, Steps | None]:
        history, steps = in_training_steps(read(file, reading), reading.asked.step_key is not None)
        return one_row_a_step(history), steps

    parts, chosen = [], []
    # Arrow and NumPy release the interpreter's lock, so threads suffice.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, (history, steps) in zip(files, pool.map(of_file, files), strict=True):
            parts.append(history)
            chosen.append(steps)
            progress(file.run, file.bytes)
    targets = reading.targets(list(dict.fromkeys(m for part in parts for m in part.metrics)))
    seen = list(dict.fromkeys(column for part in parts for column in part.seen))
    _check_some_match(targets, seen, reading.pattern)
    _check(parts, targets, reading.prefix)
    # Reversed, so that the first file's example stays.
    text = {column: cell for part in reversed(parts) for column, cell in part.text.items()}
    notes = [*files_notes(files, parts, targets), *reading.loose_note(targets)]
    notes += [*_table_notes(files, parts), *step_notes(parts, chosen), *_written_notes(parts)]
    table = _stacked(parts)
    called = {run: each for part in parts for run, each in part.called.items()}
    run, alike = by_one(table[RUN].to_numpy(object), called)
    renamed, said = without_blanks(pd.unique(run))
    run = np.array([renamed.get(each, each) for each in run], object) if renamed else run
    return Rows(table.assign(**{RUN: run}), targets, text, [*notes, *said, *alike], alike)


def _check_some_match(targets: dict[str, str], columns: Sequence[str], pattern: str) -> None:
    """Raise NoLosses with the nearest names if no column matches."""
    if targets:
        return
    near = difflib.get_close_matches(pattern, columns, n=NEAREST, cutoff=0.0)
    raise NoLosses(
        f"loss_pattern: no column matches {pattern!r}. The nearest of {len(columns)}: "
        f"{', '.join(near) or 'none, the logs are empty'}. Write {MARK} where the target's name "
        "is (--loss-pattern)."
    )


def _check(parts: Sequence[History], targets: dict[str, str], prefix: str | None) -> None:
    for part in parts:
        for column in [c for c in part.text if prefix is not None and c.startswith(prefix)]:
            run, cell = part.text[column]
            raise SweepError(
                f"column {column}: run {run} has {cell!r}; expected a proportion, a number. Take "
                "another prefix with mixture_prefix= (--mixture-prefix), or mend the log."
            )
        for column in [c for c in targets if c in part.text]:
            run, cell = part.text[column]
            raise SweepError(
                f"column {column}: run {run} has {cell!r}; expected losses, numbers. Take another "
                "pattern, or mend the log."
            )
        if STEP in part.text:
            run, cell = part.text[STEP]
            raise SweepError(
                f"column {part.step_key}: run {run} has {cell!r}; expected steps, numbers. Name "
                "another with step_key= (--step-key), or mend the log."
            )
    gone = sum(int(pd.isna(part.run).sum()) for part in parts)
    if gone:
        raise SweepError(
            f"run_key: {counted(gone, 'row names', 'rows name')} no run; fill in the names."
        )


def _table_notes(files: Sequence[LogFile], parts: Sequence[History]) -> list[str]:
    """Return the notes of how tables were read, each once, with the files that it is about."""
    about: dict[str, list[str]] = defaultdict(list)
    for file, part in zip(files, parts, strict=True):
        for note in part.notes:
            about[note].append(file.path.name)
    others = {note: counted(len(names) - 1, "other file") for note, names in about.items()}
    return [
        f"{names[0]}: {note}" if len(names) == 1 else f"{names[0]} and {others[note]}: {note}"
        for note, names in about.items()
    ]


def _written_notes(parts: Sequence[History]) -> list[str]:
    """Return notes of counters whose text was read as numbers, with an example each."""
    written = {
        part.step_key if column == STEP else column: cell
        for part in reversed(parts)
        for column, cell in part.written.items()
    }
    return [
        f"Column {column} holds text like {cell!r}, which was read as {number:.10g}."
        for column, (cell, number) in written.items()
    ]


def _stacked(parts: Sequence[History]) -> pd.DataFrame:
    """Stack the rows of all files; nan where a file lacks a metric."""
    place = {m: i for i, m in enumerate(dict.fromkeys(m for part in parts for m in part.metrics))}
    values = np.full((sum(len(part.run) for part in parts), len(place)), np.nan)
    row = 0
    for part in parts:
        rows = slice(row, row + len(part.run))
        values[rows, [place[metric] for metric in part.metrics]] = part.values
        row = rows.stop
    run = np.concatenate([part.run for part in parts])
    step = np.concatenate([part.step for part in parts])
    return pd.DataFrame(values, columns=list(place)).assign(**{RUN: run, STEP: step})


BEGIN = re.compile(rb'"log_history"\s*:\s*\[')
TO_LINES = bytes.maketrans(b"\n\r},", b"\t\t \n")
"""Translation to one pair per line. A tab is ignored beside names and numbers, and refused
inside a name, as JSON refuses line breaks there; braces were found to close entries."""
COMMA = np.array([[ord(",")]], np.uint8)


class LogHistory(NamedTuple):
    """A log history, one cell after another."""

    names: list[str]
    """names of metrics, in the order of the log"""
    name: np.ndarray
    """(cells,) int: index in `names`"""
    entry: np.ndarray
    """(cells,) int: index of the entry of the log"""
    value: np.ndarray
    """(cells,) float, or object where some are not numbers"""


def log_history(text: bytes, where: str = "The text") -> LogHistory:
    """Read the entries of `log_history`, by Arrow where all are numbers, else one by one.

    Args:
        text: of a `trainer_state.json`.
        where: begins messages.

    Raises:
        ValueError: if the text is not complete JSON, names an entry twice, or is nested too deep.
        LookupError: if it holds no log_history, or one whose entries are not objects.

    >>> found = log_history(b'{"log_history": [{"step": 1, "loss": 3.5}, {"step": 2}]}')
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


def _of_anything(state: Any) -> LogHistory:
    entries = state["log_history"] if isinstance(state, dict) else None
    if not isinstance(entries, list) or not set(map(type, entries)) <= {dict}:
        raise LookupError("log_history")
    keys = list(chain.from_iterable(entries))
    names = list(dict.fromkeys(keys))
    place = {name: i for i, name in enumerate(names)}
    cells = list(chain.from_iterable(map(dict.values, entries)))
    # Truth values, text and null need objects.
    kind = float if set(map(type, cells)) <= {int, float} else object
    return LogHistory(
        names,
        np.fromiter(map(place.__getitem__, keys), int, len(keys)),
        np.repeat(np.arange(len(entries)), list(map(len, entries))),
        np.fromiter(cells, kind, len(cells)),
    )


def _of_numbers(text: bytes) -> LogHistory | None:
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
) -> LogHistory | None:
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
    return LogHistory(list(place), name, entry, value)
