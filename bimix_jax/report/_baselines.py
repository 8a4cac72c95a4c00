"""Mixtures beside the optimum: what people would train without a law."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bimix_jax.mixture.decision import Decision
from bimix_jax.mixture.files import read_mixtures
from bimix_jax.reading.targets import as_measured, ends_measured
from bimix_jax.recipe.available import TOKENS
from bimix_jax.report.plan import Plan
from bimix_jax.uncertainty.certainty import Certainty

SAME = 1e-9
"""Largest difference of proportions between mixtures that are one."""
RECOMMENDED = "recommended"
"""Name of the optimum among the baselines."""
UNIMAX_EPOCHS = 4.0
"""Epochs of UniMax where the plan gives none: up to about 4, repeated data are nearly as good as
new (Muennighoff et al. 2023)."""


def baseline_table(plan: Plan, sure: Certainty) -> pd.DataFrame:
    """Table with a row per mixture, the optimum first, and columns with two levels.

    They are (share, domain), (loss, target), (low, target), (high, target), the interval of the
    loss or score of one new run, (epochs, domain) where tokens are known, and (summary, …):
    objective, gain over the reference, and the probability that the optimum is better.
    """
    best, drawn = sure.optimum, sure.bootstrap
    decision = best.decision
    mixtures = _named(plan, decision, best.mixture)
    at = best.budget
    predicted = drawn.fitted.known_points(mixtures.to_numpy(), at)
    # A loss of weight 0 may be infinite, which `Bootstrap.predict` refuses.
    half, _ = drawn.half_widths(mixtures.to_numpy(), np.full(len(mixtures), at), sure.level)
    objective = decision.objectives(predicted)
    beside = float(best.solution.values[1])
    low, high = ends_measured(predicted, half, drawn.fitted.described)
    # Gains are fractions of the reference's objective, of scores parts of their range.
    unit = 1.0 if decision.of_scores else beside

    def table_of(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, mixtures.index, list(decision.fitted.targets))

    parts = {
        "share": mixtures,
        "loss": table_of(as_measured(predicted, drawn.fitted.described)),
        "low": table_of(low),
        "high": table_of(high),
        "summary": pd.DataFrame(
            {
                "objective": decision.shown(objective),
                "gain": (beside - objective) / unit,
                "probability": _probabilities(sure, mixtures),
            },
            mixtures.index,
        ),
    }
    epochs = _epochs(decision, mixtures)
    if epochs is not None:
        parts["epochs"] = epochs
    return pd.concat(parts, axis=1).rename_axis("mixture")


def _probabilities(sure: Certainty, mixtures: pd.DataFrame) -> pd.Series:
    """Probability that the optimum is better than each mixture; nan for itself."""
    found = sure.beats(mixtures)
    # Over the reference it is known without the optimism, as the verdict states it.
    apart = np.abs(mixtures.to_numpy() - sure.optimum.reference.to_numpy()).max(axis=1)
    return found.mask(apart < SAME, sure.probability).mask(mixtures.index == RECOMMENDED)


def _named(plan: Plan, decision: Decision, best: pd.Series) -> pd.DataFrame:
    """Mixtures by name, the optimum first; those that repeat one above are left out."""
    domains = list(decision.fitted.domains)
    named: dict[str, np.ndarray] = {RECOMMENDED: best.to_numpy()}
    named[reference_name(plan, decision)] = decision.reference
    named["uniform"] = np.full(len(domains), 1 / len(domains))
    available = decision.asked.available
    if set(domains) <= available.keys():
        tokens = np.array([available[d] for d in domains], float)
        named["proportional"] = tokens / tokens.sum()
        found = _unimax(decision, tokens)
        named |= {} if found is None else {"UniMax": found}
    if decision.fitted.runs is not None:
        name, mixture = decision.fitted.runs.best(decision.weights)
        named[f"best run ({name})"] = mixture
    if plan.entropy is not None:
        named["entropy"] = read_mixtures(plan.entropy, domains).to_numpy()[0]
    return pd.DataFrame(_unlike(named), index=domains).T


def reference_name(plan: Plan, decision: Decision) -> str:
    """Name of the reference of a plan, as tables and pages show it."""
    given, runs = plan.reference, decision.fitted.runs
    if given in (None, "best-run") and runs is not None:
        return f"best run ({runs.best(decision.weights)[0]})"
    return (
        {"available": "proportional"}.get(given, given) if isinstance(given, str) else "reference"
    )


def _unlike(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    kept: dict[str, np.ndarray] = {}
    for name, mixture in named.items():
        if name == RECOMMENDED or not any(
            np.abs(mixture - other).max() < SAME
            for label, other in kept.items()
            if label != RECOMMENDED
        ):
            kept[name] = mixture
    return kept


def _unimax(decision: Decision, tokens: np.ndarray) -> np.ndarray | None:
    """UniMax within the epochs that are allowed; None where the planned tokens are not known."""
    asked, unit = decision.asked, decision.fitted.unit
    if unit != TOKENS and asked.tokens is None and asked.tokens_per_step is None:
        return None
    planned = asked.planned_tokens(unit, decision.budget)
    return unimax((asked.epochs or UNIMAX_EPOCHS) * tokens / planned)


def unimax(most: np.ndarray) -> np.ndarray:
    """Return proportions as equal as their limits allow (UniMax, Chung et al. 2023).

    Args:
        most: (domains,) largest proportions; where they sum to less than 1 all are used up.

    >>> unimax(np.array([0.2, 0.5, 0.9]))
    array([0.2, 0.4, 0.4])
    """
    if most.sum() <= 1:
        return np.asarray(most / most.sum())
    # Each of the proportions from one on, by size, gets an equal part of what those below leave;
    # the level is the first such part that is within its limit.
    limits = np.sort(most)
    left = 1 - np.concatenate([[0.0], np.cumsum(limits)[:-1]])
    parts = left / np.arange(len(limits), 0, -1)
    return np.minimum(most, parts[np.argmax(parts <= limits)])


def _epochs(decision: Decision, mixtures: pd.DataFrame) -> pd.DataFrame | None:
    asked, fitted = decision.asked, decision.fitted
    rows = {
        name: asked.repeats(fitted, decision.budget, mixture)
        for name, mixture in mixtures.iterrows()
    }
    return None if any(row is None for row in rows.values()) else pd.DataFrame(rows).T
