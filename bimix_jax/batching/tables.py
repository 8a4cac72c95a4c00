"""The verb for tables: rows of whole sweeps in, one row per sweep and target out."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
import pyarrow as pa

from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.batching._parts import SWEEP, check_column, table_of_failed
from bimix_jax.batching._run import Progress
from bimix_jax.batching._table import fit_frame
from bimix_jax.fitting.options import FitOptions
from bimix_jax.laws import BiMix, as_law
from bimix_jax.laws.law import Law
from bimix_jax.reading.frames import as_frame

TEXTS = ("target", "code", "reason")
"""Columns of text in a table of fits, beside the label of the sweep."""


def fit_table(
    table: Any,
    law: Law | str | None = None,
    options: FitOptions = FitOptions(),
    *,
    devices: Sequence[jax.Device] | None = None,
    progress: Progress | None = None,
) -> Any:
    """Fit a law to every sweep of a table, and return a table of the same kind.

    It is a pure function, so that engines (Ray, Dask, Spark) can call it on any part of a larger
    table that holds whole sweeps. A process compiles each shape once. On a CPU, no digit of a row
    depends on the other sweeps of its part, nor on their order.

    Args:
        table: a DataFrame of pandas, or a table of Arrow or one that offers Arrow's stream (Polars,
            DuckDB), long or wide, with a column `sweep`; the rows of a sweep need not be adjacent.
        law: default `BiMix()`.
        options: as for `fit`.
        devices: default all local ones.
        progress: called with the number of sweeps of every chunk that is done.

    Returns:
        The rows of `ManyFits.table`, sweeps in the order of their first rows: a DataFrame for a
        DataFrame, else an Arrow table. Columns and types depend on the law and the type of the
        labels alone, also where the table is empty or no sweep could be fitted.

    Raises:
        ValueError: if it is not a table, or has no column `sweep`. A sweep that cannot be read or
            fitted is a row with the reason instead.

    >>> import bimix_jax as bx
    >>> runs = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440).to_frame()
    >>> found = bx.fit_table(runs.assign(sweep="first"), bx.BiMix())
    >>> found.query("target == 'python'")[["sweep", "beta", "code"]].round(2).values.tolist()
    [['first', 0.79, 'converged']]
    """
    frame = _together(_checked(as_frame(table)))
    chosen = as_law(law or BiMix())
    devices = tuple(jax.local_devices() if devices is None else devices)
    method = BatchMethod(chosen, options)
    fits = fit_frame(frame, method, devices, progress) if len(frame) else table_of_failed({})
    named = _with_columns(fits, chosen, frame[SWEEP].dtype)
    return named if isinstance(table, pd.DataFrame) else _as_arrow(named)


def _checked(table: Any) -> pd.DataFrame:
    """Return the table; ValueError if it is none, or has no column `sweep`."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(
            f"table is {table!r:.60}, a {type(table).__name__}; expected a DataFrame or an Arrow "
            "table."
        )
    check_column("table", table.columns)
    return table


def _together(table: pd.DataFrame) -> pd.DataFrame:
    """Move the rows of each sweep to its first one, in their order."""
    # Engines hand out the rows of a part in the order in which they arrived.
    codes = pd.factorize(table[SWEEP], use_na_sentinel=False)[0]
    if np.all(codes[1:] >= codes[:-1]):
        return table
    return table.iloc[np.argsort(codes, kind="stable")].reset_index(drop=True)


def _with_columns(fits: pd.DataFrame, law: Law, label: Any) -> pd.DataFrame:
    """Give a table of fits every column that the law reports, and types that do not vary."""
    of_law = law.report(
        np.zeros((0, len(law.exponent_names))), np.zeros((0, len(law.amplitude_names))), np.zeros(0)
    )
    known = [SWEEP, "target", *of_law, "code", "points", "error", "reason"]
    # A law that depends on its sweep may report more.
    numbers = [*of_law, *(name for name in fits if name not in known)]
    found = fits.reindex(columns=[SWEEP, "target", *numbers, "code", "points", "error", "reason"])
    if isinstance(label, pd.CategoricalDtype):
        label = label.categories.dtype
    return found.astype({SWEEP: label} | dict.fromkeys(TEXTS, str) | dict.fromkeys(numbers, float))


def _as_arrow(fits: pd.DataFrame) -> pa.Table:
    """Convert a table of fits; text has Arrow's plain type, the label that of its column."""
    label = fits[SWEEP].dtype
    text = not isinstance(label, np.dtype) or label.kind == "O"
    kinds = dict.fromkeys(fits.columns, pa.float64()) | dict.fromkeys(TEXTS, pa.string())
    kinds |= {"points": pa.int64(), SWEEP: pa.string() if text else pa.from_numpy_dtype(label)}
    return pa.Table.from_pandas(fits, pa.schema(list(kinds.items())), preserve_index=False)
