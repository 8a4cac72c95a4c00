"""Files of mixtures: a JSON object of one mixture, or a table with a row per mixture."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bimix_jax.files import as_path
from bimix_jax.quantities import numbers_of
from bimix_jax.reading.metadata import notes_of
from bimix_jax.reading.names import (
    SUM_TOLERANCE,
    align_mixtures,
    note_of_spelling,
    respelled,
    spelling,
)
from bimix_jax.reading.nested import read_json
from bimix_jax.reading.tables import MIXTURE_PREFIX, RUN_COLUMNS, names_of, read_table

LEAST_AMOUNT = 10.0
"""Least sum of a row of amounts; rows with a smaller sum, other than 1, are damaged shares."""


def read_mixtures(path: str | Path, domains: Sequence[str]) -> pd.DataFrame:
    """Read mixtures by name, (mixtures, domains), without other columns; labels are the index.

    A .json file holds {"domain": proportion, …}, or that under "mixture", as `bimix optimize
    --json` prints it, or [{"domain": …, "weight": …}, …], as olmix does. A table (.csv, .parquet,
    .jsonl) has a column per domain, `<domain>` or `r_<domain>`, and may name its rows in a column
    run or name. Names may differ from the domains in case or blanks. Percentages, and amounts such
    as tokens, whose sums are far above 1, become shares, with a warning.

    Raises:
        ValueError: if the file cannot be read, is empty, holds text where a proportion should be,
            or a domain has no column.
    """
    path = as_path(path)
    table = _from_json(path) if path.suffix == ".json" else read_table(path)
    table = table.rename(columns={MIXTURE_PREFIX + d: d for d in domains if d not in table})
    renamed = respelled(str(path), names_of(table), domains)
    for note in (*note_of_spelling(renamed), *notes_of(table)):
        warnings.warn(f"{path}: {note}", stacklevel=2)
    table = table.rename(columns=renamed)
    missing = [d for d in domains if d not in table]
    if missing:
        raise ValueError(
            f"{path}: no proportion for {', '.join(missing)}; found the columns "
            f"{', '.join(map(str, table.columns))}, expected every one of {', '.join(domains)}."
        )
    if table.empty:
        raise ValueError(f"{path} holds no mixture; expected one a row.")
    by_spelling = {spelling(c): c for c in names_of(table) if c not in domains}
    label = next((by_spelling[c] for c in ("name", *RUN_COLUMNS) if c in by_spelling), None)
    index = (
        pd.RangeIndex(1, len(table) + 1)  # as rows are counted in messages on tables
        if label is None
        else pd.Index(table[label].astype(str), name="mixture")
    )
    return _shares(path, _numbers(path, table[list(domains)]).set_axis(index))


def _shares(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Convert percentages and amounts to shares; raises ValueError for sums that are neither."""
    totals = table.sum(axis=1)
    kind = (
        "Percentages"
        if ((totals - 100).abs() <= 100 * SUM_TOLERANCE).all()
        else "Amounts"
        if (totals >= LEAST_AMOUNT).all()
        else None
    )
    if kind is not None:
        warnings.warn(f"{path}: {kind} were divided by their sums.", stacklevel=3)
        table = table.div(totals, axis=0)
    try:
        values = align_mixtures(table, list(table.columns))[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return pd.DataFrame(values, table.index, table.columns)


def _numbers(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    expected = "proportions between 0 and 1"
    return table.apply(
        lambda column: numbers_of(column.to_numpy(), f"{path}: {column.name}", expected, True)
    )


def _from_json(path: Path) -> pd.DataFrame:
    document: Any = read_json(path, "a mixture")
    if isinstance(document, list) and all(_is_weight(entry) for entry in document):
        named = {str(entry["domain"]): entry["weight"] for entry in document}
        document = named if len(named) == len(document) else None
    mixture = document.get("mixture", document) if isinstance(document, dict) else document
    if not isinstance(mixture, dict):
        raise ValueError(f"{path}: expected a JSON object of domain → proportion, each once.")
    return pd.DataFrame([mixture])


def _is_weight(entry: Any) -> bool:
    """Check whether the entry is a domain and its weight, as olmix writes its optimum."""
    return isinstance(entry, dict) and entry.keys() == {"domain", "weight"}
