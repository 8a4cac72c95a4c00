"""The effect of one more percentage point of a domain on every loss."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture._given import mixture_of
from bimix_jax.mixture._near import near_mixture
from bimix_jax.mixture._notes import scope_notes
from bimix_jax.mixture.decision import Decision, Request
from bimix_jax.printable import Drawn
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.reading.targets import are_scores, as_measured, changes_measured

if TYPE_CHECKING:
    from bimix_jax.mixture.constraints import Constraints

POINT = 0.01
"""One percentage point of the mixture."""


@dataclasses.dataclass(frozen=True)
class Sensitivity(Drawn):
    """Change of every predicted loss as one domain gains and the others give in proportion."""

    nats: pd.DataFrame
    """(domains, targets) nats of the target's loss, or units of its score, per percentage point of
    the domain"""
    mean: pd.Series
    """change of the weighted mean loss, or of the mean score in points, by domain; 0 at an
    unconstrained optimum inside the simplex"""
    losses: pd.Series
    """predicted loss or score by target, at the mixture"""
    mixture: pd.Series
    """proportion by domain"""
    budget: float
    unit: str
    notes: tuple[str, ...]
    better: tuple[int, ...]
    """(targets + 1,) sign of a change for the better, −1 of losses and 1 of scores; the last one is
    that of the mean"""

    def __repr__(self) -> str:
        targets, domains = counted(len(self.losses), "target"), counted(len(self.mixture), "domain")
        return f"Sensitivity({targets}, {domains} at {quantity_text(self.budget)} {self.unit})"

    @property
    def percent(self) -> pd.DataFrame:
        """(domains, targets) change in % of the target's loss."""
        return 100 * self.nats / self.losses

    def table(self) -> pd.DataFrame:
        """Table with a row per domain: nats by target, and the change of the mean."""
        return self.nats.assign(mean=self.mean).rename_axis("one more point of")

    def document(self) -> dict[str, Any]:
        """All results as nested dictionaries, for JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, "percent": self.percent}


def sensitivity(
    fitted: Fit,
    mixture: Any = None,
    budget: float | None = None,
    weights: Any = None,
    *,
    reference: Any = None,
    constraints: "Constraints | None" = None,
) -> Sensitivity:
    """Compute the effect of one more percentage point of each domain on every predicted loss.

    The other domains give the point in proportion to their shares, so the mixture moves along v_i =
    (e_i − r)/(1 − r_i); the numbers are 0.01 · ∇L_j · v_i. They are derivatives: right for small
    moves, and only a direction where a domain's share is of the order of a point.

    Args:
        fitted: from `fit`.
        mixture: where, naming every domain; default the one that `optimize_mixture` recommends.
        budget: in the fit's unit; default the sweep's largest.
        weights: by target, of the mean, as `optimize_mixture` takes them.
        reference: likewise, the mixture that a KL term and guardrails refer to; default uniform.
        constraints: likewise, of the mixture that is recommended.

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints.
        ValueError: on unknown names, several mixtures, or a budget that is not positive.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.BiMix())
    >>> moves = sensitivity(fitted)
    >>> bool(moves.nats.loc["python", "python"] < 0 < moves.nats.loc["python", "essay"])
    True
    """
    decision = Decision.of(fitted, budget, weights, Request(constraints, reference))
    found = decision.solve().mixture if mixture is None else mixture
    shares, at = mixture_of("mixture", found, fitted.domains), decision.budget
    losses, changes = _changes(fitted, shares, at)
    targets, domains, described = list(fitted.targets), list(fitted.domains), fitted.described
    counts = decision.weights > 0
    # Targets of weight 0 may be nan, and 0 · nan would spoil the mean.
    mean = np.average(changes[:, counts], axis=1, weights=decision.weights[counts])
    return Sensitivity(
        nats=pd.DataFrame(changes_measured(changes, described), domains, targets),
        mean=pd.Series(decision.shown(mean) - decision.shown(0.0), domains, name="mean"),
        losses=pd.Series(as_measured(losses, described), targets, name="loss"),
        mixture=pd.Series(shares, domains, name="proportion"),
        budget=at,
        unit=fitted.unit,
        notes=(
            *scope_notes(fitted, at),
            *fitted.notes_on_mixtures(shares[None]),
            *_alone(shares, domains),
            *decision.notes,
            *fitted.messages(),
        ),
        better=tuple(np.where([*are_scores(described), decision.of_scores], 1, -1).tolist()),
    )


def _alone(mixture: np.ndarray, domains: list[str]) -> tuple[str, ...]:
    return tuple(
        f"{domain} is the whole mixture, so no other domain can give to it."
        for domain, share in zip(domains, mixture, strict=True)
        if share >= 1
    )


def _changes(fitted: Fit, mixture: np.ndarray, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """Losses (targets,), and their change (domains, targets) per point; nan for infinite losses."""
    near = near_mixture(fitted.law, fitted.coefficients, budget, mixture)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Row i adds 1 to domain i and takes r_j/(1 − r_i) from every other j: it sums to 0.
        moves = (np.eye(len(mixture)) - mixture) / (1 - mixture)[:, None]
        changes = POINT * moves @ near.slopes.T
    return near.losses, np.where(np.isfinite(near.losses), changes, np.nan)
