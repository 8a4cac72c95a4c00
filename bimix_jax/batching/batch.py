"""The verb for files: fit a table or a folder of sweeps, piece by piece, into a folder of parts."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from bimix_jax.batching import _parts
from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.batching._parts import SWEEP, BatchSummary
from bimix_jax.batching._table import begins, fit_frame
from bimix_jax.fitting.options import FitOptions
from bimix_jax.laws.law import Law
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import (
    BUDGET_COLUMNS,
    LOSS_PREFIX,
    MIXTURE_PREFIX,
    RUN_COLUMNS,
    listed,
)

ROWS = 1 << 19
"""Rows per piece: about 100 MB in memory for a handful of columns."""
LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
"""Variables of Open MPI and Slurm. Slurm's is the number of tasks of the step: a batch script by
itself is one process, although its job may have tasks."""


@dataclasses.dataclass(frozen=True)
class Share:
    """Pieces of the input that belong to this process; they are dealt to the processes in turn.

    Raises:
        ValueError: on a rank that is not among the processes.
    """

    rank: int = 0
    processes: int = 1
    rows: int = ROWS
    """approximate number of rows of a piece, which is in memory at a time"""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.processes:
            raise ValueError(
                f"rank is {self.rank} of {self.processes} processes; expected 0 … "
                f"{self.processes - 1}."
            )

    @classmethod
    def of_launcher(cls) -> "Share":
        """Return the share by the launcher: Open MPI, Slurm, a TPU pod; without one, everything."""
        for rank, processes in LAUNCHERS:
            if rank in os.environ and processes in os.environ:
                return cls(int(os.environ[rank]), int(os.environ[processes]))
        hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
        if "TPU_WORKER_ID" in os.environ and len(hosts) > 1:
            return cls(int(os.environ["TPU_WORKER_ID"]), len(hosts))
        return cls()

    @classmethod
    def of_distributed(cls) -> "Share":
        """Join the other processes by `jax.distributed`, which finds them through the launcher.

        Sharing files does not need this call; devices of several hosts that work together do.
        """
        if not jax.distributed.is_initialized():
            jax.distributed.initialize()
        return cls(jax.process_index(), jax.process_count())

    def mine(self, piece: int) -> bool:
        """True where a piece, by its number in the whole input, belongs to this process."""
        return piece % self.processes == self.rank


@dataclasses.dataclass
class Report:
    """Result of a batch; a rerun would try `failed` again."""

    folder: Path
    """folder of the parts"""
    written: int = 0
    """number of parts written now"""
    there: int = 0
    """number of parts that existed before"""
    fits: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)
    """files and pieces, with their reasons"""
    notes: list[str] = dataclasses.field(default_factory=list)
    """notes on parts that were made again or removed, with the reason"""
    parts: set[str] = dataclasses.field(default_factory=set)
    """names of the parts of the input, for all processes"""

    def summary(self) -> BatchSummary:
        """Count sweeps and codes over the parts of all processes that exist."""
        return _parts.summary(self.folder, self.parts)

    def note_of_others(self) -> list[str]:
        """Return a note on Parquet files in the folder that are parts of other inputs."""
        others = _parts.strange_parts(self.folder, self.parts)
        if not others:
            return []
        return [
            f"{self.folder} also holds {counted(len(others), 'file')} of other inputs, not counted "
            f"here: {listed(others)}. Programs that read the whole folder read them, too."
        ]


@dataclasses.dataclass(frozen=True)
class BatchProgress:
    """Functions that `run_batch` calls to report its progress."""

    expected: Callable[[int | None], None] = lambda count: None
    """called first, with the approximate number of rows of the input; None where it is unknown"""
    rows: Callable[[int], None] = lambda count: None
    """called with the number of rows done now or before"""
    fits: Callable[[int], None] = lambda count: None
    """called with the number of sweeps fitted"""


def run_batch(
    source: str | Path,
    output: Path,
    law: Law,
    options: FitOptions = FitOptions(),
    share: Share = Share(),
    progress: BatchProgress = BatchProgress(),
) -> Report:
    """Fit every sweep of a table, or of a folder of tables, and write the fits to `output`.

    The fits of piece k of a file are the part `<file>-<k>.parquet`. A part is written beside its
    place and renamed, so that it is complete or absent, and existing parts are not made again:
    after an interruption the same call does the rest. A file or piece that fails is reported and
    the others are done.

    Raises:
        FileNotFoundError: if there is nothing to read.
        ValueError: if `output` holds parts of another batch.
    """
    files = _tables(source)
    expected = [_expected_rows(path) for path in files]
    progress.expected(None if None in expected else sum(n or 0 for n in expected))
    output.mkdir(parents=True, exist_ok=True)
    work = _BatchWork(BatchMethod(law, options), share, progress, Report(output))
    number = 0
    for path in files:
        # A file without a piece leaves k + 1 = 0 parts.
        k = -1
        try:
            for k, piece in enumerate(_ahead(_pieces(path, share.rows))):
                work.report.parts.add(_parts.part_name(path, k))
                # Every process reads all pieces, which takes less time than fits, and
                # numbers them alike, so that the processes need not communicate.
                if share.mine(number):
                    work.do(piece, _parts.part_name(path, k))
                progress.rows(piece.num_rows)
                number += 1
        except SweepError as error:
            work.report.failed.append(str(error))
            continue
        # Only after a file was read to its end is its number of pieces known.
        work.remove_stale(path, k + 1)
    return work.report


@dataclasses.dataclass(frozen=True)
class _BatchWork:
    method: BatchMethod
    share: Share
    progress: BatchProgress
    report: Report

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """Settings that every part is stamped with."""
        return _parts.settings_of(self.method, self.share.rows)

    @functools.cached_property
    def devices(self) -> tuple[jax.Device, ...]:
        """All local devices."""
        return tuple(jax.local_devices())

    def do(self, piece: pa.Table, name: str) -> None:
        """Fit a piece and write its part, unless it exists."""
        part, stamp = self.report.folder / name, _parts.stamp_of(piece, self.settings)
        if part.exists():
            if _parts.is_done(part, stamp):
                self.report.there += 1
                return
            self.report.notes.append(
                f"{part} is damaged, or its input has changed since; it was made again."
            )
        fits = fit_frame(piece.to_pandas(), self.method, self.devices, self.progress.fits)
        try:
            _parts.write_part(fits, part, stamp)
        except OSError as error:
            self.report.failed.append(str(error))
            return
        self.report.written += 1
        self.report.fits += len(fits)

    def remove_stale(self, path: Path, pieces: int) -> None:
        """Remove the parts of pieces that an input file no longer has."""
        removed = _parts.remove_stale(self.report.folder, path, pieces)
        if removed:
            were = "was" if len(removed) == 1 else "were"
            self.report.notes.append(
                f"{path} has become shorter; {counted(len(removed), 'part')} of what it held "
                f"before {were} removed: {listed(removed)}."
            )


ENDINGS = (".parquet", ".csv", ".csv.gz")
READ_ROWS = 1 << 16
"""Rows that are read from a Parquet file at a time."""


def _tables(source: str | Path) -> list[Path]:
    """List the tables of a folder in the order of their names, or the one file.

    Raises:
        FileNotFoundError: if there is nothing to read.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    found = sorted(
        p for p in path.glob("*") if p.name.endswith(ENDINGS) and not p.name.startswith(".")
    )
    if not found:
        raise FileNotFoundError(
            f"{path} is neither a table nor a folder of tables; expected {', '.join(ENDINGS)}."
        )
    return found


