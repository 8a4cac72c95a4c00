"""Documents of text or of token ids, from text files, records and tables."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from bimix_jax.entropy._columns import (
    ID_FIELDS,
    MASK,
    TEXT_FIELD,
    Field,
    field_of_table,
    has_no_end,
    table_ids,
    table_texts,
)
from bimix_jax.entropy._files import (
    HEAD,
    PLAIN,
    TABLES,
    UTF8_MARK,
    Form,
    check_text,
    damage_named,
    form_of,
    opened,
)
from bimix_jax.entropy._streams import checked_ids
from bimix_jax.reading.nested import once, parse_json

BLOCK = 1 << 20
"""Bytes of plain text per part, which bounds the memory of one long document."""
PROBED = 100
"""Records that are searched for a field."""


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


def _kind_of(value: Any) -> str:
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


class Part(NamedTuple):
    """A piece of text; a long document comes in several parts."""

    text: str
    starts: bool
    """True where a document starts here"""


def field_of(path: Path, wanted: str) -> Field:
    """Return the field of a file that holds text or token ids; for plain text, the wanted one.

    Raises:
        ValueError: if a table has no such column, or the file is damaged.
    """
    form = _form(path)
    if form.suffix in TABLES:
        return field_of_table(path, wanted)
    if form.suffix in PLAIN:
        return Field(wanted, False)
    records = Reader(wanted).records(path, Skipped())
    # Fields may be missing or null in some records, so one record is not enough.
    probed = [record for _, record in itertools.islice(records, PROBED)]
    names = (wanted, *(ID_FIELDS if wanted == TEXT_FIELD else ()))
    values = ((name, record[name]) for name in names for record in probed if name in record)
    name, value = next(((n, v) for n, v in values if v is not None), (wanted, ""))
    if name == wanted or _are_ids(value):
        return Field(name, _are_ids(value))
    return Field(wanted, False)


def _are_ids(value: Any) -> bool:
    """True where a value of a record is a list of numbers; reading checks the numbers."""
    return isinstance(value, list) and all(isinstance(v, (int, float)) for v in value[:1])


def _form(path: Path) -> Form:
    form = form_of(path)
    assert form is not None  # `data_files` leaves other files out
    return form


class Reader:
    """A reader of the files of one domain, with counts of bytes read and of skipped records."""

    def __init__(self, field: str = TEXT_FIELD) -> None:
        self.field = field
        self.skipped = Skipped()
        self.position = 0
        """bytes read of the current file on disk"""

    def parts(self, path: Path) -> Iterator[Part]:
        """Yield the text of a file in order.

        Raises:
            ValueError: if the file is damaged, in another encoding, or without such a field.
        """
        yield from self._whole(path, self._plain if _form(path).suffix in PLAIN else self._texts)

    def documents(self, path: Path, vocabulary: int) -> Iterator[np.ndarray]:
        """Yield the token ids of a file, document by document.

        Raises:
            ValueError: if the file is damaged, has no such field, or an id is not in the
                vocabulary.
        """
        if _form(path).suffix in PLAIN:
            raise ValueError(
                f"{path} holds text, but other files of its domain hold token ids; keep one kind "
                "per domain."
            )
        yield from self._whole(path, lambda p, tally: self._ids(p, tally, vocabulary))

    def _whole(self, path: Path, read: Callable[[Path, Skipped], Iterator[Any]]) -> Iterator[Any]:
        tally = Skipped()
        with damage_named(path):
            yield from read(path, tally)
            # Arrow reads a stream that was cut between two batches without an error.
            if _form(path).suffix == ".arrow":
                tally.unfinished += has_no_end(path)
        tally.check(path, self.field)
        self.skipped.add(tally)
        self.position = path.stat().st_size

    def _texts(self, path: Path, tally: Skipped) -> Iterator[Part]:
        for value in self._values(path, tally):
            tally.read += 1
            if value is None or value == "":
                tally.empty += 1
            elif not isinstance(value, str):
                tally.wrong[_kind_of(value)] += 1
            else:
                tally.kept += 1
                yield Part(_whole_characters(value, tally), True)

    def _values(self, path: Path, tally: Skipped) -> Iterator[Any]:
        if _form(path).suffix in TABLES:
            yield from table_texts(path, self.field)
            return
        for _, record in self.records(path, tally):
            if self.field in record:
                yield record[self.field]
            else:
                _count_missing(record, tally)

    def _ids(self, path: Path, tally: Skipped, vocabulary: int) -> Iterator[np.ndarray]:
        table = _form(path).suffix in TABLES
        rows = table_ids(path, self.field) if table else self._rows(path, tally)
        for number, row, mask in rows:
            tally.read += 1
            where = f"{path}: {'row' if table else 'line'} {number}"
            ids = row if row is None or mask is None else _masked(row, mask, where, tally)
            if ids is None or not len(ids):
                tally.empty += 1
                continue
            tally.kept += 1
            yield checked_ids(ids, where, vocabulary)

    def _rows(self, path: Path, tally: Skipped) -> Iterator[tuple[int, Any, Any]]:
        for line, record in self.records(path, tally):
            if self.field not in record:
                _count_missing(record, tally)
                continue
            row = record[self.field]
            if not isinstance(row, list | None):
                raise ValueError(
                    f"{path}: line {line} holds {_kind_of(row)} as {self.field!r}; expected a list "
                    "of token ids, as on other lines."
                )
            yield line, row, record.get(MASK) if self.field in ID_FIELDS else None

    def records(self, path: Path, tally: Skipped) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield line and content of the objects of JSON lines, or of a list of objects."""
        with damage_named(path), opened(path, _form(path)) as (raw, unpacked):
            head = _head(path, unpacked).removeprefix(UTF8_MARK).lstrip()
            found: Iterator[tuple[int, Any]]
            if head.startswith(b"["):
                found = enumerate(parse_json(unpacked.read(), str(path), unique=True))
            elif _form(path).suffix == ".json" and _spans_lines(head):
                found = iter([(0, parse_json(unpacked.read(), str(path), unique=True))])
            else:
                found = self._lines(raw, unpacked, tally)
            for line, record in found:
                if isinstance(record, dict):
                    yield line + 1, record
                else:
                    tally.read += 1
                    tally.no_objects += 1

    def _lines(
        self, raw: IO[bytes], unpacked: IO[bytes], tally: Skipped
    ) -> Iterator[tuple[int, Any]]:
        """Yield number and content of the lines of JSON; None for a line that is not JSON."""
        for number, line in enumerate(self._counted(raw, unpacked)):
            if not line.strip():
                continue
            try:
                # Files that were joined by cat have marks in the middle.
                text = line.removeprefix(UTF8_MARK).decode()
                yield number, json.loads(text, object_pairs_hook=once)
            except UnicodeDecodeError:
                tally.read += 1
                tally.undecodable += 1
            except (ValueError, RecursionError):
                yield number, None

    def _counted(self, raw: IO[bytes], unpacked: IO[bytes]) -> Iterator[bytes]:
        plain = raw is unpacked
        position = 0
        for line in unpacked:
            position += len(line)
            # Progress is in bytes on disk, which of packed files only the raw file knows.
            self.position = position if plain else raw.tell()
            yield line

    def _plain(self, path: Path, tally: Skipped) -> Iterator[Part]:
        """Yield a plain file, one document, in blocks of whole lines so that memory stays
        bounded."""
        block, size, starts = list[str](), 0, True
        with opened(path, _form(path)) as (raw, unpacked):
            marked = _head(path, unpacked).startswith(UTF8_MARK)
            for line in self._counted(raw, unpacked):
                tally.read += 1
                try:
                    block.append(line[len(UTF8_MARK) * marked :].decode())
                except UnicodeDecodeError:
                    tally.undecodable += 1
                    continue
                finally:
                    marked = False
                size += len(line)
                if size >= BLOCK:
                    yield Part(_unix(block, tally), starts)
                    block, size, starts = [], 0, False
            if block:
                yield Part(_unix(block, tally), starts)


