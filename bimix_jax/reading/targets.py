"""Targets: the direction, the range, the family and the weight of what is measured."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.quantities import number_of
from bimix_jax.reading.nested import read_toml
from bimix_jax.reading.settings import refuse_unknown

LOWER, HIGHER = "lower", "higher"
DIRECTIONS = (LOWER, HIGHER)
WHOLE = {"fraction": 1.0, "percent": 100.0}
"""Unit of a score → the value at which everything is solved."""
NEAREST = 1e-6
"""Distance from the maximum, in parts of the range, of a score that has reached it: laws divide by
a distance, which must not be 0."""
FARTHEST = 2.0
"""Largest distance that a score has: as far below chance as the maximum is above it."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Description of one target: a loss, or a score of which more is better.

    Everything is fitted, searched and resampled as something to make small. Of a score that is
    its distance to the maximum, e = (maximum − score)/(maximum − chance): 0 at the maximum, 1 at
    chance, above 1 below chance. Tables and pictures show the score.

    Raises:
        ValueError: on a value that an entry cannot have, a chance level that is not below the
            maximum, or the range of a loss.

    >>> math = Target("math", "higher", chance=25, maximum=100, unit="percent")
    >>> math.distance(62.5), math.score(0.5), math.points(0.1)
    (0.5, 62.5, 7.5)
    """

    name: str
    direction: str | None = None
    """"lower" for losses and other targets of which less is better, "higher" for scores; default
    by the range, which only a score has, or by the column and the name"""
    chance: float = 0.0
    """score of guessing, in the unit of the score"""
    maximum: float | None = None
    """largest score; default 1 of fractions and 100 of percent"""
    unit: str | None = None
    """of a score: "fraction", "percent" or another; default by the values of the table"""
    family: str | None = None
    """the members of a family count as one target, their mean"""
    weight: float | None = None
    """weight of the target, of a member relative to the others of its family; default 1"""
    examples: int | None = None
    """number of examples behind each score, which says how noisy it is"""
    noise: float | None = None
    """standard deviation of the score of one run, in its unit, from repetitions"""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"targets: a name is {self.name!r}; expected text.")
        if self.direction is None and (self.maximum is not None or self.chance or self.unit):
            object.__setattr__(self, "direction", HIGHER)
        if self.direction not in (None, *DIRECTIONS):
            raise ValueError(
                f"targets: the direction of {self.name} is {self.direction!r}; expected "
                f"{' or '.join(DIRECTIONS)}."
            )
        for entry in ("chance", "maximum", "weight", "examples", "noise"):
            self._check_number(entry)
        for entry in ("unit", "family"):
            given = getattr(self, entry)
            if given is not None and (not isinstance(given, str) or not given):
                raise ValueError(f"targets: {entry} of {self.name} is {given!r}; expected text.")
        self._check_range()

    def _check_number(self, entry: str) -> None:
        given = getattr(self, entry)
        if given is None:
            return
        where = f"targets: {entry} of {self.name}"
        number = number_of(given, where, "a number")
        least = {"weight": 0.0, "examples": 1.0, "noise": 0.0}.get(entry, -np.inf)
        if number < least:
            raise ValueError(f"{where} is {given}; expected a number ≥ {least:g}.")
        # The class is frozen, so a field is set around its guard.
        object.__setattr__(self, entry, int(number) if entry == "examples" else number)

    def _check_range(self) -> None:
        if not self.is_score and (self.maximum is not None or self.chance or self.unit):
            raise ValueError(
                f"targets: {self.name} has a range, but its direction is {self.direction}; only a "
                f"score has one: give direction {HIGHER}, or leave out chance, maximum and unit."
            )
        if self.is_score and self.maximum is None and self.unit is not None:
            if self.unit not in WHOLE:
                raise ValueError(
                    f"targets: the unit of {self.name} is {self.unit!r}; give its maximum, too, or "
                    f"one of the units {', '.join(WHOLE)}."
                )
            object.__setattr__(self, "maximum", WHOLE[self.unit])
        if self.maximum is not None and not self.chance < self.maximum:
            raise ValueError(
                f"targets: chance {self.chance:g} of {self.name} is not below its maximum "
                f"{self.maximum:g}; expected the score of guessing, then the largest score."
            )

    @property
    def is_score(self) -> bool:
        """True where more is better."""
        return self.direction == HIGHER

    @property
    def _range(self) -> float:
        assert self.maximum is not None, "a score that was read has a maximum"
        return self.maximum - self.chance

    def range_text(self) -> str:
        """Range, for messages; that of a loss is 0 to infinity.

        >>> Target("math", chance=25, maximum=100).range_text()
        '25 to 100'
        """
        largest = self.maximum if self.is_score and self.maximum is not None else np.inf
        return f"{self.chance:g} to {largest:g}"

    def distance(self, score: Any) -> Any:
        """Distance (…) of scores (…) to the maximum, in parts of the range; losses stay."""
        return (self.chance + self._range - score) / self._range if self.is_score else score

    def score(self, distance: Any) -> Any:
        """Scores (…) at distances (…) to the maximum; losses stay."""
        return self.chance + self._range * (1 - distance) if self.is_score else distance

    def points(self, distance: Any) -> Any:
        """Differences (…) of distances as points of the score, hundredths of its whole; without a
        sign of the direction."""
        whole = WHOLE.get(self.unit or "", self._range + self.chance)
        return 100 * self._range / whole * distance

    def variance(self, distance: np.ndarray) -> np.ndarray:
        """Variance (…) of distances (…) of scores: of the stated noise, or of the examples.

        That of n examples is binomial, at (k + 1)/(n + 2) of k right ones, so that it is not 0 at
        the ends.
        """
        if self.noise is not None:
            return np.full(np.shape(distance), (self.noise / self._range) ** 2)
        n = float(self.examples or 1)
        share = np.clip(self.score(distance) / (self.maximum or 1.0), 0.0, 1.0)
        share = (n * share + 1) / (n + 2)
        return share * (1 - share) / n * ((self.maximum or 1.0) / self._range) ** 2

    def to_dict(self) -> dict[str, Any]:
        """Entries that are not the defaults, by name; `Target(**entries)` reads them back."""
        usual = Target(self.name)
        entries = dataclasses.asdict(self).items()
        return {k: v for k, v in entries if k == "name" or v != getattr(usual, k)}


ENTRIES = tuple(field.name for field in dataclasses.fields(Target))


def targets_of(given: Any) -> tuple[Target, ...]:
    """Return descriptions of targets as a tuple.

    Args:
        given: `Target`s or mappings of their entries, a mapping of names to entries, a path to
            TOML with a table per target, or a table (path or DataFrame) with a row per target.

    Raises:
        ValueError: on an unknown entry, a target described twice, or what `Target` refuses.

    >>> targets_of({"math": {"direction": "higher", "examples": 500}})[0].is_score
    True
    """
    found = tuple(_target(entry) for entry in _entries(given))
    names = [target.name for target in found]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"targets: {', '.join(twice)} is described twice; expected each once.")
    return found


def _entries(given: Any) -> Iterable[Any]:
    if isinstance(given, str | Path) and Path(given).suffix == ".toml":
        given = read_toml(given, "descriptions of targets, a table for each")
    if isinstance(given, str | Path | pd.DataFrame):
        return _rows(given)
    if not isinstance(given, Mapping):
        return given
    wrong = [name for name, entries in given.items() if not isinstance(entries, Mapping)]
    if wrong:
        raise ValueError(
            f"targets: {wrong[0]} is {given[wrong[0]]!r}; expected entries like "
            f'{{"direction": "higher"}}, in TOML a table [{wrong[0]}].'
        )
    return [{"name": name, **entries} for name, entries in given.items()]


def _rows(source: str | Path | pd.DataFrame) -> list[dict[str, Any]]:
    """Entries of a table with a row per target; empty cells state nothing."""
    # Tables carry metadata, which hold descriptions of targets, so that only this way is late.
    from bimix_jax.reading.tables import name_of, names_of, read_table

    table = read_table(source).rename(columns={"target": "name"})
    if "name" not in table:
        raise ValueError(
            f"targets: {name_of(source)} has no column target; found {', '.join(names_of(table))}."
        )
    rows = table.to_dict("records")
    return [{str(k): v for k, v in row.items() if not pd.isna(v)} for row in rows]


def _target(entry: Any) -> Target:
    if isinstance(entry, Target):
        return entry
    if not isinstance(entry, Mapping):
        raise ValueError(f"targets: {entry!r} is no description; expected a Target or its entries.")
    refuse_unknown("targets", set(map(str, entry)) - set(ENTRIES), ENTRIES)
    if "name" not in entry:
        raise ValueError(f"targets: {dict(entry)!r} has no name; expected one.")
    return Target(**entry)


def joined(first: Sequence[Target], second: Sequence[Target]) -> tuple[Target, ...]:
    """Descriptions of both; an entry that both state is the second one's."""
    found = {target.name: target.to_dict() for target in first}
    for target in second:
        found[target.name] = found.get(target.name, {}) | target.to_dict()
    return tuple(Target(**entries) for entries in found.values())


