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
from bimix_jax.reading.signal import signal_of
from bimix_jax.reading.targets import Target, are_scores
from bimix_jax.sweeps.scores import refuse_scores_by_name

TINY = np.finfo(float).tiny


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


def guard_scale(fitted: Fit, budget: float, guarded: np.ndarray) -> np.ndarray:
    """(targets,) unit of each target's limit in the unit that its guardrail is stated in.

    Limits are relative increases over the loss at the guarded mixture (domains,), and so is the
    guardrail of a loss; that of a score is in points, hundredths of its whole.
    """
    distances = fitted.predict_points(guarded[None], budget)[0]
    each = zip(fitted.described, distances, strict=True)
    return np.array([t.points(e) / 100 if t.is_score else 1.0 for t, e in each])


def stated_weights(fitted: Fit, weights: Any) -> np.ndarray:
    """Weights (targets,) of a decision, as the caller or the targets state them.

    Args:
        fitted: with descriptions of its targets, by which members of a family share its weight.
        weights: by target or family, a mapping or Series, or an array; default the weights that
            targets state, or 1 for every family and every target without one.

    Raises:
        ValueError: as `align_weights`, and where nothing says how losses and scores add up.
    """
    described = fitted.described
    if weights is None:
        return _weights_of_targets(described)
    if not isinstance(weights, (Mapping, pd.Series)):
        return align_weights(weights, fitted.targets)
    given = {str(name): value for name, value in weights.items()}
    families = {target.family for target in described} - {None, *fitted.targets}
    shares = _shares_in_families(described)
    by_target = {name: value for name, value in given.items() if name not in families}
    for target, share in zip(described, shares, strict=True):
        if target.family in families and target.family in given:
            value = at_least_0(f"weights: {target.family}", given[target.family])
            by_target[target.name] = by_target.get(target.name, 0.0) + value * share
    known = ", ".join(sorted(map(str, families)))
    try:
        return align_weights(by_target, fitted.targets)
    except ValueError as error:
        beside = f" Families with members are {known}." if known else ""
        raise ValueError(f"{error}{beside}") from error


def _weights_of_targets(described: Sequence[Target]) -> np.ndarray:
    scores = are_scores(described)
    if scores.any() and not scores.all() and all(t.weight is None for t in described):
        losses, others = (
            ", ".join(np.array([t.name for t in described])[those]) for those in (~scores, scores)
        )
        raise ValueError(
            f"weights: the targets are losses ({losses}) and scores ({others}), which have no "
            "common unit, so that their mean needs weights: give weights= (--weight), where one "
            "of a score counts its distance to the maximum in parts of its range, or describe "
            "the targets with weights; a weight of 0 leaves a target out."
        )
    stated = np.array([1.0 if t.weight is None else t.weight for t in described])
    # Weights of members say how they share that of the family, which is 1.
    alone = np.array([t.family is None for t in described])
    return np.where(alone, stated, _shares_in_families(described))


def _shares_in_families(described: Sequence[Target]) -> np.ndarray:
    """(targets,) share of each target in the weight of its family, 1 of one without."""
    stated = np.array([1.0 if t.weight is None else t.weight for t in described])
    totals: dict[str, float] = {}
    for target, weight in zip(described, stated, strict=True):
        if target.family is not None:
            totals[target.family] = totals.get(target.family, 0.0) + weight
    whole = np.array([totals.get(t.family or "", 1.0) for t in described])
    # A family without any weight counts nothing.
    return np.where([t.family is None for t in described], 1.0, stated / np.maximum(whole, TINY))


def decision_weights(fitted: Fit, weights: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Weights (targets,), 0 for targets that are not identified, and notes on those."""
    asked = stated_weights(fitted, weights)
    # Whoever names targets counts them, whatever the noise is.
    quiet = _without_signal(fitted) if weights is None else np.zeros(len(asked), bool)
    if np.all(quiet | (asked == 0)):
        raise ValueError(
            "fitted: no target carries a signal: mixtures differ by no more than the noise of one "
            "run does, so there is no optimum to find. Measure larger models, longer runs or more "
            "examples; weights= (--weight) counts targets all the same."
        )
    lost, notes = unidentified_among(fitted, "counted", asked > 0)
    if np.all(lost | quiet | (asked == 0)):
        raise ValueError(
            "fitted: none of the weighted targets has an identified mixture exponent (alpha), so "
            "there is nothing to optimise; see Fit.messages() for why."
        )
    unheard = np.array(fitted.targets)[quiet & (asked > 0)]
    if len(unheard):
        said = f"Not counted, as mixtures differ by no more than the noise: {', '.join(unheard)}."
        notes = (*notes, f"{said} Give weights to count them.")
    # Without a weight, rather than refused: the other targets still decide, and a note says so.
    return np.where(lost | quiet, 0.0, asked), notes


def _without_signal(fitted: Fit) -> np.ndarray:
    """(targets,) bool: scores in which the runs of different mixtures differ like repetitions."""
    scores = are_scores(fitted.described)
    if fitted.runs is None or not scores.any():
        return np.zeros(len(scores), bool)
    group = np.unique(np.round(fitted.runs.mixtures, 6), axis=0, return_inverse=True)[1]
    clear = signal_of(group.reshape(-1), fitted.runs.losses, fitted.described)["clear"]
    return scores & ~clear.to_numpy(bool)
