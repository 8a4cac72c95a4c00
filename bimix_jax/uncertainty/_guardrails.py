"""Guardrails as probabilities: how surely each is kept, and mixtures that keep all of them."""

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.decision import Decision
from bimix_jax.mixture.feasible import InfeasibleError
from bimix_jax.uncertainty._differences import Differences, differences_of
from bimix_jax.uncertainty.bootstrap import Bootstrap

ROUNDS = 12
"""Number of mixtures that are tried within a radius: each halves the change of the limits."""
RADII = (1.0, 0.4, 0.2, 0.1, 0.05, 0.025)
"""Largest changes of a share from the guarded mixture that are tried, first without a limit."""
HALVINGS = 4
"""Number of radii between one that keeps the guardrails and the next larger one, which does not."""
CLOSE = 2e-3
"""Distance in probability at which a guardrail counts as kept with the one that was asked for."""


class Kept(NamedTuple):
    """Guardrails of a mixture, one entry per guarded target."""

    increase: np.ndarray
    """predicted relative increase of the loss over the guarded mixture"""
    probability: np.ndarray
    """probability that it increases by no more than allowed"""
    tighter: np.ndarray
    """limit of the predicted increase at which the probability that was asked for is reached,
    as long as the uncertainty is that of this mixture"""


@dataclasses.dataclass(frozen=True)
class Guardrails:
    """The guarded targets of a decision, and the errors of each loss's differences."""

    bootstrap: Bootstrap
    decision: Decision
    targets: np.ndarray
    """(guarded,) their numbers"""
    allowed: np.ndarray
    """(guarded,) relative increases that are allowed"""

    @classmethod
    def of(cls, bootstrap: Bootstrap, decision: Decision) -> "Guardrails":
        """Find the targets of a decision with a guardrail."""
        limits = decision.guard_limits
        targets = np.flatnonzero(np.isfinite(limits))
        return cls(bootstrap, decision, targets, limits[targets])

    def at(self, mixture: np.ndarray, asked: float = 0.5) -> Kept:
        """How surely a mixture (domains,) keeps each guardrail, beside the probability asked."""
        rows = [self._one(*each, mixture, asked) for each in enumerate(self.targets)]
        return Kept(*np.array(rows).reshape(-1, 3).T)

    def _one(
        self, place: int, target: int, mixture: np.ndarray, asked: float
    ) -> tuple[float, float, float]:
        count = len(self.bootstrap.fitted.targets)
        alone = self.decision.with_weights((np.arange(count) == target).astype(float))
        both = np.stack([mixture, self.decision.guard_reference])
        whole, sampling, distance = differences_of(self.bootstrap, alone, both[:1], both[1:])
        errors = Differences.of(self.bootstrap, alone)
        variance = errors.variance(sampling, distance)
        # Kept where guarded/loss − 1 is above 1/(1 + allowed) − 1.
        room = 1 - 1 / (1 + self.allowed[place])
        (kept,) = errors.probability(whole, variance, room)
        # The same inequality at equality: slope·difference + room = quantile·deviation.
        quantile = stdtrit(max(errors.spread.units[0] - 1, 1), asked)
        difference = (quantile * np.sqrt(variance[0]) - room) / errors.slope
        return float(1 / (1 + whole[0]) - 1), float(kept), float(1 / (1 + difference) - 1)

    def limited(self, limits: np.ndarray, radius: float) -> Decision:
        """Return the decision with other limits (guarded,) of the predicted increases, and with
        shares within a radius of those that are guarded.

        Raises:
            InfeasibleError: if no mixture is so near to the guarded one.
        """
        near = self.decision.within(self._near(radius)) if radius < 1 else self.decision
        every = self.decision.guard_limits.copy()
        every[self.targets] = limits
        feasible = dataclasses.replace(near.feasible, guard_limit=every)
        return dataclasses.replace(near, feasible=feasible)

    def _near(self, radius: float) -> Constraints:
        """The constraints of the decision, with shares within a radius of the guarded ones."""
        asked = self.decision.asked
        centre = zip(self.decision.fitted.domains, self.decision.guard_reference, strict=True)
        free = {domain: float(share) for domain, share in centre if domain not in asked.fixed}
        least = {d: max(asked.lower.get(d, 0.0), share - radius) for d, share in free.items()}
        most = {d: min(asked.upper.get(d, 1.0), share + radius) for d, share in free.items()}
        return dataclasses.replace(asked, lower=least, upper=most)


