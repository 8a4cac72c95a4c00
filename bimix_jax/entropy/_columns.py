"""Fields with a domain's texts or token ids, and the columns of Parquet and arrow files."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bimix_jax.entropy._files import HEAD, check_magic, damage_named, damaged

TEXT_FIELD = "text"
"""Default field."""
ID_FIELDS = ("input_ids", "token_ids", "tokens")
"""Usual fields of token ids, tried if there is no field of text."""
MASK = "attention_mask"
"""Field beside token ids that is 0 where they are padding."""


class Field(NamedTuple):
    """The field with the content of a domain."""

    name: str
    ids: bool
    """True where it holds token ids rather than text"""


ROWS = 4096
"""Rows of a Parquet file that are read together."""
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""Mark of a message and the length 0, with which an arrow stream ends."""


class _Table(NamedTuple):
    """An open file: its schema, and its rows of some columns, batch by batch."""

    schema: Any
    batches: Callable[[list[str]], Iterator[Any]]


def field_of_table(path: Path, wanted: str) -> Field:
    """Return the column `wanted`, or a column of token ids if there is no column of text.

    Raises:
        ValueError: if there is no such column, or it holds neither text nor token ids.
    """
    with _read_errors(path), _table(path) as table:
        kinds = {field.name: field.type for field in table.schema}
        twice = [name for name, count in Counter(table.schema.names).items() if count > 1]
    if wanted in twice or set(ID_FIELDS) & set(twice):
        raise ValueError(
            f"{path}: two columns are called {twice[0]!r}; expected names that differ. Rename or "
            "remove one of them."
        )
    if wanted in kinds:
        return Field(wanted, _holds_ids(path, wanted, kinds))
    ids = [name for name in ID_FIELDS if name in kinds and _is_ids(kinds[name])]
    # A field that the user named is never replaced by another one.
    if wanted == TEXT_FIELD and ids:
        return Field(ids[0], True)
    raise ValueError(
        f"{path}: no column {wanted!r}; found {', '.join(kinds) or 'none'}. Name the one that "
        "holds the text or the token ids (text_field= or --text-field)."
    )


def _holds_ids(path: Path, name: str, kinds: dict[str, Any]) -> bool:
    import pyarrow.types as is_type

    kind = kinds[name]
    plain = kind.value_type if is_type.is_dictionary(kind) else kind
    text = is_type.is_string(plain) or is_type.is_large_string(plain)
    if text or is_type.is_null(plain) or _is_type("is_string_view", plain):
        return False
    if _is_ids(kind):
        return True
    raise ValueError(
        f"{path}: the column {name!r} holds {kind}; expected text, or lists of whole numbers, "
        f"which are token ids. Found the columns {', '.join(kinds)} (text_field= or --text-field)."
    )


def _is_ids(kind: Any) -> bool:
    import pyarrow.types as is_type

    lists = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(_is_type(each, kind) for each in lists) and is_type.is_integer(kind.value_type)


def _is_type(check: str, kind: Any) -> bool:
    """True where a type is of a kind that older releases of pyarrow lack."""
    import pyarrow.types as is_type

    return bool(getattr(is_type, check, lambda kind: False)(kind))


def table_texts(path: Path, name: str) -> Iterator[Any]:
    """Yield the texts of a column, None for empty rows."""
    for _, batch in _batches(path, [name]):
        yield from batch.column(name).to_pylist()


def table_ids(path: Path, name: str) -> Iterator[tuple[int, Any, Any]]:
    """Yield row, token ids and attention mask for each row of a column; None where one is
    missing."""
    with _read_errors(path), _table(path) as table:
        masked = name in ID_FIELDS and MASK in table.schema.names
    for first, batch in _batches(path, [name, MASK] if masked else [name]):
        ids = _lists(path, batch.column(name), first)
        masks = _lists(path, batch.column(MASK), first) if masked else [None] * len(ids)
        yield from zip(range(first, first + len(ids)), ids, masks, strict=True)


def _lists(path: Path, column: Any, first: int) -> list[np.ndarray | None]:
    """Return the rows of a column of lists as arrays, None where a row is null."""
    import pyarrow.compute as pc

    # The values of all rows lie in a row; rows that are null have none, so their length counts as
    # 0.
    values = column.flatten()
    lengths = pc.list_value_length(column)
    sizes = lengths.fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(sizes)
    if values.null_count:
        place = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        row = first + int(np.searchsorted(ends, place, side="right"))
        raise ValueError(
            f"{path}: row {row} holds an empty value (null) among its token ids; expected whole "
            "numbers. Leave such rows out, or fill them."
        )
    numbers = values.to_numpy(zero_copy_only=False)
    there = lengths.is_valid().to_numpy(zero_copy_only=False)
    return [
        numbers[end - size : end] if valid else None
        for end, size, valid in zip(ends, sizes, there, strict=True)
    ]


def _batches(path: Path, columns: list[str]) -> Iterator[tuple[int, Any]]:
    """Yield the number of the first row and a batch of these columns, after checks."""
    first = 0
    with _read_errors(path), _table(path) as table:
        missing = [name for name in columns if name not in table.schema.names]
        if missing:
            raise ValueError(
                f"{path}: no column {missing[0]!r}, which other files of the domain have; found "
                f"{', '.join(table.schema.names)}."
            )
        for batch in table.batches(columns):
            # Arrow trusts the offsets of a file; damaged ones would read beyond its buffers.
            batch.validate(full=True)
            yield first, batch
            first += batch.num_rows


@contextlib.contextmanager
def _table(path: Path) -> Iterator[_Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(path, "rb") as raw:
        head = raw.read(HEAD)
    if path.suffix.lower() == ".parquet":
        if not head.startswith(b"PAR1"):
            check_magic(path, head)
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            yield _Table(
                parquet.schema_arrow, lambda names: parquet.iter_batches(ROWS, columns=names)
            )
        return
    with pa.OSFile(os.fspath(path)) as source:
        # Arrow has a format of files and one of streams; Hugging Face datasets writes streams.
        if head.startswith(b"ARROW1"):
            file = pa.ipc.open_file(source)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
            yield _Table(file.schema, lambda names: (batch.select(names) for batch in batches))
            return
        check_magic(path, head)
        stream = pa.ipc.open_stream(source)
        yield _Table(stream.schema, lambda names: (batch.select(names) for batch in stream))


def has_no_end(path: Path) -> bool:
    """True where an arrow stream lacks its end mark; its writer may have been stopped."""
    with open(path, "rb") as file:
        begins = file.read(6)
        file.seek(max(file.seek(0, 2) - len(END_OF_STREAM), 0))
        return begins != b"ARROW1" and file.read() != END_OF_STREAM


@contextlib.contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Turn errors of pyarrow about a damaged file into a ValueError that names the file."""
    import pyarrow as pa

    try:
        with damage_named(path):
            yield
    except (pa.ArrowException, UnicodeDecodeError, KeyError, IndexError, OverflowError) as error:
        raise damaged(path, error) from error
