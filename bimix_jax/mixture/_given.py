"""Checks of what a caller gives for a decision: numbers by name, a mixture, weights of targets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.fitting.coefficients import FAILED
from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture.feasible import ROUNDING
from bimix_jax.quantities import counted, number_of
from bimix_jax.reading.names import align_mixtures, align_weights
from bimix_jax.reading.settings import did_you_mean
from bimix_jax.sweeps.scores import refuse_scores_by_name


def named_numbers(field: str, values: Any, check: Callable[[str, Any], float]) -> dict[str, float]:
    """Check a mapping of numbers by name, each with `check`."""
    if isinstance(values, pd.Series):
        values = dict(values.items())
    if not isinstance(values, Mapping):
        raise ValueError(f"{field} is {values!r}; expected a number by name.")
    return {str(name): check(f"{field}: {name}", value) for name, value in values.items()}


def share_of(where: str, value: Any) -> float:
    """Check a proportion; one outside of 0 to 1 by rounding alone is clipped."""
    expected = "a proportion between 0 and 1"
    share = number_of(value, where, expected, percent=True)
    if not -ROUNDING <= share <= 1 + ROUNDING:
        raise ValueError(f"{where} is {value}; expected {expected}.")
    return min(max(share, 0.0), 1.0)


def at_least_0(where: str, value: Any, expected: str = "a number ≥ 0") -> float:
    """Check a number that may be 0."""
    number = number_of(value, where, expected)
    if number < 0:
        raise ValueError(f"{where} is {value}; expected {expected}.")
    return number


def tokens_of(where: str, value: Any) -> float:
    """Check a number of tokens."""
    return at_least_0(where, value, "tokens ≥ 0")


def positive(where: str, value: Any) -> float:
    """Check a number that may not be 0."""
    number = number_of(value, where, "a number above 0")
    if number <= 0:
        raise ValueError(f"{where} is {value}; expected a number above 0.")
    return number


def guardrail_of(given: Any) -> "float | dict[str, float]":
    """Check the largest loss increase, for all targets or by target."""
    if isinstance(given, (Mapping, pd.Series)):
        return named_numbers("guardrail", given, _worse)
    return _worse("guardrail", given)


def _worse(where: str, value: Any) -> float:
    """Check a loss increase; 1 or more is refused: a percentage, or no limit in practice."""
    expected = "a fraction from 0 to below 1, 0.01 for 1 %"
    fraction = number_of(value, where, expected, percent=True)
    if not 0 <= fraction < 1:
        raise ValueError(f"{where} is {value}; expected {expected}.")
    return fraction


def mixture_of(
    argument: str, mixture: Any, domains: Sequence[str], default: np.ndarray | None = None
) -> np.ndarray:
    """Convert one mixture to (domains,) in order; None is the default, or uniform without one.

    Raises:
        ValueError: if names do not match, it does not sum to 1, or there are several.
    """
    if mixture is None:
        return np.full(len(domains), 1 / len(domains)) if default is None else default
    try:
        values = align_mixtures(mixture, domains)[0]
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from error
    if len(values) != 1:
        raise ValueError(f"{argument} holds {counted(len(values), 'mixture')}; expected one.")
    return values[0]


WORDS = ("uniform", "available", "best-run")
"""References with a name, beside run:NAME."""
RUN = "run:"


def reference_of(
    given: Any, fitted: Fit, available: Mapping[str, float], weights: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert a reference, a word or a mixture, to (domains,); and a note on the best run.

    Args:
        given: "uniform" (None, too), "available" (proportional to the tokens that exist),
            "best-run" (the least weighted mean loss measured), "run:NAME", or a mixture.
        fitted: the fit, which knows the runs.
        available: tokens by domain, spelled as in the fit.
        weights: of the targets, (targets,).

    Raises:
        ValueError: on another word, an unknown run, domains without tokens, or a fit without runs.
    """
    if not isinstance(given, str):
        return mixture_of("reference", given, fitted.domains), ()
    if given == "uniform":
        return mixture_of("reference", None, fitted.domains), ()
    if given == "available":
        return _proportional(available, fitted.domains), ()
    if given != "best-run" and not given.startswith(RUN):
        raise ValueError(
            f"reference is {given!r}; expected {', '.join(WORDS)}, {RUN}NAME or a mixture."
            f"{did_you_mean(given, WORDS)}"
        )
    if fitted.runs is None:
        raise ValueError(
            f"reference is {given!r}, but this fit was saved without its runs; fit the sweep again."
        )
    if given != "best-run":
        return fitted.runs.named(given.removeprefix(RUN)), ()
    name, mixture = fitted.runs.best(weights)
    return mixture, (f"The best run, which is the reference, is {name}: by its measured losses.",)


def _proportional(available: Mapping[str, float], domains: Sequence[str]) -> np.ndarray:
    missing = [domain for domain in domains if domain not in available]
    tokens = np.array([available.get(domain, 0.0) for domain in domains], float)
    if missing or not tokens.sum() > 0:
        raise ValueError(
            "reference is 'available', the mixture proportional to the tokens that exist; give the "
            f"tokens of {', '.join(missing or domains)}, too, by available= (--available)."
        )
    return tokens / tokens.sum()


def _unidentified_targets(fitted: Fit) -> dict[str, np.ndarray]:
    """Reason → (targets,) bool: True where the mixture's effect on the target is not identified."""
    failed = np.isin(fitted.code, FAILED)
    return {
        "their fit failed": failed,
        "the runs do not show their α": ~fitted.known_in_mixture() & ~failed,
    }


def unidentified_among(
    fitted: Fit, what: str, asked: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(targets,) bool: True for requested targets that are not identified; and a note per reason.

    Raises:
        ValueError: if a requested target is a score, where more is better.
    """
    named = [t for t, wanted in zip(fitted.targets, asked, strict=True) if wanted]
    refuse_scores_by_name(named, fitted.domains, fitted.metadata)
    # Only requested targets: nobody needs a note on a target without weight.
    lost = {reason: mask & asked for reason, mask in _unidentified_targets(fitted).items()}
    notes = tuple(
        f"Not {what}, as {reason}: {', '.join(np.array(fitted.targets)[mask])}."
        for reason, mask in lost.items()
        if mask.any()
    )
    return np.any(list(lost.values()), axis=0), notes


def decision_weights(fitted: Fit, weights: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Weights (targets,), 0 for targets that are not identified, and notes on those."""
    asked = align_weights(weights, fitted.targets)
    lost, notes = unidentified_among(fitted, "counted", asked > 0)
    if np.all(lost | (asked == 0)):
        raise ValueError(
            "fitted: none of the weighted targets has an identified mixture exponent (alpha), so "
            "there is nothing to optimise; see Fit.messages() for why."
        )
    # Without a weight, rather than refused: the other targets still decide, and a note says so.
    return np.where(lost, 0.0, asked), notes
