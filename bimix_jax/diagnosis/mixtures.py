"""The mixtures of a sweep: what they do not vary, and what they cannot tell apart."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bimix_jax.diagnosis.observation import Observation, Severity, some_of
from bimix_jax.sweeps.checks import PERCENTAGES
from bimix_jax.sweeps.collinear_domains import NEGLIGIBLE, collinear_domains
from bimix_jax.sweeps.sweep import Sweep

NARROW = 1.5
"""A domain whose largest share is less than this multiple of its least hardly varies."""
ILL_CONDITIONED = 100.0
"""Ratio of singular values above which the domains of the least one nearly move together."""
INVOLVED = 0.3
"""Share of the largest entry above which a domain takes part in that direction."""


def observe_mixtures(sweep: Sweep) -> Iterator[Observation]:
    """Zeros, ranges, rank and conditioning of the mixtures, and shares that were percentages."""
    mixtures = distinct_mixtures(sweep)
    if PERCENTAGES in sweep.notes:
        yield Observation(
            Severity.WARNING,
            PERCENTAGES.rstrip("."),
            "Check that they are percentages; write shares that sum to 1 to be sure.",
        )
    yield from _few(mixtures)
    yield from _zeros(mixtures)
    yield from _narrow(mixtures)
    yield from _collinear(mixtures)


def distinct_mixtures(sweep: Sweep) -> pd.DataFrame:
    """One row a mixture, one column a domain."""
    first = pd.Series(sweep.mixture_group).drop_duplicates().index
    return pd.DataFrame(sweep.mixture[first], columns=list(sweep.domains))


def rank_and_condition(sweep: Sweep) -> tuple[int, float]:
    """Rank of the matrix of mixtures and domains, and the ratio of its largest singular value to
    the least, of the domains that were trained on; inf where it has not full rank.
    """
    mixtures = distinct_mixtures(sweep)
    used = mixtures.loc[:, mixtures.max() > 0]
    singular = np.linalg.svd(used.to_numpy(float), compute_uv=False)
    rank = int(np.sum(singular > NEGLIGIBLE * singular[0]))
    return rank, float(singular[0] / singular[-1]) if rank == used.shape[1] else float("inf")


def _few(mixtures: pd.DataFrame) -> Iterator[Observation]:
    runs, domains = mixtures.shape
    if runs <= domains:
        yield Observation(
            Severity.WARNING,
            f"{runs} mixtures of {domains} domains",
            f"Measure {domains + 1 - runs} more mixtures at least, or fit BiMix alone, which looks "
            "at one domain at a time.",
        )


def _zeros(mixtures: pd.DataFrame) -> Iterator[Observation]:
    zero = {str(d): int(n) for d, n in (mixtures == 0).sum().items()}
    never = [d for d, n in zero.items() if n == len(mixtures)]
    some = [f"{d} in {n} of {len(mixtures)}" for d, n in zero.items() if 0 < n < len(mixtures)]
    if never:
        yield Observation(
            Severity.WARNING,
            f"Domains that no run was trained on: {some_of(never)}",
            "Leave their columns out, or measure mixtures that hold them.",
        )
    if some:
        yield Observation(
            Severity.NOTE,
            f"Shares of exactly 0: {some_of(some)}",
            "BiMix leaves such points out of that target's fit; TransferBiMix uses them.",
        )


def _narrow(mixtures: pd.DataFrame) -> Iterator[Observation]:
    ends = zip(mixtures, mixtures.min(), mixtures.max(), strict=True)
    ranges = [f"{d} {low:.3g}-{high:.3g}" for d, low, high in ends if 0 < high < NARROW * low]
    if ranges:
        yield Observation(
            Severity.WARNING,
            f"Shares that hardly vary: {some_of(ranges)}",
            f"What they do to a loss rests on nothing; vary them by a factor of {NARROW:g}.",
        )


def _collinear(mixtures: pd.DataFrame) -> Iterator[Observation]:
    used = mixtures.loc[:, mixtures.max() > 0]
    groups = collinear_domains(used)
    if groups:
        yield Observation(
            Severity.WARNING,
            "Domains whose shares are tied in every mixture: "
            + "; ".join(some_of(group) for group in groups),
            "Laws with a coefficient a domain cannot tell them apart; measure mixtures in which "
            "their ratio differs.",
        )
        return
    values = used.to_numpy(float)
    _, singular, directions = np.linalg.svd(values, full_matrices=False)
    if singular[0] > ILL_CONDITIONED * singular[-1]:
        weak = np.abs(directions[-1])
        names = [str(d) for d, w in zip(used, weak, strict=True) if w > INVOLVED * weak.max()]
        yield Observation(
            Severity.WARNING,
            f"Mixtures nearly tied (condition number {singular[0] / singular[-1]:.3g}): "
            f"{some_of(names)}",
            "Their coefficients will have wide errors; measure mixtures in which their ratio "
            "differs.",
        )
