"""The verb for files: fit a table or a folder of sweeps, piece by piece, into a folder of parts."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pyarrow as pa

from bimix_jax.batching import _parts
from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.batching._parts import BatchSummary
from bimix_jax.batching._reading import ahead, expected_rows, pieces, tables_in
from bimix_jax.batching._table import fit_frame
from bimix_jax.cluster import Cluster
from bimix_jax.files import as_path, drop_copy
from bimix_jax.fitting.options import FitOptions
from bimix_jax.laws.law import Law
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed
from bimix_jax.xla.cache import use_compilation_cache

ROWS = 1 << 19
"""Rows per piece: about 100 MB in memory for a handful of columns."""


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

    def add(self, other: "Report") -> None:
        """Add the result of a part of the input."""
        self.written += other.written
        self.there += other.there
        self.fits += other.fits
        # Every share of a file names the file that cannot be read.
        self.failed += [each for each in other.failed if each not in self.failed]
        self.notes += [each for each in other.notes if each not in self.notes]
        self.parts |= other.parts

    def note_of_others(self) -> list[str]:
        """Return a note on Parquet files in the folder that are not parts of what was read."""
        others = _parts.strange_parts(self.folder, self.parts)
        if not others:
            return []
        return [
            f"{self.folder} also holds {counted(len(others), 'file')} of other inputs, or of files "
            f"that cannot be read now, not counted here: {listed(others)}. Programs that read the "
            "whole folder read them, too."
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
    output: str | Path,
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
    files = tables_in(source)
    expected = [expected_rows(path) for path in files]
    progress.expected(None if None in expected else sum(n or 0 for n in expected))
    folder = as_path(output)
    folder.mkdir(parents=True, exist_ok=True)
    work = _BatchWork(BatchMethod(law, options), share, progress, Report(folder))
    number = 0
    for path in files:
        # A file without a piece leaves k + 1 = 0 parts.
        k = -1
        try:
            for k, piece in enumerate(ahead(pieces(path, share.rows))):
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
        finally:
            drop_copy(path)
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
            done = _parts.is_done(part, stamp)
            drop_copy(part)
            if done:
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


def run_batch_on(
    cluster: Cluster,
    source: str | Path,
    output: str | Path,
    law: Law,
    options: FitOptions = FitOptions(),
    rows: int = ROWS,
) -> Report:
    """Fit as `run_batch` does, by the actors of a cluster, each a file or a share of one at a time.

    All machines have to see `source` and `output` under the same paths. The parts are those of
    `run_batch`, so that either continues what the other began.

    Args:
        cluster: cluster, whose number of workers decides how often a file is shared.
        source: as for `run_batch`.
        output: as for `run_batch`.
        law: as for `run_batch`.
        options: as for `run_batch`.
        rows: approximate number of rows of a piece.

    Raises:
        FileNotFoundError: if there is nothing to read.
        ValueError: if Ray is missing or too old, or a worker has other packages.
    """
    files = [path.resolve() for path in tables_in(source)]
    folder = as_path(output)
    folder.mkdir(parents=True, exist_ok=True)
    report, work = Report(folder), _FitShare(str(folder.resolve()), law, options, rows)
    shares = -(-(cluster.workers or 1) // len(files))
    items = [(str(path), rank, shares) for path in files for rank in range(shares)]
    found = sorted(cluster.map(work, items, lambda item: item[0]))
    for each in found:
        if each.error is None:
            report.add(Report(**each.value | {"folder": folder, "parts": set(each.value["parts"])}))
        elif each.error not in report.failed:
            report.failed.append(each.error)
    return report


@dataclasses.dataclass(frozen=True)
class _FitShare:
    """The work of an actor: a share of the pieces of a file."""

    output: str
    law: Law
    options: FitOptions
    rows: int

    def __call__(self, item: tuple[str, int, int]) -> dict[str, Any]:
        path, rank, processes = item
        with contextlib.suppress(OSError, RuntimeError):  # then programs are compiled anew
            use_compilation_cache()
        share = Share(rank, processes, self.rows)
        report = run_batch(path, self.output, self.law, self.options, share)
        return vars(report) | {"folder": self.output, "parts": sorted(report.parts)}
