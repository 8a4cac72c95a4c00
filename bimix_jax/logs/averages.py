"""Targets that are averages of other targets, which would count those twice."""

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from bimix_jax.names import spelling
from bimix_jax.reading.tables import listed

AVERAGE = re.compile(
    r"(macro|micro|weighted)([/._ -]?(avg|average|mean|loss))?|avg|average|mean|overall|all|total"
    r"|aggregated?|combined",
    re.I,
)
"""Last part of the name of an average, unless the target is a domain."""
NESTED = re.compile(r"[/.]")
SAME = 1e-5
"""Largest relative difference from a mean; losses are logged in single precision."""
ROWS = 2
"""Number of rows that must match, so that a match by chance is ruled out."""
FIRST = 100
"""Rows that are compared before all the others."""
Losses = Mapping[str, np.ndarray]
"""Target → its losses, (rows,)."""


def without_averages(
    rows: pd.DataFrame, targets: Sequence[str], domains: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return the targets that are not averages of others, and a note of those that are.

    A target is an average if its name begins those of others (paloma beside paloma/books), if it
    has a usual name of an average, or if it is the mean of others in every row. A domain never is
    one.

    >>> rows = pd.DataFrame({"web": [3.0, 2.5], "code": [2.0, 1.5], "val": [2.5, 2.0]})
    >>> without_averages(rows, ["web", "code", "val"], ["web", "code"])[0]
    ['web', 'code']
    """
    known = {spelling(domain) for domain in domains}
    found = dict[str, str]()
    losses = {target: rows[target].to_numpy(float) for target in targets}
    for target in targets:
        # Without averages found before, two equal averages do not exclude each other.
        others = [t for t in targets if t != target and t not in found]
        why = None if spelling(target) in known else _average_of(losses, target, others)
        if why is not None:
            found[target] = why
    left = [target for target in targets if target not in found]
    if not found or not left:
        return list(targets), []
    said = "; ".join(f"{target}, {why}" for target, why in found.items())
    count = (
        "1 target that is an average was"
        if len(found) == 1
        else (f"{len(found)} targets that are averages were")
    )
    return left, [f"{count} left out, as their parts are targets themselves: {said}."]


def _average_of(losses: Losses, target: str, others: list[str]) -> str | None:
    """Return why a target is an average, or None."""
    inner = [t for t in others if NESTED.match(t.removeprefix(target)) and t.startswith(target)]
    if inner:
        return f"whose name begins those of {listed(inner)}"
    if others and AVERAGE.fullmatch(NESTED.split(target)[-1]):
        return "by its name"
    beside = [t for t in others if t.startswith(f"{target}_")]
    for parts in (beside, others):
        if len(parts) > 1 and _is_mean(losses, target, parts):
            return f"the mean of {listed(parts)}"
    return None


def _is_mean(losses: Losses, target: str, parts: list[str]) -> bool:
    if not _near_mean(losses, target, parts, FIRST).all():  # fast: most targets differ at once
        return False
    near = _near_mean(losses, target, parts)
    return len(near) >= ROWS and bool(near.all())


def _near_mean(
    losses: Losses, target: str, parts: list[str], rows: int | None = None
) -> np.ndarray:
    """Return for each row that holds all parts whether the target is their mean."""
    loss, mean = losses[target][:rows], np.mean([losses[part][:rows] for part in parts], axis=0)
    there = np.isfinite(mean) & np.isfinite(loss)
    return np.abs(loss - mean)[there] <= SAME * np.abs(mean[there])
