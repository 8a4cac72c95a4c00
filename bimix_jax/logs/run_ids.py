"""Runs by their ids, where several of them have one name."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from bimix_jax.tables import listed

NAMES = ("run", "run_name", "name", "display_name")
IDS = ("run_id", "id", "run_uuid")
"""Columns of what is unique beside a name that need not be."""


def id_column(columns: Iterable[str], run: str | None) -> str | None:
    """The column of ids beside one of names, None if there is none."""
    if run is None or run.lower() not in NAMES:
        return None
    return next((c for key in IDS for c in columns if c.lower() == key), None)


def by_id(
    names: np.ndarray, ids: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, dict[object, object]]:
    """(rows,) the runs by their ids, and id → name; the names alone where ids are those of rows."""
    rows = pd.DataFrame({"name": names, "id": ids, "step": steps})
    each_row = rows["id"].is_unique and not rows.duplicated(["name", "step"]).any()
    if each_row or rows["id"].isna().any() or rows.groupby("id")["name"].nunique().max() > 1:
        return names, {}
    return ids, dict(zip(ids, names, strict=True))


def by_name(run: np.ndarray, names: Mapping[object, object]) -> tuple[np.ndarray, list[str]]:
    """(rows,) the runs by their names if no two share one, else as they are, and what is said."""
    if not names:
        return run, []
    ids = pd.Series(names).groupby(pd.Series(names)).groups
    shared: dict[object, Sequence[object]] = {
        name: list(several) for name, several in ids.items() if len(several) > 1
    }
    if not shared:
        return pd.Series(run).replace(names).to_numpy(object), []
    name, several = next(iter(shared.items()))
    return run, [
        f"Runs are called by their ids, as {len(several)} of them ({listed(several)}) have one "
        f"name, {name}."
    ]
