"""What was left out or changed while a domain was read, counted, and when that is too much."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

UNDECODABLE_LINES = 2
UNDECODABLE_SHARE = 0.01
"""Lines that may be no UTF-8, the larger of both: more are another encoding rather than damage."""
KINDS = {bool: "true or false", int: "numbers", float: "numbers", list: "lists", dict: "objects"}


@dataclasses.dataclass
class Skipped:
    """Counts of one file, or of all files of a domain."""

    read: int = 0
    """lines, records or rows, blank ones aside"""
    kept: int = 0
    undecodable: int = 0
    """lines that are not UTF-8"""
    no_objects: int = 0
    """lines or entries that are no JSON object"""
    without: Counter[str] = dataclasses.field(default_factory=Counter)
    """keys that were found by records without the wanted one"""
    missing: int = 0
    """records without the wanted key"""
    wrong: Counter[str] = dataclasses.field(default_factory=Counter)
    """what was found where text was wanted"""
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
        """Raise ValueError if nothing was kept of a file, or it is in another encoding."""
        allowed = max(UNDECODABLE_LINES, UNDECODABLE_SHARE * self.read)
        if self.undecodable and (self.undecodable > allowed or not self.kept):
            raise ValueError(
                f"{path} is not text in UTF-8: {self.undecodable} of {self.read} lines hold bytes "
                "that do not belong there. Convert it first, as with iconv -f LATIN1 -t UTF-8."
            )
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
        """A sentence for each kind that there is."""
        left_out = [
            (self.undecodable, "line that is not valid UTF-8", "lines that are not valid UTF-8"),
            (self.no_objects, "line that is not a JSON object", "lines that are not JSON objects"),
            (self.missing, *_both(f"record@ without the key {wanted!r}", self.without)),
            (self.wrong.total(), *_both(f"record@ without text as {wanted!r}", self.wrong)),
            (self.empty, "empty document", "empty documents"),
            (self.masked, *_both("token id@ that attention_mask marks as padding")),
        ]
        changed = [
            (self.surrogates, "document with half of a surrogate pair, read as '?'",
             "documents with half of a surrogate pair, read as '?'"),
            (self.line_ends, *_both("line end@ of Windows (CRLF), read as LF")),
            (self.unfinished, "arrow stream without the mark of its end, which may be incomplete",
             "arrow streams without the mark of their end, which may be incomplete"),
        ]  # fmt: skip
        return [
            f"{verb} {count} {one if count == 1 else many}."
            for verb, each in (("skipped", left_out), ("found", changed))
            for count, one, many in each
            if count
        ]


def kind_of(value: Any) -> str:
    """What a value of JSON is, in words."""
    return KINDS.get(type(value), type(value).__name__)


def _both(sentence: str, found: Counter[str] | None = None) -> tuple[str, str]:
    """One and many; "@" is where the s goes."""
    tail = f" (found {_first(found)})" if found else ""
    return sentence.replace("@", "") + tail, sentence.replace("@", "s") + tail


def _first(found: Counter[str]) -> str:
    names = [f"{name:.60}" for name, _ in found.most_common(8)]
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return (", ".join(names) or "no key") + more
