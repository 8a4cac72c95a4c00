"""Parts of a batch: tables of fits, each stamped with its origin."""

import collections
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.files import atomic_path
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.coefficients import Code
from bimix_jax.fitting.options import FitOptions
from bimix_jax.laws.law import Law
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError

# Indexed by the value of a code, which makes a column of labels in one step.
LABELS = np.array([code.label for code in sorted(Code)], object)
SWEEP = "sweep"


def table_of_fits(
    labels: Sequence[Any], law: Law, targets: Sequence[str], found: ArrayFit, error: np.ndarray
) -> pd.DataFrame:
    """Table of coefficients, codes and errors from arrays with the axes (sweeps, targets)."""
    coefficients, code = found.coefficients, np.asarray(found.code)
    exponents = np.where(found.identified, coefficients.exponents, np.nan)
    failed = (code == Code.BAD_DATA) | (code == Code.NONFINITE)
    amplitudes = np.where(failed[..., None], np.nan, coefficients.amplitudes)
    reported = law.report(
        exponents.astype(float), amplitudes.astype(float), np.asarray(coefficients.budget_scale)
    )
    columns = {
        SWEEP: np.repeat(_objects(labels), len(targets)),
        "target": np.tile(_objects(targets), len(labels)),
        **{name: np.asarray(values, float).ravel() for name, values in reported.items()},
        "code": LABELS[code].ravel(),
        "points": np.asarray(found.points).ravel(),
        "error": np.asarray(error, float).ravel(),
    }
    return pd.DataFrame(columns).assign(reason="")


def table_of_failed(reasons: Mapping[Any, str]) -> pd.DataFrame:
    """Rows of sweeps that could not be read or fitted, label → reason."""
    return pd.DataFrame(
        {
            SWEEP: _objects(list(reasons)),
            "target": _objects([""] * len(reasons)),
            "code": _objects([Code.BAD_DATA.label] * len(reasons)),
            "points": np.zeros(len(reasons), int),
            "error": np.full(len(reasons), np.nan),
            "reason": _objects(list(reasons.values())),
        }
    )


def joined(parts: Sequence[pd.DataFrame], labels: Sequence[Any]) -> pd.DataFrame:
    """Concatenate tables, in the order of labels; parts without rows give only their columns.

    Columns are in the order of the first table that has any rows, so give failures last.
    """
    place = {label: i for i, label in enumerate(labels)}
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    order = np.argsort([place[label] for label in table[SWEEP]], kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _objects(values: Sequence[Any]) -> np.ndarray:
    """Return the values as an array of objects, (values,), also where they are tuples."""
    # `np.array` would make an axis of the tuples.
    found = np.empty(len(values), object)
    found[:] = list(values)
    return found


KEY = b"bimix_batch"
"""Entry of a part's metadata that holds its stamp."""
Stamp = dict[str, Any]
FITS = "fits"
"""Entry of a stamp that holds the digest of the part's own rows."""


def check_column(name: object, columns: Iterable[Any]) -> None:
    """Raise SweepError unless a table of many sweeps has the column that names them."""
    columns = list(columns)
    if SWEEP not in columns:
        raise SweepError(
            f"{name} has the columns {', '.join(map(str, columns))}; expected a column {SWEEP} "
            "that names the sweep of each row."
        )


def part_name(path: Path, piece: int) -> str:
    """File name of the fits of a piece of an input file."""
    return f"{path.name}-{piece:05}.parquet"


def settings_of(method: BatchMethod, rows: int) -> dict[str, Any]:
    """Return the settings that determine fits, besides the measurements."""
    of_law = {f.name: repr(getattr(method.law, f.name)) for f in dataclasses.fields(method.law)}  # type: ignore[arg-type]
    asked = method.options
    # Names are those of the first parts; options that came later are left out at their defaults,
    # so that earlier parts still count.
    options: dict[str, Any] = {
        "loss": asked.residual,
        "huber": asked.huber,
        "tied": list(asked.tied),
        "max_steps": asked.max_steps,
        "dtype": asked.dtype,
    }
    if asked.budget_power:
        options["emphasis"] = asked.budget_power
    if asked.shrinkage != FitOptions().shrinkage:
        options["shrinkage"] = asked.shrinkage
    return {"law": method.law.name, **of_law, **options, "rows": rows}


def stamp_of(piece: pa.Table, settings: dict[str, Any]) -> Stamp:
    """Make the stamp of a piece: settings, and the SHA-256 of its content."""
    return {"settings": settings, "content": _digest(piece)}


class _Hash(io.RawIOBase):
    """A SHA-256 that Arrow can write to."""

    def __init__(self) -> None:
        self.found = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.found.update(data)
        return len(data)


def _digest(table: pa.Table) -> str:
    """SHA-256 of names, types and cells, in Arrow's own form, at 1.8 GB/s.

    The result does not depend on the chunks of the cells, nor on the memory under a missing cell.
    """
    sink = _Hash()
    for name, column in zip(table.column_names, table.columns, strict=True):
        # Under a missing cell Arrow's memory is arbitrary: its values are left out, and its place
        # is hashed as a column of its own.
        _write_stream(pa.table({name: column.drop_null() if column.null_count else column}), sink)
        if column.null_count:
            _write_stream(pa.table({name: column.is_null()}), sink)
    return sink.found.hexdigest()


def _write_stream(table: pa.Table, sink: _Hash) -> None:
    whole = table.combine_chunks()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), whole.schema) as stream:
        stream.write_table(whole)


