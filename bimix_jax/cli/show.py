"""Tables, notes, documents and progress on the screen or in a pipe."""

import contextlib
import dataclasses
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from bimix_jax.cli import waiting
from bimix_jax.cli.wording import in_options
from bimix_jax.printable import json_text, plain, printable
from bimix_jax.quantities import number_text, quantity_text, share_text

if TYPE_CHECKING:
    from rich.progress import Progress

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
        _column_blocks([column.lines(rows, room, least) for column in (labels, *columns)], width)
        for least in WIDTHS
    )
    return wide if len(wide) <= len(narrow) else narrow


def _column_blocks(drawn: list[tuple[list[str], list[str]]], width: float) -> list[list[str]]:
    blocks: list[list[tuple[list[str], list[str]]]] = [[]]
    for each in drawn[1:]:
        if blocks[-1] and _text_width([drawn[0], *blocks[-1], each]) > width:
            blocks.append([])
        blocks[-1].append(each)
    return [_block([drawn[0], *block]) for block in blocks]


def _text_width(columns: Sequence[tuple[list[str], list[str]]]) -> int:
    return sum(cell_len(head[0]) + GAP for head, _ in columns) - GAP


def _block(columns: Sequence[tuple[list[str], list[str]]]) -> list[str]:
    height = max(len(head) for head, _ in columns)
    heads = [[" " * cell_len(h[0])] * (height - len(h)) + h for h, _ in columns]
    rule = "─" * _text_width(columns)
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


Form = Callable[[Any], str]
"""Formatter of a cell."""


def number(value: Any) -> str:
    """Format a number: whole ones as they are, others with 4 significant digits; keep text.

    >>> number(12), number(1.23456), number(float("nan")), number("converged")
    ('12', '1.235', '–', 'converged')
    """
    if not isinstance(value, (float, np.floating)):
        return printable(value)
    return "–" if math.isnan(value) else number_text(float(value))


def share(value: Any) -> str:
    """Format a share of a mixture.

    >>> share(0.25), share(1.65e-11)
    ('0.2500', '<0.0001')
    """
    return "–" if math.isnan(value) else share_text(value)


def amount(value: Any) -> str:
    """Format a number that is negligible below 0.0001: epochs, nats of regret.

    >>> amount(1.23456), amount(1.7e-9)
    ('1.235', '<0.0001')
    """
    return "<0.0001" if 0 < value < 1e-4 else number(value)


def percent(value: Any) -> str:
    """Format a fraction in %; the heading carries the sign.

    >>> percent(0.01234), percent(0.0)
    ('1.234', '0')
    """
    return amount(100 * float(value))


def probability(value: float) -> str:
    """Format a probability, never as 0 or 1.

    >>> [probability(value) for value in (0.9998, 0.5, float("nan"))]
    ['>0.99', '0.50', '–']
    """
    if math.isnan(value):
        return "–"
    return ">0.99" if value > 0.995 else "<0.01" if value < 0.005 else f"{value:.2f}"


def change(value: Any) -> str:
    """Format a difference with its sign, to 4 decimals or 4 digits.

    >>> change(-0.01234), change(1e-9), change(3557.4414)
    ('-0.0123', '0', '+3557')
    """
    if math.isnan(value):
        return "–"
    if abs(value) >= 10:
        return ("+" if value > 0 else "") + number_text(float(value))
    return f"{value:+.4f}" if abs(value) >= 5e-5 else "0"


def quantity(value: Any) -> str:
    """Format tokens or steps.

    >>> quantity(3865376694.8021803), quantity(1e-14)
    ('3.865B', '<1')
    """
    if math.isnan(value):
        return "–"
    return "<1" if 0 < value < 1 else quantity_text(value)


def span(low: Iterable[float], high: Iterable[float], form: Form = share) -> list[str]:
    """Format ranges by both ends, one per row; "–" where there is none.

    >>> span([0.1, math.nan], [0.2, math.nan])
    ['0.1000–0.2000', '–']
    """
    each = zip(low, high, strict=True)
    return ["–" if math.isnan(a) and math.isnan(b) else f"{form(a)}–{form(b)}" for a, b in each]


