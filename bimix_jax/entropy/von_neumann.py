"""The von Neumann entropy of embeddings."""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bimix_jax.files import check_readable
from bimix_jax.reading.errors import EntropyWarning

WORD = re.compile(r"\w+")


def read_embeddings(path: str | Path) -> np.ndarray:
    """Open embeddings (samples, dimensions) in an .npy file, memory-mapped.

    Raises:
        ValueError: if the file is not such an array.
    """
    path = check_readable(path, "embeddings (.npy)")
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
    """Read word vectors from the .vec text format: "words dimensions", then one word per line.

    Raises:
        ValueError: if the first line is no such header, or no line fits it. Single lines that do
            not fit are left out with a warning.
    """
    path = check_readable(path, "word vectors (.vec)")
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
                # The first of repeated words counts, as files are sorted by frequency.
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
    """Return the mean vector of the known words of each text, (texts, dimensions), or zeros.

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


BLOCK_BYTES = 1 << 23
"""Bytes of embeddings that are multiplied at once, on JAX's device."""
SAMPLE = 2000
"""Samples for kernels other than cosine: their matrix has 32 MB, its spectrum takes seconds."""
SAFE = 1e-30
"""Smallest square of a length that keeps its digits; the largest one is its inverse."""

Kernel = Callable[[np.ndarray], np.ndarray]


def von_neumann_entropy(
    embeddings: np.ndarray,
    kernel: str | Kernel = "cosine",
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    name: str = "embeddings",
) -> float:
    """Return the entropy of the spectrum of similarities, −Tr(ρ ln ρ) with ρ = K / N, in nats.

    With the cosine kernel K = X Xᵀ of unit vectors, and the spectrum above zero is that of
    Xᵀ X / N, a d × d matrix: any number of samples is used, block by block. Other kernels take the
    N × N matrix of a random sample. Formula: BiMix (Ge et al., arXiv 2405.14908), after the Vendi
    score (Friedman & Dieng 2023), whose logarithm this is.

    Args:
        embeddings: (samples, dimensions) real numbers; a memory map will do. Zero vectors have no
            direction and are left out, with a warning that counts them. Single precision is
            multiplied as it is and summed in double, which costs about 1e-7 nats.
        kernel: "cosine", or a function of (samples, dimensions) that gives (samples, samples)
            similarities, symmetric, with ones on the diagonal.
        sample: largest number of samples for a kernel other than cosine.
        seed: of the draw of that sample.
        name: name of the embeddings in errors.

    Raises:
        ValueError: if the shape is wrong, a number is not finite, no vector is left, or the kernel
            does not return a matrix of similarities.

    >>> round(von_neumann_entropy(np.eye(3)), 4)  # three unlike samples: ln 3
    1.0986
    >>> round(von_neumann_entropy(np.ones((5, 3))), 4)  # five alike
    0.0
    """
    embeddings = _checked(embeddings, name)
    if kernel == "cosine":
        return _entropy(_cosine_spectrum(embeddings, name))
    if not callable(kernel):
        raise ValueError(f"kernel is {kernel!r}; expected 'cosine' or a function of embeddings.")
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(embeddings))[:sample])
    return _entropy(_kernel_spectrum(np.asarray(embeddings[rows], float), kernel, name))


def _checked(embeddings: np.ndarray, name: str) -> np.ndarray:
    array = embeddings if isinstance(embeddings, np.ndarray) else np.asarray(embeddings)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise ValueError(
            f"{name}: an array of {array.dtype} with shape {array.shape}; expected numbers of "
            "shape (samples, dimensions) with at least one sample."
        )
    return array


def _cosine_spectrum(embeddings: np.ndarray, name: str) -> np.ndarray:
    count, dimensions = embeddings.shape
    # XᵀX is the sum of uᵀu over the unit vectors, so blocks add up; XᵀX and XXᵀ have the same
    # eigenvalues above 0.
    moment, used = np.zeros((dimensions, dimensions)), 0
    dtype = np.float32 if embeddings.dtype in (np.float16, np.float32) else np.float64
    step = max(BLOCK_BYTES // (8 * dimensions), 1)
    for begin in range(0, count, step):
        unit = _unit(np.array(embeddings[begin : begin + step], dtype), begin, name)
        used += len(unit)
        moment += _moment_of(unit, step)
    if used < count:
        warnings.warn(_left_out(name, count - used, count), EntropyWarning, stacklevel=3)
    if not used:
        raise ValueError(f"{name}: all {count} vectors are zero; expected embeddings of samples.")
    return np.linalg.eigvalsh(moment / used)


def _moment_of(unit: np.ndarray, rows: int) -> np.ndarray:
    """Return Uᵀ U, with U padded by zero vectors to `rows`, so that one shape is compiled."""
    filled = np.zeros((rows, unit.shape[1]), unit.dtype)
    filled[: len(unit)] = unit
    with jax.enable_x64(unit.dtype == np.float64):
        return np.asarray(_moment(filled))


@jax.jit
def _moment(unit: jax.Array) -> jax.Array:
    # Accelerators would multiply in TF32 or bfloat16 by default.
    return jnp.matmul(unit.T, unit, precision="highest")


def _unit(block: np.ndarray, begin: int, name: str) -> np.ndarray:
    """Return the nonzero vectors at unit length."""
    squares = np.einsum("ij,ij->i", block, block)
    if not (squares.min() > SAFE and squares.max() < 1 / SAFE):
        block = _scaled(block, begin, name)
        squares = np.einsum("ij,ij->i", block, block)
    block *= (1 / np.sqrt(squares))[:, None]
    return block


def _scaled(block: np.ndarray, begin: int, name: str) -> np.ndarray:
    """Return the nonzero vectors, divided by their largest entry so that squares do not
    overflow."""
    largest = np.abs(block).max(axis=1)
    if not np.isfinite(largest).all():
        row = begin + int(np.argmin(np.isfinite(largest)))
        raise ValueError(
            f"{name}: row {row} holds a number that is not finite; remove the sample or embed it "
            "again."
        )
    return block[largest > 0] / largest[largest > 0, None]


def _kernel_spectrum(sample: np.ndarray, kernel: Kernel, name: str) -> np.ndarray:
    similarity = np.asarray(kernel(sample), float)
    count = len(sample)
    if similarity.shape != (count, count) or not np.allclose(np.diag(similarity), 1.0):
        raise ValueError(
            f"{name}: the kernel gave shape {similarity.shape}; expected ({count}, {count}) "
            "with ones on the diagonal."
        )
    if not np.allclose(similarity, similarity.T):
        raise ValueError(f"{name}: the kernel's matrix is not symmetric; expected similarities.")
    return np.linalg.eigvalsh(similarity / count)


def _entropy(spectrum: np.ndarray) -> float:
    """Return the entropy of eigenvalues that sum to 1; those at or below zero are rounding."""
    # x ln x tends to 0 with x, so zeros add nothing.
    positive = spectrum[spectrum > 0]
    return max(float(-np.sum(positive * np.log(positive))), 0.0)


def _left_out(name: str, zero: int, count: int) -> str:
    return f"{name}: {zero} of {count} vectors are zero and were left out."
