"""Parts of a page: sections with tables of numbers, and pictures."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bimix_jax.report._kept import Kept
from bimix_jax.report._pictures import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = Mapping[str, Any]
"""Numbers by name, as a document has them."""
Column = tuple[str, str | Mapping[str, str], Numbers]
"""Heading, kind of numbers, of all rows or by their names, and values by the names of the rows."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of numbers and texts under a caption."""

    caption: str
    columns: tuple[str, ...]
    """headings, the first of which is that of the names"""
    kinds: tuple[str | Mapping[str, str], ...]
    """of the columns after the first: a kind of `shown`, or "" for text; or one by row"""
    rows: list[tuple[str, list[Any]]]

    @classmethod
    def of(
        cls,
        caption: str,
        names: tuple[str, Iterable[str]],
        *columns: Column | None,
    ) -> "Table":
        """Build a table of columns, each (heading, kind, values by name); None is left out.

        `names` are the heading and the names of the rows.
        """
        (heading, each), given = names, [column for column in columns if column is not None]
        rows = [(name, [values.get(name) for _, _, values in given]) for name in each]
        headings = (heading, *(column[0] for column in given))
        return cls(caption, headings, tuple(column[1] for column in given), rows)


@dataclasses.dataclass(frozen=True)
class Pictured:
    """A picture and a sentence on what it shows."""

    picture: Markup
    caption: str

    @classmethod
    def of(
        cls, kept: Kept, content: Any, draw: Callable[[], "Figure"], name: str, caption: str
    ) -> "Pictured":
        """Take a picture from its file, or draw it.

        Args:
            kept: where it is kept.
            content: everything beside the sweep that it shows, as types that `Kept` hashes.
            draw: makes the figure.
            name: makes the ids of the picture differ from those of the page's others.
            caption: the sentence.
        """

        def make() -> str:
            return picture(draw(), name, caption)

        shown = kept.get(f"picture_{name}", [content, caption], make, str, str)
        return cls(Markup(shown), caption)


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page under a title."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    figures: tuple[Pictured, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    """further texts, each with its name, which are folded away"""
    explorer: bool = False


def column(table: Mapping[str, Numbers], name: str) -> dict[str, Any]:
    """Return one column of a document's table, which is stored by row."""
    return {row: values[name] for row, values in table.items()}
