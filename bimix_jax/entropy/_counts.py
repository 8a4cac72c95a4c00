"""Counts of tokens, and of pairs of adjacent tokens within sequences and documents.

A sparse matrix holds the counts of pairs: a row per first token, a column per second token. Threads
count pieces of the streams side by side, and then add up ranges of the rows.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NamedTuple, TypedDict

import numpy as np
from scipy import sparse

from bimix_jax.entropy._adjacent import adjacent_pairs, kind_of
from bimix_jax.entropy._profiles import Profile, merged, profile_of
from bimix_jax.entropy._streams import Stream

CHUNK = 1 << 22
"""Tokens that a thread counts at once by default."""
MEMORY = 2_000_000_000
"""Bytes for the counts of pairs by default."""
TOKEN_BYTES = 32
"""Bytes per token of a piece while it is counted."""
PAIR_BYTES = 8
"""Bytes per different pair: its second token and its count."""
HELD = 0.36
"""Share of the memory for the counts of pairs so far; the rest is for those that are added."""
BATCH = 1 << 24
"""Counts of pairs that are collected, at least, before they are added up, if memory allows."""
RANGES = 16
"""Ranges of first tokens, at least: sums of one range need little memory beside the others."""
SMALL_RANGE = 1 << 16
"""Pairs below which a range is not worth a task of its own."""
SAMPLED, SAMPLE = 32, 1 << 14
"""Pieces, and tokens of each, from which the ranges are estimated."""

Range = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Counts:
    """The counts of one domain."""

    tokens: np.ndarray
    """(types,) occurrences of each token, up to the largest one that occurs"""
    firsts: np.ndarray
    """(types,) occurrences of each token as the first of a counted pair"""
    pairs: Profile
    """profile of the pairs"""


class Given(TypedDict, total=False):
    """The fields of `Plan` that have a default, as keyword arguments."""

    end_of_document: int | None
    curve: bool
    seed: int
    chunk: int
    memory: int
    workers: int | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Settings of a count: vocabulary, sequences, documents, samples, and the machine's resources.

    Raises:
        ValueError: on a value that a setting cannot have.
    """

    vocabulary: int
    sequence_length: int
    end_of_document: int | None = None
    """token after which a document ends; None where the tokens do not mark it"""
    chunk: int = CHUNK
    """tokens that one thread counts at once"""
    memory: int = MEMORY
    """bytes for the counts of pairs, for all threads together"""
    workers: int | None = None
    """number of threads; None for one per core"""
    curve: bool = False
    """True where samples are counted, too"""
    seed: int = 0
    """seed of the samples"""

    def __post_init__(self) -> None:
        for name in ("vocabulary", "chunk", "memory", "workers"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 2**63:
                raise ValueError(f"{name} is {value}; expected a whole number above 0.")
        if self.vocabulary >= 2**31:
            raise ValueError(
                f"vocabulary is {self.vocabulary}; expected fewer than 2**31 token types."
            )
        if self.sequence_length < 2:
            raise ValueError(
                f"sequence_length is {self.sequence_length}; expected 2 or more, or there are no "
                "pairs."
            )
        if self.end_of_document is not None and not 0 <= self.end_of_document < self.vocabulary:
            raise ValueError(
                f"end_of_document is {self.end_of_document}; expected a token id from 0 to "
                f"{self.vocabulary - 1} (end_of_document= or --end-of-document)."
            )

    @property
    def threads(self) -> int:
        """Number of threads."""
        return self.workers or os.cpu_count() or 1

    @property
    def piece(self) -> int:
        """Number of tokens of a piece, whole sequences, so that no pair is cut."""
        tokens = min(self.chunk, self.memory // (TOKEN_BYTES * self.threads))
        return max(tokens // self.sequence_length, 1) * self.sequence_length

    @property
    def room(self) -> int:
        """Number of different pairs that are held from one batch of pieces to the next."""
        return max(int(HELD * self.memory) // PAIR_BYTES, 1)


class _Part(NamedTuple):
    """A range of tokens in a stream, which begins at the border of a sequence."""

    stream: Stream
    begin: int
    end: int


Piece = list[_Part]
"""Parts that one thread counts at once."""


class _Found(NamedTuple):
    """Counts of a piece; its types are those up to the largest token that occurs in it."""

    tokens: np.ndarray
    """(types,) occurrences of each token"""
    firsts: np.ndarray
    """(types,) occurrences of each token as the first of a pair"""
    pairs: list[sparse.csr_array]
    """by range of first tokens, counts of pairs, see `_Tally`"""


OfRange = Callable[[Range, sparse.csr_array], Any]
"""Function of a range of first tokens and its counts of pairs (first tokens, types)."""


def count_profiles(
    streams: Sequence[Stream], plan: Plan, progress: Callable[[float], object] = lambda share: None
) -> Counts:
    """Count tokens, and the profile of pairs of adjacent tokens within sequences and documents.

    Sequences of `plan.sequence_length` are cut from the start of every stream.

    Args:
        streams: the files of one domain.
        plan: settings of the count.
        progress: called with the share of the work that each step completes.

    Raises:
        ValueError: if a token id lies outside the vocabulary.
    """
    tokens, firsts, profiles = count_ranges(
        streams, plan, lambda limits, pairs: profile_of(pairs.data), progress
    )
    return Counts(tokens, firsts, merged(profiles))


def count_ranges(
    streams: Sequence[Stream],
    plan: Plan,
    of_range: OfRange,
    progress: Callable[[float], object] = lambda share: None,
) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Count as `count_profiles` does; the pairs are what `of_range` makes of them, range by range.

    Returns:
        Occurrences of tokens and of first tokens of pairs, (types,) each, and the results by range.
    """
    pieces = list(_pieces(streams, plan))
    ranges, results, done = split_ranges(pieces, plan), list[Any](), 0.0
    with ThreadPoolExecutor(plan.threads) as pool:
        while ranges:
            tally, start = _Tally(ranges, plan, pool), 0
            while (end := start + tally.room) < len(pieces):
                tally.add(pieces[start:end])
                reached, start = tally.share(end / len(pieces)), end
                progress(max(reached - done, 0.0))
                done = max(reached, done)
            # What did not fit into memory is counted in another pass over the tokens.
            ranges = ranges[len(tally.ranges) :]
            results += tally.finish(pieces[start:], of_range)
    progress(1.0 - done)
    return tally.tokens, tally.firsts, results


class _Tally:
    """Counts that grow by batches of pieces, of as many ranges of first tokens as fit memory."""

    def __init__(self, ranges: list[Range], plan: Plan, pool: Executor) -> None:
        self._plan, self._pool = plan, pool
        self.tokens = self.firsts = np.zeros(0, np.int64)
        self.ranges = ranges
        # Of every range, counts of pairs (first tokens, types); rows that are missing are empty.
        self._pairs = [sparse.csr_array((0, 1), dtype=np.int32) for _ in ranges]
        self._pairs_per_piece = plan.piece

    @property
    def room(self) -> int:
        """Number of pieces of the next batch: more as counts grow, since each sum reads all."""
        held = sum(one.nnz for one in self._pairs)
        wanted = max(min(BATCH, self._plan.room // 2), held // 3)
        return max(wanted // self._pairs_per_piece, self._plan.threads)

    def share(self, read: float) -> float:
        """Return the share of the pairs that is done after the share `read` of the pieces."""
        before, counted = self.firsts[: self.ranges[0][0]], self.firsts[: self.ranges[-1][1]]
        done = before.sum() + read * (counted.sum() - before.sum())
        return float(done / max(self.firsts.sum(), 1))

    def add(self, batch: Sequence[Piece]) -> None:
        """Count some pieces, and leave the last ranges out if not all of them fit any longer."""
        pairs = self._each(batch, lambda limits, one: one)
        held = np.cumsum([one.nnz for one in pairs])
        fit = max(int(np.searchsorted(held, self._plan.room, "right")), 1)
        self._pairs, self.ranges = pairs[:fit], self.ranges[:fit]

    def finish(self, batch: Sequence[Piece], of_range: OfRange) -> list[Any]:
        """Count the last pieces, and return what the function makes of the pairs, by range."""
        return self._each(batch, of_range)

    def _each(self, batch: Sequence[Piece], apply: OfRange) -> list[Any]:
        """Apply a function to the pairs of every range, with those of some more pieces."""
        # Threads hold the only references to what they add up, and so free it when they are done.
        tasks = zip(self.ranges, self._counted(batch), strict=True)
        return list(self._pool.map(lambda task: apply(task[0], self._added(*task)), tasks))

    def _counted(self, batch: Sequence[Piece]) -> list[list[sparse.csr_array]]:
        """Return by range the pairs so far and those of some pieces, whose tokens are added."""
        parts, self._pairs = [[one] for one in self._pairs], []
        for found in self._pool.map(lambda piece: _count(piece, self.ranges, self._plan), batch):
            self.tokens = sum_of_counts(self.tokens, found.tokens)
            self.firsts = sum_of_counts(self.firsts, found.firsts)
            for part, one in zip(parts, found.pairs, strict=True):
                part.append(one)
        new = sum(one.nnz for part in parts for one in part[1:])
        self._pairs_per_piece = max(new // len(batch), 1)
        return parts

    def _added(self, limits: Range, parts: Sequence[sparse.csr_array]) -> sparse.csr_array:
        """Return the sum of the counts of one range."""
        types = len(self.firsts)
        rows = max(min(limits[1], types) - limits[0], 0)
        each = [_rows(part, 0, rows, types) for part in parts if part.nnz]
        if len(each) < 2:
            return each[0] if each else parts[0]
        # One product adds all matrices up in one pass: Σ A_k = [1 1 … 1] · [A_1; A_2; …].
        one = sparse.eye_array(rows, dtype=kind_of(int(self.tokens.sum())), format="csr")
        return sparse.hstack([one] * len(each), format="csr") @ sparse.vstack(each, format="csr")


def _rows(pairs: sparse.csr_array, begin: int, rows: int, types: int) -> sparse.csr_array:
    """Return some rows of a matrix; those that it lacks are empty."""
    edges = pairs.indptr[min(begin, pairs.shape[0]) : begin + rows + 1]
    inside = slice(edges[0], edges[-1])
    edges = np.pad(edges, (0, rows + 1 - len(edges)), mode="edge") - edges[0]
    return sparse.csr_array((pairs.data[inside], pairs.indices[inside], edges), (rows, types))


def _count(piece: Piece, ranges: Sequence[Range], plan: Plan) -> _Found:
    """Count the tokens of a piece, and its pairs by ranges of first tokens."""
    tokens, cuts = _read(piece, plan)
    types = int(tokens.max()) + 1
    pairs = adjacent_pairs(tokens, cuts, types)
    lasts = np.bincount(tokens[cuts], minlength=types)
    up_to = np.concatenate([[0], np.cumsum(pairs.data, dtype=np.int64)])
    occurrences = np.diff(up_to[pairs.indptr])
    lowest = ranges[0][0]
    sizes = [(begin - lowest, max(min(end, types) - begin, 0)) for begin, end in ranges]
    wanted = _rows(pairs, lowest, sum(rows for _, rows in sizes), types)
    each = [_rows(wanted, begin, rows, types) for begin, rows in sizes]
    return _Found(occurrences + lasts, occurrences, each)


def split_ranges(pieces: Sequence[Piece], plan: Plan) -> list[Range]:
    """Return ranges of first tokens up to the vocabulary, with about equal numbers of pairs.

    The first tokens of some pieces stand for the others.
    """
    total = sum(part.end - part.begin for piece in pieces for part in piece)
    # Every thread gets work, and about twice as much as a range holds fits into memory.
    number = max(
        min(max(RANGES, 2 * plan.threads), total // SMALL_RANGE), -(-2 * total // plan.room), 1
    )
    if number == 1:
        return [(0, plan.vocabulary)]
    some = pieces[:: max(len(pieces) // SAMPLED, 1)]
    parts = [part._replace(end=min(part.end, part.begin + SAMPLE)) for part, *_ in some]
    tokens = np.sort(np.concatenate([_read_part(part, plan) for part in parts]))
    inner = np.unique(tokens[np.arange(1, number) * len(tokens) // number])
    return list(itertools.pairwise([0, *inner[inner > 0].tolist(), plan.vocabulary]))


def sum_of_counts(total: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Add counts of two pieces, perhaps of different lengths; the longer array is changed."""
    if len(counts) > len(total):
        total, counts = counts, total
    total[: len(counts)] += counts
    return total


def _pieces(streams: Sequence[Stream], plan: Plan) -> Iterator[Piece]:
    """Yield pieces of about `plan.chunk` tokens, of one large stream or of many small ones."""
    step, piece, size = plan.piece, Piece(), 0
    for stream in streams:
        for begin in range(0, len(stream), step):
            part = _Part(stream, begin, min(begin + step, len(stream)))
            length = part.end - part.begin
            if piece and size + length > step:
                yield piece
                piece, size = Piece(), 0
            piece.append(part)
            size += length
    if piece:
        yield piece


def _read(piece: Piece, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of a piece as unsigned integers, and the positions that begin no pair."""
    tokens = [_read_part(part, plan) for part in piece]
    offsets = np.cumsum([0, *map(len, tokens)])
    cuts = [_cuts(t, part, plan) + o for t, part, o in zip(tokens, piece, offsets, strict=False)]
    return np.concatenate(tokens), np.concatenate(cuts)


def _read_part(part: _Part, plan: Plan) -> np.ndarray:
    """Read the tokens of a part as unsigned integers."""
    tokens = part.stream.read(part.begin, part.end)
    wrong = (tokens < 0) | (tokens >= plan.vocabulary) if _can_be_wrong(tokens, plan) else None
    if wrong is not None and wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"{part.stream.name}: token id {tokens[place]} at position {part.begin + place}; "
            f"expected ids from 0 to {plan.vocabulary - 1} for a vocabulary of {plan.vocabulary}. "
            "Give the size of the vocabulary the text was tokenised with; for raw files check "
            "the dtype."
        )
    return tokens if tokens.dtype in (np.uint16, np.uint32) else tokens.astype(np.uint32)


def _can_be_wrong(tokens: np.ndarray, plan: Plan) -> bool:
    return bool(len(tokens)) and (tokens.max() >= plan.vocabulary or tokens.min() < 0)


def _cuts(tokens: np.ndarray, part: _Part, plan: Plan) -> np.ndarray:
    """Return positions in a part whose token does not begin a pair, each once, the last
    included."""
    ends = np.arange(plan.sequence_length - 1, len(tokens), plan.sequence_length)
    low, high = np.searchsorted(part.stream.starts, [part.begin + 1, part.end])
    last = np.array([len(tokens) - 1])
    cuts = [ends, part.stream.starts[low:high] - 1 - part.begin, last]
    if plan.end_of_document is not None:
        cuts.append(np.flatnonzero(tokens == plan.end_of_document))
    return np.unique(np.concatenate(cuts).astype(np.int64))
