"""Everything is keyed by name: mixtures and weights given by people, put in the order of a fit."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

SUM_TOLERANCE = 0.02
"""How far from 1 the proportions of a mixture may sum; within it they are normalised."""
SILENT_TOLERANCE = 1e-5
"""A sum this close to 1 is rounding in the last digit, which is not worth a warning."""


def align_mixtures(mixtures: Any, domains: Sequence[str]) -> tuple[np.ndarray, pd.Index | None]:
    """Mixtures as an array (mixtures, domains) in the order of `domains`, and their labels.

    Args:
        mixtures: a DataFrame with a column for every domain, a Series or mapping that names
            every domain (one mixture), or an array ordered as `domains`, (domains,) or
            (mixtures, domains).
        domains: names, in the order wanted.

    Returns:
        The array, and the row labels; None as labels for a single mixture.

    Raises:
        ValueError: if names are missing or unknown (both sets are shown), if a proportion is
            negative or not a number, or if a mixture is further than .02 from summing to 1.

    >>> values, labels = align_mixtures({"code": 0.25, "text": 0.75}, ["text", "code"])
    >>> print(values, labels)
    [[0.75 0.25]] None
    """
    if isinstance(mixtures, pd.DataFrame):
        check_names("mixtures", mixtures.columns, domains)
        by_name = mixtures.set_axis(mixtures.columns.map(str), axis=1)
        values, labels = by_name[list(domains)].to_numpy(float), mixtures.index
    elif isinstance(mixtures, (pd.Series, Mapping)):
        check_names("mixtures", mixtures.keys(), domains)
        named = {str(name): value for name, value in mixtures.items()}
        values, labels = np.array([[named[d] for d in domains]], float), None
    else:
        values, labels = _ordered(mixtures, len(domains))
    return _on_simplex(values), labels


def align_weights(weights: Any, targets: Sequence[str]) -> np.ndarray:
    """Weights (targets,) in the order of `targets`; None is 1 each, names left out count 0.

    Raises:
        ValueError: on an unknown name, a negative weight, or no weight above 0.

    >>> print(align_weights({"code": 2.0}, ["text", "code"]))
    [0. 2.]
    """
    if weights is None:
        return np.ones(len(targets))
    if isinstance(weights, (pd.Series, Mapping)):
        named = {str(name): value for name, value in weights.items()}
        refuse_unknown("weights", set(named) - set(targets), targets)
        values = np.array([named.get(t, 0.0) for t in targets], float)
    else:
        values = np.asarray(weights, float)
    if (
        values.shape != (len(targets),)
        or not np.all(values >= 0)
        or not 0 < np.sum(values) < np.inf
    ):
        raise ValueError(
            f"weights are {values.tolist()}; expected {len(targets)} numbers ≥ 0 with one above 0, "
            f"for the targets {', '.join(targets)}."
        )
    return values


def check_names(argument: str, found: Any, expected: Sequence[str]) -> None:
    """Raise ValueError unless both hold the same names; the message lists what differs."""
    names = [str(name) for name in found]
    missing = [name for name in expected if name not in names]
    if missing:
        raise ValueError(
            f"{argument}: no value for {', '.join(missing)}. It names {', '.join(names)}; expected "
            f"every one of {', '.join(expected)}. Add the missing ones (0 is a value)."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{argument}: {', '.join(twice)} is there twice; expected every name once."
        )
    refuse_unknown(argument, set(names) - set(expected), expected)


def refuse_unknown(argument: str, unknown: set[str], expected: Sequence[str]) -> None:
    """Raise ValueError if any name is unknown; the message lists what is expected."""
    if unknown:
        raise ValueError(
            f"{argument}: {', '.join(sorted(unknown))} is unknown; expected only "
            f"{', '.join(expected)}. Remove it or correct the spelling."
        )


def _ordered(mixtures: Any, count: int) -> tuple[np.ndarray, pd.Index | None]:
    values = np.asarray(mixtures, float)
    single = values.ndim == 1
    values = np.atleast_2d(values)
    if values.ndim != 2 or values.shape[1] != count:
        raise ValueError(
            f"mixtures: an array of shape {np.shape(mixtures)}; expected ({count},) or "
            f"(mixtures, {count}), ordered as the fit's domains. Name the columns to be safe."
        )
    return values, None if single else pd.RangeIndex(len(values))


def _on_simplex(values: np.ndarray) -> np.ndarray:
    total = values.sum(axis=1)
    wrong = ~(np.all(values >= 0, axis=1) & (np.abs(total - 1) <= SUM_TOLERANCE))
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise ValueError(
            f"mixtures: row {row} is {np.round(values[row], 4).tolist()} and sums to "
            f"{total[row]:.6g}; expected proportions ≥ 0 that sum to 1. Divide the row by its sum."
        )
    rounded = int(np.sum(np.abs(total - 1) > SILENT_TOLERANCE))
    if rounded:
        message = f"mixtures: {rounded} of {len(total)} did not sum to 1 and were normalised."
        warnings.warn(message, stacklevel=4)
    return values / total[:, None]
