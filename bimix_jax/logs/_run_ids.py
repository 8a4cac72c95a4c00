"""Runs by their ids, where several of them share a name."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.reading.tables import listed

NAMES = ("run", "run_name", "name", "display_name")
# W&B and MLflow allow several runs of one name; their ids are unique.
IDS = ("run_id", "id", "run_uuid")
"""Columns of ids, unique where a run's name may not be."""


def id_column(columns: Iterable[str], run: str | None) -> str | None:
    """Return the column of ids beside a column of names, or None."""
    if run is None or run.lower() not in NAMES:
        return None
    return next((c for key in IDS for c in columns if c.lower() == key), None)


class Called(NamedTuple):
    """The name and the id of a run."""

    name: object
    known_by: object


def by_both(
    names: np.ndarray, ids: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, dict[object, Called]]:
    """Return (rows,) the runs by name and id, and the name and id of each; by name if ids are
    per row."""
    rows = pd.DataFrame({"name": names, "id": ids, "step": steps})
    # Ids that differ in every row number the rows, unless a name has a step twice, as two runs do.
    each_row = len(rows) > 1 and rows["id"].is_unique
    if rows["id"].isna().any() or (each_row and not rows.duplicated(["name", "step"]).any()):
        return names, {}
    codes, pairs = pd.factorize(pd.MultiIndex.from_arrays([names, ids]))
    called: dict[object, Called] = {
        f"{name} ({known_by})": Called(name, known_by) for name, known_by in pairs
    }
    return np.array(list(called), object)[codes], called


def by_one(run: np.ndarray, called: Mapping[object, Called]) -> tuple[np.ndarray, list[str]]:
    """Return (rows,) the runs by name, or by id with a note where two runs share a name."""
    if not called:
        return run, []
    pairs = set(called.values())
    shared = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    # An id with several names does not stand for a run.
    several = max(Counter(known_by for _, known_by in pairs).values(), default=0) > 1
    if not shared or several:
        names = {key: each.name for key, each in called.items()}
        return np.array([names.get(each, each) for each in run], object), []
    ids = [known_by for name, known_by in pairs if name == shared[0]]
    found = {key: each.known_by for key, each in called.items()}
    return np.array([found.get(each, each) for each in run], object), [
        f"Runs are named by their ids, because {len(ids)} of them "
        f"({listed(sorted(map(str, ids)))}) share the name {shared[0]}."
    ]
