"""Domains on disk: a file or a folder each, of token ids, or of text that is tokenised once."""

import contextlib
import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bimix_jax.entropy._columns import TEXT_FIELD, Field
from bimix_jax.entropy._documents import Part, Reader, field_of
from bimix_jax.entropy._files import KNOWN, TOKENS, data_files, form_of, stem_of
from bimix_jax.entropy._streams import FileStream
from bimix_jax.entropy._token_files import read_token_file
from bimix_jax.files import absolute_path, as_path, atomic_path, check_readable, write_atomically
from bimix_jax.reading.errors import EntropyWarning

LONGEST_STEM = 100
"""Longest name, in bytes, that is used as a file name; file systems allow 255 with all endings."""
BATCH = 1 << 23
"""Characters that are tokenised at once."""
PROBED = 4
"""Files that are opened to find the field of a domain."""
REPORTED = 1 << 16
"""Bytes between reports of progress."""
BYTES = "bytes"
READING = 2
"""Version of the way files are read; a new one makes ids of older releases invalid."""

_Encode = Callable[[list[str]], list[Any]]
_Progress = Callable[[int], object]
_Piece = tuple[bool, Any]
"""True where a document starts here, and token ids."""


class Tokenizer(NamedTuple):
    """A function from texts to token ids, with its vocabulary."""

    name: str
    digest: str
    """hash of the tokenizer's file"""
    vocabulary: int
    encode: _Encode
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
    path = check_readable(path, "a tokenizer.json (or 'bytes')")
    try:
        loaded = Loaded.from_file(os.fspath(path))
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

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ids = loaded.get_vocab(with_added_tokens=True).values()
    # Ids may have gaps, so their number could be below the largest one.
    return Tokenizer(str(path), digest, max(ids, default=-1) + 1, encode)


def _bytes_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@dataclasses.dataclass(frozen=True)
class Domain:
    """The files of a domain, all of text or all of tokens."""

    name: str
    files: tuple[Path, ...]
    text: bool
    field: str = ""
    """key or column of the text or the token ids; empty for files of token ids alone"""
    notes: tuple[str, ...] = ()
    """sentences on other content of its folder"""

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(path.stat().st_size for path in self.files)


def domain_name(path: str | Path) -> str:
    """Return a domain's name: the file's name without its extension, or the folder's name."""
    path = absolute_path(path)
    return path.name if path.is_dir() else stem_of(path)


def find_domain(path: str | Path, name: str | None = None, text_field: str = TEXT_FIELD) -> Domain:
    """Find the domain in a file or folder; its name is `domain_name` unless one is given.

    Files of a folder and its subfolders are taken in the order of their names; other entries are
    left out and counted in `notes` (see `data_files`).

    Raises:
        ValueError: if there is no file of a kind that can be read, or tokens and text are mixed.
        OSError: if the path does not exist, or is not a file.
    """
    path = as_path(path)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = (path,)
    if path.is_dir():
        files, notes = data_files(path)
    else:
        check_readable(path, "a domain of a corpus")
    if not files or form_of(files[0]) is None:
        there = f" Found: {'; '.join(notes)}." if notes else ""
        raise ValueError(f"{path} holds no file that can be read; expected {KNOWN}.{there}")
    named = name or domain_name(path)
    if files[0].stat().st_size == 0:
        raise ValueError(f"{named} is empty: {path} has no bytes. Leave the domain out.")
    tokens = [f for f in files if f.name.lower().endswith(TOKENS)]
    if 0 < len(tokens) < len(files):
        text = next(f for f in files if f not in tokens)
        raise ValueError(
            f"{path} holds both tokens and text, such as {tokens[0].name} and {text.name}; keep "
            "one kind per domain."
        )
    said = tuple(f"{named}: {note}." for note in notes)
    if tokens:
        return Domain(named, files, False, "", said)
    field = _field_of_first(files, text_field)
    if field.ids and field.name != text_field:
        said += (f"{named}: no {text_field!r} there; token ids were read from {field.name!r}.",)
    return Domain(named, files, not field.ids, field.name, said)


def _field_of_first(files: tuple[Path, ...], text_field: str) -> Field:
    """Return the field of the first file that can be read.

    Others that lack this field, or are damaged, are named when they are read.

    Raises:
        ValueError: if none of the first files can be read; the first error.
    """
    errors = list[ValueError]()
    for path in files[:PROBED]:
        try:
            return field_of(path, text_field)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


class Source(NamedTuple):
    """The settings by which files become token ids."""

    folder: Path
    """folder for the ids of text"""
    tokenizer: Tokenizer | None = None
    vocabulary: int | None = None
    """number of token types, for files of token ids"""
    dtype: str | None = None
    """dtype of ids without a header"""


def read_domain(
    domain: Domain, source: Source, progress: _Progress = lambda size: None
) -> tuple[list[FileStream], list[str]]:
    """Return the streams of a domain, text tokenised into a folder, and sentences on skipped parts.

    The starts of documents and, last, a record of the sources are written beside tokenised text. A
    complete result of unchanged files, tokenizer and field is used again.

    Args:
        domain: from `find_domain`.
        source: the folder, and the settings of the conversion.
        progress: called with bytes of the files as they are read.

    Raises:
        ValueError: if text has no tokenizer, tokens no vocabulary, or a file cannot be read.
    """
    if not domain.text and not domain.field:
        size = _vocabulary_of(domain, source)
        streams = [read_token_file(path, size, source.dtype) for path in domain.files]
        progress(domain.bytes)
        return streams, []
    work = _tokenising(domain, source) if domain.text else _copying(domain, source)
    stream, notes = _kept(work, source.folder / f"{_file_stem(domain.name)}.bin", progress)
    return [stream], [f"{domain.name}: {note}" for note in notes]


