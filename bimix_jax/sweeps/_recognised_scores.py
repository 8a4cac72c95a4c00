"""Scores among the targets of a table, by their columns and names, and the ranges that they have.

A column `score_<task>` is a score, and so is a name with a word like acc or bleu; a description of
the target overrules both.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from bimix_jax.reading.column_names import says_score
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.metadata import Metadata
from bimix_jax.reading.tables import SCORE_PREFIX, listed
from bimix_jax.reading.targets import HIGHER, Target
from bimix_jax.reading.written_numbers import numbers
from bimix_jax.sweeps._checks import warn
from bimix_jax.sweeps._layouts import Parts

SD_PREFIX = "sd_"
"""Beginning of the columns of standard deviations of scores."""
HOW = "describe targets by metadata= (--metadata targets=FILE)"


def recognised_targets(metadata: Metadata, parts: Parts, notes: list[str]) -> Metadata:
    """Return metadata that describe every score of a table, with notes on what was not stated.

    Args:
        metadata: stated, with names of targets as in `parts`.
        parts: of the table.
        notes: of what was read so far.
    """
    named = [t for t in metadata.described(parts.loss.values.columns) if t.direction is None]
    found = {t.name: _recognised(t, parts) for t in named}
    every = [found.get(t.name) or t for t in metadata.described(parts.loss.values.columns)]
    notes += _note_of_names(found)
    largest = {t.name: _largest(parts, t) for t in every if t.is_score and t.maximum is None}
    units = _units(largest, notes)
    described = [dataclasses.replace(t, unit=units.get(t.name, t.unit)) for t in every]
    described = _with_noise(described, parts, notes)
    kept = tuple(t for t in described if t != Target(t.name))
    _refuse_domains([t.name for t in kept if t.is_score], parts)
    return dataclasses.replace(metadata, targets=kept)


def _recognised(target: Target, parts: Parts) -> Target:
    """Return a target without a stated direction as a score, if its column or name says so."""
    place = list(parts.loss.values.columns).index(target.name)
    by_column = parts.loss.columns[place].startswith(SCORE_PREFIX)
    # The name of a domain is no evidence: it is the text that is trained on.
    by_name = target.name not in parts.mixture.values.columns and says_score(target.name)
    return dataclasses.replace(target, direction=HIGHER) if by_column or by_name else target


def _with_noise(described: Sequence[Target], parts: Parts, notes: list[str]) -> list[Target]:
    """Return scores with the noise of columns sd_<task>, the standard deviations of repetitions."""
    found = {}
    for target in described:
        column = f"{SD_PREFIX}{target.name.removeprefix(SCORE_PREFIX)}"
        if target.is_score and target.noise is None and column in parts.rest:
            values, text = numbers(parts.rest[column])
            known = values[np.isfinite(values)]
            if len(known) and not text.any() and np.any(known > 0) and np.all(known >= 0):
                found[target.name] = float(f"{np.sqrt(np.mean(known**2)):.4g}")
    if found:
        notes.append(f"The noise of scores is that of columns {SD_PREFIX}…: {listed(found)}.")
    return [dataclasses.replace(t, noise=found.get(t.name, t.noise)) for t in described]


def _refuse_domains(scores: Sequence[str], parts: Parts) -> None:
    """Raise SweepError if a score has the name of a domain, whose loss it is not."""
    both = [name for name in scores if name in parts.mixture.values.columns]
    if both:
        raise SweepError(
            f"targets: the scores {listed(both)} are called as domains, whose losses they are not; "
            f"call their columns {SCORE_PREFIX}{both[0]} and so on."
        )


def _largest(parts: Parts, target: Target) -> float:
    """Largest score of a target, or its chance level if that is larger; nan without numbers."""
    values = numbers(parts.loss.values[target.name], percent=True)[0]
    return float(np.max(values, initial=target.chance, where=np.isfinite(values)))


def _units(largest: Mapping[str, float], notes: list[str]) -> dict[str, str]:
    """Unit of each score without a stated range, by the largest value of each."""
    small = [name for name, value in largest.items() if value <= 1]
    if len(small) == len(largest):
        notes += [f"Scores are read as fractions: {listed(small)}."] if small else []
        return dict.fromkeys(small, "fraction")
    notes.append(f"Scores are read as percent: {listed(n for n in largest if n not in small)}.")
    if small:
        # A task that is hardly solved in percent looks like fractions, which nothing rules out.
        warn(
            f"No score of {listed(small)} is above 1, while others are percent; they are read as "
            f"percent, too. If they are fractions, state their unit: {HOW}.",
            notes,
        )
    return dict.fromkeys(largest, "percent")


def _note_of_names(found: Mapping[str, Target]) -> list[str]:
    """Note on the targets that nobody stated to be scores."""
    scores = [name for name, target in found.items() if target.is_score]
    if not scores:
        return []
    unstated = [name for name in scores if not found[name].chance]
    chance = f" Chance is taken as 0 for {listed(unstated)}." if unstated else ""
    return [
        f"Taken as scores, of which more is better: {listed(scores)}.{chance} To change it, {HOW}."
    ]
