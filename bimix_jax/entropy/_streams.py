"""Token ids: a domain's as a stream that is read in pieces, and checks of single documents."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

NO_STARTS = np.empty(0, np.int64)


@dataclasses.dataclass(frozen=True)
class TokenStream:
    """Token ids in order, in memory."""

    tokens: np.ndarray
    """(tokens,) unsigned integers; a memory map is accepted"""
    starts: np.ndarray = dataclasses.field(default_factory=lambda: NO_STARTS)
    """(documents,) rising positions of the starts of documents"""
    name: str = "tokens"

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, begin: int, end: int) -> np.ndarray:
        """Read the tokens from `begin` up to `end`, a half-open range."""
        return np.asarray(self.tokens[begin:end])


@dataclasses.dataclass(frozen=True)
class FileStream:
    """Token ids in a file, which are read piece by piece.

    Pages of a memory map would count as used memory.
    """

    path: Path
    dtype: np.dtype
    length: int
    offset: int = 0
    """bytes before the first token"""
    starts: np.ndarray = dataclasses.field(default_factory=lambda: NO_STARTS)

    @property
    def name(self) -> str:
        """Name of the stream in errors."""
        return str(self.path)

    def __len__(self) -> int:
        return self.length

    def read(self, begin: int, end: int) -> np.ndarray:
        """Read the tokens from `begin` up to `end`, a half-open range."""
        count = max(min(end, self.length) - begin, 0)
        offset = self.offset + begin * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, count, offset=offset)


@dataclasses.dataclass(frozen=True)
class _SampledStream:
    """Some whole sequences of another stream."""

    source: "Stream"
    rows: np.ndarray
    """(sequences,) rising indices of sequences in the source"""
    sequence_length: int

    @property
    def name(self) -> str:
        """Name of the stream in errors."""
        return self.source.name

    def __len__(self) -> int:
        return len(self.rows) * self.sequence_length

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Starts of documents inside the sampled sequences, at their positions in this stream."""
        # A start at position row · L + column of the source is at place · L + column here, where
        # place is the index of its sequence among the sampled ones.
        row, column = np.divmod(self.source.starts, self.sequence_length)
        place = np.minimum(np.searchsorted(self.rows, row), len(self.rows) - 1)
        inside = self.rows[place] == row
        return (place * self.sequence_length + column)[inside]

    def read(self, begin: int, end: int) -> np.ndarray:
        """Read the tokens from `begin` up to `end`, both at the borders of sequences."""
        length = self.sequence_length
        rows = self.rows[begin // length : -(-end // length)]
        return np.concatenate([self.source.read(r * length, (r + 1) * length) for r in rows])


Stream = TokenStream | FileStream | _SampledStream
Tokens = np.ndarray | Stream | Sequence[Stream] | Sequence[Sequence[int] | np.ndarray]


def sampled(
    streams: Sequence[Stream], tokens: int, sequence_length: int, seed: int = 0
) -> list[Stream]:
    """Sample about `tokens` tokens of the streams as whole random sequences, at least one.

    Samples of one seed are nested: a smaller one is part of a larger one.
    """
    whole = [len(stream) // sequence_length for stream in streams]
    # Samples are the first sequences of one permutation, and therefore nested.
    order = np.random.default_rng(seed).permutation(sum(whole))
    chosen = np.sort(order[: max(round(tokens / sequence_length), 1)])
    ends = np.cumsum(whole)
    found: list[Stream] = []
    for stream, count, end in zip(streams, whole, ends, strict=True):
        rows = chosen[(chosen >= end - count) & (chosen < end)] - (end - count)
        if len(rows):
            found.append(_SampledStream(stream, rows, sequence_length))
    return found


def streams_of(given: Any, name: str = "tokens") -> list[Stream]:
    """Return the streams of tokens in any of the forms that verbs take; none where it is empty.

    Raises:
        ValueError: if they are not token ids.
    """
    if isinstance(given, Stream):
        return [given]
    if isinstance(given, list | tuple) and given and all(isinstance(g, Stream) for g in given):
        return list(given)
    if not hasattr(given, "__len__"):
        raise ValueError(
            f"{name}: {type(given).__name__!r} has no length; expected an array of token ids, or a "
            "list of documents."
        )
    return [stream_of(given, name)] if len(given) else []


def stream_of(tokens: Any, name: str = "tokens") -> Stream:
    """Return token ids as a stream.

    Args:
        tokens: an array (tokens,) or (documents, tokens) without padding, or a list of documents
            of any lengths.
        name: of the stream, for messages.

    Raises:
        ValueError: if they are not integers, or have more than two axes.

    >>> stream_of([[3, 1, 4], [1], [5, 9]]).starts
    array([0, 3, 4])
    """
    tokens = tokens.to_pylist() if hasattr(tokens, "to_pylist") else tokens
    if _are_documents(tokens):
        return _stream_of_documents(tokens, name)
    array = _integers(tokens, name, "integer token ids of shape (tokens,) or (documents, tokens)")
    if array.ndim not in (1, 2):
        raise _not_ids(array, name, "integer token ids of shape (tokens,) or (documents, tokens)")
    starts = np.arange(0, array.size, max(array.shape[1], 1)) if array.ndim == 2 else NO_STARTS
    return TokenStream(array.reshape(-1), starts, name)


def _are_documents(tokens: Any) -> bool:
    """True where tokens are a sequence whose first item is a sequence itself."""
    if getattr(tokens, "ndim", 1) != 1 or isinstance(tokens, str | bytes | Mapping):
        return False
    if isinstance(tokens, np.ndarray) and tokens.dtype != object:
        return False
    first = next(iter(tokens), None)
    return hasattr(first, "__len__") and not isinstance(first, str | bytes | Mapping)


def _stream_of_documents(tokens: Iterable[object], name: str) -> Stream:
    """Return one stream of documents of any lengths; an empty document has no start."""
    found = []
    for number, document in enumerate(tokens):
        where = f"{name}: document {number}"
        array = _integers(document, where, "a list of whole numbers, as the other documents are")
        if array.ndim != 1:
            raise _not_ids(array, where, "one list of token ids per document")
        found.append(array)
    lengths = np.array([len(array) for array in found], np.int64)
    dtype = np.result_type(np.uint8, *{array.dtype for array in found if len(array)})
    dtype = dtype if dtype.kind in "iu" else np.dtype(np.int64)  # no integer holds u8 and i8
    starts = (np.cumsum(lengths) - lengths)[lengths > 0]
    return TokenStream(np.concatenate(found, dtype=dtype, casting="unsafe"), starts, name)


def _integers(tokens: Any, name: str, expected: str) -> np.ndarray:
    """Return tokens as an array of integers; an empty list is valid."""
    listed = isinstance(tokens, list | tuple)
    if listed and not len(tokens):
        return np.zeros(0, np.int64)
    try:
        array = tokens if isinstance(tokens, np.ndarray) else np.asarray(tokens)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {str(error).rstrip('.')}; expected {expected}.") from error
    # NumPy turns a list of numbers and truth values into integers.
    mixed = listed and bool({bool, np.bool_} & set(map(type, tokens)))
    if array.dtype.kind not in "iu" or mixed:
        raise _not_ids(array, name, expected)
    return array


def _not_ids(array: np.ndarray, name: str, expected: str) -> ValueError:
    return ValueError(
        f"{name}: an array of {array.dtype} with shape {array.shape}; expected {expected}."
    )


def checked_ids(row: Any, where: str, vocabulary: int) -> np.ndarray:
    """Return the token ids of a document as integers.

    Args:
        row: a list of whole numbers, or an array of integers.
        where: file and row, for messages.
        vocabulary: number of token types.

    Raises:
        ValueError: if they are not whole numbers, or not below the vocabulary.

    >>> checked_ids([3, -100], "a.jsonl: line 7", 50)
    Traceback (most recent call last):
    ValueError: a.jsonl: line 7 holds the token id -100; expected ids from 0 to 49 ...
    """
    # Exact types: JSON has true and 1.0, which NumPy would turn into ids.
    if isinstance(row, list) and not set(map(type, row)) <= {int}:
        wrong = next(value for value in row if type(value) is not int)
        raise ValueError(
            f"{where} holds {wrong!r:.60} among its token ids; expected whole numbers, one list "
            "per document."
        )
    ids = np.asarray(row, None if len(row) else np.int64)
    wrong = (ids < 0) | (ids >= vocabulary)
    if wrong.any():
        padding = " Negative ids mark padding: leave it out." if (ids < 0).any() else ""
        raise ValueError(
            f"{where} holds the token id {ids[np.argmax(wrong)]}; expected ids from 0 to "
            f"{vocabulary - 1} for a vocabulary of {vocabulary} (vocabulary= or --vocabulary)."
            f"{padding}"
        )
    return ids
