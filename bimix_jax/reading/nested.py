"""JSON and TOML from other programs: read whole, or refused with the place of the damage."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bimix_jax.files import check_readable

DEEPEST = 100
"""Most levels of nested lists and objects. Readers end in a recursion error, or crash, beyond a
thousand; files of the supported kinds need fewer than ten."""
BARE = re.compile(r"[A-Za-z0-9_-]+([ \t]*\.[ \t]*[A-Za-z0-9_-]+)*")
"""A key of TOML that needs no quotes."""
MARKS = {0xFF: "utf-16", 0xFE: "utf-16", 0xEF: "utf-8-sig"}
"""First byte of a byte-order mark → encoding; no text in UTF-8 begins with one of these bytes."""
# Longer delimiters come first: three quotes also match as an empty text and a quote.
TOML_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
# A dotted key nests one level per dot, without any bracket.
DOTTED = re.compile(rf"(?:[\w-]+[ \t]*\.[ \t]*){{{DEEPEST}}}")
# Bytes that neither change the depth nor quote text.
OTHERS = bytes(set(range(256)) - set(b'[{]}"'))
STEPS = np.array([{"[": 1, "{": 1, "]": -1, "}": -1}.get(chr(byte), 0) for byte in range(256)])
"""Byte → change of the depth."""
PIECE = 1 << 24
"""Bytes that are scanned at once, so that large files cost little memory."""


def read_json(path: str | Path, expected: str) -> Any:
    """Read a JSON file; `expected` says in messages what belongs there.

    Raises:
        ValueError: if it is not JSON, is cut off, names an entry twice, or is nested too deep.
        OSError: if there is no such file.
    """
    return parse_json(_text(path, expected), str(path), unique=True)


def read_toml(path: str | Path, expected: str) -> dict[str, Any]:
    """Read a TOML file, with the errors of `read_json`."""
    text = _text(path, expected)
    # Brackets in texts and comments do not nest. A text leaves a letter, as it may be a part of a
    # dotted key.
    bare = TOML_TEXT.sub(lambda found: "" if found[0].startswith("#") else "s", text)
    check_nesting(bare, str(path))
    if DOTTED.search(bare):
        raise _too_deep(str(path))
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not a complete TOML file: {error}.{_quotes(text)}") from error


def _quotes(text: str) -> str:
    """Return the advice to quote the first name with a slash, a blank or the like, if any."""
    for line in text.splitlines():
        key, equals, _ = (part.strip() for part in line.partition("="))
        if equals and key and key[0] not in "#[{\"'" and not BARE.fullmatch(key):
            return f' Write such a name in quotes: "{key}" = ….'
    return ""


def parse_json(text: str | bytes, where: str, unique: bool = False) -> Any:
    """Parse a JSON text; messages begin with `where`: the file, or the file and the line.

    Args:
        text: bytes may begin with a byte-order mark.
        where: for messages.
        unique: refuse an object that names an entry twice; JSON readers keep the last one.

    Raises:
        ValueError: if it is not JSON, is cut off, or is nested too deep.

    >>> parse_json("[" * 5000, "runs.json")
    Traceback (most recent call last):
    ValueError: runs.json is nested deeper than 100 levels; expected lists and objects ...
    """
    text = decoded(text, where) if isinstance(text, bytes) else text
    check_nesting(text, where)
    try:
        return json.loads(text, object_pairs_hook=once if unique else None)
    except ValueError as error:
        raise ValueError(f"{where} is not complete JSON: {error}.") from error


def check_nesting(text: str | bytes, where: str) -> None:
    """Raise ValueError if JSON or JSON lines are nested so deep that readers could crash."""
    # A str may hold lone surrogates, which UTF-8 refuses by default; only brackets matter here.
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    # Counting brackets is quick and settles nearly every file.
    if data.count(b"[") + data.count(b"{") > DEEPEST and _nesting(data) > DEEPEST:
        raise _too_deep(where)


def _nesting(text: bytes) -> int:
    r"""Return the largest number of brackets and braces of a JSON text that are open at once.

    Text in quotes is ignored. Text that is not JSON has such a number, too.

    >>> _nesting(b'{"a": [1, [2]], "b": "[[[[\\"[["}')
    3
    """
    if b"\\" in text:
        # Escaped backslashes go first, because a quote after one is not escaped itself.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    deepest, depth, quotes = 0, 0, 0
    for begin in range(0, len(text), PIECE):
        # Text without brackets leaves two quotes side by side, and most text has none.
        left = text[begin : begin + PIECE].translate(None, OTHERS).replace(b'""', b"")
        marks = np.frombuffer(left, np.uint8)
        # Within quotes the number of quotes so far is odd.
        counted = quotes + np.cumsum(marks == ord('"'))
        depths = depth + np.cumsum(np.where(counted % 2 == 1, 0, STEPS[marks]))
        deepest = max(deepest, int(np.max(depths, initial=0)))
        depth, quotes = int(np.append(depth, depths)[-1]), int(np.append(quotes, counted)[-1])
    return deepest


def decoded(data: bytes, where: str) -> str:
    """Decode text in UTF-8, or in UTF-16 with its byte-order mark.

    Raises:
        ValueError: if it is neither; the message names the first byte and the line that it is in.
    """
    encoding = MARKS.get(data[0] if data else 0, "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{where} is not text in UTF-8: line {line} holds the byte 0x{data[error.start]:02x} "
            f"({error.reason}). Save it as UTF-8."
        ) from None


def _text(path: str | Path, expected: str) -> str:
    return decoded(check_readable(path, expected).read_bytes(), str(path))


def _too_deep(where: str) -> ValueError:
    return ValueError(
        f"{where} is nested deeper than {DEEPEST} levels; expected lists and objects a few levels "
        "deep. It is damaged, or not a file of this kind."
    )


def is_row_per_line(text: str | bytes, rows: int) -> bool:
    """True where the text has as many lines as rows, blank lines at its end aside.

    Arrow reads an object that continues on the next line, which a damaged file may hold.

    >>> is_row_per_line('{"a": 1}\\n{"a": 2}\\n', 2), is_row_per_line('{"a": 1\\n0}\\n', 1)
    (True, False)
    """
    body: Any = text.rstrip()
    return bool(body) and body.count("\n" if isinstance(text, str) else b"\n") + 1 == rows


def once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON of its entries; raise ValueError where one is named twice."""
    found = dict(entries)
    if len(found) < len(entries):
        name = Counter(name for name, _ in entries).most_common(1)[0][0]
        raise ValueError(f"an object names {name!r} twice; expected it once")
    return found
