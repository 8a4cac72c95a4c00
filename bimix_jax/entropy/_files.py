"""Files of a corpus: their forms by name and first bytes, and the data files of a folder."""

import bz2
import contextlib
import filecmp
import gzip
import hashlib
import io
import lzma
import re
import stat
import zlib
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from bimix_jax.files import RemotePath
from bimix_jax.reading.nested import read_json

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
        raise _mislabelled(path) or damaged(path, error) from error


def _mislabelled(path: Path) -> ValueError | None:
    """Return the error for a file that is not packed as its name says; None if it is."""
    form = form_of(path)
    if form is None or not form.packed:
        return None
    with open(path, "rb") as raw:
        head = raw.read(HEAD)
    if not head or any(head.startswith(m) for m, w in MAGIC.items() if w.endswith(form.packed)):
        return None
    what = next((w for m, w in MAGIC.items() if head.startswith(m)), None)
    if what is not None:
        return ValueError(f"{path} is {what}.")
    # Damaged bytes at the beginning of a packed file do not make text of it.
    if not head.startswith((b"{", b"[")) and not (head.isascii() and b"\0" not in head):
        return None
    return ValueError(
        f"{path} is not packed, though its name ends in {form.packed}; rename it so that it ends "
        f"in {form.suffix}."
    )


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


HIDDEN_FOLDERS = {"__macosx", "__pycache__", "_temporary", "_delta_log"}
ABOUT = re.compile(
    r"(readme|licen[cs]e|notice|copying|changelog|citation|authors|requirements|merges|vocab"
    r"|(sha\d+|md5)(sums?)?|checksums?)(\.[a-z]+)*"
    r"|(dataset_infos?|dataset_dict|state|index|config|tokenizer|tokenizer_config|meta|metadata"
    r"|manifest|stats|special_tokens_map|added_tokens|vocab|generation_config)\.json"
)
"""Names, in lower case, of files about data or about a tokenizer."""
CACHE = re.compile(r"(cache-[0-9a-f]{8,}.*|tmp[^.]*)\.arrow")
"""Files that Hugging Face datasets writes beside its data."""
TEMPORARY = re.compile(r".*\.(tmp|temp|partial|incomplete|crdownload|lock|swp)(\.\w+)*|.*~")
INDICES = re.compile(r".*\.(idx|ds\.index|ds\.metadata|ds\.loss)")
"""Index files, which are read with the data beside them."""
MANIFESTS = {"state.json", "dataset_info.json", "dataset_dict.json"}
"""Files of Hugging Face data sets that list the data files."""
HELD_OUT = {"validation", "valid", "val", "test", "dev", "eval"}
BLOCK = 1 << 16
"""Bytes at both ends that are compared before whole files are."""

Reason = tuple[str, str]
"""Reason for leaving an entry out, in the singular and the plural."""
HIDDEN = ("hidden file or folder", "hidden files or folders")
TEMPORARIES = ("temporary file", "temporary files")
CACHES = ("cache file", "cache files")
OTHER = ("file of another kind", "files of other kinds")
EMPTY = ("empty file", "empty files")
SPARE = ("JSON file beside other data", "JSON files beside other data")
UNLISTED = ("entry that state.json does not list", "entries that state.json does not list")
SPLITS = ("split beside train", "splits beside train")
TWICE = ("link to what is read already", "links to what is read already")
NO_FILE = ("pipe, socket or device", "pipes, sockets or devices")

Left = dict[Reason, list[Path]]


