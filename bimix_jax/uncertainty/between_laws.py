"""What the choice of the law does to the recommended mixture, beside what the runs do."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.optimum import optimize_mixture


class BetweenLaws(NamedTuple):
    """The optima of several laws, and what each law thinks of them."""

    mixtures: pd.DataFrame
    """(domains, laws) the optimal proportions by every law, then `least` and `largest`"""
    gains: pd.DataFrame
    """(laws, laws) the row's law predicts this gain over the reference for the column's optimum"""


def between_laws(
    fits: Sequence[Fit],
    budget: float | None = None,
    weights: Any = None,
    reference: Any = None,
    constraints: Constraints | None = None,
) -> BetweenLaws:
    """The spread of the optimum between laws that were fitted to one sweep.

    Args:
        fits: of different laws; their names are the labels.
        budget, weights, reference, constraints: as `optimize_mixture` takes them; a law that
            cannot express every target counts the targets that it can.

    Raises:
        ValueError: as `optimize_mixture`, on domains that differ, or a law that is there twice.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> found = bx.between_laws([bx.fit(sweep, law) for law in (bx.BiMix(), bx.LogLinear())])
    >>> found.gains.loc["BiMix", "BiMix"] >= found.gains.loc["BiMix", "LogLinear"]
    np.True_
    """
    names = [fitted.law.label for fitted in fits]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"fits are of {', '.join(names) or 'no law'}; expected different laws.")
    domains = fits[0].domains
    if any(fitted.domains != domains for fitted in fits):
        raise ValueError("fits differ in their domains; expected fits to one sweep.")
    optima = [
        optimize_mixture(
            fitted,
            budget,
            _its_own(weights, fitted, fits),
            reference=reference,
            constraints=constraints,
        )
        for fitted in fits
    ]
    mixtures = pd.DataFrame({name: best.mixture for name, best in zip(names, optima, strict=True)})
    gains = [
        _gains(fitted, best.budget, best.weights.to_numpy(), best.reference, mixtures)
        for fitted, best in zip(fits, optima, strict=True)
    ]
    spread = {"least": mixtures.min(axis=1), "largest": mixtures.max(axis=1)}
    table = pd.DataFrame(gains, index=pd.Index(names, name="predicted by"), columns=names)
    return BetweenLaws(mixtures.assign(**spread).rename_axis("domain"), table)


def _its_own(weights: Any, fitted: Fit, fits: Sequence[Fit]) -> Any:
    """The weights of targets that a law can express; what no law knows is left to be named."""
    if not isinstance(weights, Mapping):
        return weights
    known = {target for each in fits for target in each.targets}
    return {t: w for t, w in weights.items() if t in fitted.targets or t not in known}


def _gains(
    fitted: Fit, budget: float, weights: np.ndarray, reference: pd.Series, mixtures: pd.DataFrame
) -> np.ndarray:
    """(mixtures,) gain over the reference that a fit predicts for each column."""
    values = np.vstack([reference.to_numpy(), mixtures.to_numpy().T])
    losses = fitted.known_points(values, budget)[:, weights > 0] @ weights[weights > 0]
    return 1 - losses[1:] / losses[0]
