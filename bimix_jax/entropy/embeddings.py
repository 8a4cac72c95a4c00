"""Embeddings of samples: an .npy file, or word vectors averaged over the words of a sample."""

import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bimix_jax.entropy.streams import EntropyWarning
from bimix_jax.files import check_readable

WORD = re.compile(r"\w+")


def read_embeddings(path: str | Path) -> np.ndarray:
    """Embeddings (samples, dimensions) of an .npy file, memory-mapped.

    Raises:
        ValueError: if the file is no such array.
    """
    check_readable(path, "embeddings (.npy)")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is parsed as Python, so damage raises nearly anything
        raise ValueError(f"{path} cannot be read as .npy: {error}") from error
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ValueError(
            f"{path}: {array.dtype} of shape {array.shape}; expected real numbers of shape "
            "(samples, dimensions)."
        )
    return array


def read_word_vectors(path: str | Path) -> dict[str, np.ndarray]:
    """Word vectors by word, from the .vec text format: "words dimensions", then one word a line.

    Raises:
        ValueError: if the first line is no such header, or no line fits it. Single lines that do
            not fit are left out with a warning.
    """
    check_readable(path, "word vectors (.vec)")
    vectors, wrong = dict[str, np.ndarray](), 0
    with open(path, encoding="utf-8", errors="replace") as lines:
        header = lines.readline().split()
        if len(header) != 2 or not all(number.isdigit() for number in header):
            raise ValueError(
                f"{path}: the first line is {' '.join(header)[:60]!r}; expected the number of "
                "words and of dimensions, as in the .vec format."
            )
        for line in lines:
            word, *numbers = line.rstrip().split(" ")
            vector = _numbers(numbers)
            if vector is None or len(vector) != int(header[1]):
                wrong += 1
            else:
                vectors.setdefault(word, vector)
    if not vectors:
        raise ValueError(f"{path}: no line holds a word and {header[1]} numbers.")
    if wrong:
        message = f"{path}: {wrong} lines without {header[1]} finite numbers left out."
        warnings.warn(message, EntropyWarning, stacklevel=2)
    return vectors


def _numbers(cells: list[str]) -> np.ndarray | None:
    try:
        vector = np.array(cells, np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None


def embed(texts: Iterable[str], vectors: dict[str, np.ndarray]) -> np.ndarray:
    """Mean vector of the known words of each text, (texts, dimensions); zeros if it has none.

    A word is looked up as it is written, then in lower case.

    >>> vectors = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0])}
    >>> embed(["a B, b", "?"], vectors).round(2)
    array([[0.33, 0.67],
           [0.  , 0.  ]], dtype=float32)
    """
    zero = np.zeros(len(next(iter(vectors.values()))), np.float32)
    rows = [_mean(list(_known(text, vectors)), zero) for text in texts]
    return np.array(rows, np.float32).reshape(-1, len(zero))


def _known(text: str, vectors: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    for word in WORD.findall(text):
        vector = vectors.get(word, vectors.get(word.lower()))
        if vector is not None:
            yield vector


def _mean(found: list[np.ndarray], zero: np.ndarray) -> np.ndarray:
    return np.mean(found, axis=0) if found else zero
