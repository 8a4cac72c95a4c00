"""Metadata of a sweep, and how tables carry them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.written_numbers import number_of_parameters

NAMES = {
    "tokenizer": "tokeniser",
    "loss_unit": "unit of the losses",
    "share_unit": "unit of the shares",
    "schedule": "learning-rate schedule",
    "model_size": "model size",
    "lower_is_better": "less is better in",
}
"""Field of `Metadata` → its name in messages."""
MEASURED_WITH = tuple(entry for entry in NAMES if entry != "lower_is_better")
"""Entries that must agree between two sweeps that are compared."""
SHARE_UNITS = ("tokens", "documents", "samples")
LOSS_UNITS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "nats": ("nats", lambda loss: loss),
    # 1 bit is ln 2 nats.
    "bits": ("nats", lambda loss: loss * np.log(2)),
    # Perplexity is exp(loss per token).
    "perplexity": ("nats", np.log),
    "nats per byte": ("nats per byte", lambda loss: loss),
    "bits per byte": ("nats per byte", lambda loss: loss * np.log(2)),
}
"""Unit of a file → unit that is kept (nats are per token), and the function that converts to it."""


def _check_one_of(entry: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise ValueError(f"{entry} is {value!r}; expected one of {', '.join(known)}.")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Units and conditions of a sweep's losses, proportions and budgets; None if not stated.

    Raises:
        ValueError: on a unit that does not exist, or an invalid model size.

    >>> Metadata(tokenizer="gpt2", model_size="122M").stated()
    {'tokenizer': 'gpt2', 'model_size': 122000000.0}
    """

    tokenizer: str | None = None
    """name of the tokeniser"""
    loss_unit: str | None = None
    """"nats" or "bits" (per token), "perplexity", "nats per byte" or "bits per byte"; a sweep
    holds nats, or nats per byte"""
    share_unit: str | None = None
    """unit of the proportions: "tokens", "documents" or "samples" """
    schedule: str | None = None
    """the learning-rate schedule, in the user's words"""
    model_size: float | None = None
    """parameters of the model; text like "122M" is understood"""
    lower_is_better: tuple[str, ...] | None = None
    """targets in which less is better although their name or values look like a score's"""

    def __post_init__(self) -> None:
        _check_one_of("loss_unit", self.loss_unit, tuple(LOSS_UNITS))
        _check_one_of("share_unit", self.share_unit, SHARE_UNITS)
        if self.model_size is not None:
            # The class is frozen, so a field is set around its guard.
            object.__setattr__(self, "model_size", number_of_parameters(self.model_size))
        if self.lower_is_better is not None:
            object.__setattr__(self, "lower_is_better", _names(self.lower_is_better))

    def stated(self) -> dict[str, Any]:
        """Return the entries that are stated, by name."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    def shown(self) -> str:
        """Return the entries that are stated, as text for people.

        >>> Metadata(tokenizer="gpt2", lower_is_better="mmlu_acc").shown()
        'tokeniser gpt2, less is better in mmlu_acc'
        """
        return ", ".join(
            f"{NAMES[entry]} {' and '.join(value) if isinstance(value, tuple) else value}"
            for entry, value in self.stated().items()
        )

    def and_stated(self, other: "Metadata") -> "Metadata":
        """Return the entries of both; where both state one, `other` wins, except that the names
        in `lower_is_better` are joined."""
        # Exemptions of several sources do not contradict each other.
        both = (*(self.lower_is_better or ()), *(other.lower_is_better or ()))
        less = {"lower_is_better": tuple(dict.fromkeys(both))} if both else {}
        return Metadata(**self.stated() | other.stated() | less)

    def note_of_absent(self, but: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return one sentence that names the entries not stated, except `but`; nothing if all are.

        >>> Metadata("gpt2", "nats", "tokens", "cosine").note_of_absent()
        ('Not stated with the sweep, so not checked: model size.',)
        """
        absent = [NAMES[e] for e in MEASURED_WITH if e not in but and getattr(self, e) is None]
        return (f"Not stated with the sweep, so not checked: {', '.join(absent)}.",) * bool(absent)

    def check_like(self, other: "Metadata", ours: str, theirs: str, but: tuple[str, ...] = ()):
        """Raise ValueError where both state an entry differently, except the entries in `but`."""
        here, there = self.stated(), other.stated()
        differ = [
            e for e in MEASURED_WITH if e in here.keys() & there.keys() and here[e] != there[e]
        ]
        said = [
            f"the {NAMES[e]} of {ours} is {here[e]}, that of {theirs} {there[e]}"
            for e in differ
            if e not in but
        ]
        if said:
            raise ValueError(
                f"{ours} and {theirs} differ: {'; '.join(said)}. Compare only sweeps that "
                "were measured in the same way, or correct what is stated."
            )


UNSTATED = Metadata()
"""Metadata without any stated entry."""


def _names(given: Any) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"lower_is_better is {given!r}; expected names of targets.")
    return names


def metadata_of(given: "Metadata | Mapping[str, Any] | None") -> Metadata:
    """Return a mapping of entries as a Metadata.

    Raises:
        ValueError: on an entry that does not exist.
    """
    if isinstance(given, Metadata):
        return given
    entries = dict(given or {})
    unknown = sorted(set(entries) - set(NAMES))
    if unknown:
        raise ValueError(
            f"metadata: {unknown[0]} is not an entry; expected some of {', '.join(NAMES)}."
        )
    return Metadata(**entries)


def in_nats(loss: np.ndarray, metadata: Metadata) -> tuple[np.ndarray, Metadata, tuple[str, ...]]:
    """Return losses in the unit that laws are fitted in, their new metadata, and a note if
    converted.

    >>> in_nats(np.array([1.0]), Metadata(loss_unit="bits"))[0].round(3).item()
    0.693
    """
    if metadata.loss_unit is None:
        return loss, metadata, ()
    kept, convert = LOSS_UNITS[metadata.loss_unit]
    if kept == metadata.loss_unit:
        return loss, metadata, ()
    note = f"Losses were given as {metadata.loss_unit} and converted to {kept}."
    return convert(loss), dataclasses.replace(metadata, loss_unit=kept), (note,)


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
    # The key in files has its first name, so that saved sweeps keep loading.
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
