"""Forms in which files hold text or token ids, and the fields that hold them."""

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

TEXT_FIELD = "text"
"""Default field."""
ID_FIELDS = ("input_ids", "token_ids", "tokens")
"""Usual fields of token ids, tried if there is no field of text."""
MASK = "attention_mask"
"""Field beside token ids that is 0 where they are padding."""


class Field(NamedTuple):
    """The field with the content of a domain."""

    name: str
    ids: bool
    """True where it holds token ids rather than text"""


def checked_ids(row: Any, where: str, vocabulary: int) -> np.ndarray:
    """Return the token ids of a document as integers.

    Args:
        row: a list of whole numbers, or an array of integers.
        where: file and row, for messages.
        vocabulary: number of token types.

    Raises:
        ValueError: if they are not whole numbers, or not below the vocabulary.

    >>> checked_ids([3, -100], "a.jsonl: line 7", 50)
    Traceback (most recent call last):
    ValueError: a.jsonl: line 7 holds the token id -100; expected ids from 0 to 49 ...
    """
    # Exact types: JSON has true and 1.0, which NumPy would turn into ids.
    if isinstance(row, list) and not set(map(type, row)) <= {int}:
        wrong = next(value for value in row if type(value) is not int)
        raise ValueError(
            f"{where} holds {wrong!r:.60} among its token ids; expected whole numbers, one list "
            "per document."
        )
    ids = np.asarray(row, None if len(row) else np.int64)
    wrong = (ids < 0) | (ids >= vocabulary)
    if wrong.any():
        padding = " Negative ids mark padding: leave it out." if (ids < 0).any() else ""
        raise ValueError(
            f"{where} holds the token id {ids[np.argmax(wrong)]}; expected ids from 0 to "
            f"{vocabulary - 1} for a vocabulary of {vocabulary} (vocabulary= or --vocabulary)."
            f"{padding}"
        )
    return ids


PLAIN = (".txt",)
RECORDS = (".jsonl", ".ndjson", ".json")
TABLES = (".parquet", ".arrow")
TOKENS = (".npy", ".bin", ".ds")
PACKED = (".gz", ".zst", ".bz2", ".xz")
KNOWN = (
    f"text ({', '.join((*PLAIN, *RECORDS))}, each also {', '.join(PACKED)}), tables "
    f"({', '.join(TABLES)}) or token ids ({', '.join(TOKENS)})"
)
HEAD = 4096
"""Bytes at the beginning of a file that are checked to recognise its content."""
NUL_SHARE = 0.1
"""Share of NUL bytes above which a text is UTF-16 or binary; UTF-16 of ASCII has half of them."""
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
MAGIC = {
    b"version https://git-lfs": "a pointer of Git LFS instead of the data; run git lfs pull",
    b"\x1f\x8b\x08": "packed by gzip; rename it so that it ends in .gz",
    b"\x28\xb5\x2f\xfd": "packed by zstd; rename it so that it ends in .zst",
    b"\xfd7zXZ\x00": "packed by xz; rename it so that it ends in .xz",
    b"BZh": "packed by bzip2; rename it so that it ends in .bz2",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"PAR1": "a Parquet file; rename it so that it ends in .parquet",
    b"ARROW1\x00\x00": "an arrow file; rename it so that it ends in .arrow",
    b"\x93NUMPY": "a NumPy file; rename it so that it ends in .npy",
    b"MMIDIDX\x00\x00": "the index of a Megatron file; name the .bin beside it",
    b"TNTIDX\x00\x00": "the index of an old Megatron file; name a .bin in the newer form",
}
"""First bytes → true kind of a file whose name suggests another."""
MARKS = {
    # UTF-32 is tried first, because its mark begins with the mark of UTF-16.
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
UTF8_MARK = b"\xef\xbb\xbf"


class Form(NamedTuple):
    """The kind of a file by its name."""

    suffix: str
    packed: str
    """extension of a packed file, empty if it is not packed"""


def form_of(path: Path) -> Form | None:
    """Return the form of a file, None if it is unknown.

    >>> form_of(Path("web.v2.JSONL.gz")), form_of(Path("notes.md")), form_of(Path("ids.bin.gz"))
    (Form(suffix='.jsonl', packed='.gz'), None, None)
    """
    name = path.name.lower()
    # Tables are compressed inside, and token ids are read at any position, so neither is accepted
    # packed.
    packed = next((p for p in PACKED if name.endswith(p)), "")
    plain = name.removesuffix(packed)
    suffixes = (*PLAIN, *RECORDS) if packed else (*PLAIN, *RECORDS, *TABLES, *TOKENS)
    suffix = next((s for s in suffixes if plain.endswith(s)), None)
    return None if suffix is None else Form(suffix, packed)


def stem_of(path: Path) -> str:
    """Return the name of a file without its known extensions."""
    form = form_of(path)
    return path.name if form is None else path.name[: -len(form.suffix + form.packed)]


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn errors of reading and unpacking into a ValueError that names the file."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
        raise damaged(path, error) from error


def damaged(path: Path, reason: object) -> ValueError:
    """Return the error for a damaged file."""
    return ValueError(
        f"{path} cannot be read: it is damaged or incomplete ({str(reason).rstrip('.')}). Copy or "
        "download it again."
    )


@contextlib.contextmanager
def opened(path: Path, form: Form) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Open a text file; yield the raw file on disk, and its unpacked bytes.

    Every frame and member of a packed file is read. A truncated file raises one of `DAMAGE`.
    """
    with open(path, "rb") as raw, _unpacked(raw, form.packed) as unpacked:
        yield raw, unpacked


def _unpacked(raw: IO[bytes], packed: str) -> IO[bytes]:
    if packed == ".gz":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if packed == ".bz2":
        return bz2.BZ2File(raw)
    if packed == ".xz":
        return lzma.LZMAFile(raw)
    if packed == ".zst":
        import pyarrow as pa

        # Python itself reads zstd only from 3.14 on.
        return io.BufferedReader(pa.CompressedInputStream(raw, "zstd"), 1 << 20)
    return raw


def check_text(path: Path, head: bytes) -> None:
    """Raise ValueError unless a file that begins with these bytes may be text in UTF-8."""
    check_magic(path, head)
    mark = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if mark or head.count(0) > NUL_SHARE * len(head):
        what = f"begins with the mark of {mark}" if mark else "holds NUL bytes, as UTF-16 does"
        raise ValueError(
            f"{path} is not text in UTF-8: it {what}. Convert it first, as with "
            "iconv -f UTF-16 -t UTF-8."
        )


def check_magic(path: Path, head: bytes) -> None:
    """Raise ValueError if the first bytes show another kind of file."""
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise ValueError(f"{path} is {what}.")
