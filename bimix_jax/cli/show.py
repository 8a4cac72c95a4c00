"""Tables for people, JSON for machines."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bimix_jax.printable import json_text, printable

PERCENT = {"error", "mre", "worst", "difference", "se", "gain"}
SHARES = {
    "proportion", "low", "high", "reference", "unconstrained", "flat_low", "flat_high",
    "observed_min", "observed_max", "min", "median", "max", "share", "rounded", "moved", "change",
}  # fmt: skip
TOKENS = {"tokens", "available", "rounded_tokens"}


def show_table(table: pd.DataFrame, title: str) -> None:
    """Print a DataFrame, its index first, numbers to the right."""
    shown = Table(
        title=_plain(title), title_justify="left", title_style="bold", header_style="bold"
    )
    shown.add_column(_plain(table.index.name or ""), no_wrap=True)
    for column in table:
        left = not pd.api.types.is_numeric_dtype(table[column])
        name = f"{column} %" if column in PERCENT else str(column)
        shown.add_column(_plain(name), justify="left" if left else "right", no_wrap=True)
    cells = [[format_cell(str(c), value) for value in table[c]] for c in table]
    for label, *row in zip(table.index, *cells, strict=True):
        shown.add_row(_plain(label), *row)
    _console().print(shown)


def _plain(text: object) -> str:
    """Text without what a terminal or the markup of tables would act on."""
    return escape(printable(text))


def _console() -> Console:
    """As wide as the terminal, but wide enough for a table where there is none (a file, a pipe)."""
    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(width=140, highlight=False, emoji=False)


def format_cell(column: str, value: Any) -> str:
    """A number with the digits that matter, by what the column holds.

    >>> format_cell("mre", 0.01234), format_cell("proportion", 0.1), format_cell("B", 3.2e9)
    ('1.23', '0.1000', '3.2e+09')
    """
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, (int, np.integer)):
        return str(value)
    if math.isnan(value):
        return "–"
    if column in PERCENT:
        return f"{100 * value:.2f}"
    if column in TOKENS:
        return f"{value:,.0f}"
    if column in SHARES:
        return f"{value:.4f}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"


def show_notes(notes: Iterable[str], title: str = "Notes") -> None:
    """Print sentences as a list under a title, nothing if there are none."""
    lines = [f"  - {_plain(note)}" for note in notes]
    if lines:
        _console().print("\n".join([f"[bold]{title}[/bold]", *lines]))


def show_line(text: str) -> None:
    """Print one line as it is."""
    _console().print(_plain(text), soft_wrap=True)


def show_lines(label: str, what: str, advice: str) -> None:
    """Print something seen and, below it, what to do about it."""
    style = {"error": "bold red", "warning": "bold yellow"}.get(label, "bold")
    _console().print(f"[{style}]{label}[/{style}]  {_plain(what)}", soft_wrap=True)
    _console().print(f"    {_plain(advice)}", soft_wrap=True)


def show_json(document: dict[str, Any]) -> None:
    """Print a JSON document; numbers that are not finite become null.

    Raises:
        ValueError: if two rows of a table have one name.
    """
    print(json_text(plain(document), 1))


def plain(value: Any) -> Any:
    """DataFrames, Series and NumPy values as what JSON knows.

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