def show_table(
    table: pd.DataFrame,
    title: str,
    columns: Mapping[str, tuple[str, Form]] | None = None,
    form: Form = number,
    below: str = "",
) -> None:
    """Print a DataFrame, its index first, as wide as the terminal, without truncation.

    Args:
        table: its columns, as far as they are not in `columns`, keep their names.
        title: of the table.
        columns: heading and form of columns; without any, all are of one kind and the table may
            be turned to need fewer lines.
        form: of the other columns.
        below: explanation of the columns.
    """
    width = _width()
    blocks = _blocks(table, columns or {}, form, width)
    if columns is None and len(blocks) > 1:
        turned = _blocks(table.T, {}, form, width)
        blocks = min(blocks, turned, key=lambda each: sum(map(len, each)))
    _show_title(title)
    for count, lines in enumerate(blocks):
        if count:
            _print(Text())
        rule = next(i for i, line in enumerate(lines) if line.startswith("─"))
        for i, line in enumerate(lines):
            _print(Text(line, "bold" if i < rule else ""))
    if below:
        show_line(below)


def _blocks(
    table: pd.DataFrame, columns: Mapping[str, tuple[str, Form]], form: Form, width: float
) -> list[list[str]]:
    shown = []
    for place, name in enumerate(table.columns):
        heading, write = columns.get(str(name), (str(name), form))
        values = table.iloc[:, place]
        cells = [printable(value) if isinstance(value, str) else write(value) for value in values]
        numbers = all(not isinstance(v, str) or NUMBER.fullmatch(v) for v in values)
        shown.append(Column(printable(heading), cells, right=numbers))
    corner = table.index.name or table.columns.name or ""
    labels = Column(printable(corner), [printable(label) for label in table.index], right=False)
    return text_table(labels, shown, width)


def _width() -> float:
    """Return the width of the terminal, or of COLUMNS; infinity without either."""
    console = _console()
    bounded = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return console.width if bounded else math.inf


def _console() -> Console:
    return Console(highlight=False, emoji=False)


def show_next(*words: str) -> None:
    """Print the command that usually comes next, to be typed as it is."""
    # In one piece, however long: a terminal breaks it without breaking what is copied.
    waiting.clear()
    line = f"Next: {printable(shlex.join(['bimix', *words]))}"
    _console().print(Text(line), soft_wrap=True)


def show_notes(notes: Iterable[str], title: str = "Notes") -> None:
    """Print sentences as a list under a title, or nothing if there are none."""
    listed = list(notes)
    if listed:
        _show_title(title)
    for note in listed:
        show_line(f"  - {note}", "    ")


def show_line(text: str, indent: str = "") -> None:
    """Print a text, broken between words where there is a width; `indent` begins further lines."""
    for line in _wrapped(text, indent):
        _print(Text(line))


def show_lines(label: str, what: str, advice: str) -> None:
    """Print a finding and, below it, the advice."""
    style = {"error": "bold red", "warning": "bold yellow"}.get(label, "bold")
    first, *further = _wrapped(f"{label}  {what}", " " * (len(label) + 2))
    _print(Text.assemble((label, style), first.removeprefix(label)))
    for line in further:
        _print(Text(line))
    show_line(f"    {advice}", "    ")


def _wrapped(text: str, indent: str) -> list[str]:
    text, width = in_options(text), _width()
    if math.isinf(width):
        return [printable(text)]
    keep: Any = {"break_long_words": False, "break_on_hyphens": False}
    return wrap(printable(text), int(width), subsequent_indent=indent, **keep) or [""]


def _show_title(title: str) -> None:
    _print(Text())
    for line in _wrapped(title, ""):
        _print(Text(line, "bold"))


def _print(text: Text) -> None:
    waiting.clear()
    console = _console()
    console.print(text, soft_wrap=not console.is_terminal)


def show_json(document: dict[str, Any]) -> None:
    """Print a JSON document; numbers that are not finite become null.

    Raises:
        ValueError: if two rows of a table have one name.
    """
    waiting.clear()
    print(json_text(plain(document), 1))


@contextlib.contextmanager
def byte_bar(what: str, size: Callable[[], int]) -> Iterator[Callable[[str, float], None]]:
    """Yield a function to call with the name of the current item and the bytes done.

    The `size` of all that is to be read is asked for where it is shown, as finding it takes time.
    """
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with error_bar(*columns, transient=True) as bar:
        task = bar.add_task(what, total=None if bar.disable else size())
        yield lambda name, done: bar.update(task, description=name, advance=done)


def error_bar(*columns: Any, transient: bool = False) -> "Progress":
    """Return a progress bar on the error stream; it is drawn only where that is a terminal."""
    from rich.progress import Progress

    waiting.clear()
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return Progress(*columns, console=console, transient=transient, disable=hidden)