class _Work(NamedTuple):
    """The conversion of a domain's files to token ids."""

    domain: Domain
    vocabulary: int
    digest: str
    """hash or name of what determines the ids beside the files and their field"""
    pieces: Callable[[Reader, Path], Iterator[_Piece]]

    @property
    def made_from(self) -> dict[str, Any]:
        """All inputs that determine the ids."""
        files = [(f.resolve(), f.stat()) for f in self.domain.files]
        return {
            "reading": READING,
            "tokenizer": self.digest,
            "text_field": self.domain.field,
            "files": [[str(path), found.st_size, found.st_mtime_ns] for path, found in files],
        }


def _tokenising(domain: Domain, source: Source) -> _Work:
    """Return the conversion of text."""
    tokenizer = source.tokenizer
    if tokenizer is None:
        raise ValueError(
            f"{domain.name} holds text; give a tokenizer.json to tokenise it with, or 'bytes' "
            "(tokenizer= or --tokenizer). Where a column holds its token ids, name it instead "
            "(text_field= or --text-field)."
        )
    if source.vocabulary and source.vocabulary < tokenizer.vocabulary:
        raise ValueError(
            f"vocabulary is {source.vocabulary}, but the tokenizer has {tokenizer.vocabulary} "
            "types; leave it out for text."
        )

    def pieces(reader: Reader, path: Path) -> Iterator[_Piece]:
        for batch in _batched(reader.parts(path)):
            ids = tokenizer.encode([part.text for part in batch])
            yield from zip([part.starts for part in batch], ids, strict=True)

    return _Work(domain, tokenizer.vocabulary, tokenizer.digest, pieces)


def _copying(domain: Domain, source: Source) -> _Work:
    """Return the conversion of token ids in records or tables."""
    vocabulary = _vocabulary_of(domain, source)

    def pieces(reader: Reader, path: Path) -> Iterator[_Piece]:
        yield from ((True, ids) for ids in reader.documents(path, vocabulary))

    return _Work(domain, vocabulary, f"ids below {vocabulary}", pieces)


def _vocabulary_of(domain: Domain, source: Source) -> int:
    """Return the number of types of a domain of token ids: as given, or else the tokenizer's."""
    where, tokenizer = f" in {domain.field!r}" if domain.field else "", source.tokenizer
    if source.vocabulary:
        return source.vocabulary
    # Ids of bytes are text, so ids in files come from another tokenizer.
    if tokenizer is not None and tokenizer.name != BYTES:
        return tokenizer.vocabulary
    bytes_too = "; 'bytes' is a tokenizer of text" if tokenizer else ""
    raise ValueError(
        f"{domain.name} holds token ids{where}{bytes_too}; give the size of their vocabulary "
        "(vocabulary= or --vocabulary)."
    )


def _file_stem(name: str) -> str:
    """Return a file name for a domain, whose own name may not be valid for a file."""
    plain = name.isprintable() and len(name.encode()) <= LONGEST_STEM
    # Names that come from the file system may hold bytes that are not UTF-8.
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return name if plain else f"domain-{digest[:16]}"


def _kept(work: _Work, target: Path, progress: _Progress) -> tuple[FileStream, list[str]]:
    """Return the ids in `target`, written now unless they were made from the same sources."""
    record, starts_file = target.with_suffix(".json"), target.with_suffix(".starts.npy")
    # 2 bytes hold ids up to 65,535.
    dtype = np.dtype("<u2" if work.vocabulary <= 1 << 16 else "<u4")
    made_from = work.made_from
    done = _done_before(record, made_from, target)
    if done is None:
        reader = Reader(work.domain.field)
        # The record is removed first and written last, so that a crash leaves no valid one.
        record.unlink(missing_ok=True)
        starts = _write(target, _encoded(work, reader, progress), dtype)
        with atomic_path(starts_file) as beside:
            np.save(beside, starts)
        notes = reader.skipped.notes(work.domain.field)
        done = {"made_from": made_from, "notes": notes, "size": target.stat().st_size}
        write_atomically(record, json.dumps(done))
    else:
        progress(work.domain.bytes)
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


def _encoded(work: _Work, reader: Reader, progress: _Progress) -> Iterator[_Piece]:
    for path in work.domain.files:
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


def _write(target: Path, encoded: Iterator[_Piece], dtype: np.dtype) -> np.ndarray:
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


@contextlib.contextmanager
def noted(notes: list[str]) -> Iterator[None]:
    """Collect warnings as notes, and issue them all the same."""
    with warnings.catch_warnings(record=True) as caught:
        # Python shows a repeated warning once, and a note must not get lost by that.
        warnings.simplefilter("always", EntropyWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, EntropyWarning):
            notes.append(str(warning.message))
        warnings.warn(warning.message, warning.category, stacklevel=4)
