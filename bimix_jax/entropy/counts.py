"""Exact counts of tokens and of adjacent pairs, in bounded memory and on all cores.

Pairs are counted in ranges of their first token. A range is small enough to hold its pairs as
32-bit keys; they are collected in one pass over the tokens and sorted. Ranges share no pair, so
that nothing has to be merged but their profiles, and threads need no locks: NumPy sorts, compares
and counts without the interpreter's lock.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from bimix_jax.entropy.profile import Profile, merged, profile_of, profile_of_sorted
from bimix_jax.entropy.streams import Stream

CHUNK = 1 << 21
MEMORY = 2_000_000_000
KEYS = 2**32
"""different values a key can have"""
SMALL_RANGE = 1 << 16

Sort = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Counts:
    """What was counted in one domain."""

    tokens: np.ndarray
    """(vocabulary,) occurrences of each token"""
    firsts: np.ndarray
    """(vocabulary,) occurrences of each token as the first of a counted pair"""
    pairs: Profile
    """of the pairs"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to count: what a token and a sequence are, and what the machine may give."""

    vocabulary: int
    sequence_length: int
    end_of_document: int | None = None
    """token after which a document ends; None where the tokens do not mark it"""
    chunk: int = CHUNK
    """tokens read at once by one thread"""
    memory: int = MEMORY
    """bytes for the keys of pairs, all threads together"""
    workers: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    sort: Sort | None = None
    """sorts keys; None sorts in place on the CPU"""


class Piece(NamedTuple):
    """Where some tokens are."""

    stream: Stream
    begin: int
    end: int


def count_tokens(
    streams: Sequence[Stream], plan: Plan, progress: Callable[[float], object] = lambda share: None
) -> Counts:
    """Count tokens and pairs of adjacent tokens within sequences and documents.

    Sequences of `plan.sequence_length` are cut from the start of every stream.

    Args:
        streams: the files of one domain.
        plan: what to count and with what.
        progress: called with the share of the work that each step completes.

    Raises:
        ValueError: if a token id lies outside the vocabulary.
    """
    pieces = list(_pieces(streams, plan))
    with ThreadPoolExecutor(plan.workers) as pool:
        tokens = np.zeros(plan.vocabulary, np.int64)
        lasts = np.zeros(plan.vocabulary, np.int64)
        for all_tokens, last_tokens in pool.map(lambda piece: _single(piece, plan), pieces):
            tokens += all_tokens
            lasts += last_tokens
        firsts = tokens - lasts
        ranges = split_ranges(firsts, plan)
        progress(1 / (len(ranges) + 1))
        profiles = []
        for profile in pool.map(lambda limits: _range(pieces, limits, firsts, plan), ranges):
            profiles.append(profile)
            progress(1 / (len(ranges) + 1))
    return Counts(tokens, firsts, merged(profiles))


def _pieces(streams: Sequence[Stream], plan: Plan) -> Iterator[Piece]:
    step = max(plan.chunk // plan.sequence_length, 1) * plan.sequence_length
    for stream in streams:
        for begin in range(0, len(stream), step):
            yield Piece(stream, begin, min(begin + step, len(stream)))


def _single(piece: Piece, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Occurrences of all tokens of a piece, and of those that no counted pair begins with."""
    tokens = _read(piece, plan)
    cuts = _cuts(tokens, piece, plan)
    return (
        np.bincount(tokens, minlength=plan.vocabulary),
        np.bincount(tokens[cuts], minlength=plan.vocabulary),
    )


def _read(piece: Piece, plan: Plan) -> np.ndarray:
    tokens = piece.stream.read(piece.begin, piece.end)
    wrong = (tokens < 0) | (tokens >= plan.vocabulary) if _can_be_wrong(tokens, plan) else None
    if wrong is not None and wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"{piece.stream.name}: token id {tokens[place]} at position {piece.begin + place}; "
            f"expected ids from 0 to {plan.vocabulary - 1} for a vocabulary of {plan.vocabulary}. "
            "Give the size of the vocabulary the text was tokenised with; for raw files check "
            "the dtype."
        )
    return tokens if tokens.dtype in (np.uint16, np.uint32) else tokens.astype(np.uint32)


def _can_be_wrong(tokens: np.ndarray, plan: Plan) -> bool:
    return bool(len(tokens)) and (tokens.max() >= plan.vocabulary or tokens.min() < 0)


def _cuts(tokens: np.ndarray, piece: Piece, plan: Plan) -> np.ndarray:
    """Positions in a piece whose token begins no pair, each once; the last is one of them."""
    ends = np.arange(plan.sequence_length - 1, len(tokens), plan.sequence_length)
    low, high = np.searchsorted(piece.stream.starts, [piece.begin + 1, piece.end])
    last = np.array([len(tokens) - 1])
    cuts = [ends, piece.stream.starts[low:high] - 1 - piece.begin, last]
    if plan.end_of_document is not None:
        cuts.append(np.flatnonzero(tokens == plan.end_of_document))
    return np.unique(np.concatenate(cuts).astype(np.int64))


def split_ranges(firsts: np.ndarray, plan: Plan) -> list[tuple[int, int]]:
    """Ranges of first tokens, each with few enough pairs for memory, and work for every thread."""
    total = int(firsts.sum())
    fits = max(plan.memory // (4 * plan.workers), 1)
    room = min(fits, max(-(-total // plan.workers), SMALL_RANGE))
    widest = max(KEYS // plan.vocabulary, 1)
    before = np.concatenate([[0], np.cumsum(firsts)])
    ranges, begin = [], 0
    while begin < len(firsts):
        end = int(np.searchsorted(before, before[begin] + room, side="right")) - 1
        end = min(max(end, begin + 1), begin + widest, len(firsts))
        if before[end] > before[begin]:
            ranges.append((begin, end))
        begin = end
    return ranges


def _range(
    pieces: Sequence[Piece], limits: tuple[int, int], firsts: np.ndarray, plan: Plan
) -> Profile:
    """The profile of all pairs whose first token lies in a range."""
    begin, end = limits
    if end == begin + 1:
        return _of_one_first(pieces, begin, plan)
    keys = np.empty(int(firsts[begin:end].sum()), np.uint32)
    filled = 0
    for piece in pieces:
        found = _keys(piece, limits, plan)
        keys[filled : filled + len(found)] = found
        filled += len(found)
    if plan.sort is None:
        keys.sort()
    else:
        keys = plan.sort(keys)
    return profile_of_sorted(keys)


def _of_one_first(pieces: Sequence[Piece], first: int, plan: Plan) -> Profile:
    """Counts in a table of the second token: a first token may have more pairs than fit."""
    seconds = np.zeros(plan.vocabulary, np.int64)
    for piece in pieces:
        seconds += np.bincount(_keys(piece, (first, first + 1), plan), minlength=plan.vocabulary)
    return profile_of(seconds)


def _keys(piece: Piece, limits: tuple[int, int], plan: Plan) -> np.ndarray:
    """Pairs of a piece as (first − begin) · vocabulary + second; unsigned arithmetic wraps."""
    tokens = piece.stream.read(piece.begin, piece.end)
    if tokens.dtype not in (np.uint16, np.uint32):
        tokens = tokens.astype(np.uint32)
    begin, end = limits
    inside = tokens - tokens.dtype.type(begin) < end - begin
    inside[_cuts(tokens, piece, plan)] = False
    keys = tokens[:-1].astype(np.uint32)
    keys -= np.uint32(begin)
    keys *= np.uint32(plan.vocabulary)
    keys += tokens[1:]
    return keys[inside[:-1]]