def _spans_lines(head: bytes) -> bool:
    """True where a JSON text continues after its first line, as an indented object does."""
    # Some .json files hold JSON lines; then the first line is an object by itself.
    first, end, _ = head.partition(b"\n")
    try:
        return bool(end) and json.loads(first) is None
    except (ValueError, RecursionError):
        return True


def _head(path: Path, unpacked: IO[bytes]) -> bytes:
    head = unpacked.peek(HEAD)[:HEAD]  # type: ignore[attr-defined]
    check_text(path, head)
    return head


def _unix(block: list[str], tally: Skipped) -> str:
    """Join the lines of a block with Unix line ends."""
    tally.kept += len(block)
    text = "".join(block)
    found = text.count("\r\n")
    tally.line_ends += found
    return text.replace("\r\n", "\n") if found else text


def _whole_characters(text: str, tally: Skipped) -> str:
    """Replace half surrogate pairs, which JSON may hold and tokenizers refuse."""
    try:
        text.encode()
    except UnicodeEncodeError:
        tally.surrogates += 1
        return text.encode("utf-8", "replace").decode()
    return text


def _count_missing(record: dict[str, Any], tally: Skipped) -> None:
    tally.read += 1
    tally.missing += 1
    tally.without.update(record.keys())


def _masked(row: Any, mask: Any, where: str, tally: Skipped) -> Any:
    """Return token ids without the ones that the mask marks as padding."""
    if not isinstance(mask, list | np.ndarray) or len(mask) != len(row):
        raise ValueError(
            f"{where} holds {len(row)} token ids and an {MASK} that is not as long; expected a 0 "
            "or 1 per id. Remove the column, or mend the row."
        )
    kept = np.asarray(mask, bool)
    if kept.all():
        return row
    tally.masked += int((~kept).sum())
    return list(itertools.compress(row, kept)) if isinstance(row, list) else row[kept]
