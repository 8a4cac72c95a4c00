"""Tables for people, JSON for machines."""

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.text import Text

from bimix_jax.cli.text_table import NUMBER, Column, text_table
from bimix_jax.printable import json_text, printable
from bimix_jax.quantities import number_text, quantity_text, share_text

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
    """Format ranges by both ends, one per row.

    >>> span([0.1], [0.2])
    ['0.1000–0.2000']
    """
    return [f"{form(a)}–{form(b)}" for a, b in zip(low, high, strict=True)]


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


def show_notes(notes: Iterable[str], title: str = "Notes") -> None:
    """Print sentences as a list under a title, or nothing if there are none."""
    listed = list(notes)
    if listed:
        _show_title(title)
    for note in listed:
        show_line(f"  - {note}")


def show_line(text: str) -> None:
    """Print one line as it is; a terminal breaks it between words."""
    _print(Text(printable(text)))


def show_lines(label: str, what: str, advice: str) -> None:
    """Print a finding and, below it, the advice."""
    style = {"error": "bold red", "warning": "bold yellow"}.get(label, "bold")
    _print(Text.assemble((label, style), f"  {printable(what)}"))
    _print(Text(f"    {printable(advice)}"))


def _show_title(title: str) -> None:
    _print(Text())
    _print(Text(printable(title), "bold"))


def _print(text: Text) -> None:
    console = _console()
    console.print(text, soft_wrap=not console.is_terminal)


def show_json(document: dict[str, Any]) -> None:
    """Print a JSON document; numbers that are not finite become null.

    Raises:
        ValueError: if two rows of a table have one name.
    """
    print(json_text(plain(document), 1))


def plain(value: Any) -> Any:
    """Convert DataFrames, Series and NumPy values to types of JSON.

    >>> plain({"a": np.float64("nan"), "b": pd.Series({"x": 1.5})})
    {'a': None, 'b': {'x': 1.5}}
    """
    if isinstance(value, pd.DataFrame):
        return {
            label: plain(dict(row))
            for label, (_, row) in zip(_keys(value), value.iterrows(), strict=True)
        }
    if isinstance(value, (dict, pd.Series)):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _keys(table: pd.DataFrame) -> list[str]:
    names = [str(label) for label in table.index]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} names several rows; JSON needs a name for each.")
    return names
