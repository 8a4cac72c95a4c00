"""Files of token ids: .npy, and raw .bin as training pipelines write them."""

import warnings
from pathlib import Path

import numpy as np

from bimix_jax.entropy.headers import described
from bimix_jax.entropy.streams import EntropyWarning, FileStream

DTYPES = {
    "uint8": "u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "int16": "<i2",
    "int32": "<i4", "int64": "<i8",
}  # fmt: skip
GUESSED = ("uint16", "uint32", "uint64")
"""Dtypes that are tried where none is given, narrowest first; ids have no sign."""
PROBED = 1 << 20
"""tokens that are looked at to guess a dtype"""


def read_token_file(path: Path, vocabulary: int, dtype: str | None = None) -> FileStream:
    """The tokens of one file, read when they are needed.

    A .npy file holds integers of shape (tokens,) or (documents, tokens). Dtype, documents and the
    begin of the ids of a .bin file come from its header (llm.c, modded-nanogpt, LitGPT) or from
    the .idx of a Megatron or GPT-NeoX pipeline beside it, those of a .ds file of datatrove from
    its .index. Else a file holds ids and nothing else, of the dtype given, or of the widest one
    that is found by the range of the ids.

    Args:
        path: the file.
        vocabulary: number of token types.
        dtype: "uint16", "uint32" or another dtype of integers, for ids without a header.

    Raises:
        ValueError: if the file is empty, truncated, or its ids fit no dtype.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}.")
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path} is empty; expected token ids. Leave the file out.")
    stream = described(path, size)
    if stream is None:
        return _raw(path, size, vocabulary, dtype)
    if not len(stream):
        raise ValueError(f"{path} is empty; expected token ids. Leave the file out.")
    if dtype is not None and np.dtype(DTYPES[dtype]).itemsize != stream.dtype.itemsize:
        _warn(f"{path}: read as {stream.dtype.name}, as the file itself says, not as {dtype}.")
    return stream


def _raw(path: Path, size: int, vocabulary: int, given: str | None) -> FileStream:
    bare = path.suffix.lower() == ".npy"
    try:
        name = given or _guessed(path, size, vocabulary)
        if given is not None:
            _check_given(path, size, vocabulary, given)
    except ValueError as error:
        if bare:
            raise ValueError(
                f"{error} It has no NumPy header, so it was taken for raw ids."
            ) from None
        raise
    found = np.dtype(DTYPES[name])
    if bare:
        _warn(f"{path} has no NumPy header; it was read as raw ids of {name}, as a .bin is.")
    return FileStream(path, found, size // found.itemsize)


def _guessed(path: Path, size: int, vocabulary: int) -> str:
    """The widest dtype whose ids lie below the vocabulary."""
    fits = [dtype for dtype in GUESSED if _fits(path, size, vocabulary, dtype)]
    able = [dtype for dtype in fits if vocabulary <= 2 ** (8 * np.dtype(dtype).itemsize)]
    if not able:
        raise ValueError(
            f"{path}: {size} bytes that are neither uint16 nor uint32 ids below {vocabulary}; the "
            "file is truncated, holds something else, or the vocabulary is larger."
            f"{_near(path, size, vocabulary, fits)}"
        )
    if len(able) > 1 and not np.fromfile(path, "u1", PROBED).any():
        raise ValueError(f"{path}: only zeros, of no certain dtype; say uint16 or uint32.")
    if len(able) > 1:
        _warn(
            f"{path}: taken for {able[-1]}, as the upper half of every such number is tiny; give "
            "the dtype if that is wrong (dtype= or --dtype)."
        )
    return able[-1]


def _near(path: Path, size: int, vocabulary: int, fits: list[str]) -> str:
    """What the numbers would be otherwise, where that may be what is meant."""
    if "uint16" in fits:
        return (
            f" They could be 16-bit numbers, which reach a vocabulary of 65536, not {vocabulary}; "
            "give --dtype uint16 if they are."
        )
    largest = {
        dtype: _largest(path, size, dtype)
        for dtype in ("uint16", "uint32")
        if size % np.dtype(dtype).itemsize == 0
    }
    found = " and ".join(f"{value} as {dtype}" for dtype, value in largest.items())
    return f" The largest number is {found}." if found else ""


def _check_given(path: Path, size: int, vocabulary: int, given: str) -> None:
    itemsize = np.dtype(DTYPES[given]).itemsize
    if size % itemsize:
        raise ValueError(
            f"{path}: {size} bytes are no multiple of {itemsize} ({given}); the file is truncated "
            "or of another dtype."
        )
    fits = [dtype for dtype in GUESSED if _fits(path, size, vocabulary, dtype)]
    if not _fits(path, size, vocabulary, given):
        looks = f" It looks like {fits[0]}." if fits else ""
        raise ValueError(
            f"{path}: ids read as {given} reach beyond the vocabulary of {vocabulary}.{looks} "
            "Correct the dtype or the vocabulary."
        )
    wider = [dtype for dtype in fits if np.dtype(dtype).itemsize > itemsize]
    if wider and np.fromfile(path, "u1", PROBED).any():
        _warn(f"{path}: read as {given} as told, but every other number is tiny, as in {wider[0]}.")


def _fits(path: Path, size: int, vocabulary: int, dtype: str) -> bool:
    """If the size is whole and all ids in the first and last part lie below the vocabulary."""
    whole = size % np.dtype(DTYPES[dtype]).itemsize == 0
    return whole and 0 <= _largest(path, size, dtype) < vocabulary


def _largest(path: Path, size: int, dtype: str) -> int:
    """The largest id in the first and last part, or a negative one."""
    kind = np.dtype(DTYPES[dtype])
    tail = max(size // kind.itemsize - PROBED, 0) * kind.itemsize
    probes = [np.fromfile(path, kind, PROBED, offset=offset) for offset in (0, tail)]
    lowest = min(int(probe.min()) for probe in probes)
    return lowest if lowest < 0 else max(int(probe.max()) for probe in probes)


def _warn(message: str) -> None:
    warnings.warn(message, EntropyWarning, stacklevel=5)
