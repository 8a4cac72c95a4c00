"""Tables as lines of text without truncation: columns that do not fit go below the others."""

import dataclasses
import re
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells

GAP = 2
"""Spaces between columns."""
WIDTHS = 24, 9
"""Least widths at which headings are broken: the usual one, and a narrower one if it helps."""
PIECE = re.compile(r"[^\s_/.\-]*[\s_/.\-]+|[^\s_/.\-]+")
"""Pieces of a text, which is broken after spaces, underscores, slashes, points and hyphens."""
NUMBER = re.compile(r"[<>+-]?\d+(\.\d+)?(e[+-]\d+)?|–")


@dataclasses.dataclass(frozen=True)
class Column:
    """A heading and one cell per row; numbers are aligned right, text left."""

    heading: str
    cells: Sequence[str]
    right: bool = True

    def lines(self, rows: Sequence[int], room: int, narrow: int) -> tuple[list[str], list[str]]:
        """Return heading and cells as lines of one width; `rows` gives the height of each row.

        Args:
            rows: lines of each row.
            room: the widest text that is not broken.
            narrow: the least width at which a heading is broken.
        """
        cells = [broken(cell, room) for cell in _on_points(self.cells)]
        widest = max((cell_len(line) for cell in cells for line in cell), default=0)
        words = [cell_len(piece.rstrip()) for piece in PIECE.findall(self.heading)]
        head = broken(self.heading, min(room, max([widest, narrow, *words])))
        width = max([widest, *map(cell_len, head)])
        padded = [
            line
            for cell, height in zip(cells, rows, strict=True)
            for line in [""] * (height - len(cell)) + cell
        ]
        return [self._padded(h, width) for h in head], [self._padded(p, width) for p in padded]

    def _padded(self, text: str, width: int) -> str:
        space = " " * (width - cell_len(text))
        return space + text if self.right else text + space


def text_table(labels: Column, columns: Sequence[Column], width: float) -> list[list[str]]:
    """Return blocks of lines: each has the heading, a rule, and the rows.

    Columns that do not fit into the width go into a further block, with the labels again.

    >>> names, shares = Column("domain", ["web", "code"], False), Column("share", ["0.75", "0.25"])
    >>> print(*text_table(names, [shares, Column("epochs", ["1.2", "0"])], 40)[0], sep="\\n")
    domain  share  epochs
    ─────────────────────
    web      0.75     1.2
    code     0.25     0
    """
    room = max(20, int(min(width, 1000)) // 2)
    rows = [
        max(len(broken(column.cells[row], room)) for column in (labels, *columns))
        for row in range(len(labels.cells))
    ]
    wide, narrow = (
        _blocks([column.lines(rows, room, least) for column in (labels, *columns)], width)
        for least in WIDTHS
    )
    return wide if len(wide) <= len(narrow) else narrow


def _blocks(drawn: list[tuple[list[str], list[str]]], width: float) -> list[list[str]]:
    blocks: list[list[tuple[list[str], list[str]]]] = [[]]
    for each in drawn[1:]:
        if blocks[-1] and _width([drawn[0], *blocks[-1], each]) > width:
            blocks.append([])
        blocks[-1].append(each)
    return [_block([drawn[0], *block]) for block in blocks]


def _width(columns: Sequence[tuple[list[str], list[str]]]) -> int:
    return sum(cell_len(head[0]) + GAP for head, _ in columns) - GAP


def _block(columns: Sequence[tuple[list[str], list[str]]]) -> list[str]:
    height = max(len(head) for head, _ in columns)
    heads = [[" " * cell_len(h[0])] * (height - len(h)) + h for h, _ in columns]
    rule = "─" * _width(columns)
    return [*_beside(heads), rule, *_beside([cells for _, cells in columns])]


def _beside(columns: Sequence[list[str]]) -> list[str]:
    return [(" " * GAP).join(line).rstrip() for line in zip(*columns, strict=True)]


def broken(text: str, room: int) -> list[str]:
    """Break a text into lines no wider than `room`, between words, or anywhere if need be.

    >>> broken("mean error, %", 9), broken("Wikipedia_multilingual", 12)
    (['mean', 'error, %'], ['Wikipedia_', 'multilingual'])
    """
    if cell_len(text) <= room:
        return [text]
    lines = [""]
    for piece in PIECE.findall(text):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > room:
            lines.append("")
        lines[-1] += piece
    words = [line.rstrip() for line in lines]
    return [part for word in words for part in chop_cells(word, room)]


def _on_points(cells: Sequence[str]) -> list[str]:
    """Align numbers by their decimal points; keep other cells."""
    if not all(NUMBER.fullmatch(cell) for cell in cells):
        return list(cells)
    tails = [len(cell) - cell.find(".") if "." in cell else 0 for cell in cells]
    return [cell + " " * (max(tails) - tail) for cell, tail in zip(cells, tails, strict=True)]
