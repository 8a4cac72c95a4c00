"""Fits of many sweeps as one table: a row a sweep and target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.codes import Code
from bimix_jax.laws.law import Law

LABELS = np.array([code.label for code in sorted(Code)], object)
SWEEP = "sweep"


def table_of_fits(
    labels: Sequence[Any], law: Law, targets: Sequence[str], found: ArrayFit, error: np.ndarray
) -> pd.DataFrame:
    """Coefficients, codes and errors; `found` and `error` have the axes (sweeps, targets)."""
    coefficients, code = found.coefficients, np.asarray(found.code)
    exponents = np.where(found.identified, coefficients.exponents, np.nan)
    failed = (code == Code.BAD_DATA) | (code == Code.NONFINITE)
    amplitudes = np.where(failed[..., None], np.nan, coefficients.amplitudes)
    reported = law.report(
        exponents.astype(float), amplitudes.astype(float), np.asarray(coefficients.budget_scale)
    )
    columns = {
        SWEEP: np.repeat(_objects(labels), len(targets)),
        "target": np.tile(_objects(targets), len(labels)),
        **{name: np.asarray(values, float).ravel() for name, values in reported.items()},
        "code": LABELS[code].ravel(),
        "points": np.asarray(found.points).ravel(),
        "error": np.asarray(error, float).ravel(),
    }
    return pd.DataFrame(columns).assign(reason="")


def table_of_failed(reasons: Mapping[Any, str]) -> pd.DataFrame:
    """The rows of sweeps that could not be read or fitted, label → why."""
    return pd.DataFrame(
        {
            SWEEP: _objects(list(reasons)),
            "target": _objects([""] * len(reasons)),
            "code": _objects([Code.BAD_DATA.label] * len(reasons)),
            "points": np.zeros(len(reasons), int),
            "error": np.full(len(reasons), np.nan),
            "reason": _objects(list(reasons.values())),
        }
    )


def joined(parts: Sequence[pd.DataFrame], labels: Sequence[Any]) -> pd.DataFrame:
    """Tables as one, in the order of labels; of parts without rows only the columns count.

    Columns are in the order of the first table that has any rows, so give failures last.
    """
    place = {label: i for i, label in enumerate(labels)}
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    order = np.argsort([place[label] for label in table[SWEEP]], kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _objects(values: Sequence[Any]) -> np.ndarray:
    """(values,) object, also where they are tuples."""
    found = np.empty(len(values), object)
    found[:] = list(values)
    return found
