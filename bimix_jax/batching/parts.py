"""Parts of a batch: each is stamped with what it was made from, and verified before it counts."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from bimix_jax.batching.compiled import Method
from bimix_jax.files import atomic_path
from bimix_jax.fitting.options import FitOptions

KEY = b"bimix_batch"
"""Entry of a part's metadata that holds its stamp."""
Stamp = dict[str, Any]
FITS = "fits"
"""Entry of a stamp: the digest of the part's own rows."""


def part_name(path: Path, piece: int) -> str:
    """The file of the fits of a piece of an input file."""
    return f"{path.name}-{piece:05}.parquet"


def settings_of(method: Method, rows: int) -> dict[str, Any]:
    """What fits depend on beside their measurements."""
    of_law = {f.name: repr(getattr(method.law, f.name)) for f in dataclasses.fields(method.law)}  # type: ignore[arg-type]
    asked = method.options
    # Names are those of the first parts; options that came later are left out at their defaults,
    # so that parts of before still count.
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
    """The stamp of a piece: settings, and the SHA-256 of its content."""
    return {"settings": settings, "content": _digest(piece)}


class _Hash:
    """A SHA-256 that Arrow can write to."""

    closed = False

    def __init__(self) -> None:
        self.found = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.found.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is open."""


def _digest(table: pa.Table) -> str:
    """SHA-256 of names, types and cells, in Arrow's own form, at 1.8 GB/s.

    How cells lie in chunks, and what stands in memory under a missing one, does not matter.
    """
    sink = _Hash()
    for name, column in zip(table.column_names, table.columns, strict=True):
        _write_stream(pa.table({name: column.drop_null() if column.null_count else column}), sink)
        if column.null_count:
            _write_stream(pa.table({name: column.is_null()}), sink)
    return sink.found.hexdigest()


def _write_stream(table: pa.Table, sink: _Hash) -> None:
    whole = table.combine_chunks()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), whole.schema) as stream:
        stream.write_table(whole)


def is_done(part: Path, stamp: Stamp) -> bool:
    """Whether a part is whole and was made from this very piece with these settings.

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
    return found == stamp | {FITS: _digest(fits)}


def _stamp_in(part: Path) -> Stamp | None:
    """The stamp of a Parquet file; None if it has none."""
    text = (pa.parquet.read_schema(part).metadata or {}).get(KEY)
    try:
        found = json.loads(text) if text is not None else None
    except ValueError:
        return {}
    return found if found is None or isinstance(found, dict) else {}


def write_part(fits: pd.DataFrame, part: Path, stamp: Stamp) -> None:
    """Write fits with their stamp, whole or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    table = pa.Table.from_pandas(fits, preserve_index=False)
    stamped = json.dumps(stamp | {FITS: _digest(table)})
    schema = table.schema.with_metadata({KEY: stamped.encode()})
    with atomic_path(part) as beside:
        pa.parquet.write_table(table.cast(schema), beside, write_page_checksum=True)


def remove_stale(folder: Path, path: Path, pieces: int) -> list[str]:
    """Remove parts of an input file beyond its number of pieces; it had more of them before.

    Returns:
        The names of the files that were removed.
    """
    later = re.compile(re.escape(path.name) + r"-(\d{5,})\.parquet")
    numbers = {entry: later.fullmatch(entry.name) for entry in folder.iterdir()}
    stale = sorted(e for e, found in numbers.items() if found and int(found[1]) >= pieces)
    for part in (part for part in stale if _is_part(part)):
        part.unlink()
    return [part.name for part in stale if not part.exists()]


def _is_part(path: Path) -> bool:
    try:
        return _stamp_in(path) is not None
    except (pa.ArrowException, OSError):
        return True  # a part's name and damaged


def strange_parts(folder: Path, expected: set[str]) -> list[str]:
    """Parquet files of a folder that are not among the expected parts, hidden ones aside."""
    found = {p.name for p in folder.glob("*.parquet") if not p.name.startswith(".")}
    return sorted(found - expected)
