"""Small independent readers: the content of a file as written, or None where it is in doubt."""

import csv
import io
import json
import math
import re
import tomllib
from typing import Any

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
MISSING = {"", "nan", "NaN", "NA", "null", "None", "N/A", "n/a", "NULL", "<NA>", "#N/A"}
"""Cells that a table of numbers calls missing."""
SUFFIXES = {"K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
BLANKS = " \t\xa0"
DOMAINS = ("web", "code", "books")
Content = Any
"""{(run, budget): ({domain: share}, {target: loss})} for sweeps, else plain values"""


class Doubt(Exception):
    """The file is not what the oracle takes without doubt."""


def number(cell: str) -> float:
    """A finite number as people and programs write it; nan for a missing one."""
    if cell in MISSING:
        return math.nan
    if not NUMBER.fullmatch(cell) or not math.isfinite(float(cell)):
        raise Doubt(cell)
    return float(cell)


def amount(cell: str) -> float:
    """A number, or one with a suffix such as 1.2B."""
    if re.fullmatch(r"\d{1,3}([_ ]\d{3})+", cell):
        cell = re.sub("[_ ]", "", cell)
    size = SUFFIXES.get(cell[-1:].upper())
    return number(cell) if size is None else number(cell[:-1]) * size


def text_of(data: bytes) -> str:
    """UTF-8 with or without a byte-order mark, and without NUL bytes."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Doubt("encoding") from error
    if "\0" in text:
        raise Doubt("NUL")
    return text


def rows_of_csv(data: bytes) -> list[dict[str, str]]:
    """Rows of a plain CSV file, every one as long as the header."""
    text = text_of(data)
    try:
        rows = [
            [c.strip(BLANKS) for c in row]
            for row in csv.reader(io.StringIO(text, newline=""), strict=True)
        ]
    except csv.Error as error:
        raise Doubt("csv") from error
    rows = [row for row in rows if any(row)]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise Doubt("ragged")
    rows[0] = [name or f"nameless {i}" for i, name in enumerate(rows[0])]
    if len(set(rows[0])) < len(rows[0]):
        raise Doubt("twice")
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def objects_of_lines(data: bytes) -> list[dict[str, Any]]:
    """Objects of JSON lines; NaN is a number there."""
    try:
        rows = [
            json.loads(line, object_pairs_hook=_once)
            for line in text_of(data).split("\n")
            if line.strip()
        ]
    except (ValueError, RecursionError) as error:
        raise Doubt("json") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise Doubt("objects")
    return rows


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise Doubt("twice")
    return dict(pairs)


def cell_of(value: Any) -> str:
    """A JSON value as the cell of a table."""
    if value is None:
        return ""
    if isinstance(value, (bool, list, dict)):
        raise Doubt(str(value))
    return value if isinstance(value, str) else repr(value)


def json_value(data: bytes) -> Any:
    """The value of a JSON file."""
    try:
        return json.loads(text_of(data), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Doubt("json") from error


def toml_value(data: bytes) -> dict[str, Any]:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(text_of(data))
    except (ValueError, RecursionError) as error:
        raise Doubt("toml") from error


def sweep_of(rows: list[dict[str, str]]) -> Content:
    """Points of a wide table, with the columns run, tokens, r_<domain> and loss_<target>."""
    shares = [c for c in rows[0] if c.startswith("r_")]
    losses = [c for c in rows[0] if c.startswith("loss_")]
    content: Content = {}
    for row in rows:
        if "run" not in row or "tokens" not in row or not row["run"]:
            raise Doubt("run, tokens")
        mixture = {c[2:]: number(row[c]) for c in shares}
        total = sum(mixture.values())
        if not abs(total - 1) <= 0.02 or min(mixture.values()) < 0:
            raise Doubt("shares")
        loss = {c[5:]: number(row[c]) for c in losses}
        key = row["run"], amount(row["tokens"])
        if key in content or any(value <= 0 for value in loss.values()):
            raise Doubt("point")
        content[key] = {d: share / total for d, share in mixture.items()}, loss
    return measured(content)


def measured(content: Content) -> Content:
    """Without what is not measured: targets without a loss, points without any."""
    targets = {t for _, loss in content.values() for t, v in loss.items() if not math.isnan(v)}
    kept = {
        key: (mixture, {t: v for t, v in loss.items() if t in targets})
        for key, (mixture, loss) in content.items()
    }
    return {k: v for k, v in kept.items() if any(not math.isnan(x) for x in v[1].values())}


def same(one: Content, other: Content) -> bool:
    """Equal up to rounding, nan being nan."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool) or isinstance(one, str):
        return type(one) is type(other) and one == other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        both = math.isnan(one) and math.isnan(other)
        return both or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other
