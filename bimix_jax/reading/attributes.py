"""Entries that a table carries beside its cells, in the attrs that `Sweep.to_frame` made."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.metadata import UNSTATED, Metadata, metadata_of

ATTRIBUTES = "bimix_jax"
"""Key of the package's entry in a table's attrs; pandas keeps such entries in Parquet files."""


class Kept(NamedTuple):
    """The unit, the metadata and the notes of a sweep that became a table."""

    unit: str | None = None
    metadata: Metadata = UNSTATED
    notes: tuple[str, ...] = ()
    size: str | None = None


def kept_with(attrs: Any, name: str) -> Kept:
    """Return the package's entry in the attrs of the table called `name`; ignore other tools'
    entries.

    Raises:
        SweepError: if the entry of this package is damaged.

    >>> kept_with({"bimix_jax": {"unit": "steps", "notes": ["…"]}}, "sweep.parquet").unit
    'steps'
    """
    kept = attrs.get(ATTRIBUTES) if isinstance(attrs, dict) else None
    if kept is None:
        return Kept()
    try:
        return _checked(kept)
    except (AttributeError, TypeError, ValueError) as error:
        raise SweepError(
            f"{name}: the entry {ATTRIBUTES!r} of its attrs, which a saved sweep has, is damaged: "
            f"{error}. Save the sweep again, or remove the entry."
        ) from error


def _checked(kept: dict[str, Any]) -> Kept:
    unit, size, notes = kept.get("unit"), kept.get("size"), kept.get("notes", ())
    for what, value in (("unit", unit), ("size", size)):
        if not isinstance(value, str | None):
            raise TypeError(f"the {what} is {value!r}, which is not text")
    if isinstance(notes, str) or not all(isinstance(note, str) for note in notes):
        raise TypeError(f"the notes are {notes!r}, which are not a list of text")
    return Kept(unit, metadata_of(kept.get("meaning")), tuple(notes), size)


def notes_of(table: pd.DataFrame) -> list[str]:
    """Return the notes of what was assumed, changed or left out when a table was read."""
    return list(kept_with(table.attrs, "The table").notes)


def add_notes(table: pd.DataFrame, notes: Sequence[str]) -> None:
    """Add notes to the attrs of a table."""
    kept = table.attrs.get(ATTRIBUTES, {})
    said = dict.fromkeys([*kept.get("notes", ()), *notes])
    if said:
        table.attrs[ATTRIBUTES] = {**kept, "notes": list(said)}
