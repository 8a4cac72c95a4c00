"""The verb: fit a folder of sweeps, part by part."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pyarrow as pa

from bimix_jax.batching._table import fit_table
from bimix_jax.batching.compiled import BatchMethod
from bimix_jax.batching.parts import (
    is_done,
    part_name,
    remove_stale,
    settings_of,
    stamp_of,
    write_part,
)
from bimix_jax.batching.pieces import ahead, pieces
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed

ROWS = 1 << 19
"""Rows per piece: about 100 MB in memory for a handful of columns."""


@dataclasses.dataclass(frozen=True)
class Share:
    """Index of this process among several, to which pieces are dealt in turn."""

    rank: int = 0
    processes: int = 1

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


@dataclasses.dataclass(frozen=True)
class BatchProgress:
    """Callbacks of `run_batch` for its progress."""

    rows: Callable[[int], None] = lambda count: None
    """called with the number of rows done now or before"""
    fits: Callable[[int], None] = lambda count: None
    """called with the number of sweeps fitted"""


def run_batch(
    files: list[Path],
    output: Path,
    method: BatchMethod,
    share: Share = Share(),
    rows: int = ROWS,
    devices: tuple[jax.Device, ...] | None = None,
    progress: BatchProgress = BatchProgress(),
) -> Report:
    """Fit every sweep of the files; part k of a file is `<file>-<k>.parquet` in `output`.

    A part is written beside its place and renamed, so that it is complete or absent, and existing
    parts are not made again: after an interruption the same call does the rest. A file or piece
    that fails is reported and the others are done.

    Raises:
        ValueError: if `output` holds parts of another batch.
    """
    output.mkdir(parents=True, exist_ok=True)
    chosen = tuple(jax.local_devices()) if devices is None else devices
    work = _BatchWork(output, method, settings_of(method, rows), chosen, progress, Report())
    number = 0
    for path in files:
        # A file without a piece leaves k + 1 = 0 parts.
        k = -1
        try:
            for k, piece in enumerate(ahead(pieces(path, rows))):
                work.report.parts.add(part_name(path, k))
                # Every process reads all pieces, which takes less time than fits, and counts them
                # alike, so that none has to ask another.
                if share.mine(number):
                    work.do(piece, part_name(path, k))
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
    output: Path
    method: BatchMethod
    settings: dict[str, Any]
    devices: tuple[jax.Device, ...]
    progress: BatchProgress
    report: Report

    def do(self, piece: pa.Table, name: str) -> None:
        """Fit a piece and write its part, unless it exists."""
        part, stamp = self.output / name, stamp_of(piece, self.settings)
        if part.exists():
            if is_done(part, stamp):
                self.report.there += 1
                return
            self.report.notes.append(
                f"{part} is damaged, or its input has changed since; it was made again."
            )
        fits = fit_table(piece.to_pandas(), self.method, self.devices, self.progress.fits)
        try:
            write_part(fits, part, stamp)
        except OSError as error:
            self.report.failed.append(str(error))
            return
        self.report.written += 1
        self.report.fits += len(fits)

    def remove_stale(self, path: Path, pieces: int) -> None:
        """Remove the parts of pieces that an input file no longer has."""
        removed = remove_stale(self.output, path, pieces)
        if removed:
            self.report.notes.append(
                f"{path} has become shorter; {len(removed)} parts of what it held before were "
                f"removed: {listed(removed)}."
            )


LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
"""Variables of Open MPI and Slurm. Slurm's is the number of tasks of the step: a batch script by
itself is one process, although its job may have tasks."""


def share_of_launcher() -> Share:
    """Share of this process according to its launcher: Open MPI, Slurm, a TPU pod; else all."""
    for rank, processes in LAUNCHERS:
        if rank in os.environ and processes in os.environ:
            return Share(int(os.environ[rank]), int(os.environ[processes]))
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    if "TPU_WORKER_ID" in os.environ and len(hosts) > 1:
        return Share(int(os.environ["TPU_WORKER_ID"]), len(hosts))
    return Share()


def join_processes() -> Share:
    """Join the other processes by `jax.distributed`, which finds them through the launcher.

    Returns the share of this one. Sharing files does not need this call; devices of several hosts
    that work together do.
    """
    import jax

    if not jax.distributed.is_initialized():
        jax.distributed.initialize()
    return Share(jax.process_index(), jax.process_count())
