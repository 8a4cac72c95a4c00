"""Checks of a fit from a file: damage raises an error that names the entry."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from bimix_jax.fitting.coefficients import FAILED
from bimix_jax.fitting.fitted import Fit
from bimix_jax.reading.names import SUM_TOLERANCE

FIELDS = {"restraint": "shrinkage"}
"""Entries of files whose fields have another name."""


def check_fit(fitted: Fit) -> None:
    """Raise ValueError on values that no fit can hold; the message names the entry and target.

    Coefficients are finite wherever the code is not a failure, shares lie between 0 and 1, budgets
    and scales are above 0, and every name occurs once.
    """
    _check_names(fitted)
    _check_tied(fitted)
    _check_observed(fitted)
    _check_coefficients(fitted)


def _check_names(fitted: Fit) -> None:
    for entry, names in (("domains", fitted.domains), ("targets", fitted.targets)):
        twice = [name for name in names if names.count(name) > 1]
        _refuse(not names, entry, "is empty", "names")
        _refuse(twice, entry, f"names {twice[:1]} more than once", "every name once")
        _refuse(any(not name.strip() for name in names), entry, "holds an empty name", "names")
    strange = [t for t in fitted.targets if t not in fitted.domains]
    _refuse(
        fitted.law.needs_own and strange,
        "targets",
        f"names {strange[:1]}, which is not a domain",
        f"domains, as {fitted.law.label} needs them",
    )


def _check_tied(fitted: Fit) -> None:
    laws = fitted.law.members or (fitted.law.of_losses or fitted.law,)
    tied = fitted.options.tied
    names = tuple(dict.fromkeys(name for law in laws for name in law.names(fitted.domains)))
    _refuse(set(tied) - set(names), "tied", f"is {tied}", f"some of {names}")


def _check_observed(fitted: Fit) -> None:
    low, high = fitted.observed_proportions
    _refuse(
        not np.all((low >= 0) & (low <= high) & (high <= 1 + SUM_TOLERANCE)),
        "observed_proportions",
        f"is {fitted.observed_proportions.tolist()}",
        "least and largest shares between 0 and 1",
    )
    least, largest = fitted.observed_budgets
    _refuse(
        not (_positive(least) and _positive(largest) and least <= largest),
        "observed_budgets",
        f"is {[float(least), float(largest)]}",
        "the least and the largest budget, above 0",
    )
    kept = {"observed_mixtures": fitted.observed_mixtures}
    kept |= {} if fitted.runs is None else {"runs": fitted.runs.mixtures}
    for entry, mixtures in kept.items():
        if mixtures is not None and len(mixtures):
            wrong = ~(np.all(mixtures >= 0, axis=1) & (abs(mixtures.sum(1) - 1) <= SUM_TOLERANCE))
            row = mixtures[wrong][:1].tolist()
            _refuse(wrong.any(), entry, f"holds {row}", "shares that sum to 1")


def _check_coefficients(fitted: Fit) -> None:
    of = fitted.coefficients
    works = ~np.isin(fitted.code, FAILED)
    agreed = np.nan_to_num(fitted.agreement)  # of a batch it is not known
    sound: dict[str, tuple[Any, str]] = {
        "exponents": (np.isfinite(of.exponents).all(axis=1), "finite numbers"),
        "amplitudes": (np.isfinite(of.amplitudes).all(axis=1), "finite numbers"),
        "points": (fitted.points > 0, "a number above 0"),
        "sum_of_squares": (_sizes(fitted.sum_of_squares), "a finite number, 0 or more"),
        "error": (_sizes(fitted.error), "a finite number, 0 or more"),
        "restraint": (_of_all(fitted.shrinkage >= 0), "a number, 0 or more, or inf"),
        "agreement": ((agreed >= 0) & (agreed <= 1 + 1e-6), "a share between 0 and 1"),
        "budget_scale": (_sizes(of.budget_scale) & (of.budget_scale > 0), "a number above 0"),
    }
    for entry, (holds, expected) in sound.items():
        for i in np.flatnonzero(works & ~np.asarray(holds)):
            field = FIELDS.get(entry, entry)
            values = getattr(of, field) if hasattr(of, field) else getattr(fitted, field)
            found = np.asarray(values[i]).tolist()
            _refuse(True, f"{entry} of target {fitted.targets[i]}", f"is {found}", expected)


def _of_all(holds: np.ndarray) -> np.ndarray:
    """(targets,) bool: it holds for all members, of a law with members."""
    return np.all(holds.reshape(len(holds), -1), axis=1)


def _positive(value: Any) -> bool:
    return bool(0 < value < np.inf)


def _sizes(values: Any) -> np.ndarray:
    return np.isfinite(values) & (values >= 0)


def _refuse(wrong: Iterable[Any] | bool, entry: str, found: str, expected: str) -> None:
    if wrong:
        raise ValueError(f"entry {entry} {found}; expected {expected}")
