"""The Pareto front between two groups of targets."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture._given import decision_weights
from bimix_jax.mixture._notes import hull_note, scope_notes
from bimix_jax.mixture.decision import Decision, Request
from bimix_jax.printable import Drawn
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.reading.settings import check_made, did_you_mean
from bimix_jax.reading.targets import are_scores, as_measured

if TYPE_CHECKING:
    from bimix_jax.mixture.constraints import Constraints

STEPS = 41
"""Number of points of a front; odd, so that equal weights of both groups are one of them."""
GROUPS = "first", "second"
POINTS = 100.0
"""Points from chance to the maximum of a score."""
LEAST_WEIGHT = 0.02
"""Share of the weight that a group keeps at the far end of the front; at 0 its losses would be
arbitrary, and infinite for some laws."""
ROUGH = 1e-6
"""Relative move of a group's loss in the wrong direction along the front that raises a note."""


@dataclasses.dataclass(frozen=True)
class Tradeoff(Drawn):
    """Mixtures on the Pareto front: a gain of one group of targets costs the other."""

    first: tuple[str, ...]
    """targets of the first group"""
    second: tuple[str, ...]
    mixtures: pd.DataFrame
    """(points, domains); the index is the weight of the second group, from small to large"""
    losses: pd.DataFrame
    """(points, targets) predicted losses and scores"""
    front: pd.DataFrame
    """(points, 2) mean loss, or centred score, of the first and of the second group"""
    units: tuple[str, str]
    """unit of each group's mean: "nats", or "points" of scores"""
    reference: pd.Series
    """mean of each group (first, second) at the mixture in its name"""
    measured: pd.DataFrame
    """(domains, 2) range of each domain in the sweep, columns min and max"""
    budget: float
    unit: str
    proven: bool
    """True where the law is convex in the mixture, so that the front is complete"""
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        groups = " against ".join(", ".join(group) for group in (self.first, self.second))
        at = f"{quantity_text(self.budget)} {self.unit}"
        return f"Tradeoff({groups} at {at}; {counted(len(self.mixtures), 'mixture')})"

    @property
    def even(self) -> float:
        """Weight of the second group at which every target of both counts the same."""
        share = len(self.second) / (len(self.first) + len(self.second))
        weights = self.mixtures.index.to_numpy()
        return float(weights[np.argmin(np.abs(weights - share))])

    def table(self) -> pd.DataFrame:
        """Table with a row per point: means of the groups, `price`, then the mixture.

        `price` is the cost of the second group, in its unit, per unit that the first gains: the
        slope of the front, which is (1 − w)/w at weight w where both have the same.
        """
        # Along the front (1 − w)·d first + w·d second = 0 at its minimum, for every small move.
        weight = self.mixtures.index.to_numpy()
        first, second = (POINTS if unit == "points" else 1.0 for unit in self.units)
        price = (1 - weight) / weight * second / first
        return pd.concat([self.front.assign(price=price), self.mixtures], axis=1)

    def document(self) -> dict[str, Any]:
        """All results as nested dictionaries, for JSON."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def tradeoff(
    fitted: Fit,
    first: Sequence[str],
    second: Sequence[str] | None = None,
    budget: float | None = None,
    *,
    reference: Any = None,
    constraints: "Constraints | None" = None,
) -> Tradeoff:
    """Find the Pareto front between the mean losses, or scores, of two groups of targets.

    Every point minimises (1 − w)·mean(first) + w·mean(second) for a weight w from 0.02 to 0.98. For
    a law that is convex in the mixture these are all efficient points; for another law the points
    are efficient, if each is a global optimum, but non-convex parts of the front are missing.

    Args:
        fitted: from `fit`.
        first: targets of the first group.
        second: of the second; default all others.
        budget: in the fit's unit; default the sweep's largest.
        reference: mixture to compare with, to which a KL term and guardrails refer; default
            uniform.
        constraints: as `optimize_mixture` takes them.

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints.
        ValueError: if a target is unknown, in both groups or failed in the fit, or a group is
            empty or mixes losses and scores.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.BiMix())
    >>> front = tradeoff(fitted, ["python", "c"]).front
    >>> bool(front["first"].is_monotonic_increasing), bool(front["second"].is_monotonic_decreasing)
    (True, True)
    """
    groups = _groups(fitted, first, second)
    weight = _evenly_in_odds()
    weights = np.stack([_weights(fitted, *groups, float(w)) for w in weight])
    named = dict.fromkeys((*groups[0], *groups[1]), 1.0)
    decision = Decision.of(fitted, budget, named, Request(constraints, reference))
    found = decision.along(weights)
    index, targets = pd.Index(weight, name="weight"), list(fitted.targets)
    measured = as_measured(found.losses[:, 0], fitted.described)
    alone = [decision.with_weights(_weights(fitted, *groups, w)) for w in (0.0, 1.0)]
    # The objective of a group alone is its mean.
    means = np.array([one.objectives(found.losses[:, :2]) for one in alone])
    shown = [one.shown(mean) for one, mean in zip(alone, means, strict=True)]
    called = "uniform" if reference is None else "reference"
    mixtures = pd.DataFrame(found.mixture, index=index, columns=list(fitted.domains))
    return Tradeoff(
        first=groups[0],
        second=groups[1],
        mixtures=mixtures,
        losses=pd.DataFrame(measured, index=index, columns=targets),
        front=pd.DataFrame({n: m[:, 0] for n, m in zip(GROUPS, shown, strict=True)}, index),
        units=(alone[0].objective_unit, alone[1].objective_unit),
        reference=pd.Series([m[0, 1] for m in shown], index=list(GROUPS), name=called),
        measured=pd.DataFrame(
            fitted.observed_proportions.T, index=list(fitted.domains), columns=["min", "max"]
        ),
        budget=decision.budget,
        unit=fitted.unit,
        proven=fitted.law.convex,
        notes=_notes(decision, groups, mixtures, means[:, :, 0]),
    )


def _notes(
    decision: Decision,
    groups: tuple[tuple[str, ...], ...],
    mixtures: pd.DataFrame,
    means: np.ndarray,
) -> tuple[str, ...]:
    fitted = decision.fitted
    return (
        *scope_notes(fitted, decision.budget),
        *fitted.notes_on_mixtures(mixtures.to_numpy()),
        *hull_note(fitted, mixtures),
        *_about_front(fitted, groups, means),
        *decision.notes,
        *_own_weights(decision),
        *fitted.messages(),
    )


def _groups(
    fitted: Fit, first: Sequence[str], second: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    check_made(fitted, Fit, "fitted")
    one = (first,) if isinstance(first, str) else tuple(first)
    other = (second,) if isinstance(second, str) else second
    rest = tuple(t for t in fitted.targets if t not in one) if other is None else tuple(other)
    for name, group in {"first": one, "second": rest}.items():
        unknown = [target for target in group if target not in fitted.targets]
        if unknown or not group:
            hint = did_you_mean(unknown[0], fitted.targets) if unknown else ""
            raise ValueError(
                f"{name} is {', '.join(group) or 'empty'}; expected some of "
                f"{', '.join(fitted.targets)}.{hint}"
            )
    for name, group in {"first": one, "second": rest}.items():
        scores = are_scores(fitted.metadata.described(group))
        if scores.any() and not scores.all():
            raise ValueError(
                f"{name} is {', '.join(group)}, losses and scores, which have no common mean; "
                "expected targets of one kind."
            )
    both = [target for target in one if target in rest]
    if both:
        raise ValueError(f"first and second: {', '.join(both)} is in both; expected one of them.")
    used = decision_weights(fitted, dict.fromkeys((*one, *rest), 1.0))[0]
    asked = [fitted.targets.index(target) for target in (*one, *rest)]
    failed = [fitted.targets[i] for i in asked if used[i] == 0]
    if failed:
        raise ValueError(
            f"first and second: the effect of the mixture on {', '.join(failed)} is not "
            "identified; leave it out, and see Fit.messages() for why."
        )
    return one, rest


def _evenly_in_odds() -> np.ndarray:
    """Weights of the second group, from `LEAST_WEIGHT` to 1 − `LEAST_WEIGHT`."""
    # Even steps in the logit of the weight resolve both ends, where losses change fastest.
    end = np.log(1 / LEAST_WEIGHT - 1)
    return 1 / (1 + np.exp(-np.linspace(-end, end, STEPS)))


def _weights(fitted: Fit, first: Sequence[str], second: Sequence[str], weight: float) -> np.ndarray:
    # Means of groups, so that a group of many targets is not worth more.
    each = dict.fromkeys(first, (1 - weight) / len(first))
    each |= dict.fromkeys(second, weight / len(second))
    return np.array([each.get(target, 0.0) for target in fitted.targets])


def _about_front(
    fitted: Fit, groups: tuple[tuple[str, ...], ...], means: np.ndarray
) -> tuple[str, ...]:
    """Notes on a front of means (2, points) as they are minimised."""
    notes = []
    ignored = [t for t in fitted.targets if t not in (*groups[0], *groups[1])]
    if ignored:
        notes.append(f"In neither group, so that they do not count: {', '.join(ignored)}.")
    if not fitted.law.convex:
        notes.append(
            f"{fitted.law.label} is not convex in the mixture: dents of the front are missing."
        )
    # Along the front the first mean must rise and the second fall.
    back = max(np.max(-np.diff(means[0]) / means[0][1:]), np.max(np.diff(means[1]) / means[1][1:]))
    if back > ROUGH:
        notes.append(
            f"The front is rough to {100 * back:.1g} %: neighbours of some points are better for "
            "both groups."
        )
    return tuple(notes)


def _own_weights(decision: Decision) -> tuple[str, ...]:
    if decision.asked.weights is None:
        return ()
    return ("The weights of the constraints do not count: each group is a plain mean.",)
