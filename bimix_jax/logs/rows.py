"""All rows of all files as one table, read by several threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.logs.counters import counted_by
from bimix_jax.logs.history import RUN, STEP, History, Keys, LogFile, Read
from bimix_jax.logs.pattern import check_some_match, loosely, pattern_of, targets_in
from bimix_jax.logs.pieces import files_notes
from bimix_jax.logs.points import one_row_a_step
from bimix_jax.logs.run_ids import by_one
from bimix_jax.logs.steps import Steps, in_training_steps, step_notes
from bimix_jax.names import without_blanks
from bimix_jax.reading.errors import SweepError
from bimix_jax.sweeps.scores import keep_scores_named

Progress = Callable[[str, float], object]


class Wanted(NamedTuple):
    """Which columns of the logs are used."""

    pattern: str
    """of losses"""
    tokens: str | None
    """the column of tokens, where a user named it"""
    prefix: str | None
    """of columns of proportions; None where they are in a table of their own"""
    exact: bool = False
    """whether the parts of the pattern must be separated as it says"""

    def targets(self, columns: Sequence[str]) -> dict[str, str]:
        """Column → target, of the losses."""
        losses = targets_in(columns, pattern_of(self.pattern))
        if not losses and not self.exact:
            losses = targets_in(columns, loosely(self.pattern))
        kept = {column: losses[column] for column in losses if not self._beside(column)}
        return keep_scores_named(kept, self.pattern.replace("{target}", " "))

    def loose_note(self, targets: dict[str, str]) -> list[str]:
        """What is said where the columns fit the pattern but for what separates its parts."""
        first = next(iter(targets), "")
        if pattern_of(self.pattern).fullmatch(first):
            return []
        return [f"No column matches {self.pattern!r}; those like {first} were taken for losses."]

    def keep(self, columns: list[str]) -> list[str]:
        """The columns that are used, losses or not."""
        losses = self.targets(columns)
        return [column for column in columns if column in losses or self._beside(column)]

    def _beside(self, column: str) -> bool:
        counts = counted_by(column) in ("steps", "tokens") or column == self.tokens
        return counts or (self.prefix is not None and column.startswith(self.prefix))


class Rows(NamedTuple):
    """The rows of all files."""

    table: pd.DataFrame
    """RUN, STEP and the columns that are used"""
    targets: dict[str, str]
    """column → target, of the losses"""
    text: dict[str, tuple[object, object]]
    """column → the first run and cell that is no number"""
    notes: list[str]
    alike: list[str]
    """what is said of runs that share a name"""


def read_rows(
    read: Read, files: Sequence[LogFile], keys: Keys, wanted: Wanted, progress: Progress
) -> Rows:
    """The rows of all files, one a run and step, with the columns that are used.

    Raises:
        SweepError: if a file cannot be read, no column matches, a loss or step is text, or a row
            names no run.
    """
    pattern_of(wanted.pattern)

    def of_file(file: LogFile) -> tuple[History, Steps | None]:
        history, steps = in_training_steps(read(file, keys, wanted.keep), keys.step is not None)
        return one_row_a_step(history), steps

    parts, chosen = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, (history, steps) in zip(files, pool.map(of_file, files), strict=True):
            parts.append(history)
            chosen.append(steps)
            progress(file.run, file.bytes)
    targets = wanted.targets(list(dict.fromkeys(m for part in parts for m in part.metrics)))
    seen = list(dict.fromkeys(column for part in parts for column in part.seen))
    check_some_match(targets, seen, wanted.pattern)
    _check(parts, targets, wanted.prefix)
    text = {column: cell for part in reversed(parts) for column, cell in part.text.items()}
    notes = [*files_notes(files, parts, targets), *wanted.loose_note(targets)]
    notes += [*step_notes(parts, chosen), *_written_notes(parts)]
    table = _stacked(parts)
    called = {run: each for part in parts for run, each in part.called.items()}
    run, alike = by_one(table[RUN].to_numpy(object), called)
    renamed, said = without_blanks(pd.unique(run))
    run = np.array([renamed.get(each, each) for each in run], object) if renamed else run
    return Rows(table.assign(**{RUN: run}), targets, text, [*notes, *said, *alike], alike)


def _check(parts: Sequence[History], targets: dict[str, str], prefix: str | None) -> None:
    for part in parts:
        for column in [c for c in part.text if prefix is not None and c.startswith(prefix)]:
            run, cell = part.text[column]
            raise SweepError(
                f"column {column}: run {run} has {cell!r}; expected a proportion, a number. Take "
                "another beginning with mixture_prefix= (--mixture-prefix), or mend the log."
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
        raise SweepError(f"run_key: {gone} rows name no run; fill them in.")


def _written_notes(parts: Sequence[History]) -> list[str]:
    """Counters whose text was read as numbers, with an example each."""
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
    """The rows of all files; nan where a file lacks a metric."""
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
