"""Columns of proportions, losses and tokens whose names are not the usual ones.

Proportions show themselves: they sum to 1, or 100, in every row. Losses show themselves by a word
of their names only, so that one of the two without the other is never enough.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from bimix_jax.reading.column_names import CAMEL, LOSSES, SEPARATORS, WORD, says_score
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.names import spelling
from bimix_jax.reading.tables import LOSS_PREFIX, MIXTURE_PREFIX, listed, names_of
from bimix_jax.reading.written_numbers import numbers

HELD_OUT = re.compile("val|valid|validation|eval|evaluation|dev|test|heldout|holdout")
"""Words of a column that is measured on text which is not trained on."""
COUNTED = re.compile(
    "tokens?|epochs?|docs?|documents?|bytes|n|num|count|std|stdev|se|sem|stderr|var|share|shares|"
    "prop|weights?|pct|percent|time|runtime|seconds?|samples?|steps?|per|lr|size|grad|norm|ppl|"
    "perplexity|bits?|bpb|min|max"
)
"""Words that show that a column holds something else than a loss in nats per token."""
PARTS = re.compile("train|training")
"""Words, beside those of `HELD_OUT`, of a part of a corpus, which is no domain."""
ROUNDED = 2e-3
"""Largest relative difference from 1 or 100 of a sum of proportions. It is less than where names
state the proportions, because here the sum is what shows them."""
MOST_TOKENS = 1e15
"""More tokens than any run has: a column of this size is not in the unit that its name says."""
LEAST = 2
"""Least number of names that proportions and losses share: one name is a chance."""
POWERS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
"""First letter of a unit of tokens → its number of tokens."""
UNIT = "k|m|b|t|bn|thousands?|millions?|billions?|trillions?"
TOKENS = re.compile(
    rf"tokens?[ _./\-]*(?:in)?[ _./\-]*[(\[]?(?P<after>{UNIT})[)\]]?"
    rf"|(?P<before>{UNIT})[ _./\-]*(?:of)?[ _./\-]*tokens?",
    re.I,
)
"""Names of a column of tokens in thousands or more: tokens_b, Tokens (B), billion_tokens."""
ADVICE = (
    "name the beginnings of the columns with mixture_prefix= (--mixture-prefix) and loss_prefix= "
    "(--loss-prefix), or, for logs, loss_pattern= (--loss-pattern)"
)


@dataclasses.dataclass(frozen=True)
class _Group:
    """Columns of numbers with one beginning and one end: names → columns."""

    before: str
    after: str
    columns: Mapping[str, str]

    @property
    def shown(self) -> str:
        return f"{self.before}<name>{self.after}"

    def of(self, names: Sequence[str]) -> dict[str, str]:
        """Return column → name for some names, as they are spelled here."""
        own = {spelling(name): name for name in self.columns}
        return {self.columns[own[name]]: own[name] for name in names}

    @property
    def spellings(self) -> list[str]:
        return [spelling(name) for name in self.columns]


@dataclasses.dataclass(frozen=True)
class Reading:
    """One reading of a table: column → domain, and column → target."""

    domains: dict[str, str]
    targets: dict[str, str]
    shown: tuple[str, str]
    """the forms of the names of proportions, and of losses"""
    whole: float
    """the sum of the proportions in every row: 1 or 100"""

    @property
    def note(self) -> str:
        """Sentence about the choice, which the user did not state."""
        share, loss = self.shown
        return (
            f"Proportions were recognised in {share}, which sum to {self.whole:g} in every row, "
            f"and losses in {loss}; if that is wrong, {ADVICE}."
        )


def recognised(table: pd.DataFrame, prefixes: tuple[str | None, str | None]) -> Reading | None:
    """Return the only reading of a wide table with columns of other names; None without any.

    Args:
        table: with columns of any names.
        prefixes: of proportions and of losses, as far as they are stated.

    Raises:
        SweepError: if there are several readings; the message names them.

    >>> table = pd.DataFrame({"w_a": [0.2, 0.6], "w_b": [0.8, 0.4], "val_a": 3.1, "val_b": 2.9})
    >>> recognised(table, (None, None)).targets
    {'val_a': 'a', 'val_b': 'b'}
    """
    values = _numbers(table)
    groups = _groups(values)
    shares = _allowed(groups, prefixes[0], MIXTURE_PREFIX)
    losses = [g for g in _allowed(groups, prefixes[1], LOSS_PREFIX) if _says_loss(g, prefixes[1])]
    found = dict[tuple[frozenset[str], frozenset[str]], Reading]()
    for share in shares:
        for loss in losses:
            reading = _reading(values, share, loss)
            if reading is not None:
                key = frozenset(reading.domains), frozenset(reading.targets)
                # The shortest beginning comes first: what all names share is cut later.
                found.setdefault(key, reading)
    readings = _largest(found)
    if len(readings) > 1:
        raise SweepError(_several(readings))
    return readings[0] if readings else None


def _numbers(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the columns that hold numbers, at least 0, and nothing else but empty cells."""
    found = {}
    for column in names_of(table):
        if not pd.api.types.is_bool_dtype(table[column]):
            values, text = numbers(table[column], percent=True)
            known = values[~np.isnan(values)]
            if known.size and not text.any() and np.all(np.isfinite(known) & (known >= 0)):
                found[column] = values
    return found