def _pieces(path: Path, rows: int) -> Iterator[pa.Table]:
    """Iterate over pieces of about `rows` rows of a table, cut between sweeps; one is in memory.

    Raises:
        SweepError: if the file cannot be read, or has no column `sweep`.
    """
    try:
        seen: set[int] = set()
        for piece in _whole_sweeps(path, rows):
            _check_together(path, piece, seen)
            yield piece
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = (str(error).strip() or "it is empty").splitlines()[0].rstrip(".")
        raise SweepError(f"{path} cannot be read: {reason}. Check that it is complete.") from error


def _ahead(items: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Iterate over the items, with a thread that prepares the next one; two are in memory."""
    with ThreadPoolExecutor(1, thread_name_prefix="bimix_jax reading") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _whole_sweeps(path: Path, rows: int) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = 0
    for part in (b.slice(i, rows) for b in _batches(path) for i in range(0, b.num_rows, rows)):
        held.append(part)
        count += part.num_rows
        if count >= rows:
            # The last sweep may go on in the next batch of rows, so it waits for that.
            whole, rest = _cut(pa.Table.from_batches(held))
            held, count = rest.to_batches(), rest.num_rows
            if whole.num_rows:
                yield whole
    if count:
        yield pa.Table.from_batches(held)


def _check_together(path: Path, piece: pa.Table, seen: set[int]) -> None:
    """Refuse a sweep that continues in a later piece: it would be fitted twice, in parts."""
    every = piece[SWEEP].combine_chunks()
    # Few are left of neighbours that are alike, before the unique ones are looked for.
    labels = pa.compute.unique(every.filter(pa.array(begins(every)))).to_numpy(zero_copy_only=False)
    hashes = pd.util.hash_array(labels).tolist()
    again = next((label for label, h in zip(labels, hashes, strict=True) if h in seen), None)
    if again is not None:
        raise SweepError(
            f"{path}: the rows of sweep {again} are not adjacent; sort the table by {SWEEP}."
        )
    seen.update(hashes)


def _expected_rows(path: Path) -> int | None:
    """Number of rows of a table, if known without reading it; for a progress bar."""
    try:
        if path.suffix == ".parquet":
            return pa.parquet.ParquetFile(path).metadata.num_rows
        if path.suffix == ".gz":
            return None
        with path.open("rb") as lines:
            sample = lines.read(1 << 20)
        # Bytes of the file over bytes per line of its first megabyte.
        return round(path.stat().st_size * sample.count(b"\n") / max(len(sample), 1))
    except (pa.ArrowException, OSError):
        return None


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        # Buffered ahead, every byte that was read would stay in memory to the end.
        file = pa.parquet.ParquetFile(path, pre_buffer=False)
        _check_columns(path, file.schema_arrow.names)
        yield from file.iter_batches(READ_ROWS)
        return
    with pa.csv.open_csv(path) as reader:
        names = reader.schema.names
    _check_columns(path, names)
    measured = [c for c in names if c.startswith((MIXTURE_PREFIX, LOSS_PREFIX))]
    numbers = {*measured, *(c for c in names if c in BUDGET_COLUMNS)}
    labels = {SWEEP, *(c for c in names if c in RUN_COLUMNS)}
    # Guessed from the first block, a column of whole numbers would fail at 1.5, and the runs 007
    # and 7 would be one.
    types = dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(labels, pa.string())
    with pa.csv.open_csv(path, convert_options=pa.csv.ConvertOptions(column_types=types)) as reader:
        yield from reader


def _check_columns(path: Path, names: list[str]) -> None:
    if SWEEP not in names:
        raise SweepError(
            f"{path} has the columns {', '.join(names)}; expected a column {SWEEP} that "
            "names the sweep of each row."
        )


def _cut(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Split off the rows of the last sweep, as more of them may follow."""
    labels = table[SWEEP]
    differ = pa.compute.not_equal(labels, labels[-1]).to_numpy().nonzero()[0]
    end = int(differ[-1]) + 1 if len(differ) else 0
    return table.slice(0, end), table.slice(end)
