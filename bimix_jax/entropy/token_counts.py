"""Counts of tokens and pairs that add up: parts of a corpus are counted apart, then merged."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bimix_jax.entropy._counts import Counts, Plan, Range, count_ranges, sum_of_counts
from bimix_jax.entropy._profiles import Profile, merged, profile_of
from bimix_jax.entropy._streams import Tokens, streams_of
from bimix_jax.entropy.domains import Entropies
from bimix_jax.files import atomic_path, check_readable

if TYPE_CHECKING:
    import pyarrow as pa

LIMIT = 1 << 26
"""Different pairs that are kept by default: 16 bytes each, so about 1 GB."""
LEAST_LIMIT = 1 << 10
"""Least number of pairs from which an entropy is estimated with an error that says something."""
GROUPS = 16
"""Groups of the sampled pairs, each of which a replicate of the jackknife leaves out."""
SECOND = np.uint64(32)
"""Bits of the second token in the key of a pair."""
FORMAT, KEY = 1, b"bimix_token_counts"
"""Version of saved counts, and the entry of a Parquet file's metadata that holds the settings."""
TOKEN, FIRST, PAIR, FREQUENT = range(4)
"""Kinds of rows in a saved file."""


class _Pairs(NamedTuple):
    """Different pairs with their counts."""

    keys: np.ndarray
    """(pairs,) uint64, rising: the first token × 2³² + the second"""
    counts: np.ndarray
    """(pairs,) int64"""

    def where(self, chosen: np.ndarray) -> "_Pairs":
        """Return some of the pairs."""
        return _Pairs(self.keys[chosen], self.counts[chosen])

    def plus(self, other: "_Pairs") -> "_Pairs":
        """Add the counts of other pairs."""
        keys = np.concatenate([self.keys, other.keys])
        # Two rising runs, which a stable sort merges in linear time.
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], np.concatenate([self.counts, other.counts])[order]
        begins = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else order
        return _Pairs(keys[begins], np.add.reduceat(counts, begins) if len(keys) else counts)

    def largest(self, most: int) -> "_Pairs":
        """Return the most frequent pairs, `most` or, where the last ones are equal, fewer."""
        if len(self.keys) <= most:
            return self
        return self.where(self.counts > np.partition(self.counts, -most - 1)[-most - 1])

    def counts_of(self, keys: np.ndarray) -> np.ndarray:
        """Return the counts of keys, 0 for those that are not there."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.counts[place], 0)


NONE = _Pairs(np.zeros(0, np.uint64), np.zeros(0, np.int64))


def _hashes(keys: np.ndarray) -> np.ndarray:
    """Return 64 even bits per key (the finaliser of SplitMix64; Steele, Lea & Flood 2014)."""
    z = keys + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclasses.dataclass(frozen=True, eq=False)
class TokenCounts:
    """Counts of a part of a domain, which add up over its parts.

    Counts are exact while there are at most `limit` different pairs. Beyond it, tokens stay exact,
    and two tables take the place of all pairs: those whose hash lies below 2^(64 − level), with
    their exact counts, and the most frequent ones, with what was counted of them since they were
    kept.

    With counts c, kept counts k (0 for pairs that are not kept) and any function f, the sum over
    all pairs is estimated by the difference estimator Σ_kept f(k) + w · Σ_sampled [f(c) − f(k)]
    (Särndal, Swensson & Wretman 1992, chapter 6). The weight w, near 2^level, makes the total of
    the counts exact. The standard error is that of a jackknife over groups of the sample.
    """

    vocabulary: int
    sequence_length: int
    end_of_document: int | None
    tokens: np.ndarray
    """(types,) occurrences of each token, up to the largest one that occurs"""
    firsts: np.ndarray
    """(types,) occurrences of each token as the first of a pair"""
    pairs: _Pairs
    """all pairs, or the sampled ones"""
    frequent: _Pairs = NONE
    """the most frequent pairs, where not all are kept"""
    level: int = 0
    """one in 2^level pairs is in the sample"""
    limit: int = LIMIT
    """largest number of different pairs that are kept"""

    def __repr__(self) -> str:
        how = (
            "exact"
            if self.exact
            else f"one in {2**self.level} and {len(self.frequent.keys)} frequent"
        )
        return f"TokenCounts({self.tokens.sum()} tokens, {len(self.pairs.keys)} pairs: {how})"

    @property
    def exact(self) -> bool:
        """True where all pairs are kept."""
        return self.level == 0

    def merge(self, other: "TokenCounts") -> "TokenCounts":
        """Add the counts of another part of the domain.

        Exact counts do not depend on the order of the parts; estimates do, within their error.

        Raises:
            ValueError: if the parts were counted with other settings.
        """
        for name in ("vocabulary", "sequence_length", "end_of_document"):
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                raise ValueError(
                    f"{name} is {mine} here and {others} in the other counts; count all parts "
                    "of a domain with the same settings."
                )
        level = max(self.level, other.level)
        frequent = NONE if level == 0 else self._kept.plus(other._kept)
        return dataclasses.replace(
            self,
            tokens=sum_of_counts(self.tokens.copy(), other.tokens.copy()),
            firsts=sum_of_counts(self.firsts.copy(), other.firsts.copy()),
            pairs=self._sample(level).plus(other._sample(level)),
            frequent=frequent,
            level=level,
            limit=min(self.limit, other.limit),
        )._fitted()

    def entropies(self, name: str = "tokens") -> Entropies:
        """Estimate SE, CE and JE of the domain, in nats; see `Entropies.of` for several domains.

        Raises:
            ValueError: if there is no pair.
        """
        return Entropies.of({name: self})

    @property
    def _kept(self) -> _Pairs:
        """The pairs that are known without sampling."""
        return self.pairs if self.exact else self.frequent

    def _sample(self, level: int) -> _Pairs:
        """The pairs of a sample of this level, which is the own one or a smaller one."""
        if level == self.level:
            return self.pairs
        return self.pairs.where(_hashes(self.pairs.keys) >> np.uint64(64 - level) == 0)

    def _fitted(self) -> "TokenCounts":
        """Return counts of at most `limit` pairs."""
        if self.exact and len(self.pairs.keys) <= self.limit:
            return self
        level, half = max(self.level, 1), self.limit // 2
        while len((pairs := self._sample(level)).keys) > half:
            level += 1
        frequent = self._kept.largest(half)
        return dataclasses.replace(self, pairs=pairs, frequent=frequent, level=level)

    def counts(self) -> Counts:
        """Return the counts with the profile of all pairs, estimated where they are sampled."""
        profile = profile_of(self.pairs.counts) if self.exact else next(self._profiles())
        return Counts(self.tokens, self.firsts, profile)

    def replicates(self) -> list[Counts]:
        """Return the counts as estimated without one of the groups of the sample, for each."""
        profiles = [] if self.exact else list(self._profiles())[1:]
        return [Counts(self.tokens, self.firsts, profile) for profile in profiles]

    def _profiles(self) -> Iterator[Profile]:
        """Yield the estimated profile, and those without one of the groups."""
        total, kept = int(self.firsts.sum()), profile_of(self.frequent.counts)
        known = self.frequent.counts_of(self.pairs.keys)
        # Low bits, as the high ones are those that chose the sample.
        group = _hashes(self.pairs.keys) & np.uint64(GROUPS - 1)
        groups = [
            (profile_of(self.pairs.counts[mine]), profile_of(known[mine]))
            for mine in (group == np.uint64(k) for k in range(GROUPS))
        ]
        for left_out in (None, *range(GROUPS)):
            each = [pair for k, pair in enumerate(groups) if k != left_out]
            unknown = sum(counted.total - before.total for counted, before in each)
            weight = (total - kept.total) / unknown if unknown else 0.0
            signed = [part for pair in each for part in pair]
            yield merged([kept, *signed], [1.0, *[weight, -weight] * len(each)])

    def about_sample(self, errors: dict[tuple[str, str], float]) -> str:
        """Return a sentence on the sample and the standard errors that follow from it."""
        labels = ("plug-in", "chao-shen")
        each = ", ".join(f"{errors[label, 'CE']:.2g} nats ({label})" for label in labels)
        return (
            f"more than {self.limit} different pairs; CE and JE are estimated from the "
            f"{len(self.frequent.keys)} most frequent ones and one in {2**self.level} of the "
            f"others, with a standard error of {each}."
        )

    def save(self, path: str | Path) -> None:
        """Write the counts as Parquet, whole or not at all: rows of a kind, tokens and a count.

        Raises:
            OSError: if the file cannot be written.
        """
        import pyarrow.parquet as pq

        kept = {"format": FORMAT} | {name: getattr(self, name) for name in SAVED}
        table = self._table().replace_schema_metadata({KEY: json.dumps(kept).encode()})
        with atomic_path(path) as beside:
            pq.write_table(table, beside, write_page_checksum=True)

    @classmethod
    def load(cls, path: str | Path) -> "TokenCounts":
        """Read counts that `save` wrote.

        Raises:
            OSError: if there is no such file.
            ValueError: if it is damaged, holds something else, or is of a newer version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = check_readable(path, "saved counts of tokens")
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            found = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {error}. Count its part again.") from error
        if found.get("format") != FORMAT:
            raise ValueError(
                f"{path} has counts of tokens in format {found.get('format')}; expected "
                f"{FORMAT}, as TokenCounts.save of this version writes it."
            )
        return cls(**{name: found[name] for name in SAVED}, **_columns(table))

    def _table(self) -> "pa.Table":
        import pyarrow as pa

        singles = {TOKEN: self.tokens, FIRST: self.firsts}
        parts = {kind: _Pairs(np.arange(len(n)), n).where(n > 0) for kind, n in singles.items()}
        pairs = {PAIR: self.pairs, FREQUENT: self.frequent}
        rows = [*parts.items(), *pairs.items()]
        tokens = [part.keys >> SECOND if kind in pairs else part.keys for kind, part in rows]
        following = [
            part.keys.astype(np.uint32) if kind in pairs else np.zeros(len(part.keys), np.uint32)
            for kind, part in rows
        ]
        kinds = np.repeat([kind for kind, _ in rows], [len(part.keys) for _, part in rows])
        columns = {
            "kind": kinds.astype(np.uint8),
            "token": np.concatenate([each.astype(np.uint32) for each in tokens]),
            "next": pa.array(np.concatenate(following), mask=kinds <= FIRST),
            "count": np.concatenate([part.counts for _, part in rows]).astype(np.int64),
        }
        return pa.table(columns)


