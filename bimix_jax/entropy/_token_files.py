"""Files of token ids, with or without a header."""

import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bimix_jax.entropy._files import HEAD, check_magic
from bimix_jax.entropy._streams import NO_STARTS, FileStream
from bimix_jax.reading.errors import EntropyWarning

LLM_C_WORDS = 256
"""Words of 4 bytes in a header of llm.c."""
LLM_C_DTYPES = {(20240520, 1): "<u2", (20240801, 7): "<u4"}
"""Magic number and version of llm.c and modded-nanogpt → dtype."""
LIT_MAGIC = b"LITPKDS"
# Codes of dtypes as their writers number them; codes of floats are left out.
LIT_DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
INDEX_MAGIC = b"MMIDIDX\x00\x00"
INDEX_DTYPES = {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 8: "u2"}
NUMPY_MAGIC = b"\x93NUMPY"


class Header(NamedTuple):
    """The content of a header of a file of token ids."""

    writer: str
    dtype: np.dtype
    size: int
    """bytes of the header"""
    tokens: int


def described(path: Path, size: int) -> FileStream | None:
    """Return the tokens of a file whose header, or companion file, describes how they are stored.

    Args:
        path: a .bin, .ds or .npy file.
        size: its bytes.

    Returns:
        None without a description, so the file is taken for ids alone.

    Raises:
        ValueError: if the header is of an unknown version, or the file is longer or shorter than
            stated.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)
    # A header is looked for before a companion file, and whatever the extension is.
    if head.startswith(NUMPY_MAGIC):
        return _numpy(path, size)
    if path.with_suffix(".idx").is_file() and path.suffix.lower() == ".bin":
        return _megatron(path, path.with_suffix(".idx"), size)
    if path.suffix.lower() == ".ds":
        return _datatrove(path, size)
    check_magic(path, head)
    header = _llm_c(path, head) or _lit(path, head)
    if header is None:
        return None
    wanted = header.size + header.tokens * header.dtype.itemsize
    # A truncated file would give plausible entropies of a part of the domain.
    if size != wanted:
        raise ValueError(
            f"{path}: its header ({header.writer}) states {header.tokens} ids of "
            f"{header.dtype.name}, which are {wanted} bytes with the header, but the file has "
            f"{size}; it is damaged or incomplete. Copy or download it again."
        )
    return FileStream(path, header.dtype, header.tokens, header.size)


def _llm_c(path: Path, head: bytes) -> Header | None:
    """Parse a header of 256 words: magic number, version, tokens, and zeros."""
    if len(head) < 4 * LLM_C_WORDS:
        return None
    words = np.frombuffer(head, "<i4", LLM_C_WORDS)
    magic, version, tokens = map(int, words[:3])
    if not _is_date(magic) or words[3:].any():
        return None
    if (magic, version) not in LLM_C_DTYPES:
        known = ", ".join(f"{m} version {v}" for m, v in LLM_C_DTYPES)
        raise ValueError(
            f"{path}: a header as of llm.c with the magic number {magic} and version {version}; "
            f"known are {known}. Write the ids alone into a .bin."
        )
    return Header("llm.c", np.dtype(LLM_C_DTYPES[magic, version]), 4 * LLM_C_WORDS, tokens)


def _is_date(magic: int) -> bool:
    """True where a number is a date of recent years, as the magic numbers of llm.c are."""
    year, month, day = magic // 10_000, magic // 100 % 100, magic % 100
    return 2023 <= year < 2040 and 1 <= month <= 12 and 1 <= day <= 31


def _lit(path: Path, head: bytes) -> Header | None:
    """Parse a header of LitGPT and TinyLlama: magic, version, dtype code, tokens."""
    if not head.startswith(LIT_MAGIC) or len(head) < 24:
        return None
    # After the 7 bytes of the magic: version (8 bytes), dtype code (1), number of tokens (8).
    version, code, tokens = struct.unpack("<QBQ", head[7:24])
    if version != 1 or code not in LIT_DTYPES:
        raise ValueError(
            f"{path}: a header of LitGPT with version {version} and dtype code {code}; expected "
            f"version 1 and one of {', '.join(map(str, LIT_DTYPES))}, which are integers. Write "
            "the ids alone into a .bin."
        )
    return Header("LitGPT", np.dtype(LIT_DTYPES[code]), 24, tokens)


def _numpy(path: Path, size: int) -> FileStream:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is parsed as Python, so damage raises nearly anything
        said = str(error).replace("allow_pickle=False", "Python objects")
        raise ValueError(
            f"{path} cannot be read as .npy: it is damaged, incomplete, or holds no plain numbers "
            f"({said.rstrip('.')})."
        ) from error
    if mapped.dtype.kind not in "iu" or mapped.ndim not in (1, 2) or not mapped.flags.c_contiguous:
        raise ValueError(
            f"{path}: an array of {mapped.dtype} with shape {mapped.shape}; expected integers of "
            "shape (tokens,) or (documents, tokens) in C order."
        )
    offset = int(mapped.offset)
    if offset + mapped.nbytes != size:
        raise ValueError(
            f"{path}: {size - offset - mapped.nbytes} bytes follow the array of shape "
            f"{mapped.shape}; expected one array. Write each of several to a file of its own."
        )
    width = mapped.shape[-1]
    starts = np.arange(0, mapped.size, max(width, 1)) if mapped.ndim == 2 else NO_STARTS
    return FileStream(path, mapped.dtype, mapped.size, offset, starts)


def _megatron(path: Path, index: Path, size: int) -> FileStream:
    """Read dtype and documents from a Megatron index: header, then a length and a place per
    document."""
    header = index.read_bytes()
    wrong = f"{index} is not an index of token sequences that fits {path.name} ({size} bytes)"
    if len(header) < 34 or not header.startswith(INDEX_MAGIC):
        raise ValueError(f"{wrong}: another header. Move it away to read the .bin alone.")
    # After the 9 bytes of the magic: version (8), dtype code (1), numbers of sequences (8) and
    # documents (8); then 4 bytes of length per sequence.
    _, code, sequences, _ = struct.unpack("<QBQQ", header[9:34])
    if code not in INDEX_DTYPES or len(header) < 34 + 4 * sequences:
        raise ValueError(f"{wrong}: dtype code {code}, {sequences} sequences, truncated.")
    dtype = np.dtype(INDEX_DTYPES[code]).newbyteorder("<")
    lengths = np.frombuffer(header, "<i4", sequences, offset=34).astype(np.int64)
    if lengths.sum() * dtype.itemsize != size or (lengths < 0).any():
        raise ValueError(
            f"{wrong}: it states {lengths.sum()} tokens of {dtype.itemsize} bytes; "
            "the .bin is truncated."
        )
    return FileStream(path, dtype, int(lengths.sum()), 0, np.cumsum(lengths) - lengths)


def _datatrove(path: Path, size: int) -> FileStream | None:
    """Read the ends of documents from the .index file; the bytes per token give the dtype."""
    index = path.with_name(f"{path.name}.index")
    if not index.is_file():
        return None
    data = index.read_bytes()
    # One end per document, in tokens since the start of the file, 8 bytes each.
    ends = np.frombuffer(data[: len(data) // 8 * 8], "<u8").astype(np.int64)
    tokens = int(ends[-1]) if len(ends) else 0
    rising = bool((np.diff(ends, prepend=0) >= 0).all())
    width = size / tokens if tokens > 0 else 0
    if len(data) % 8 or not rising or width not in (2, 4):
        raise ValueError(
            f"{index} states that documents end after {tokens} tokens, which {path.name} "
            f"({size} bytes) does not hold with 2 or 4 bytes each; one of them is damaged or "
            "incomplete. Copy it again, or move the index away to read the ids alone."
        )
    starts = np.concatenate([[0], ends[:-1]])
    return FileStream(path, np.dtype(f"<u{int(width)}"), tokens, 0, starts[starts < ends])


DTYPES = {
    "uint8": "u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
}
GUESSED = ("uint16", "uint32", "uint64")
"""Dtypes that are tried without a given one, narrowest first; ids have no sign."""
PROBED = 1 << 20
"""Tokens that are examined to guess a dtype."""


def read_token_file(path: Path, vocabulary: int, dtype: str | None = None) -> FileStream:
    """Return the tokens of one file, which are read when needed.

    A .npy file holds integers of shape (tokens,) or (documents, tokens). For a .bin file, a header
    (llm.c, modded-nanogpt, LitGPT) or the .idx file of a Megatron or GPT-NeoX pipeline gives the
    dtype, the documents and the place of the first id; for a .ds file of datatrove, its .index. Any
    other file holds ids alone, in the given dtype, or in the widest one that fits the range of the
    ids.

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
        _warn(f"{path}: read as {stream.dtype.name}, as the file itself states, not as {dtype}.")
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
    """Return the widest dtype whose ids lie below the vocabulary."""
    fits = [dtype for dtype in GUESSED if _fits(path, size, vocabulary, dtype)]
    # Narrow ids read as wide ones have their neighbour as upper half, so they lie below the
    # vocabulary only if every other id is nearly 0: the widest dtype that fits is right.
    able = [dtype for dtype in fits if vocabulary <= 2 ** (8 * np.dtype(dtype).itemsize)]
    if not able:
        raise ValueError(
            f"{path}: {size} bytes that are neither uint16 nor uint32 ids below {vocabulary}; the "
            "file is truncated, holds something else, or the vocabulary is larger."
            f"{_near(path, size, vocabulary, fits)}"
        )
    # Zeros fit every dtype, and their number decides the number of tokens.
    if len(able) > 1 and not np.fromfile(path, "u1", PROBED).any():
        raise ValueError(
            f"{path} holds only zeros, which fit every dtype; give the dtype (dtype= or --dtype)."
        )
    if len(able) > 1:
        _warn(
            f"{path}: taken for {able[-1]}, as the upper half of every such number is tiny; give "
            "the dtype if that is wrong (dtype= or --dtype)."
        )
    return able[-1]


