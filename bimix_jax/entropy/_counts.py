"""Counts of tokens, and the entropies estimated from them."""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from bimix_jax.entropy.streams import Stream

SMALL = 1 << 16
"""Numbers of occurrences below which an array has a place for each; larger ones are sorted."""
BLOCK = 1 << 22
"""Sorted keys that are compared at once, so that temporary arrays stay small."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """Numbers of occurrences: `types[k]` different symbols occur `counts[k]` times each.

    Counts rise and are above 0. Profiles of disjoint sets of symbols add up in integers, so
    entropies do not depend on the order of the work or on the size of chunks.
    """

    counts: np.ndarray
    """(k,) int64, occurrences"""
    types: np.ndarray
    """(k,) int64, symbols with that many occurrences"""

    @property
    def total(self) -> int:
        """All occurrences."""
        return int(np.sum(self.counts * self.types))

    @property
    def seen(self) -> int:
        """All different symbols."""
        return int(np.sum(self.types))

    @property
    def once(self) -> int:
        """Symbols that occur once."""
        return int(np.sum(self.types[self.counts == 1]))


def profile_of(occurrences: np.ndarray) -> Profile:
    """Return the profile of numbers of occurrences, one per symbol, without zeros.

    >>> profile_of(np.array([3, 0, 1, 1]))
    Profile(counts=array([1, 3]), types=array([2, 1]))
    """
    small = np.bincount(occurrences[occurrences < SMALL], minlength=1)
    small[0] = 0
    counts = np.flatnonzero(small)
    large, types = np.unique(occurrences[occurrences >= SMALL], return_counts=True)
    return Profile(
        np.concatenate([counts, large]).astype(np.int64),
        np.concatenate([small[counts], types]).astype(np.int64),
    )


def merged(profiles: Iterable[Profile]) -> Profile:
    """Merge profiles that do not share symbols."""
    each = [Profile(np.empty(0, np.int64), np.empty(0, np.int64)), *profiles]
    counts, where = np.unique(np.concatenate([p.counts for p in each]), return_inverse=True)
    types = np.zeros(len(counts), np.int64)
    np.add.at(types, where, np.concatenate([p.types for p in each]))
    return Profile(counts, types)


def profile_of_sorted(keys: np.ndarray) -> Profile:
    """Return the profile of sorted keys from the lengths of their runs; in blocks, to bound
    memory."""
    profiles, begin = [], 0
    for start in range(0, len(keys), BLOCK):
        # Blocks overlap by one key, so that a run across their border is not split.
        block = keys[start : start + BLOCK + 1]
        ends = np.flatnonzero(block[1:] != block[:-1]) + (start + 1)
        if start + BLOCK >= len(keys):
            ends = np.append(ends, len(keys))
        if len(ends):
            profiles.append(profile_of(np.diff(ends, prepend=begin)))
            begin = int(ends[-1])
    return merged(profiles)


KEYS = 2**32
"""Number of possible keys; arithmetic of keys is modulo this number."""
KEY_BYTES = 4
COUNT_BYTES = 8

Sort = Callable[[np.ndarray], np.ndarray]


class KeyBucket:
    """A store of keys, which are sorted at the end."""

    def __init__(self, pairs: int) -> None:
        self._keys = np.empty(pairs, np.uint32)
        self._filled = 0
        self._lock = threading.Lock()

    def add(self, keys: np.ndarray) -> None:
        """Store keys in a place of their own, so that threads can write side by side."""
        with self._lock:
            place = self._filled
            self._filled += len(keys)
        self._keys[place : place + len(keys)] = keys

    def profile(self, sort: Sort | None) -> Profile:
        """Return the profile of all pairs added; `sort` None sorts in place."""
        if sort is not None:
            return profile_of_sorted(sort(self._keys))
        self._keys.sort()
        return profile_of_sorted(self._keys)


class TableBucket:
    """Counts by second token of the pairs of one first token, smaller than many single keys."""

    def __init__(self, first: int, vocabulary: int) -> None:
        # Keys are first · vocabulary + second modulo 2³², so the difference to this is the second
        # token.
        self._base = np.uint32(first * vocabulary % KEYS)
        self._counts = np.zeros(vocabulary, np.int64)
        self._lock = threading.Lock()

    def add(self, keys: np.ndarray) -> None:
        """Count keys."""
        # The slow part is outside the lock, so that threads count side by side.
        counts = np.bincount(keys - self._base)
        with self._lock:
            self._counts[: len(counts)] += counts

    def profile(self, sort: Sort | None) -> Profile:
        """Return the profile of all pairs added; `sort` is not needed."""
        return profile_of(self._counts)


Bucket = KeyBucket | TableBucket


def bucket_bytes(begin: int, end: int, pairs: int, vocabulary: int) -> int:
    """Return the memory in bytes of the bucket for the pairs of a range of first tokens."""
    keys = KEY_BYTES * pairs
    return min(keys, COUNT_BYTES * vocabulary) if end == begin + 1 else keys


def new_bucket(begin: int, end: int, pairs: int, vocabulary: int) -> Bucket:
    """Return the smaller kind of bucket that the range allows."""
    if bucket_bytes(begin, end, pairs, vocabulary) < KEY_BYTES * pairs:
        return TableBucket(begin, vocabulary)
    return KeyBucket(pairs)


CHUNK = 1 << 21
"""Tokens that a thread reads at once by default."""
MEMORY = 2_000_000_000
"""Bytes for the keys of pairs by default."""
SMALL_RANGE = 1 << 16
"""Pairs below which a range is not worth a thread of its own."""
SINGLE_SHARE = 0.25
"""Approximate share of the work that counting single tokens takes, for a progress bar"""

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


@dataclasses.dataclass(frozen=True)
class Plan:
    """Settings of a count: vocabulary, sequences, documents, and the machine's resources."""

    vocabulary: int
    sequence_length: int
    end_of_document: int | None = None
    """token after which a document ends; None where the tokens do not mark it"""
    chunk: int = CHUNK
    """tokens that one thread reads at once"""
    memory: int = MEMORY
    """bytes for the keys of pairs, for all threads together"""
    workers: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    sort: Sort | None = None
    """function that sorts keys; None sorts in place on the CPU"""