SAVED = ("vocabulary", "sequence_length", "end_of_document", "level", "limit")
"""Fields of counts that a saved file holds beside its rows."""


def _columns(table: "pa.Table") -> dict[str, Any]:
    """Return the arrays of saved counts by the names of their fields."""
    import pyarrow.compute as pc

    kinds, tokens, counts = (table[name].to_numpy() for name in ("kind", "token", "count"))
    following = pc.fill_null(table["next"], 0).to_numpy()
    keys = tokens.astype(np.uint64) << SECOND | following
    pairs = [_Pairs(keys[kinds == k], counts[kinds == k]) for k in (PAIR, FREQUENT)]
    singles = [
        np.bincount(tokens[kinds == k], counts[kinds == k]).astype(np.int64) for k in (TOKEN, FIRST)
    ]
    return dict(zip(("tokens", "firsts", "pairs", "frequent"), (*singles, *pairs), strict=True))


def count_tokens(
    tokens: Tokens,
    vocabulary: int,
    sequence_length: int = 1024,
    *,
    end_of_document: int | None = None,
    limit: int = LIMIT,
    workers: int | None = None,
) -> TokenCounts:
    """Count the tokens of a part of a domain, and its pairs of adjacent tokens.

    It is a pure function whose results add up, so that engines can count shards apart. Pairs cross
    no sequence, no document and no shard. The entropies of the merged counts are those of
    `token_entropies` of all shards, each as a stream of its own.

    Args:
        tokens: an array (tokens,) or (documents, tokens), a list of documents of any lengths, a
            stream, or several streams; it may be empty.
        vocabulary: number of token types; ids lie below it.
        sequence_length: tokens per training sequence.
        end_of_document: token after which a document ends, if the tokens mark it so.
        limit: largest number of different pairs that are kept, at 16 bytes each; beyond it
            the entropies of pairs are estimated from a sample, with a standard error.
        workers: number of threads; default one per core.

    Returns:
        `TokenCounts`, to be merged, saved, or turned into entropies.

    Raises:
        ValueError: if a token id is not in the vocabulary, or a setting has a value that it cannot
            have.

    >>> rng = np.random.default_rng(0)
    >>> first, second = (count_tokens(rng.integers(0, 50, 4096), 50) for _ in range(2))
    >>> both = first.merge(second)
    >>> both.entropies().table()[["SE", "CE", "tokens"]].round(2).to_dict("list")
    {'SE': [3.91], 'CE': [3.74], 'tokens': [8192]}
    """
    if limit < LEAST_LIMIT:
        raise ValueError(f"limit is {limit}; expected at least {LEAST_LIMIT} pairs.")
    plan = Plan(vocabulary, sequence_length, end_of_document, workers=workers)
    streams = [stream for stream in streams_of(tokens) if len(stream)]
    settings = vocabulary, sequence_length, end_of_document
    if not streams:
        nothing = np.zeros(0, np.int64)
        return TokenCounts(*settings, nothing, nothing, NONE, limit=limit)
    occurrences, firsts, ranges = count_ranges(streams, plan, _pairs_of)
    # Ranges of first tokens follow each other, and so do their keys.
    pairs = _Pairs(*(np.concatenate(each) for each in zip(*ranges, strict=True)))
    found = TokenCounts(
        *settings, occurrences.astype(np.int64), firsts.astype(np.int64), pairs, limit=limit
    )
    return found._fitted()


def _pairs_of(limits: Range, counts: Any) -> _Pairs:
    """Return the pairs of a sparse matrix whose rows begin at the first token of a range."""
    counts.sort_indices()
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)) + limits[0]
    keys = rows.astype(np.uint64) << SECOND | counts.indices.astype(np.uint64)
    return _Pairs(keys, counts.data.astype(np.int64))
