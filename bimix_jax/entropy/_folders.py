"""Files of a domain's folder: data files, and files to skip."""

import dataclasses
import filecmp
import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from bimix_jax.entropy.forms import form_of, stem_of
from bimix_jax.reading.nested import read_json

UNDECODABLE_LINES = 2
UNDECODABLE_SHARE = 0.01
"""Share of lines that may be invalid UTF-8 (or the number, if larger); more is another encoding."""
KINDS = {bool: "true or false", int: "numbers", float: "numbers", list: "lists", dict: "objects"}


@dataclasses.dataclass
class Skipped:
    """Counts of skipped content, of one file or of all files of a domain."""

    read: int = 0
    """lines, records or rows, except blank ones"""
    kept: int = 0
    undecodable: int = 0
    """lines that are not UTF-8"""
    no_objects: int = 0
    """lines or entries that are not JSON objects"""
    without: Counter[str] = dataclasses.field(default_factory=Counter)
    """keys of records without the wanted key"""
    missing: int = 0
    """records without the wanted key"""
    wrong: Counter[str] = dataclasses.field(default_factory=Counter)
    """types of values that were found instead of text"""
    empty: int = 0
    surrogates: int = 0
    """documents with half of a surrogate pair"""
    line_ends: int = 0
    """line ends of Windows"""
    masked: int = 0
    """token ids that are padding"""
    unfinished: int = 0
    """arrow streams without an end"""

    def add(self, other: "Skipped") -> None:
        """Add the counts of another file."""
        for field in dataclasses.fields(self):
            mine = getattr(self, field.name)
            setattr(self, field.name, mine + getattr(other, field.name))

    def check(self, path: Path, wanted: str) -> None:
        """Raise ValueError if a file gave no content, or is in another encoding."""
        # Single damaged lines are usual in crawled text; many show another encoding.
        allowed = max(UNDECODABLE_LINES, UNDECODABLE_SHARE * self.read)
        if self.undecodable and (self.undecodable > allowed or not self.kept):
            raise ValueError(
                f"{path} is not text in UTF-8: {self.undecodable} of {self.read} lines hold bytes "
                "that do not belong there. Convert it first, as with iconv -f LATIN1 -t UTF-8."
            )
        # The most frequent reason is the one that explains the file, so it is named.
        if self.kept or self.empty == self.read:
            return
        if self.missing >= max(self.no_objects, self.wrong.total()):
            raise ValueError(
                f"{path}: no record of {self.read} has the key {wanted!r}; found "
                f"{_first(self.without)}. Name the key of the text (text_field= or --text-field)."
            )
        if self.wrong:
            raise ValueError(
                f"{path}: no record of {self.read} holds text under the key {wanted!r}; found "
                f"{_first(self.wrong)}. Name the key of the text (text_field= or --text-field)."
            )
        raise ValueError(
            f"{path}: no line of {self.read} is a JSON object; expected an object per "
            f"line, or a list of objects, with the key {wanted!r}."
        )

    def notes(self, wanted: str) -> list[str]:
        """Return a sentence for each kind of skipped content."""
        left_out = [
            (self.undecodable, "line that is not valid UTF-8", "lines that are not valid UTF-8"),
            (self.no_objects, "line that is not a JSON object", "lines that are not JSON objects"),
            (self.missing, *_both(f"record@ without the key {wanted!r}", self.without)),
            (self.wrong.total(), *_both(f"record@ without text as {wanted!r}", self.wrong)),
            (self.empty, "empty document", "empty documents"),
            (self.masked, *_both("token id@ that attention_mask marks as padding")),
        ]
        changed = [
            (
                self.surrogates,
                "document with half of a surrogate pair, read as '?'",
                "documents with half of a surrogate pair, read as '?'",
            ),
            (self.line_ends, *_both("line end@ of Windows (CRLF), read as LF")),
            (
                self.unfinished,
                "arrow stream without the mark of its end, which may be incomplete",
                "arrow streams without the mark of their end, which may be incomplete",
            ),
        ]
        return [
            f"{verb} {count} {one if count == 1 else many}."
            for verb, each in (("skipped", left_out), ("found", changed))
            for count, one, many in each
            if count
        ]


def kind_of(value: Any) -> str:
    """Return the name of a JSON value's type."""
    return KINDS.get(type(value), type(value).__name__)


def _both(sentence: str, found: Counter[str] | None = None) -> tuple[str, str]:
    """Return a phrase in the singular and the plural; "@" marks the place of the s."""
    tail = f" (found {_first(found)})" if found else ""
    return sentence.replace("@", "") + tail, sentence.replace("@", "s") + tail


def _first(found: Counter[str]) -> str:
    names = [f"{name:.60}" for name, _ in found.most_common(8)]
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return (", ".join(names) or "no key") + more


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
    names = sorted(os.listdir(folder))
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
    """Yield a sentence on files with equal content."""
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
