"""Domains on disk: a file or a folder each, of tokens or of text."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from bimix_jax.entropy._documents import field_of
from bimix_jax.entropy._folders import data_files
from bimix_jax.entropy._token_files import read_token_file
from bimix_jax.entropy._tokenize import BYTES, Tokenizer, copy_ids, tokenize_files
from bimix_jax.entropy.forms import KNOWN, TEXT_FIELD, TOKENS, form_of, stem_of
from bimix_jax.entropy.streams import FileStream
from bimix_jax.files import check_readable

LONGEST_STEM = 100
"""Longest name, in bytes, that is used as a file name; file systems allow 255 with all endings."""


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
    path = Path(os.path.abspath(path))
    return path.name if path.is_dir() else stem_of(path)


def find_domain(path: str | Path, name: str | None = None, text_field: str = TEXT_FIELD) -> Domain:
    """Find the domain in a file or folder; its name is `domain_name` unless one is given.

    Files of a folder and its subfolders are taken in the order of their names; other entries are
    left out and counted in `notes` (see `folders.data_files`).

    Raises:
        ValueError: if there is no file of a kind that can be read, or tokens and text are mixed.
        OSError: if the path does not exist, or is not a file.
    """
    path = Path(path)
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
    # The first file decides; another one without this field is an error when it is read.
    field = field_of(files[0], text_field)
    if field.ids and field.name != text_field:
        said += (f"{named}: no {text_field!r} there; token ids were read from {field.name!r}.",)
    return Domain(named, files, not field.ids, field.name, said)


def read_domain(
    domain: Domain,
    vocabulary: int | None,
    tokenizer: Tokenizer | None,
    folder: Path,
    *,
    dtype: str | None = None,
    progress: Callable[[int], object] = lambda size: None,
) -> tuple[list[FileStream], list[str]]:
    """Return the streams of a domain, text tokenised into `folder`, and sentences on skipped parts.

    Raises:
        ValueError: if text has no tokenizer, tokens no vocabulary, or a file cannot be read.
    """
    target = folder / f"{_file_stem(domain.name)}.bin"
    if domain.text:
        stream, notes = _tokenised(domain, vocabulary, tokenizer, target, progress)
        return [stream], [f"{domain.name}: {note}" for note in notes]
    size = _vocabulary_of(domain, vocabulary, tokenizer)
    if domain.field:
        stream, notes = copy_ids(domain.files, size, target, domain.field, progress)
        return [stream], [f"{domain.name}: {note}" for note in notes]
    streams = [read_token_file(path, size, dtype) for path in domain.files]
    progress(domain.bytes)
    return streams, []


def _tokenised(
    domain: Domain,
    vocabulary: int | None,
    tokenizer: Tokenizer | None,
    target: Path,
    progress: Callable[[int], object],
) -> tuple[FileStream, list[str]]:
    if tokenizer is None:
        raise ValueError(
            f"{domain.name} holds text; give a tokenizer.json to tokenise it with, or 'bytes' "
            "(tokenizer= or --tokenizer). Where a column holds its token ids, name it instead "
            "(text_field= or --text-field)."
        )
    if vocabulary and vocabulary < tokenizer.vocabulary:
        raise ValueError(
            f"vocabulary is {vocabulary}, but the tokenizer has {tokenizer.vocabulary} types; "
            "leave it out for text."
        )
    return tokenize_files(domain.files, tokenizer, target, domain.field, progress)


def _vocabulary_of(domain: Domain, vocabulary: int | None, tokenizer: Tokenizer | None) -> int:
    """Return the number of types of a domain of token ids: as given, or else the tokenizer's."""
    where = f" in {domain.field!r}" if domain.field else ""
    if vocabulary:
        return vocabulary
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
