"""The rows of all files of logs, with the columns that are used."""

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs._counters import Steps, in_training_steps, one_row_a_step, step_notes
from bimix_jax.logs._history import RUN, STEP, History, LogFile, Read, by_one
from bimix_jax.logs._settings import MARK, Reading
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.names import without_blanks
from bimix_jax.reading.tables import listed

MOSTLY = 0.5
"""Share of a file's steps above which repeated steps show another run; a run that resumes from a
checkpoint logs few of its steps again."""
Progress = Callable[[str, float], object]
NEAREST = 10
"""Number of columns that an error names where none matches the pattern."""
EXAMPLE = re.compile(r": .+ was read as .+\.$")
"""The end of a note that shows how one cell was read."""


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
        history, steps = in_training_steps(read(file, reading), reading)
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
    _check_some_match(targets, seen, reading.pattern, [n for part in parts for n in part.notes])
    _check(parts, targets, reading.prefix)
    # Reversed, so that the first file's example stays.
    text = {column: cell for part in reversed(parts) for column, cell in part.text.items()}
    notes = [*_files_notes(files, parts, targets), *reading.loose_note(targets)]
    notes += [*_table_notes(files, parts), *step_notes(parts, chosen), *_written_notes(parts)]
    table = _stacked(parts)
    called = {run: each for part in parts for run, each in part.called.items()}
    run, alike = by_one(table[RUN].to_numpy(object), called)
    renamed, said = without_blanks(pd.unique(run))
    run = np.array([renamed.get(each, each) for each in run], object) if renamed else run
    return Rows(table.assign(**{RUN: run}), targets, text, [*notes, *said, *alike], alike)


def _check_some_match(
    targets: dict[str, str], columns: Sequence[str], pattern: str, notes: Sequence[str]
) -> None:
    """Raise NoLosses with the nearest names if no column matches."""
    if targets:
        return
    near = difflib.get_close_matches(pattern, columns, n=NEAREST, cutoff=0.0)
    raise NoLosses(
        f"loss_pattern: no column matches {pattern!r}. The nearest of {len(columns)}: "
        f"{', '.join(near) or 'none, the logs are empty'}. Write {MARK} where the target's name "
        "is (--loss-pattern)."
        f"{_hint_of_rows(columns)}{_hint_of_lists(notes)}"
    )


def _hint_of_rows(columns: Sequence[str]) -> str:
    """Return a hint where each row seems to hold one metric, in a column of unusual name."""
    if "value" not in {column.lower() for column in columns}:
        return ""
    return (
        " A table with a row per metric needs the names of the metrics in a column metric, beside "
        "the columns run, step and value."
    )


def _hint_of_lists(notes: Sequence[str]) -> str:
    """Return the notes of columns whose lists were not read."""
    return "".join(f" {note}" for note in dict.fromkeys(notes) if "holds lists" in note)


def _check(parts: Sequence[History], targets: dict[str, str], prefix: str | None) -> None:
    for part in parts:
        for column in [c for c in part.text if prefix is not None and c.startswith(prefix)]:
            run, cell = part.text[column]
            raise SweepError(
                f"column {column}: run {run} has {cell!r}; expected a proportion. Take "
                "another prefix with mixture_prefix= (--mixture-prefix), or mend the log."
            )
        for column in [c for c in targets if c in part.text]:
            run, cell = part.text[column]
            raise SweepError(
                f"column {column}: run {run} has {cell!r}; expected numbers as losses. Take "
                "another pattern, or mend the log."
            )
        if STEP in part.text:
            run, cell = part.text[STEP]
            raise SweepError(
                f"column {part.step_key}: run {run} has {cell!r}; expected numbers of steps. Name "
                "another with step_key= (--step-key), or mend the log."
            )
    gone = sum(int(pd.isna(part.run).sum()) for part in parts)
    if gone:
        raise SweepError(
            f"run_key: {counted(gone, 'row names', 'rows name')} no run; fill in the names."
        )


def _files_notes(
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
            if _logs_differ(parts[one], parts[other]):
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


def _logs_differ(one: History, other: History) -> bool:
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


def _table_notes(files: Sequence[LogFile], parts: Sequence[History]) -> list[str]:
    """Return the notes of how tables were read, each once, with the files that it is about.

    Notes that differ only in their example are one note, with the example of the first file.
    """
    about: dict[str, list[str]] = defaultdict(list)
    first: dict[str, str] = {}
    for file, part in zip(files, parts, strict=True):
        for note in part.notes:
            stated = EXAMPLE.sub("", note)
            first.setdefault(stated, note)
            about[stated].append(file.path.name)
    others = {stated: counted(len(names) - 1, "other file") for stated, names in about.items()}
    return [
        f"{names[0]}{f' and {others[stated]}' * (len(names) > 1)}: {first[stated]}"
        for stated, names in about.items()
    ]


def _written_notes(parts: Sequence[History]) -> list[str]:
    """Return notes of counters whose text was read as numbers, with an example each."""
    written = {
        part.step_key if column == STEP else column: cell
        for part in reversed(parts)
        for column, cell in part.written.items()
    }
    return [
        f"Column {column} holds text like {cell!r}, which was read as {number:.10g}"
        f"{_other_reading(cell, number)}."
        for column, (cell, number) in written.items()
    ]


def _other_reading(cell: str, number: float) -> str:
    """Return the number that text like 1.000 may mean, too."""
    whole = cell.replace(".", "")
    either = whole.isdigit() and "." in cell and number < int(whole)
    return f", not as {whole}" if either else ""


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
