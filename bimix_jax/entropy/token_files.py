"""Files of token ids: .npy, and raw .bin as training pipelines write them."""

import struct
import warnings
from pathlib import Path

import numpy as np

from bimix_jax.entropy.streams import NO_STARTS, EntropyWarning, FileStream

SUFFIXES = (".npy", ".bin")
RAW_DTYPES = ("uint16", "uint32")
PROBED = 1 << 20
"""tokens that are looked at to guess a dtype"""
INDEX_MAGIC = b"MMIDIDX\x00\x00"
INDEX_DTYPES = {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 8: "u2"}


def read_token_file(path: Path, vocabulary: int, dtype: str | None = None) -> FileStream:
    """The tokens of one file, read when they are needed.

    A .npy file holds integers of shape (tokens,) or (documents, tokens). A .bin file holds uint16
    or uint32 and nothing else; with the .idx of a Megatron or GPT-NeoX pipeline beside it, dtype
    and documents come from there, else the dtype is `dtype`, or found by the range of the ids.

    Args:
        path: the file.
        vocabulary: number of token types.
        dtype: "uint16" or "uint32", for a .bin file without an index.

    Raises:
        ValueError: if the file is empty, truncated, or its ids fit no dtype.
    """
    if path.suffix == ".npy":
        return _numpy_file(path)
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path} is empty; expected token ids. Leave the file out.")
    index = path.with_suffix(".idx")
    if index.is_file():
        return _indexed(path, index, size)
    found = np.dtype(_dtype_of(path, size, vocabulary, dtype)).newbyteorder("<")
    return FileStream(path, found, size // found.itemsize)


def _numpy_file(path: Path) -> FileStream:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read as .npy: {error}") from error
    if mapped.dtype.kind not in "iu" or mapped.ndim not in (1, 2) or not mapped.flags.c_contiguous:
        raise ValueError(
            f"{path}: an array of {mapped.dtype} with shape {mapped.shape}; expected integers of "
            "shape (tokens,) or (documents, tokens) in C order."
        )
    width = mapped.shape[-1]
    starts = np.arange(0, mapped.size, max(width, 1)) if mapped.ndim == 2 else NO_STARTS
    return FileStream(path, mapped.dtype, mapped.size, int(mapped.offset), starts)


def _dtype_of(path: Path, size: int, vocabulary: int, given: str | None) -> str:
    if given is not None and given not in RAW_DTYPES:
        raise ValueError(f"dtype is {given!r}; expected one of {', '.join(RAW_DTYPES)}.")
    fits = [dtype for dtype in RAW_DTYPES if _fits(path, size, vocabulary, dtype)]
    if given is not None:
        return _agreed(path, size, vocabulary, given, fits)
    if not fits:
        raise ValueError(
            f"{path}: {size} bytes that are neither uint16 nor uint32 ids below {vocabulary}; the "
            "file is truncated, holds something else, or the vocabulary is larger."
        )
    if len(fits) == 2 and not np.fromfile(path, "<u4", PROBED).any():
        raise ValueError(f"{path}: only zeros, of no certain dtype; say uint16 or uint32.")
    if len(fits) == 2:
        # Two 16-bit ids make a 32-bit number below a vocabulary only if every other one is tiny.
        warnings.warn(
            f"{path}: taken for uint32, as every other 16-bit number is tiny; give the dtype if "
            "that is wrong.", EntropyWarning, stacklevel=4,
        )  # fmt: skip
    return fits[-1]


def _agreed(path: Path, size: int, vocabulary: int, given: str, fits: list[str]) -> str:
    itemsize = np.dtype(given).itemsize
    if size % itemsize:
        raise ValueError(
            f"{path}: {size} bytes are no multiple of {itemsize} ({given}); the file is truncated "
            "or of another dtype."
        )
    if given not in fits:
        looks = f" It looks like {fits[0]}." if fits else ""
        raise ValueError(
            f"{path}: ids read as {given} reach beyond the vocabulary of {vocabulary}.{looks} "
            "Correct the dtype or the vocabulary."
        )
    if given == "uint16" and "uint32" in fits and np.fromfile(path, "<u2", PROBED).any():
        warnings.warn(
            f"{path}: read as uint16 as told, but every other number is tiny, as in uint32.",
            EntropyWarning, stacklevel=5,
        )  # fmt: skip
    return given


def _fits(path: Path, size: int, vocabulary: int, dtype: str) -> bool:
    """If the size is whole and all ids in the first and last part lie below the vocabulary."""
    kind = np.dtype(dtype).newbyteorder("<")
    if size % kind.itemsize:
        return False
    tail = max(size // kind.itemsize - PROBED, 0) * kind.itemsize
    probes = [np.fromfile(path, kind, PROBED, offset=offset) for offset in (0, tail)]
    return bool(max(int(probe.max()) for probe in probes) < vocabulary)


def _indexed(path: Path, index: Path, size: int) -> FileStream:
    """Dtype and documents from a Megatron index: header, then a length and a place a document."""
    header = index.read_bytes()
    wrong = f"{index} is no index of token sequences that fits {path.name} ({size} bytes)"
    if len(header) < 34 or not header.startswith(INDEX_MAGIC):
        raise ValueError(f"{wrong}: another header. Move it away to read the .bin alone.")
    _, code, sequences, _ = struct.unpack("<QBQQ", header[9:34])
    if code not in INDEX_DTYPES or len(header) < 34 + 4 * sequences:
        raise ValueError(f"{wrong}: dtype code {code}, {sequences} sequences, truncated.")
    dtype = np.dtype(INDEX_DTYPES[code]).newbyteorder("<")
    lengths = np.frombuffer(header, "<i4", sequences, offset=34).astype(np.int64)
    if lengths.sum() * dtype.itemsize != size:
        raise ValueError(
            f"{wrong}: it speaks of {lengths.sum()} tokens of {dtype.itemsize} bytes; "
            "the .bin is truncated."
        )
    return FileStream(path, dtype, int(lengths.sum()), 0, np.cumsum(lengths) - lengths)