def _groups(columns: Mapping[str, np.ndarray]) -> list[_Group]:
    """Return the groups of at least two columns, those with the shortest beginnings first."""
    found = dict[tuple[str, str], dict[str, str]]()
    for column in columns:
        for before, name, after in _cuts(column):
            found.setdefault((before, after), {})[name] = column
    groups = [_Group(*ends, names) for ends, names in found.items() if len(names) >= LEAST]
    return sorted(groups, key=lambda group: len(group.before) + len(group.after))


def _cuts(column: str) -> Iterator[tuple[str, str, str]]:
    """Yield (beginning, name, end) for every cut of a column's name at separators."""
    places = [i for i, letter in enumerate(column) if letter in SEPARATORS + " "]
    for start in (0, *(i + 1 for i in places)):
        for end in (*(i for i in places if i > start), len(column)):
            if start < end:
                yield column[:start], column[start:end], column[end:]


def _allowed(groups: Sequence[_Group], stated: str | None, usual: str) -> list[_Group]:
    """Return the groups with the stated prefix, else with the usual one, else all."""
    if stated is not None:
        return [g for g in groups if g.before == stated and not g.after]
    return [g for g in groups if g.before == usual and not g.after] or list(groups)


def _says_loss(group: _Group, stated: str | None) -> bool:
    """True where the beginning or the end shows that the columns are losses, or a user says so."""
    affix = f"{group.before} {group.after}"
    words = [w.casefold() for part in WORD.findall(affix) for w in CAMEL.split(part)]
    if stated is not None:
        return True
    if says_score(affix) or any(map(COUNTED.fullmatch, words)):
        return False
    return any(LOSSES.fullmatch(word) or HELD_OUT.fullmatch(word) for word in words)


def _reading(values: Mapping[str, np.ndarray], share: _Group, loss: _Group) -> Reading | None:
    """Return the reading of two groups, if the one are proportions of what the other are."""
    both = [name for name in share.spellings if name in set(loss.spellings)]
    # Losses of other names would be lost, or are no losses, and only a user can say which.
    others = [n for n in loss.spellings if n not in both and not COUNTED.fullmatch(n)]
    if len(both) < LEAST or others or says_score(f"{share.before} {share.after}"):
        return None
    if any(PARTS.fullmatch(name) or HELD_OUT.fullmatch(name) for name in both):
        return None
    if _whole(values, loss.of(both)) is not None:
        return None  # proportions of something else
    # A column beside them that is no domain, such as w_decay, breaks the sum of all.
    choices = (share.spellings, both) if share.before or share.after else (both,)
    for names in choices:
        domains, targets = share.of(names), loss.of(both)
        whole = None if domains.keys() & targets.keys() else _whole(values, domains)
        if whole is not None:
            return Reading(domains, targets, (share.shown, loss.shown), whole)
    return None


def _whole(values: Mapping[str, np.ndarray], columns: Mapping[str, str]) -> float | None:
    """Return the sum of the columns in every row, 1 or 100; None if it is another, or the cells
    are the same in all rows, as weights of targets are."""
    cells = np.stack([values[column] for column in columns], axis=1)
    if len(cells) > 1 and not np.any(cells != cells[0]):
        return None
    sums = cells.sum(axis=1)
    for whole in (1.0, 100.0):
        if np.all(np.abs(sums - whole) <= whole * ROUNDED):
            return whole
    return None


def _largest(found: Mapping[tuple[frozenset[str], frozenset[str]], Reading]) -> list[Reading]:
    """Return the readings that are no part of another one."""

    def is_part(one: tuple[frozenset[str], ...], other: tuple[frozenset[str], ...]) -> bool:
        return one != other and one[0] <= other[0] and one[1] <= other[1]

    return [r for key, r in found.items() if not any(is_part(key, other) for other in found)]


def _several(readings: Sequence[Reading]) -> str:
    said = "; ".join(
        f"{share} with {loss} ({listed(r.domains)}; {listed(r.targets)})"
        for r in readings
        for share, loss in [r.shown]
    )
    return f"{len(readings)} readings of the columns are possible: {said}. To choose, {ADVICE}."


def with_tokens(
    table: pd.DataFrame, column: str | None = None, used: Collection[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table with a column tokens in place of one in billions or the like; and a note.

    Args:
        table: of runs; it is returned as it is where it has a column tokens already.
        column: the column of budgets; None for the only one that is named so.
        used: columns of proportions and losses.

    Raises:
        SweepError: if the numbers are too large for the unit that the name says.

    >>> with_tokens(pd.DataFrame({"tokens_b": [2, 4]}))[0]["tokens"].tolist()
    [2000000000.0, 4000000000.0]
    """
    free = [c for c in names_of(table) if column in (None, c) and c not in used]
    named = [c for c in free if TOKENS.fullmatch(c)]
    if len(named) != 1 or any(c.lower() == "tokens" for c in names_of(table)):
        return table, ()
    found = TOKENS.fullmatch(named[0])
    power = POWERS[(found["after"] or found["before"])[0].lower()]  # type: ignore[index]
    values, text = numbers(table[named[0]])
    if text.any():  # 2B in a column of billions may be either
        return table, ()
    if np.nanmax(values, initial=0.0) * power > MOST_TOKENS:
        raise SweepError(
            f"column {named[0]} reaches {np.nanmax(values):g}, which its name says to be in units "
            f"of {power:,.0f} tokens; expected at most {MOST_TOKENS / power:g}. Rename it to "
            "tokens if it holds tokens."
        )
    renamed = table.assign(**{named[0]: values * power}).rename(columns={named[0]: "tokens"})
    return renamed, (f"Column {named[0]} was multiplied by {power:,.0f} to tokens.",)
