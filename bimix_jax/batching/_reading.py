"""Tables of sweeps on disk, read in pieces of whole sweeps."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from bimix_jax.batching._parts import SWEEP, check_column
from bimix_jax.batching._table import begins
from bimix_jax.files import RemotePath, as_path
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import BUDGET_COLUMNS, LOSS_PREFIX, MIXTURE_PREFIX, RUN_COLUMNS

ENDINGS = (".parquet", ".csv", ".csv.gz")
READ_ROWS = 1 << 16
"""Rows that are read from a Parquet file at a time."""


def tables_in(source: str | Path) -> list[Path]:
    """List the tables of a folder in the order of their names, or the one file.

    Raises:
        FileNotFoundError: if there is nothing to read.
    """
    path = as_path(source)
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


def pieces(path: Path, rows: int) -> Iterator[pa.Table]:
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


def ahead(items: Iterator[pa.Table]) -> Iterator[pa.Table]:
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


def expected_rows(path: Path) -> int | None:
    """Number of rows of a table, if known without reading it; for a progress bar."""
    if isinstance(path, RemotePath):
        return None  # not fetched before its turn
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
        check_column(path, file.schema_arrow.names)
        yield from file.iter_batches(READ_ROWS)
        return
    with pa.csv.open_csv(path) as reader:
        names = reader.schema.names
    check_column(path, names)
    measured = [c for c in names if c.startswith((MIXTURE_PREFIX, LOSS_PREFIX))]
    numbers = {*measured, *(c for c in names if c in BUDGET_COLUMNS)}
    labels = {SWEEP, *(c for c in names if c in RUN_COLUMNS)}
    # Guessed from the first block, a column of whole numbers would fail at 1.5, and the runs 007
    # and 7 would be one.
    types = dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(labels, pa.string())
    with pa.csv.open_csv(path, convert_options=pa.csv.ConvertOptions(column_types=types)) as reader:
        yield from reader


def _cut(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Split off the rows of the last sweep, as more of them may follow."""
    labels = table[SWEEP]
    differ = pa.compute.not_equal(labels, labels[-1]).to_numpy().nonzero()[0]
    end = int(differ[-1]) + 1 if len(differ) else 0
    return table.slice(0, end), table.slice(end)