def _near(path: Path, size: int, vocabulary: int, fits: list[str]) -> str:
    """Return a hint of what the numbers would be in another dtype."""
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
            f"{path}: {size} bytes are not a multiple of {itemsize} ({given}); the file is "
            "truncated or of another dtype."
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
        _warn(
            f"{path}: read as {given} as asked, but every other number is tiny, as in {wider[0]}."
        )


def _fits(path: Path, size: int, vocabulary: int, dtype: str) -> bool:
    """True where the size is whole and all ids in the first and last part lie below the
    vocabulary."""
    whole = size % np.dtype(DTYPES[dtype]).itemsize == 0
    return whole and 0 <= _largest(path, size, dtype) < vocabulary


def _largest(path: Path, size: int, dtype: str) -> int:
    """Return the largest id in the first and last part, or a negative id."""
    kind = np.dtype(DTYPES[dtype])
    tail = max(size // kind.itemsize - PROBED, 0) * kind.itemsize
    probes = [np.fromfile(path, kind, PROBED, offset=offset) for offset in (0, tail)]
    lowest = min(int(probe.min()) for probe in probes)
    return lowest if lowest < 0 else max(int(probe.max()) for probe in probes)


def _warn(message: str) -> None:
    warnings.warn(message, EntropyWarning, stacklevel=5)