def is_done(part: Path, stamp: Stamp) -> bool:
    """Check whether a part is complete and was made from this piece with these settings.

    Raises:
        ValueError: if it is not a part, or one of other settings; it would be overwritten.
    """
    try:
        found = _stamp_in(part)
        fits = pa.parquet.read_table(part, page_checksum_verification=True)
    except (pa.ArrowException, OSError):
        return False
    if found is None:
        raise ValueError(
            f"{part} is not a part of a batch and would be overwritten; write to another folder."
        )
    if found.get("settings") != stamp["settings"]:
        raise ValueError(
            f"{part} was made with {found.get('settings')}, this batch has {stamp['settings']}; "
            "write to another folder, or use the settings it was begun with."
        )
    # Rows that another program changed have sound checksums of pages, but not this digest.
    return found == stamp | {FITS: _digest(fits)}


def _stamp_in(part: Path) -> Stamp | None:
    """Read the stamp of a Parquet file; None if it has none."""
    text = (pa.parquet.read_schema(part).metadata or {}).get(KEY)
    try:
        found = json.loads(text) if text is not None else None
    except ValueError:
        return {}
    return found if found is None or isinstance(found, dict) else {}


def write_part(fits: pd.DataFrame, part: Path, stamp: Stamp) -> None:
    """Write fits with their stamp, completely or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    table = pa.Table.from_pandas(fits, preserve_index=False)
    stamped = json.dumps(stamp | {FITS: _digest(table)})
    schema = table.schema.with_metadata({KEY: stamped.encode()})
    with atomic_path(part) as beside:
        pa.parquet.write_table(table.cast(schema), beside, write_page_checksum=True)


def remove_stale(folder: Path, path: Path, pieces: int) -> list[str]:
    """Remove parts of an input file beyond its number of pieces, which was larger before.

    Returns:
        The names of the files that were removed.
    """
    # Five digits or more, as `part_name` writes them.
    later = re.compile(re.escape(path.name) + r"-(\d{5,})\.parquet")
    numbers = {entry: later.fullmatch(entry.name) for entry in folder.iterdir()}
    stale = sorted(e for e, found in numbers.items() if found and int(found[1]) >= pieces)
    for part in (part for part in stale if _is_part(part)):
        part.unlink(missing_ok=True)  # another share of the file may have been quicker
    return [part.name for part in stale if not part.exists()]


def _is_part(path: Path) -> bool:
    try:
        return _stamp_in(path) is not None
    except (pa.ArrowException, OSError):
        return True  # a part's name and damaged


def strange_parts(folder: Path, expected: set[str]) -> list[str]:
    """List Parquet files of a folder that are not expected parts, without hidden ones."""
    found = {p.name for p in folder.glob("*.parquet") if not p.name.startswith(".")}
    return sorted(found - expected)


SHOWN = 20
"""Number of reasons that a summary lists before it counts the rest."""


@dataclasses.dataclass
class BatchSummary:
    """Counts over the parts of a batch."""

    parts: int = 0
    sweeps: int = 0
    failed: int = 0
    """number of sweeps that could not be read or fitted"""
    codes: dict[str, int] = dataclasses.field(default_factory=dict)
    """targets by result code"""
    reasons: list[str] = dataclasses.field(default_factory=list)
    """reasons of the first sweeps that failed"""

    def table(self) -> pd.DataFrame:
        """Table of the number of targets by code."""
        return pd.DataFrame(
            {"targets": list(self.codes.values())}, index=pd.Index(list(self.codes), name="code")
        )


def summary(folder: Path, parts: Iterable[str]) -> BatchSummary:
    """Read the codes and reasons of the parts that exist."""
    found, codes = BatchSummary(), collections.Counter[str]()
    for part in (folder / name for name in sorted(parts) if (folder / name).is_file()):
        table = pyarrow.parquet.read_table(part, columns=["sweep", "target", "code", "reason"])
        rows = table.to_pandas()
        lost = rows[(rows["reason"] != "") & (rows["target"] == "")]
        found.parts += 1
        found.sweeps += rows["sweep"].nunique()
        found.failed += len(lost)
        codes.update(rows.loc[rows["target"] != "", "code"])
        room = SHOWN - len(found.reasons)
        found.reasons += [
            f"sweep {r.sweep} ({part.name}): {r.reason}" for r in lost[:room].itertuples()
        ]
    found.codes = dict(codes)
    if found.failed > SHOWN:
        found.reasons.append(f"… and {counted(found.failed - SHOWN, 'further sweep')}")
    return found
