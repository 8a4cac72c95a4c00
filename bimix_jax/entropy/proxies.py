"""Entropies of domains as a mixture."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def entropy_mixture(
    entropies: "Mapping[str, float] | pd.Series", temperature: float = 1.0
) -> "pd.Series":
    """The mixture that entropies suggest, r_i = e^(H_i / T) / Σ_j e^(H_j / T).

    From BiMix (Ge et al., arXiv 2405.14908), where T = 1; the size of a domain plays no part.

    Args:
        entropies: nats, one a domain, by name.
        temperature: above 1 draws the mixture towards uniform, below 1 towards the largest.

    Returns:
        Proportions by domain, which sum to 1.

    Raises:
        ValueError: if there is no entropy, one is negative or not finite, or the temperature is
            not positive and finite.

    >>> entropy_mixture({"web": np.log(6), "code": np.log(2)}).round(3).to_dict()
    {'web': 0.75, 'code': 0.25}
    """
    import pandas as pd

    named = pd.Series(entropies, dtype=float)
    wrong = named[~(np.isfinite(named) & (named >= 0))]
    if named.empty or len(wrong):
        found = ", ".join(f"{name}: {value}" for name, value in wrong.items()) or "none"
        raise ValueError(f"entropies: {found}; expected a finite number ≥ 0 for every domain.")
    if named.index.has_duplicates:
        twice = named.index[named.index.duplicated()].astype(str)
        raise ValueError(f"entropies: {', '.join(twice)} is there twice; expected a name once.")
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature is {temperature}; expected a number above 0.")
    weights = np.exp((named - named.max()) / temperature)
    return (weights / weights.sum()).rename("proportion").rename_axis("domain")
