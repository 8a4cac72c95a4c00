"""Counts of tokens, and of pairs of adjacent tokens within sequences and documents."""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from bimix_jax.entropy._profiles import Profile, merged, profile_of, profile_of_sorted
from bimix_jax.entropy._streams import Stream

KEYS = 2**32
"""Number of possible keys; arithmetic of keys is modulo this number."""
KEY_BYTES = 4
COUNT_BYTES = 8

Sort = Callable[[np.ndarray], np.ndarray]

LARGEST = np.uint32(KEYS - 1)
"""Padding, which sorts behind all keys and is cut off there."""
DEVICES = ("auto", "cpu", "jax", "gpu", "tpu")


def device_sort(device: str) -> Sort | None:
    """Return a function that sorts keys (uint32) on a device; None for NumPy's sort, on the CPU.

    Args:
        device: "cpu", "gpu", "tpu", "jax" for JAX's default device, or "auto" for the same unless
            that is a CPU.

    Raises:
        ValueError: if the device is unknown, or JAX has none of that kind.
    """
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}; expected one of {', '.join(DEVICES)}.")
    # On CPUs NumPy sorts in place, without the copies and the compilation that JAX needs.
    if device == "cpu" or (device == "auto" and jax.default_backend() == "cpu"):
        return None
    try:
        where = jax.devices(None if device in ("auto", "jax") else device)[0]
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}, but JAX has none here: {error}") from error
    return lambda keys: _sort_on(where, keys)


def _sort_on(device: jax.Device, keys: np.ndarray) -> np.ndarray:
    """Sort keys (n,) on a device; padding to a power of two keeps the compiled shapes few."""
    padded = np.full(1 << max(len(keys) - 1, 1).bit_length(), LARGEST, np.uint32)
    padded[: len(keys)] = keys
    return np.asarray(_sort(jax.device_put(padded, device)))[: len(keys)]


@jax.jit
def _sort(keys: jax.Array) -> jax.Array:
    return jnp.sort(keys)


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
"""Approximate share of the work that counting single tokens takes, for a progress bar."""

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
    device: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """Settings of a count: vocabulary, sequences, documents, samples, and the machine's resources.

    Raises:
        ValueError: on a value that a setting cannot have, or a device that JAX does not have.
    """

    vocabulary: int
    sequence_length: int
    end_of_document: int | None = None
    """token after which a document ends; None where the tokens do not mark it"""
    chunk: int = CHUNK
    """tokens that one thread reads at once"""
    memory: int = MEMORY
    """bytes for the keys of pairs, for all threads together"""
    workers: int | None = None
    """number of threads; None for one per core"""
    device: str = "auto"
    """device that sorts keys, see `device_sort`"""
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
        device_sort(self.device)

    @property
    def threads(self) -> int:
        """Number of threads."""
        return self.workers or os.cpu_count() or 1

    def of_types(self, types: int) -> "Plan":
        """Return the plan for so many token types, the first ones, which are all that occur."""
        end = self.end_of_document
        # A token that does not occur ends no document.
        known = end is not None and end < types
        return dataclasses.replace(self, vocabulary=types, end_of_document=end if known else None)


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
    with ThreadPoolExecutor(plan.threads) as pool:
        tokens, lasts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for all_tokens, last_tokens in pool.map(lambda piece: _single(piece, plan), pieces):
            tokens, lasts = _sum(tokens, all_tokens), _sum(lasts, last_tokens)
            progress(SINGLE_SHARE / len(pieces))
        # The last token of a sequence or document does not begin a pair.
        firsts = tokens.copy()
        firsts[: len(lasts)] -= lasts
        # Types above the largest id would cost memory and ranges, without a count.
        plan = plan.of_types(max(len(tokens), 1))
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
    fits = max(plan.memory // (KEY_BYTES * plan.threads), 1)
    room = min(fits, max(-(-total // plan.threads), SMALL_RANGE))
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
    sort = device_sort(plan.device)
    return list(pool.map(lambda bucket: bucket.profile(sort), buckets))


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