def data_files(folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the data files of a folder in the order of their names, and sentences on other
    entries.

    Where a folder has the list of a Hugging Face data set (state.json), only the files in it are
    data. Links are followed, and files that are found twice are taken once.

    Raises:
        ValueError: if a listed file or the target of a link is missing, or two files seem to be
            one, packed and unpacked.
    """
    left: Left = {}
    files = _without_spare(list(_walk(folder, left, set())), left)
    _check_twins(files)
    notes = [
        f"{len(paths)} {one if len(paths) == 1 else many} left out, such as {paths[0].name}"
        for (one, many), paths in left.items()
    ]
    told = (*_about_forms(files), *_about_splits(folder, files), *_about_copies(files))
    return tuple(files), (*notes, *told)


def _walk(folder: Path, left: Left, seen: set[tuple[int, int]]) -> Iterator[Path]:
    # By device and inode, because links may lead to the same file, or back to a folder above.
    seen.add(_identity(folder))
    names = sorted(entry.name for entry in folder.iterdir())
    listed, unlisted = _manifest(folder, names)
    for name in names:
        path = folder / name
        if name in MANIFESTS or INDICES.fullmatch(name.lower()):
            continue
        reason = _reason(path)
        if reason is None and name not in listed:
            reason = unlisted
        if reason is None and _identity(path) in seen:
            reason = TWICE
        if reason is not None:
            left.setdefault(reason, []).append(path)
        elif path.is_dir():
            yield from _walk(path, left, seen)
        else:
            seen.add(_identity(path))
            yield path


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _reason(path: Path) -> Reason | None:
    """Return why an entry of a folder is not data; None for data and for folders to search."""
    name = path.name.lower()
    if name.startswith(".") or name in HIDDEN_FOLDERS:
        return HIDDEN
    known = form_of(path) is not None and not ABOUT.fullmatch(name)
    try:
        found = path.stat()
    except OSError as error:
        if known:
            raise ValueError(
                f"{path} is a link to a file that cannot be found ({error.strerror}); mend or "
                "remove it."
            ) from None
        return OTHER
    if stat.S_ISDIR(found.st_mode):
        return None
    checks = {
        NO_FILE: not stat.S_ISREG(found.st_mode),
        TEMPORARIES: TEMPORARY.fullmatch(name),
        CACHES: CACHE.fullmatch(name),
        OTHER: not known,
        EMPTY: found.st_size == 0,
    }
    return next((reason for reason, is_it in checks.items() if is_it), None)


def _manifest(folder: Path, names: list[str]) -> tuple[Container[str], Reason]:
    """Return the names that the folder's list of data allows; all if there is no list."""
    # Dataset.save_to_disk of Hugging Face datasets writes state.json, DatasetDict
    # dataset_dict.json.
    if "state.json" in names:
        state = read_json(folder / "state.json", "the list of a data set")
        if isinstance(state, dict) and "_data_files" in state:
            return _listed(folder, state, names), UNLISTED
    if "dataset_dict.json" in names:
        found = read_json(folder / "dataset_dict.json", "the splits of a data set")
        splits = found.get("splits") if isinstance(found, dict) else None
        if isinstance(splits, list):
            # Held-out parts are not training data.
            return {"train"} if "train" in splits else set(map(str, splits)), SPLITS
    # MosaicML's streaming (MDS) and LitData write index.json beside shards of their own formats.
    if "index.json" in names:
        _refuse_streamed(folder, read_json(folder / "index.json", "an index"))
    return names, OTHER


def _listed(folder: Path, state: dict[str, Any], names: list[str]) -> set[str]:
    """Return the files that state.json lists."""
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise ValueError(
            f"{folder / 'state.json'} selects rows of its data by indices; call "
            "flatten_indices() on the data set and save it again."
        )
    files = state["_data_files"]
    if not isinstance(files, list) or not all(isinstance(f, dict) for f in files):
        raise ValueError(f"{folder / 'state.json'}: _data_files is not a list of files.")
    listed = {str(each.get("filename")) for each in files}
    missing = sorted(listed - set(names))
    if missing:
        raise ValueError(
            f"{folder / 'state.json'} lists {missing[0]}, which is not there; copy the data set "
            "again."
        )
    return listed


def _refuse_streamed(folder: Path, index: Any) -> None:
    """Raise ValueError for the two forms of data whose index is named index.json."""
    shards = isinstance(index, dict) and ("shards" in index or "chunks" in index)
    if shards:
        form = "a streaming data set (MDS)" if "shards" in index else "a data set of LitData"
        raise ValueError(
            f"{folder} is {form} by its index.json, which is not read here. Write its text to "
            "JSON lines, or its token ids to .npy."
        )


def _without_spare(files: list[Path], left: Left) -> list[Path]:
    """Drop .json files if there is other data, which they probably describe."""
    spare = [f for f in files if f.suffix.lower() == ".json"]
    if len(spare) == len(files) or not spare:
        return files
    left[SPARE] = spare
    return [f for f in files if f not in spare]


def _check_twins(files: list[Path]) -> None:
    """Raise ValueError if a file is there both packed and unpacked."""
    seen: dict[str, Path] = {}
    for path in files:
        form = form_of(path)
        assert form is not None
        plain = str(path)[: len(str(path)) - len(form.packed)]
        other = seen.setdefault(plain, path)
        if other is not path:
            raise ValueError(
                f"{other} and {path.name} differ only in how they are packed, so that one seems "
                "to be a copy of the other; move one of them away."
            )


def _about_forms(files: list[Path]) -> Iterator[str]:
    """Yield a sentence on files of several forms, and on files that share a name."""
    counts = Counter(form.suffix for form in map(form_of, files) if form is not None)
    if len(counts) > 1:
        found = ", ".join(f"{count} {suffix}" for suffix, count in counts.items())
        yield f"files of several forms are counted together: {found}"
    stems: dict[Path, Path] = {}
    for path in files:
        other = stems.setdefault(path.with_name(stem_of(path)), path)
        if other is not path:
            yield f"{other.name} and {path.name} differ in their form alone; both are counted"


def _about_splits(folder: Path, files: list[Path]) -> Iterator[str]:
    """Yield a sentence on held-out parts beside a training part, by words in their names."""
    words = {
        word
        for path in files
        for word in re.split(r"[^a-z]+", str(path.relative_to(folder)).lower())
    }
    held_out = sorted(words & HELD_OUT)
    if "train" in words and held_out:
        yield f"files called train and {', '.join(held_out)} are counted together"


def _about_copies(files: list[Path]) -> Iterator[str]:
    """Yield a sentence on files with equal content; those elsewhere are not fetched for it."""
    files = [path for path in files if not isinstance(path, RemotePath)]
    sizes = Counter(path.stat().st_size for path in files)
    ends: dict[tuple[bytes, ...], Path] = {}
    copies = []
    for path in files:
        size = path.stat().st_size
        if sizes[size] > 1:
            # Size and ends differ for nearly all files, which saves reading them whole.
            first = ends.setdefault(_ends(path, size), path)
            if first is not path and filecmp.cmp(first, path, shallow=False):
                copies.append((path.name, first.name))
    if copies:
        have = "1 file has" if len(copies) == 1 else f"{len(copies)} files have"
        yield (
            f"{have} the content of another, such as {copies[0][0]} that of {copies[0][1]}; all "
            "are counted"
        )


def _ends(path: Path, size: int) -> tuple[bytes, ...]:
    with open(path, "rb") as file:
        begin = file.read(BLOCK)
        file.seek(max(size - BLOCK, 0))
        digest = hashlib.sha256(begin + file.read(BLOCK)).digest()
    return (str(size).encode(), digest)
