"""Word vectors from the corpus itself, since nothing is fetched: what stands beside what.

The positive pointwise mutual information of words within a window, its leading singular vectors,
each scaled by the root of its singular value (Levy, Goldberg & Dagan 2015). Written as .vec, the
format of published vectors, which would serve as well.
"""

import collections
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from bimix_jax.entropy.von_neumann import WORD
from bimix_jax.files import atomic_path

WORDS = 20_000
WINDOW = 4
DIMENSIONS = 100


def write_word_vectors(
    texts: Iterable[str], path: Path, words: int = WORDS, dimensions: int = DIMENSIONS
) -> None:
    """Vectors of the most frequent words, in lower case, as a .vec file."""
    documents = [WORD.findall(text.lower()) for text in texts]
    frequent = collections.Counter(word for document in documents for word in document)
    known = {word: i for i, (word, _) in enumerate(frequent.most_common(words))}
    ids = [np.array([known.get(word, -1) for word in document]) for document in documents]
    vectors = factors(cooccurrences(ids, len(known)), min(dimensions, len(known) - 1))
    with atomic_path(path) as beside, open(beside, "w", encoding="utf-8") as out:
        out.writelines(_lines(list(known), vectors))


def cooccurrences(documents: Iterable[np.ndarray], words: int) -> scipy.sparse.csr_array:
    """(words, words) how often two words stand within the window, in any order; −1 is none."""
    counts = scipy.sparse.csr_array((words, words))
    joined = np.concatenate([np.append(ids, [-1] * WINDOW) for ids in documents])
    for distance in range(1, WINDOW + 1):
        first, second = joined[:-distance], joined[distance:]
        both = (first >= 0) & (second >= 0)
        ones, places = np.ones(int(both.sum())), (first[both], second[both])
        counts = counts + scipy.sparse.coo_array((ones, places), (words, words)).tocsr()
    return (counts + counts.T).tocsr()


def factors(counts: scipy.sparse.csr_array, dimensions: int) -> np.ndarray:
    """(words, dimensions) from max(ln P(a, b) / P(a) P(b), 0)."""
    pairs = counts.tocoo()
    rows = np.asarray(counts.sum(axis=1))
    information = np.log(pairs.data * counts.sum() / (rows[pairs.row] * rows[pairs.col]))
    matrix = scipy.sparse.coo_array(
        (np.maximum(information, 0), (pairs.row, pairs.col)), counts.shape
    )
    left, values, _ = scipy.sparse.linalg.svds(matrix.tocsr(), dimensions, random_state=0)
    return left * np.sqrt(values)


def _lines(words: list[str], vectors: np.ndarray) -> Iterator[str]:
    yield f"{len(words)} {vectors.shape[1]}\n"
    for word, vector in zip(words, vectors, strict=True):
        yield f"{word} {' '.join(f'{x:.5g}' for x in vector)}\n"
