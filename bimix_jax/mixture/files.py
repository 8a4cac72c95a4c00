"""Files of mixtures: a JSON object of one mixture, or a table with a row per mixture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bimix_jax.quantities import numbers_of
from bimix_jax.reading.nested import read_json
from bimix_jax.reading.tables import MIXTURE_PREFIX, RUN_COLUMNS, read_table


def read_mixtures(path: str | Path, domains: Sequence[str]) -> pd.DataFrame:
    """Read mixtures by name, (mixtures, domains), without other columns; labels are the index.

    A .json file holds {"domain": proportion, …}, or that under "mixture", as `bimix optimize
    --json` prints it, or [{"domain": …, "weight": …}, …], as olmix does. A table (.csv, .parquet,
    .jsonl) has a column per domain, `<domain>` or `r_<domain>`, and may name its rows in a column
    run or name.

    Raises:
        ValueError: if the file cannot be read, is empty, holds text where a proportion should be,
            or a domain has no column.
    """
    path = Path(path)
    table = _from_json(path) if path.suffix == ".json" else read_table(path)
    table = table.rename(columns={MIXTURE_PREFIX + d: d for d in domains if d not in table})
    missing = [d for d in domains if d not in table]
    if missing:
        raise ValueError(
            f"{path}: no proportion for {', '.join(missing)}; found the columns "
            f"{', '.join(map(str, table.columns))}, expected every one of {', '.join(domains)}."
        )
    if table.empty:
        raise ValueError(f"{path} holds no mixture; expected one a row.")
    label = next((c for c in ("name", *RUN_COLUMNS) if c in table and c not in domains), None)
    index = None if label is None else pd.Index(table[label].astype(str), name="mixture")
    return _numbers(path, table[list(domains)]).set_axis(table.index if index is None else index)


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
