"""Text to token ids on disk, by a `tokenizers` file or as bytes; a domain is tokenised once."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bimix_jax.entropy.documents import Part, Reader
from bimix_jax.entropy.streams import FileStream
from bimix_jax.files import atomic_path, write_atomically

BATCH = 1 << 23
"""characters that are tokenised at once"""
BYTES = "bytes"

Encode = Callable[[list[str]], list[Any]]


class Tokenizer(NamedTuple):
    """How text becomes token ids."""

    name: str
    digest: str
    """of the file it came from"""
    vocabulary: int
    encode: Encode
    """texts to their ids, all cores"""


def load_tokenizer(path: str | Path) -> Tokenizer:
    """A tokenizer from a `tokenizer.json`, or "bytes": one token a byte of UTF-8, 256 types.

    Raises:
        ValueError: if the package `tokenizers` is missing, or the file is no tokenizer.
    """
    if str(path) == BYTES:
        return Tokenizer(BYTES, BYTES, 256, lambda texts: [_bytes_of(text) for text in texts])
    try:
        from tokenizers import Tokenizer as Loaded
    except ImportError as error:
        raise ValueError(
            f"{path} needs the package tokenizers: python -m pip install 'bimix_jax[text]'."
        ) from error
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist; expected a tokenizer.json, or 'bytes'.")
    try:
        loaded = Loaded.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(f"{path} is no tokenizer.json: {error}") from error
    loaded.no_truncation()
    loaded.no_padding()

    def encode(texts: list[str]) -> list[Any]:
        encoded = loaded.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in encoded]

    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    ids = loaded.get_vocab(with_added_tokens=True).values()
    return Tokenizer(str(path), digest, max(ids, default=-1) + 1, encode)


def _bytes_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def tokenize_files(
    files: Sequence[Path],
    tokenizer: Tokenizer,
    target: Path,
    text_field: str = "text",
    progress: Callable[[int], object] = lambda size: None,
) -> tuple[FileStream, list[str]]:
    """Tokenise the files of a domain into `target` (.bin), unless that was done before.

    Beside the tokens lie the starts of documents and, last, a note of what they were made from.
    A domain that is there whole, of unchanged files, tokenizer and field, is not tokenised again.

    Args:
        files: text files, in order.
        tokenizer: see `load_tokenizer`.
        target: file of token ids to write.
        text_field: key or column of the text.
        progress: called with bytes of the files as they are read.

    Returns:
        The tokens, and sentences on what was skipped.

    Raises:
        ValueError: if a file cannot be read.
    """
    record, starts_file = target.with_suffix(".json"), target.with_suffix(".starts.npy")
    made_from = {
        "tokenizer": tokenizer.digest,
        "text_field": text_field,
        "files": [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files],
    }
    dtype = np.dtype("<u2" if tokenizer.vocabulary <= 1 << 16 else "<u4")
    notes = _done_before(record, made_from)
    if notes is None:
        reader = Reader(text_field)
        record.unlink(missing_ok=True)
        starts = _write(target, _encoded(files, reader, tokenizer, progress), dtype)
        with atomic_path(starts_file) as beside:
            np.save(beside, starts)
        notes = reader.skipped.notes(target.stem)
        write_atomically(record, json.dumps({"made_from": made_from, "notes": notes}))
    else:
        progress(sum(f.stat().st_size for f in files))
    length = target.stat().st_size // dtype.itemsize
    return FileStream(target, dtype, length, 0, np.load(starts_file, allow_pickle=False)), notes


def _done_before(record: Path, made_from: dict[str, Any]) -> list[str] | None:
    try:
        found = json.loads(record.read_text())
        return found["notes"] if found["made_from"] == made_from else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _encoded(
    files: Sequence[Path], reader: Reader, tokenizer: Tokenizer, progress: Callable[[int], object]
) -> Iterator[tuple[bool, Any]]:
    """If a document starts here, and token ids."""
    for path in files:
        reported, reader.position = 0, 0
        for batch in _batched(reader.parts(path)):
            ids = tokenizer.encode([part.text for part in batch])
            yield from zip([part.starts for part in batch], ids, strict=True)
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


def _write(target: Path, encoded: Iterator[tuple[bool, Any]], dtype: np.dtype) -> np.ndarray:
    """Append all ids to a file; gives the positions at which documents start."""
    starts, position = list[int](), 0
    with atomic_path(target) as beside, open(beside, "wb") as out:
        for begins, ids in encoded:
            array = np.asarray(ids, dtype)
            if begins:
                starts.append(position)
            out.write(array.tobytes())
            position += len(array)
    # A document without tokens starts nothing.
    return np.array([a for a, b in pairwise([*starts, position]) if a < b], np.int64)
