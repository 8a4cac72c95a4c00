"""Profiles of numbers of occurrences, and the entropies estimated from them."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

SMALL = 1 << 16
"""Numbers of occurrences below which an array has a place for each; larger ones are sorted."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """Numbers of occurrences: `types[k]` different symbols occur `counts[k]` times each.

    Counts rise and are above 0. Profiles of disjoint sets of symbols add up in integers, so
    entropies do not depend on the order of the work or on the size of chunks.
    """

    counts: np.ndarray
    """(k,) int64, occurrences"""
    types: np.ndarray
    """(k,) symbols with that many occurrences; int64, or float64 where they are estimated"""

    @property
    def total(self) -> int:
        """Number of all occurrences."""
        return round(np.sum(self.counts * self.types).item())

    @property
    def seen(self) -> int:
        """Number of different symbols."""
        return round(np.sum(self.types).item())

    @property
    def once(self) -> int:
        """Number of symbols that occur once."""
        return round(np.sum(self.types[self.counts == 1]).item())


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


def merged(profiles: Iterable[Profile], weights: Iterable[float] | None = None) -> Profile:
    """Merge profiles that do not share symbols; symbols count as often as the weights state."""
    each = list(profiles)
    types = [p.types for p in each]
    if weights is not None:
        types = [w * t for w, t in zip(weights, types, strict=True)]
    nothing = np.empty(0, np.int64)
    counts, where = np.unique(
        np.concatenate([nothing, *(p.counts for p in each)]), return_inverse=True
    )
    found = np.zeros(len(counts), np.int64 if weights is None else float)
    np.add.at(found, where, np.concatenate([nothing, *types]).astype(found.dtype))
    return Profile(counts, found)


def plug_in(profile: Profile) -> float:
    """Return the entropy of the observed frequencies, H = ln n − Σ c ln c / n.

    It is the estimator of BiMix, and biased downwards.

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
