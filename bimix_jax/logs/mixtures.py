"""The table of runs: which mixture each was trained on, as shares, tokens, counts or weights."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax import checks
from bimix_jax.checks import SUM_TOLERANCE, SweepError
from bimix_jax.logs.history import RUN_KEYS, label_of
from bimix_jax.pairs import measurements
from bimix_jax.tables import (
    MIXTURE_PREFIX,
    RUN_COLUMNS,
    Source,
    listed,
    name_of,
    names_of,
    read_table,
)

AMOUNTS = (
    "proportion", "share", "ratio", "weight", "tokens", "documents", "samples", "count",
)  # fmt: skip
"""What the column of amounts of a long table may be called."""
UNITS = ("tokens", "documents", "samples")
"""Amounts that say what they are shares of."""


class Mixtures(NamedTuple):
    """What runs were trained on."""

    shares: pd.DataFrame
    """(runs, domains), the runs as index"""
    unit: str | None
    """what they are shares of, where the table says it"""
    rest: pd.DataFrame
    """every other column of the table, one row a run"""
    notes: list[str]


def read_mixture_table(source: Source, run_key: str | None, prefix: str | None) -> Mixtures:
    """A table of runs and their mixtures.

    It is wide (a row a run, a column a domain), long (run, domain and one of the amounts), or a
    .json object of run → {domain: amount}. What does not sum to 1 or 100 is divided by the sum of
    its run, and noted.

    Raises:
        SweepError: if there is no run column, a run stands twice, or an amount is no number ≥ 0.
    """
    table = _from_json(Path(str(source))) if str(source).endswith(".json") else read_table(source)
    name = name_of(source)
    run = _run_column(table, run_key, name)
    table = table.assign(**{run: table[run].map(label_of)})
    amount = next((c for c in AMOUNTS if c in table), None)
    if "domain" in table and amount is not None:
        wide, unit = _spread(table, run, amount, name), amount if amount in UNITS else None
        used = {run, "domain", amount}
    else:
        domains = measurements(table, {run, *RUN_KEYS}, prefix, MIXTURE_PREFIX, "mixtures")
        wide, unit = table.set_index(run)[list(domains)].rename(columns=domains), None
        used = {run, *domains}
    shares, notes = _as_shares(wide, unit, name)
    first = table.drop_duplicates(run).set_index(run)
    return Mixtures(shares, unit, first.drop(columns=list(used - {run})), notes)


def _run_column(table: pd.DataFrame, run_key: str | None, name: str) -> str:
    if run_key is not None and run_key in table:
        return run_key
    usual = (*RUN_COLUMNS, *RUN_KEYS)
    found = next((c for k in usual for c in names_of(table) if c.lower() == k), None)
    if found is None:
        raise SweepError(
            f"{name}: no column names the runs; expected one of {', '.join(dict.fromkeys(usual))} "
            f"beside {listed(table.columns)}. Name it with run_key= (--run-key)."
        )
    return found


def _spread(table: pd.DataFrame, run: str, amount: str, name: str) -> pd.DataFrame:
    """A long table as a wide one; a domain that a run does not name has none of it."""
    twice = table.duplicated([run, "domain"]).to_numpy(bool)
    if twice.any():
        row = table[twice].iloc[0]
        raise SweepError(
            f"{name}: run {row[run]} has domain {row['domain']} twice; expected one row each."
        )
    return table.pivot(index=run, columns="domain", values=amount).fillna(0.0)


def _from_json(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise SweepError(f"{path} does not exist; expected the mixtures of the runs there.")
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SweepError(f"{path} is not a complete JSON file: {error}.") from error
    if not isinstance(document, dict) or not all(isinstance(v, dict) for v in document.values()):
        raise SweepError(f"{path}: expected a JSON object of run → {{domain: amount}}.")
    rows = [{"run": run, **amounts} for run, amounts in document.items()]
    return pd.DataFrame(rows).fillna(0.0)


def _as_shares(wide: pd.DataFrame, unit: str | None, name: str) -> tuple[pd.DataFrame, list[str]]:
    """Amounts divided by the sum of their run, unless they are shares or percentages already."""
    twice = wide.index[wide.index.duplicated()]
    if len(twice):
        raise SweepError(f"{name}: {listed(twice)} stands more than once; expected one row a run.")
    values = np.column_stack([_amounts(wide[column], name) for column in wide])
    total = values.sum(axis=1)
    shares = pd.DataFrame(values, index=wide.index, columns=[str(c) for c in wide.columns])
    if min(abs(np.median(total) / whole - 1) for whole in (1.0, 100.0)) <= SUM_TOLERANCE:
        return shares, []  # read_sweep checks them
    empty = wide.index[total == 0]
    if len(empty):
        raise SweepError(f"{name}: the amounts of {listed(empty)} are all 0; fill them in.")
    note = (
        f"Mixtures given as {unit or 'weights'} that sum to {total.min():.4g}-{total.max():.4g} a "
        "run were divided by their sums."
    )
    return shares.div(total, axis=0), [note]


def _amounts(column: pd.Series, name: str) -> np.ndarray:
    values, text = checks.numbers(column)
    wrong = text | np.isnan(values) | (values < 0) | np.isinf(values)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise SweepError(
            f"{name}: run {column.index[first]} has {column.name} = {column.iloc[first]}; expected "
            "a share, count or weight ≥ 0 (0 is a value)."
        )
    return values
