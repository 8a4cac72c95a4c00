"""Loss of a model of token frequencies alone: the least to beat."""

import numpy as np

from benchmarks.proxy_sweep.batches import held_out_sequences
from benchmarks.proxy_sweep.tokens import Tokens


def unigram_losses(tokens: Tokens, count: int, sequence: int) -> np.ndarray:
    """(domains,) nats per token of each domain's own unigram model.

    Frequencies are those of the domain's training part, each token counted once more so that none
    has probability 0; measured on the sequences that models are measured on.
    """
    held_out = held_out_sequences(tokens, count, sequence)
    found = []
    for ids, sequences in zip(tokens.train, held_out, strict=True):
        counts = np.bincount(ids, minlength=tokens.vocabulary) + 1
        found.append(-np.log(counts / counts.sum())[sequences[:, 1:]].mean())
    return np.array(found)
