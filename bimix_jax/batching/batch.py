"""Files of many sweeps to files of fits: in pieces, resumable, shared among processes."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from bimix_jax.batching.compiled import Method
from bimix_jax.batching.pieces import ahead, pieces
from bimix_jax.batching.table import fit_table
from bimix_jax.checks import SweepError
from bimix_jax.files import atomic_path

ROWS = 1 << 19
"""Rows of a piece: about 100 MB in memory for a handful of columns."""
KEY = b"bimix_batch"


@dataclasses.dataclass(frozen=True)
class Share:
    """Which of several processes this one is; pieces go round among them."""

    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.processes:
            raise ValueError(
                f"rank is {self.rank} of {self.processes} processes; expected 0 … "
                f"{self.processes - 1}."
            )

    def mine(self, piece: int) -> bool:
        """Whether a piece, by its number in the whole input, is this process's."""
        return piece % self.processes == self.rank


@dataclasses.dataclass
class Report:
    """What a batch did; `failed` is what a rerun would try again."""

    written: int = 0
    """parts written now"""
    there: int = 0
    """parts that were there"""
    fits: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)
    """files and pieces, with their reasons"""


@dataclasses.dataclass(frozen=True)
class Progress:
    """What `run_batch` tells while it works."""

    rows: Callable[[int], None] = lambda count: None
    """rows that are done, or were done before"""
    fits: Callable[[int], None] = lambda count: None
    """sweeps that were fitted"""


def run_batch(
    files: list[Path],
    output: Path,
    method: Method,
    share: Share = Share(),
    rows: int = ROWS,
    devices: tuple[jax.Device, ...] | None = None,
    progress: Progress = Progress(),
) -> Report:
    """Fit every sweep of the files; part k of a file is `<file>-<k>.parquet` in `output`.

    A part is written beside and renamed, so that it is whole or not there, and what is there is not
    done again: after an interruption the same call does the rest. A file or piece that fails is
    reported and the others are done.

    Raises:
        ValueError: if `output` holds parts of another batch.
    """
    output.mkdir(parents=True, exist_ok=True)
    chosen = tuple(jax.local_devices()) if devices is None else devices
    work = _Work(output, method, chosen, progress, Report())
    number = 0
    for path in files:
        try:
            for k, piece in enumerate(ahead(pieces(path, rows))):
                if share.mine(number):
                    work.do(piece, f"{path.name}-{k:05}.parquet", _stamp(path, method, rows))
                progress.rows(piece.num_rows)
                number += 1
        except SweepError as error:
            work.report.failed.append(str(error))
    return work.report


@dataclasses.dataclass(frozen=True)
class _Work:
    output: Path
    method: Method
    devices: tuple[jax.Device, ...]
    progress: Progress
    report: Report

    def do(self, piece: pa.Table, name: str, stamp: dict[str, object]) -> None:
        """Fit a piece and write its part, unless it is there."""
        part = self.output / name
        if part.exists() and _is_done(part, stamp):
            self.report.there += 1
            return
        fits = fit_table(piece.to_pandas(), self.method, self.devices, self.progress.fits)
        try:
            _write(fits, part, stamp)
        except OSError as error:
            self.report.failed.append(f"{name} cannot be written: {error.strerror or error}.")
            return
        self.report.written += 1
        self.report.fits += len(fits)


def _stamp(path: Path, method: Method, rows: int) -> dict[str, object]:
    """What a part was made from and how."""
    of_law = {f.name: repr(getattr(method.law, f.name)) for f in dataclasses.fields(method.law)}  # type: ignore[arg-type]
    options = {"loss": method.loss, "huber": method.huber, "tied": list(method.tied),
               "max_steps": method.max_steps, "dtype": method.dtype}  # fmt: skip
    if method.emphasis:
        # Parts that were begun before there was any are those of none.
        options["emphasis"] = method.emphasis
    settings = {"law": method.law.name, **of_law, **options, "rows": rows}
    return {"settings": settings, "bytes": path.stat().st_size}


def _is_done(part: Path, stamp: dict[str, object]) -> bool:
    """Whether a part is of this batch; one of a file that has changed since is made again."""
    metadata = pa.parquet.read_schema(part).metadata or {}
    found = json.loads(metadata.get(KEY, b"{}"))
    if found.get("settings") != stamp["settings"]:
        raise ValueError(
            f"{part} was made with {found.get('settings')}, this batch has {stamp['settings']}; "
            "write to another folder, or use the settings it was begun with."
        )
    return found == stamp


def _write(fits: pd.DataFrame, part: Path, stamp: dict[str, object]) -> None:
    table = pa.Table.from_pandas(fits, preserve_index=False)
    schema = table.schema.with_metadata({KEY: json.dumps(stamp).encode()})
    with atomic_path(part) as beside:
        pa.parquet.write_table(table.cast(schema), beside)