# ---- arrays of several targets -------------------------------------------------------------------


def are_scores(described: Sequence[Target]) -> np.ndarray:
    """(targets,) bool: more is better.

    >>> are_scores([Target("web"), Target("math", "higher", unit="percent")])
    array([False,  True])
    """
    return np.array([target.is_score for target in described], bool)


def as_measured(losses: np.ndarray, described: Sequence[Target]) -> np.ndarray:
    """Values (…, targets) in the units of the targets, of losses and distances (…, targets).

    >>> as_measured(np.array([2.5, 0.25]), [Target("web"), Target("math", "higher", maximum=1)])
    array([2.5 , 0.75])
    """
    if not are_scores(described).any():
        return losses
    each = [target.score(losses[..., i]) for i, target in enumerate(described)]
    return np.stack(each, axis=-1)


def ends_measured(
    losses: np.ndarray, half: np.ndarray, described: Sequence[Target]
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends (…, targets) of intervals in the units of the targets.

    `half` (…, targets) is half the width in the logarithm of losses and distances (…, targets).
    """
    near, far = (as_measured(losses * np.exp(sign * half), described) for sign in (-1, 1))
    scores = are_scores(described)
    # A score is high where it is near to the maximum.
    return np.where(scores, far, near), np.where(scores, near, far)


def changes_measured(changes: np.ndarray, described: Sequence[Target]) -> np.ndarray:
    """Changes (…, targets) of losses and distances in the units of the targets."""
    return as_measured(changes, described) - as_measured(np.zeros_like(changes), described)


def predicted_text(described: Sequence[Target]) -> str:
    """Title of a table of predictions: "Predicted losses, nats", or scores, or both.

    >>> predicted_text([Target("web"), Target("math", "higher", unit="percent")])
    'Predicted losses, nats, and scores'
    """
    scores = are_scores(described)
    if not scores.any():
        return "Predicted losses, nats"
    if not scores.all():
        return "Predicted losses, nats, and scores"
    units = {target.unit for target in described}
    return "Predicted scores" + (
        f", {units.pop()}" if len(units) == 1 and None not in units else ""
    )


def value_text(described: Sequence[Target]) -> str:
    """Label of an axis of values: "loss (nats)", "score", or both.

    >>> value_text([Target("web")])
    'loss (nats)'
    """
    scores = are_scores(described)
    return "score" if scores.all() else "loss (nats) or score" if scores.any() else "loss (nats)"


def error_scale(losses: np.ndarray, described: Sequence[Target]) -> np.ndarray:
    """Divisors (…, targets) of errors of losses (…, targets): the loss, but 1 of a score.

    So the error of a loss is relative to it, and that of a score a part of its range.
    """
    return np.where(are_scores(described), 1.0, losses)
