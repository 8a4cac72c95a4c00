"""Counts of the pairs of adjacent tokens in one piece of a stream, as a sparse matrix.

The matrix has a row per first token, a column per second token, and holds every pair that occurs
once. Two ways make it. SciPy groups the pairs by row in linear time, and sums the equal ones of a
row in a table of one row, which fits the cache. Or NumPy sorts one number per pair, which takes
half the time or less where the processor has instructions for it (AVX-512), and longer elsewhere.
"""

import functools
import time
from collections.abc import Callable

import numpy as np
from scipy import sparse

TRIED, TYPES = 1 << 20, 50_000
"""Tokens, and types, by which the quicker way is found, which takes 0.1 s; fewer are grouped."""
TURNS = 2
"""Number of times that each way is timed."""

Way = Callable[[np.ndarray, np.ndarray, int], sparse.csr_array]
"""From tokens, the places that begin no pair, and the number of types, to counts (types, types)."""


def adjacent_pairs(tokens: np.ndarray, cuts: np.ndarray, types: int) -> sparse.csr_array:
    """Count pairs of adjacent tokens.

    Args:
        tokens: (tokens,) unsigned integers below `types`.
        cuts: (cuts,) int, increasing places whose token begins no pair, the last place included.
        types: number of types.

    Returns:
        (types, types) counts of second tokens by first tokens, each pair that occurs once.

    >>> found = adjacent_pairs(np.array([1, 0, 1, 0, 0], np.uint16), np.array([4]), 2)
    >>> found.toarray().tolist()
    [[1, 1], [2, 0]]
    """
    if len(tokens) >= TRIED and types**2 < 2**32 and sorting_is_quicker():
        return sorted_pairs(tokens, cuts, types)
    return grouped_pairs(tokens, cuts, types)


def grouped_pairs(tokens: np.ndarray, cuts: np.ndarray, types: int) -> sparse.csr_array:
    """`adjacent_pairs` by grouping, for any number of types."""
    firsts = tokens[:-1].astype(np.int32)
    # Tokens that begin no pair come into a row of their own; the last one is not among the firsts.
    firsts[cuts[:-1]] = types
    ones = np.ones(len(firsts), np.int8)
    pairs = sparse.coo_array((ones, (firsts, tokens[1:].astype(np.int32))), (types + 1, types))
    # Otherwise equal pairs would be summed by sorting.
    pairs.has_canonical_format = True
    grouped = pairs.tocsr()
    edges = grouped.indptr[: types + 1]
    inside = slice(edges[-1])
    wanted = sparse.csr_array((grouped.data[inside], grouped.indices[inside], edges), (types,) * 2)
    # A sum of matrices, even with an empty one, holds every pair once.
    return wanted + sparse.csr_array(wanted.shape, dtype=kind_of(len(tokens)))


def sorted_pairs(tokens: np.ndarray, cuts: np.ndarray, types: int) -> sparse.csr_array:
    """`adjacent_pairs` by sorting, for fewer than 2¹⁶ types."""
    pairs = tokens[:-1].astype(np.uint32)
    pairs *= np.uint32(types)
    pairs += tokens[1:].astype(np.uint32)
    # Larger than any pair, so they come last.
    pairs[cuts[:-1]] = np.iinfo(np.uint32).max
    pairs.sort()
    pairs = pairs[: len(pairs) - (len(cuts) - 1)]
    begins = np.concatenate([np.ones(min(len(pairs), 1), bool), pairs[1:] != pairs[:-1]])
    places = np.flatnonzero(begins)
    counts: np.ndarray = np.diff(places, append=len(pairs)).astype(kind_of(len(tokens)))
    first, second = np.divmod(pairs[places], np.uint32(types))
    edges = np.searchsorted(first, np.arange(types + 1, dtype=np.uint32))
    return sparse.csr_array((counts, second.astype(np.int32), edges), (types, types))


@functools.cache
def sorting_is_quicker() -> bool:
    """True where sorting takes less time than grouping on this machine."""
    # Half the tokens are of few types and the others of many, about as in text.
    draws = np.random.default_rng(0).random(TRIED)
    tokens = (TYPES**draws - 1).astype(np.uint16)
    cuts = np.array([TRIED - 1])
    seconds = {way: min(_seconds(way, tokens, cuts) for _ in range(TURNS)) for way in WAYS}
    return min(seconds, key=seconds.__getitem__) is sorted_pairs


WAYS: tuple[Way, ...] = (grouped_pairs, sorted_pairs)


def _seconds(way: Way, tokens: np.ndarray, cuts: np.ndarray) -> float:
    started = time.perf_counter()
    way(tokens, cuts, TYPES)
    return time.perf_counter() - started


def kind_of(tokens: int) -> type:
    """Return the smaller kind of integer that holds the counts of so many tokens."""
    return np.int32 if tokens < 2**31 else np.int64
