"""All rows of all files as one table, read by several threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.checks import SweepError
from bimix_jax.logs.history import RUN, STEP, History, Keys, LogFile, Read
from bimix_jax.logs.pattern import check_some_match, pattern_of, targets_in
from bimix_jax.logs.points import one_row_a_step

Progress = Callable[[str, float], object]


class Wanted(NamedTuple):
    """Which columns of the logs are used."""

    pattern: str
    """of losses"""
    tokens: tuple[str, ...]
    """columns of tokens"""
    prefix: str | None
    """of columns of proportions; None where they are in a table of their own"""

    def targets(self, columns: Sequence[str]) -> dict[str, str]:
        """Column → target, of the losses."""
        losses = targets_in(columns, pattern_of(self.pattern))
        return {column: losses[column] for column in losses if not self._beside(column)}

    def keep(self, columns: list[str]) -> list[str]:
        """The columns that are used, losses or not."""
        losses = self.targets(columns)
        return [column for column in columns if column in losses or self._beside(column)]

    def _beside(self, column: str) -> bool:
        return column in self.tokens or (self.prefix is not None and column.startswith(self.prefix))


def read_rows(
    read: Read, files: Sequence[LogFile], keys: Keys, wanted: Wanted, progress: Progress
) -> tuple[pd.DataFrame, dict[str, str]]:
    """RUN, STEP and the columns that are used, and of which target each loss is.

    Raises:
        SweepError: if a file cannot be read, no column matches, a loss is text, or a row names no
            run.
    """
    pattern_of(wanted.pattern)
    parts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        histories = pool.map(lambda file: one_row_a_step(read(file, keys, wanted.keep)), files)
        for file, history in zip(files, histories, strict=True):
            parts.append(history)
            progress(file.run, file.path.stat().st_size)
    targets = wanted.targets(list(dict.fromkeys(m for part in parts for m in part.metrics)))
    seen = list(dict.fromkeys(column for part in parts for column in part.seen))
    check_some_match(targets, seen, wanted.pattern)
    _check(parts, targets)
    return _stacked(parts), targets


def _check(parts: Sequence[History], targets: dict[str, str]) -> None:
    for part in parts:
        for column in targets.keys() & part.text.keys():
            run, cell = part.text[column]
            raise SweepError(
                f"column {column}: run {run} has {cell!r}; expected losses, numbers. Take another "
                "pattern, or mend the log."
            )
    gone = sum(int(pd.isna(part.run).sum()) for part in parts)
    if gone:
        raise SweepError(f"run_key: {gone} rows name no run; fill them in.")


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
