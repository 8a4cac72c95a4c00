"""Sequences that a run trains on at each step: a table, so that a run can go on anywhere.

The domain of every sequence comes from one point a step that moves by the golden ratio, with the
batch spread evenly after it, laid on the line of the proportions. So every stretch of training
holds each domain in its proportion to within a few sequences, where drawing at random would be off
by several percent of a rare domain's. Within a domain every sequence comes once before any twice.
"""

import dataclasses

import numpy as np

from benchmarks.proxy_sweep.tokens import Tokens

GOLDEN = (5**0.5 - 1) / 2


@dataclasses.dataclass(frozen=True)
class Plan:
    """Domain and number within the domain of every sequence of a run."""

    domain: np.ndarray
    """(steps, batch)"""
    number: np.ndarray
    """(steps, batch) place of the sequence in its domain's text"""
    sequence: int

    def batch(self, tokens: Tokens, step: int) -> np.ndarray:
        """(batch, sequence + 1) ids that step `step` trains on; the first step is 0."""
        begins = self.number[step] * self.sequence
        rows = [
            tokens.train[domain][begin : begin + self.sequence + 1]
            for domain, begin in zip(self.domain[step], begins, strict=True)
        ]
        return np.stack(rows).astype(np.int32)


def plan(
    tokens: Tokens, mixture: np.ndarray, steps: int, batch: int, sequence: int, seed: int
) -> Plan:
    """The sequences of a run; those of a shorter run are the first of a longer one's.

    Args:
        tokens: of the corpus.
        mixture: (domains,) proportions.
        steps: of the run.
        batch: sequences a step.
        sequence: tokens of a sequence.
        seed: another seed gives another order.

    Raises:
        ValueError: if the mixture does not sum to 1, or a domain is shorter than a sequence or
            shorter than a batch.
    """
    check_mixture(mixture, tokens.domains)
    check_enough(tokens, batch, sequence)
    domain = _domains(np.asarray(mixture), steps, batch, seed)
    number = np.zeros_like(domain)
    for index, ids in enumerate(tokens.train):
        here = domain == index
        number[here] = _order((len(ids) - 1) // sequence, int(here.sum()), (seed, index))
    return Plan(domain, number, sequence)


def check_mixture(mixture: np.ndarray, domains: tuple[str, ...]) -> None:
    """Raise ValueError unless there is one share a domain, none below 0, and they sum to 1."""
    shares = np.asarray(mixture, float)
    if shares.shape != (len(domains),):
        raise ValueError(
            f"A mixture of shape {shares.shape}; expected one proportion for each of "
            f"{', '.join(domains)}."
        )
    if not (np.all(shares >= 0) and abs(shares.sum() - 1) < 1e-6):
        shown = ", ".join(f"{d} {r:.4g}" for d, r in zip(domains, shares, strict=True))
        raise ValueError(
            f"The mixture {shown} sums to {shares.sum():.6g}; expected proportions of 0 or more "
            "that sum to 1. Divide it by its sum if that is what you mean."
        )


def check_enough(tokens: Tokens, batch: int, sequence: int) -> None:
    """Raise ValueError if a domain has fewer tokens than a batch of sequences needs."""
    least = batch * sequence + 1
    for name, ids in zip(tokens.domains, tokens.train, strict=True):
        if len(ids) < least:
            raise ValueError(
                f"{name} has {len(ids)} tokens to train on; expected at least {least}, a batch of "
                f"{batch} × {sequence} and one. Add text, or take a smaller batch."
            )


def _domains(mixture: np.ndarray, steps: int, batch: int, seed: int) -> np.ndarray:
    first = np.random.default_rng(seed).random()
    point = (first + GOLDEN * np.arange(steps)) % 1
    places = (point[:, None] + np.arange(batch)) / batch
    ends = np.cumsum(mixture / mixture.sum())
    last = int(np.flatnonzero(mixture)[-1])
    return np.minimum(np.searchsorted(ends, places, side="right"), last)


def _order(sequences: int, count: int, seed: tuple[int, int]) -> np.ndarray:
    """(count,) numbers below `sequences`, in another order every time around."""
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(sequences) for _ in range(-(-count // sequences))]
    return np.concatenate([np.zeros(0, int), *rounds])[:count]


def held_out_sequences(tokens: Tokens, count: int, sequence: int) -> np.ndarray:
    """(domains, count, sequence + 1) ids, evenly spaced over each domain's held-out part.

    Raises:
        ValueError: if a domain's held-out part has fewer tokens than that needs.
    """
    found = []
    for name, ids in zip(tokens.domains, tokens.held_out, strict=True):
        if len(ids) < count * sequence + 1:
            raise ValueError(
                f"{name} has {len(ids)} tokens held out; expected at least "
                f"{count * sequence + 1}, {count} sequences of {sequence} and one. Hold out more, "
                "or measure on fewer."
            )
        begins = np.linspace(0, len(ids) - sequence - 1, count).astype(int)
        found.append(ids[begins[:, None] + np.arange(sequence + 1)])
    return np.stack(found).astype(np.int32)