class Piece(NamedTuple):
    """A range of tokens in a stream."""

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
        plan: settings of the count.
        progress: called with the share of the work that each step completes.

    Raises:
        ValueError: if a token id lies outside the vocabulary.
    """
    pieces = list(_pieces(streams, plan))
    with ThreadPoolExecutor(plan.workers) as pool:
        tokens, lasts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for all_tokens, last_tokens in pool.map(lambda piece: _single(piece, plan), pieces):
            tokens, lasts = _sum(tokens, all_tokens), _sum(lasts, last_tokens)
            progress(SINGLE_SHARE / len(pieces))
        # The last token of a sequence or document does not begin a pair.
        firsts = tokens.copy()
        firsts[: len(lasts)] -= lasts
        # Types above the largest id would cost memory and ranges, without a count.
        plan = dataclasses.replace(plan, vocabulary=max(len(tokens), 1))
        rounds = split_rounds(split_ranges(firsts, plan), firsts, plan)
        share = (1 - SINGLE_SHARE) / max(len(rounds), 1)
        profiles = list[Profile]()
        for ranges in rounds:
            profiles += _pairs(pieces, ranges, firsts, plan, pool)
            progress(share)
    return Counts(tokens, firsts, merged(profiles))


def _pieces(streams: Sequence[Stream], plan: Plan) -> Iterator[Piece]:
    # Whole sequences, so that no pair lies across the border of two pieces.
    step = max(plan.chunk // plan.sequence_length, 1) * plan.sequence_length
    for stream in streams:
        for begin in range(0, len(stream), step):
            yield Piece(stream, begin, min(begin + step, len(stream)))


def _single(piece: Piece, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Return occurrences of all tokens of a piece, and of tokens that do not begin a counted
    pair."""
    tokens = _read(piece, plan)
    cuts = _cuts(tokens, piece, plan)
    return np.bincount(tokens), np.bincount(tokens[cuts])


