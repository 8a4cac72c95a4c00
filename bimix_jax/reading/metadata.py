"""Metadata of a sweep, and how tables carry them."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.targets import (
    HIGHER,
    LOWER,
    NEAREST,
    Target,
    are_scores,
    joined,
    targets_of,
)
from bimix_jax.reading.written_numbers import number_of_parameters

NAMES = {
    "tokenizer": "tokeniser",
    "loss_unit": "unit of the losses",
    "share_unit": "unit of the shares",
    "schedule": "learning-rate schedule",
    "model_size": "model size",
}
"""Field of `Metadata` that must agree between two sweeps that are compared → its name in
messages."""
BETTER = {"lower_is_better": LOWER, "higher_is_better": HIGHER}
"""Entry that states the direction of some targets by their names → the direction."""
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
    targets: tuple[Target, ...] = ()
    """descriptions of scores, and of losses as far as they were stated"""

    def __post_init__(self) -> None:
        _check_one_of("loss_unit", self.loss_unit, tuple(LOSS_UNITS))
        _check_one_of("share_unit", self.share_unit, SHARE_UNITS)
        if self.model_size is not None:
            # The class is frozen, so a field is set around its guard.
            object.__setattr__(self, "model_size", number_of_parameters(self.model_size))
        object.__setattr__(self, "targets", targets_of(self.targets))

    def stated(self) -> dict[str, Any]:
        """Return the entries that are stated, by name, as JSON types."""
        entries = {entry: getattr(self, entry) for entry in NAMES}
        described = [target.to_dict() for target in self.targets]
        return {k: v for k, v in entries.items() if v is not None} | (
            {"targets": described} if described else {}
        )

    def described(self, names: Iterable[str]) -> tuple[Target, ...]:
        """Return the descriptions of targets, in this order; losses without one have the usual."""
        known = {target.name: target for target in self.targets}
        return tuple(known.get(name) or Target(name) for name in names)

    def shown(self) -> str:
        """Return the entries that are stated, as text for people.

        >>> Metadata(tokenizer="gpt2", targets=[Target("math", "higher")]).shown()
        'tokeniser gpt2, more is better in math'
        """
        stated = [f"{NAMES[e]} {v}" for e, v in self.stated().items() if e in NAMES]
        for better, direction in (("less", LOWER), ("more", HIGHER)):
            names = [target.name for target in self.targets if target.direction == direction]
            stated += [f"{better} is better in {' and '.join(names)}"] if names else []
        return ", ".join(stated)

    def and_stated(self, other: "Metadata") -> "Metadata":
        """Return the entries of both; where both state one, or describe one target, `other`
        wins."""
        both = {"targets": joined(self.targets, other.targets)}
        return Metadata(**self.stated() | other.stated() | both)

    def note_of_absent(self, but: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return one sentence that names the entries not stated, except `but`; nothing if all are.

        >>> Metadata("gpt2", "nats", "tokens", "cosine").note_of_absent()
        ('Not stated with the sweep, so not checked: model size.',)
        """
        absent = [name for e, name in NAMES.items() if e not in but and getattr(self, e) is None]
        return (f"Not stated with the sweep, so not checked: {', '.join(absent)}.",) * bool(absent)

    def check_like(self, other: "Metadata", ours: str, theirs: str, but: tuple[str, ...] = ()):
        """Raise ValueError where both state an entry, or the range of a target, differently,
        except the entries in `but`."""
        here, there = self.stated(), other.stated()
        differ = [e for e in NAMES if e in here.keys() & there.keys() and here[e] != there[e]]
        said = [
            f"the {NAMES[e]} of {ours} is {here[e]}, that of {theirs} {there[e]}"
            for e in differ
            if e not in but
        ]
        alike = {target.name: target for target in other.targets}
        said += [
            f"the range of {target.name} in {ours} is {target.range_text()}, in {theirs} "
            f"{alike[target.name].range_text()}"
            for target in self.targets
            if target.range_text() != alike.get(target.name, target).range_text()
        ]
        if said:
            raise ValueError(
                f"{ours} and {theirs} differ: {'; '.join(said)}. Compare only sweeps that "
                "were measured in the same way, or correct what is stated."
            )


UNSTATED = Metadata()
"""Metadata without any stated entry."""


def metadata_of(given: "Metadata | Mapping[str, Any] | None") -> Metadata:
    """Return a mapping of entries as a Metadata.

    Beside its fields, `lower_is_better` and `higher_is_better` name targets, and state no more
    than their direction.

    Raises:
        ValueError: on an entry that does not exist, or a target described twice.

    >>> metadata_of({"higher_is_better": "math"}).targets[0].direction
    'higher'
    """
    if isinstance(given, Metadata):
        return given
    entries = dict(given or {})
    known = (*NAMES, "targets", *BETTER)
    unknown = sorted(set(entries) - set(known))
    if unknown:
        raise ValueError(
            f"metadata: {unknown[0]} is not an entry; expected some of {', '.join(known)}."
        )
    directions = [
        Target(name, direction)
        for entry, direction in BETTER.items()
        for name in _names(entry, entries.pop(entry, ()))
    ]
    described = targets_of(entries.pop("targets", ()))
    return Metadata(**entries, targets=targets_of((*described, *directions)))


def _names(entry: str, given: Any) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{entry} is {given!r}; expected names of targets.")
    return names


def as_fitted(
    values: np.ndarray, metadata: Metadata, described: Sequence[Target]
) -> tuple[np.ndarray, Metadata, tuple[str, ...]]:
    """Return measured values as what is fitted, their new metadata, and notes on conversions.

    Losses (points, targets) change to the unit that laws are fitted in, and scores to their
    distances to the maximum.

    >>> as_fitted(np.array([[1.0]]), Metadata(loss_unit="bits"), [Target("web")])[0].round(3)
    array([[0.693]])
    """
    notes: list[str] = []
    kept, convert = LOSS_UNITS[metadata.loss_unit or "nats"]
    found = values.astype(float)
    scores = are_scores(described)
    if metadata.loss_unit not in (None, kept) and not scores.all():
        found[:, ~scores] = convert(values[:, ~scores])
        notes.append(f"Losses were given as {metadata.loss_unit} and converted to {kept}.")
        metadata = dataclasses.replace(metadata, loss_unit=kept)
    for i, target in enumerate(described):
        if not target.is_score:
            continue
        distance = target.distance(values[:, i])
        reached = int(np.sum(distance < NEAREST))
        if reached:
            notes.append(
                f"{target.name} reaches its maximum {target.maximum:g} at "
                f"{counted(reached, 'point')}; laws see {NEAREST:g} of its range less."
            )
        found[:, i] = np.maximum(distance, NEAREST)  # keeps nan
    return found, metadata, tuple(notes)


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
