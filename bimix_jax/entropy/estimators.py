"""Entropy of a distribution from a finite sample of it, in nats."""

from collections.abc import Callable

import numpy as np

from bimix_jax.entropy.counts import Profile


def plug_in(profile: Profile) -> float:
    """Return the entropy of the observed frequencies, H = ln n − Σ c ln c / n; it is the paper's,
    and biased downwards.

    >>> from bimix_jax.entropy.counts import profile_of
    >>> round(plug_in(profile_of(np.array([5, 5]))), 4)
    0.6931
    """
    counts, types = profile.counts.astype(float), profile.types
    total = float(profile.total)
    return max(float(np.log(total) - np.sum(types * counts * np.log(counts)) / total), 0.0)


def miller_madow(profile: Profile) -> float:
    """Return plug-in entropy plus its first-order bias, (symbols seen − 1) / 2n (Miller 1955)."""
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