def _sum(total: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Add counts of two pieces, perhaps of different lengths; the longer array is changed."""
    if len(counts) > len(total):
        total, counts = counts, total
    total[: len(counts)] += counts
    return total


def _read(piece: Piece, plan: Plan) -> np.ndarray:
    """Read the tokens of a piece as unsigned integers."""
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
    """Return positions in a piece whose token does not begin a pair, each once, the last
    included."""
    ends = np.arange(plan.sequence_length - 1, len(tokens), plan.sequence_length)
    low, high = np.searchsorted(piece.stream.starts, [piece.begin + 1, piece.end])
    last = np.array([len(tokens) - 1])
    cuts = [ends, piece.stream.starts[low:high] - 1 - piece.begin, last]
    if plan.end_of_document is not None:
        cuts.append(np.flatnonzero(tokens == plan.end_of_document))
    return np.unique(np.concatenate(cuts).astype(np.int64))


def split_ranges(firsts: np.ndarray, plan: Plan) -> list[Range]:
    """Return ranges of first tokens, each with pairs, and small enough for a thread's memory.

    Keys of a range do not overflow, and every thread gets work.
    """
    total = int(firsts.sum())
    # A thread sorts its range while the others hold theirs.
    fits = max(plan.memory // (KEY_BYTES * plan.workers), 1)
    room = min(fits, max(-(-total // plan.workers), SMALL_RANGE))
    # Within 2³² / vocabulary first tokens, different pairs have different keys modulo 2³².
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


def split_rounds(ranges: Sequence[Range], firsts: np.ndarray, plan: Plan) -> list[list[Range]]:
    """Group ranges into rounds; the pairs of each round fit into memory."""
    rounds, left = list[list[Range]](), 0
    for begin, end in ranges:
        needed = bucket_bytes(begin, end, int(firsts[begin:end].sum()), plan.vocabulary)
        # A range that exceeds the memory alone gets a round of its own.
        if needed > left:
            rounds.append([])
            left = plan.memory
        rounds[-1].append((begin, end))
        left -= needed
    return rounds


def _pairs(
    pieces: Sequence[Piece], ranges: Sequence[Range], firsts: np.ndarray, plan: Plan, pool: Executor
) -> list[Profile]:
    """Return profiles of the pairs whose first token lies in these ranges, in one pass."""
    buckets = [
        new_bucket(begin, end, int(firsts[begin:end].sum()), plan.vocabulary)
        for begin, end in ranges
    ]
    for _ in pool.map(lambda piece: _collect(piece, ranges, buckets, plan), pieces):
        pass
    return list(pool.map(lambda bucket: bucket.profile(plan.sort), buckets))


def _collect(piece: Piece, ranges: Sequence[Range], buckets: Sequence[Bucket], plan: Plan) -> None:
    """Put the pairs of a piece into the buckets; unsigned arithmetic wraps."""
    tokens = _read(piece, plan)
    # Without the last position, which is not among the firsts.
    cuts = _cuts(tokens, piece, plan)[:-1]
    firsts = tokens[:-1]
    reach = np.iinfo(firsts.dtype).max + 1
    keys = firsts.astype(np.uint32)
    keys *= np.uint32(plan.vocabulary)
    keys += tokens[1:]
    for (begin, end), bucket in zip(ranges, buckets, strict=True):
        # Differences wrap: tokens below `begin` must not come out below a range that ends higher
        # than the dtype reaches.
        inside = firsts - firsts.dtype.type(begin) < min(end, reach) - begin
        inside[cuts] = False
        bucket.add(keys[inside])


def plug_in(profile: Profile) -> float:
    """Return the entropy of the observed frequencies, H = ln n − Σ c ln c / n; it is the paper's,
    and biased downwards.

    >>> from bimix_jax.entropy._counts import profile_of
    >>> round(plug_in(profile_of(np.array([5, 5]))), 4)
    0.6931
    """
    # −Σ (c/n) ln(c/n) = ln n − Σ c ln c / n, because the counts c sum to n; types groups equal c.
    counts, types = profile.counts.astype(float), profile.types
    total = float(profile.total)
    return max(float(np.log(total) - np.sum(types * counts * np.log(counts)) / total), 0.0)


def miller_madow(profile: Profile) -> float:
    """Return plug-in entropy plus its first-order bias, (symbols seen − 1) / 2n (Miller 1955)."""
    # To second order in p̂ − p, E[−p̂ ln p̂] = −p ln p − (1 − p) / 2n; over S symbols this sums to
    # −(S − 1) / 2n.
    return plug_in(profile) + (profile.seen - 1) / (2 * profile.total)


def coverage(profile: Profile) -> float:
    """Return the probability of the symbols that were seen, 1 − f₁/n (Good–Turing).

    If every symbol was seen once, f₁ = n − 1 is used, as by Chao and Shen.
    """
    total = profile.total
    return 1.0 - min(profile.once, max(total - 1, 0)) / total


def chao_shen(profile: Profile) -> float:
    """Return the coverage-adjusted entropy (Chao & Shen 2003), which allows for unseen symbols.

    It is the most accurate of the three if many symbols of unequal frequency were not seen, and too
    high if all symbols are about equally rare.

    H = −Σ C p ln(C p) / (1 − (1 − C p)ⁿ) with the coverage C and the observed frequencies p.
    """
    total = float(profile.total)
    # A symbol is in a sample of n with the probability 1 − (1 − p)ⁿ; dividing by it lets those that
    # were seen stand for the others (Horvitz and Thompson).
    share = coverage(profile) * profile.counts / total
    # A single symbol has share 1, so log1p is −inf, and `included` is then exactly 1.
    with np.errstate(divide="ignore"):
        included = -np.expm1(total * np.log1p(-share))
    return max(float(-np.sum(profile.types * share * np.log(share) / included)), 0.0)


ESTIMATORS: dict[str, Callable[[Profile], float]] = {
    "plug-in": plug_in,
    "miller-madow": miller_madow,
    "chao-shen": chao_shen,
}
