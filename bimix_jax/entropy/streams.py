"""Tokens of a domain as a stream that can be read in pieces, more than once, in bounded memory."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

NO_STARTS = np.empty(0, np.int64)


class EntropyWarning(UserWarning):
    """Something about the text of a domain that a person should know; also kept as a note."""


@dataclasses.dataclass(frozen=True)
class TokenStream:
    """Token ids in order, in memory."""

    tokens: np.ndarray
    """(tokens,) unsigned integers; a memory map will do"""
    starts: np.ndarray = dataclasses.field(default_factory=lambda: NO_STARTS)
    """(documents,) rising positions at which a document starts"""
    name: str = "tokens"

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, begin: int, end: int) -> np.ndarray:
        """Tokens from `begin` up to `end`."""
        return np.asarray(self.tokens[begin:end])


@dataclasses.dataclass(frozen=True)
class FileStream:
    """Token ids in a file, read piece by piece: a memory map's pages would count as used memory."""

    path: Path
    dtype: np.dtype
    length: int
    offset: int = 0
    """bytes before the first token"""
    starts: np.ndarray = dataclasses.field(default_factory=lambda: NO_STARTS)

    @property
    def name(self) -> str:
        """What errors call it."""
        return str(self.path)

    def __len__(self) -> int:
        return self.length

    def read(self, begin: int, end: int) -> np.ndarray:
        """Tokens from `begin` up to `end`."""
        count = max(min(end, self.length) - begin, 0)
        offset = self.offset + begin * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, count, offset=offset)


@dataclasses.dataclass(frozen=True)
class SampledStream:
    """Some whole sequences of another stream."""

    source: "Stream"
    rows: np.ndarray
    """(sequences,) rising numbers of sequences in the source"""
    sequence_length: int

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.source.name

    def __len__(self) -> int:
        return len(self.rows) * self.sequence_length

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Document starts that fall into the sampled sequences, at their positions here."""
        row, column = np.divmod(self.source.starts, self.sequence_length)
        place = np.minimum(np.searchsorted(self.rows, row), len(self.rows) - 1)
        inside = self.rows[place] == row
        return (place * self.sequence_length + column)[inside]

    def read(self, begin: int, end: int) -> np.ndarray:
        """Tokens from `begin` up to `end`, both at sequences' borders."""
        length = self.sequence_length
        rows = self.rows[begin // length : -(-end // length)]
        return np.concatenate([self.source.read(r * length, (r + 1) * length) for r in rows])


Stream = TokenStream | FileStream | SampledStream


def sampled(
    streams: Sequence[Stream], tokens: int, sequence_length: int, seed: int = 0
) -> list[Stream]:
    """About `tokens` tokens of the streams as whole random sequences, at least one.

    Samples of one seed are nested: a smaller one is part of a larger one.
    """
    whole = [len(stream) // sequence_length for stream in streams]
    order = np.random.default_rng(seed).permutation(sum(whole))
    chosen = np.sort(order[: max(round(tokens / sequence_length), 1)])
    ends = np.cumsum(whole)
    found: list[Stream] = []
    for stream, count, end in zip(streams, whole, ends, strict=True):
        rows = chosen[(chosen >= end - count) & (chosen < end)] - (end - count)
        if len(rows):
            found.append(SampledStream(stream, rows, sequence_length))
    return found


def stream_of(tokens: object, name: str = "tokens") -> Stream:
    """An array of token ids as a stream: (tokens,), or (documents, tokens) without padding.

    Raises:
        ValueError: if the array holds no integers, or has more than two axes.
    """
    array = tokens if isinstance(tokens, np.ndarray) else np.asarray(tokens)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
        raise ValueError(
            f"{name}: an array of {array.dtype} with shape {array.shape}; expected integer token "
            "ids of shape (tokens,) or (documents, tokens)."
        )
    starts = np.arange(0, array.size, max(array.shape[1], 1)) if array.ndim == 2 else NO_STARTS
    return TokenStream(array.reshape(-1), starts, name)