def surely_kept(bootstrap: Bootstrap, decision: Decision, probability: float) -> Decision:
    """Tighten the guardrails of a decision until its mixture keeps each with a probability.

    A guardrail that binds is kept about half of the time. With the deviation σ of the difference
    between mixture and guarded mixture, P(kept) ≥ p is a limit on the predicted increase that is
    lower by about z_p·σ (a chance constraint). σ depends on the mixture, so the limits are moved
    to those of the last mixture step by step. It grows with the distance from the guarded mixture;
    where no limit suffices, shares are held near those of that mixture.

    Raises:
        ValueError: if there is no guardrail, a probability is not between 0.5 and 1 or unknown for
            so few mixtures, or no mixture that was tried keeps all guardrails so surely.
    """
    if not 0.5 <= probability < 1:
        raise ValueError(f"guard_probability is {probability}; expected a number from 0.5 to 1.")
    rails = Guardrails.of(bootstrap, decision)
    if not len(rails.targets):
        raise ValueError(
            "guard_probability is given without a guardrail; name the largest loss increase, by "
            "Constraints(guardrail=0.01) or --guardrail 1%."
        )
    reached = 0.0
    for place, radius in enumerate(RADII):
        best, surely = _within(rails, probability, radius)
        reached = max(reached, surely)
        if best is not None:
            return (
                best if not place else _widened(rails, probability, RADII[place - 1], radius, best)
            )
    raise ValueError(_why_not(rails, probability, reached))


def _widened(
    rails: Guardrails, probability: float, too_far: float, radius: float, best: Decision
) -> Decision:
    """The decision of the largest radius that keeps all, between two of `RADII`."""
    for _ in range(HALVINGS):
        middle = (too_far + radius) / 2
        found, _ = _within(rails, probability, middle)
        if found is None:
            too_far = middle
        else:
            radius, best = middle, found
    return best


def _within(rails: Guardrails, probability: float, radius: float) -> tuple[Decision | None, float]:
    """The decision with the least objective that keeps all; and the largest least probability."""
    limits, least, reached = rails.allowed, np.inf, 0.0
    found, last = None, None
    for _ in range(ROUNDS):
        try:
            tried = rails.limited(limits, radius)
        except InfeasibleError:
            break
        solution = tried.over(tried.fitted.coefficients)
        if not np.isfinite(solution.mixture).all():
            if last is None:
                break
            # Too tight: back towards the last limits that some mixture keeps.
            limits = (limits + last) / 2
            continue
        kept, last = rails.at(solution.mixture, probability), limits
        surely = float(np.min(kept.probability))
        reached = max(reached, surely)
        if surely >= probability - CLOSE and solution.values[0] < least:
            found, least = tried, float(solution.values[0])
        moved = np.minimum((limits + kept.tighter) / 2, rails.allowed)
        if np.allclose(moved, limits, rtol=0, atol=1e-6):
            break
        limits = moved
    return found, reached


def _why_not(rails: Guardrails, probability: float, reached: float) -> str:
    """Sentence on guardrails that no mixture keeps as surely as asked."""
    names = ", ".join(rails.decision.fitted.targets[target] for target in rails.targets)
    if np.isnan(reached):
        return (
            "guard_probability: there are too few mixtures for the probability to keep a "
            f"guardrail on {names}; measure more, or leave it out."
        )
    return (
        f"guard_probability is {probability:g}, and no mixture that was tried keeps the guardrails "
        f"on {names} so surely; the surest keeps all with probability {reached:.2f} or more. Allow "
        "a larger increase, a lower probability, or measure more mixtures."
    )
