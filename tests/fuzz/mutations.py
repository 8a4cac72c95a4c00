"""Random damage: to bytes, as disks and transfers do it, and to cells and lines, as people do."""

import random
import re
from collections.abc import Callable

TOKENS = [
    b"", b" ", b"nan", b"NaN", b"null", b"None", b"NA", b"inf", b"-inf", b"Infinity", b"true",
    b"false", b"0", b"-1", b"1e999", b"-0.0", b"5_1", b"1,5", b"1.5*", b"12%", b"1.2B", b"0x10",
    b"007", b"7", b"1e5", b"12e45678", b"2024-03-01", b"'", b'"', b"{}", b"[1]", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\x00", b"\x1b[31m", b"\xe2\x80\xa8", b"\xc3\xa9", b"e\xcc\x81", b"web", b"WEB",
    b"web ", b"run", b"id", b"=1+1", b"#", b";", b"\t", b"9" * 400, b"4" * 20, b"3.", b".3", b"+3",
]  # fmt: skip
"""What is put into the place of a cell."""
CELL = re.compile(rb"[^,;\t\n\r\"{}\[\]:]+")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data with one to three pieces of damage."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = rng.choice(MUTATIONS)(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    """One bit of one byte."""
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def change_byte(data: bytes, rng: random.Random) -> bytes:
    """One byte, often to one that a format gives a meaning to."""
    if not data:
        return data
    at = rng.randrange(len(data))
    new = rng.choice([*b",;:\"'\n\r\t{}[]=.-_0e% \x00\xff", rng.randrange(256)])
    return data[:at] + bytes([new]) + data[at + 1 :]


def insert(data: bytes, rng: random.Random) -> bytes:
    """A token anywhere."""
    at = _place(data, rng)
    return data[:at] + rng.choice(TOKENS) + data[at:]


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end is lost, or a piece in the middle."""
    first, last = sorted((_place(data, rng), _place(data, rng)))
    return data[:first] if rng.random() < 0.5 else data[:first] + data[last:]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """A piece stands twice."""
    first, last = sorted((_place(data, rng), _place(data, rng)))
    return data[:last] + data[first:last] + data[last:]


def change_cell(data: bytes, rng: random.Random) -> bytes:
    """Something else in a cell."""
    cells = list(CELL.finditer(data))
    if not cells:
        return data
    cell = rng.choice(cells)
    return data[: cell.start()] + rng.choice(TOKENS) + data[cell.end() :]


def swap_cells(data: bytes, rng: random.Random) -> bytes:
    """Two cells change places."""
    cells = list(CELL.finditer(data))
    if len(cells) < 2:
        return data
    one, two = sorted(rng.sample(cells, 2), key=lambda cell: cell.start())
    between = data[one.end() : two.start()]
    return data[: one.start()] + two[0] + between + one[0] + data[two.end() :]


def _lines(change: Callable[[list[bytes], random.Random], object]):
    def mutation(data: bytes, rng: random.Random) -> bytes:
        lines = data.splitlines(keepends=True)
        if lines:
            change(lines, rng)
        return b"".join(lines)

    return mutation


def _drop(lines: list[bytes], rng: random.Random) -> None:
    del lines[rng.randrange(len(lines))]


def _double(lines: list[bytes], rng: random.Random) -> None:
    at = rng.randrange(len(lines))
    lines.insert(rng.randrange(len(lines) + 1), lines[at])


def _blank(lines: list[bytes], rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice([b"\n", b",,,\n", b"  \n", b"\r\n"]))


def nest(data: bytes, rng: random.Random) -> bytes:
    """Lists in lists in lists, in the place of a cell."""
    deep = rng.choice([3, 200, 5000])
    at = _place(data, rng)
    return data[:at] + b"[" * deep + b"]" * deep + data[at:]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    flip_bit, flip_bit, change_byte, change_byte, insert, cut, repeat, nest,
    change_cell, change_cell, change_cell, swap_cells,
    _lines(_drop), _lines(_double), _lines(_blank), _lines(lambda lines, rng: rng.shuffle(lines)),
]  # fmt: skip
