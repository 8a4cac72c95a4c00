"""Text to token ids on disk, by a `tokenizers` file or as bytes; a domain is tokenised once."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bimix_jax.entropy._documents import Part, Reader
from bimix_jax.entropy.forms import TEXT_FIELD
from bimix_jax.entropy.streams import FileStream
from bimix_jax.files import atomic_path, check_readable, write_atomically

BATCH = 1 << 23
"""Characters that are tokenised at once"""
REPORTED = 1 << 16
"""Bytes between reports of progress"""
BYTES = "bytes"
READING = 2
"""Version of the way files are read; a new one makes ids of older releases invalid."""

Encode = Callable[[list[str]], list[Any]]
Progress = Callable[[int], object]
Piece = tuple[bool, Any]
"""True where a document starts here, and token ids."""


class Tokenizer(NamedTuple):
    """A function from texts to token ids, with its vocabulary."""

    name: str
    digest: str
    """hash of the tokenizer's file"""
    vocabulary: int
    encode: Encode
    """function from texts to their ids, on all cores"""


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Load a tokenizer from a `tokenizer.json`, or "bytes": one token per byte of UTF-8, 256 types.

    Raises:
        ValueError: if the package `tokenizers` is missing, or the file is not a tokenizer.
        OSError: if there is no such file.
    """
    if str(path) == BYTES:
        return Tokenizer(BYTES, BYTES, 256, lambda texts: [_bytes_of(text) for text in texts])
    try:
        from tokenizers import Tokenizer as Loaded
    except ImportError as error:
        raise ValueError(
            f"{path} needs the package tokenizers: python -m pip install 'bimix_jax[text]'."
        ) from error
    check_readable(path, "a tokenizer.json (or 'bytes')")
    try:
        loaded = Loaded.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(f"{path} is not a tokenizer.json: {error}") from error
    # A tokenizer.json may carry the truncation and padding of a model, which would drop or add
    # tokens.
    loaded.no_truncation()
    loaded.no_padding()

    def encode(texts: list[str]) -> list[Any]:
        # The fast call leaves out offsets, which are not needed. Special tokens are no part of the
        # text.
        encoded = loaded.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in encoded]

    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    ids = loaded.get_vocab(with_added_tokens=True).values()
    # Ids may have gaps, so their number could be below the largest one.
    return Tokenizer(str(path), digest, max(ids, default=-1) + 1, encode)


def _bytes_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def tokenize_files(
    files: Sequence[Path],
    tokenizer: Tokenizer,
    target: Path,
    text_field: str = TEXT_FIELD,
    progress: Progress = lambda size: None,
) -> tuple[FileStream, list[str]]:
    """Tokenise the files of a domain into `target` (.bin), unless that was done before.

    The starts of documents and, last, a record of the sources are written beside the tokens. A
    complete result of unchanged files, tokenizer and field is used again.

    Args:
        files: text files, in order.
        tokenizer: see `load_tokenizer`.
        target: file of token ids to write.
        text_field: key or column of the text.
        progress: called with bytes of the files as they are read.

    Returns:
        The tokens, and sentences on skipped content.

    Raises:
        ValueError: if a file cannot be read.
    """

    def pieces(reader: Reader, path: Path) -> Iterator[Piece]:
        for batch in _batched(reader.parts(path)):
            ids = tokenizer.encode([part.text for part in batch])
            yield from zip([part.starts for part in batch], ids, strict=True)

    made_from = _made_from(files, text_field, tokenizer.digest)
    return _kept(Work(files, text_field, made_from, pieces), target, tokenizer.vocabulary, progress)


def copy_ids(
    files: Sequence[Path],
    vocabulary: int,
    target: Path,
    field: str,
    progress: Progress = lambda size: None,
) -> tuple[FileStream, list[str]]:
    """Write the token ids of records or of a table into `target`, as `tokenize_files` does."""

    def pieces(reader: Reader, path: Path) -> Iterator[Piece]:
        yield from ((True, ids) for ids in reader.documents(path, vocabulary))

    made_from = _made_from(files, field, f"ids below {vocabulary}")
    return _kept(Work(files, field, made_from, pieces), target, vocabulary, progress)


class Work(NamedTuple):
    """The files of a domain, and their conversion to token ids."""

    files: Sequence[Path]
    field: str
    made_from: dict[str, Any]
    """all inputs that determine the ids"""
    pieces: Callable[[Reader, Path], Iterator[Piece]]


def _made_from(files: Sequence[Path], field: str, digest: str) -> dict[str, Any]:
    return {
        "reading": READING,
        "tokenizer": digest,
        "text_field": field,
        "files": [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files],
    }


def _kept(
    work: Work, target: Path, vocabulary: int, progress: Progress
) -> tuple[FileStream, list[str]]:
    """Return the ids in `target`, written now unless they were made from the same sources."""
    record, starts_file = target.with_suffix(".json"), target.with_suffix(".starts.npy")
    # 2 bytes hold ids up to 65,535.
    dtype = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
    done = _done_before(record, work.made_from, target)
    if done is None:
        reader = Reader(work.field)
        # The record is removed first and written last, so that a crash leaves no valid one.
        record.unlink(missing_ok=True)
        starts = _write(target, _encoded(work, reader, progress), dtype)
        with atomic_path(starts_file) as beside:
            np.save(beside, starts)
        notes = reader.skipped.notes(work.field)
        done = {"made_from": work.made_from, "notes": notes, "size": target.stat().st_size}
        write_atomically(record, json.dumps(done))
    else:
        progress(sum(f.stat().st_size for f in work.files))
    stream = FileStream(
        target, dtype, done["size"] // dtype.itemsize, 0, np.load(starts_file, allow_pickle=False)
    )
    return stream, done["notes"]


def _done_before(record: Path, made_from: dict[str, Any], target: Path) -> dict[str, Any] | None:
    """Return the record of the ids in `target`; None if they are incomplete or from other
    sources."""
    try:
        found = json.loads(record.read_text())
        whole = found["made_from"] == made_from and found["size"] == target.stat().st_size
        return found if whole and target.with_suffix(".starts.npy").stat().st_size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _encoded(work: Work, reader: Reader, progress: Progress) -> Iterator[Piece]:
    for path in work.files:
        reported, reader.position = 0, 0
        for piece in work.pieces(reader, path):
            yield piece
            if reader.position - reported >= REPORTED:
                progress(reader.position - reported)
                reported = reader.position
        progress(path.stat().st_size - reported)


def _batched(parts: Iterator[Part]) -> Iterator[list[Part]]:
    batch, size = list[Part](), 0
    for part in parts:
        batch.append(part)
        size += len(part.text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(target: Path, encoded: Iterator[Piece], dtype: np.dtype) -> np.ndarray:
    """Append all ids to a file; return the positions at which documents start."""
    starts, position = list[int](), 0
    with atomic_path(target) as beside, open(beside, "wb") as out:
        for begins, ids in encoded:
            array = np.asarray(ids, dtype)
            if begins:
                starts.append(position)
            out.write(array.tobytes())
            position += len(array)
    # A document without tokens has no start.
    return np.array([a for a, b in pairwise([*starts, position]) if a < b], np.int64)
