"""What a resample is: a number for every run, drawn by seed and number of the resample alone."""

from typing import Literal

import numpy as np

Resampling = Literal["multinomial", "weights", "residuals"]
RESAMPLINGS: tuple[Resampling, ...] = ("multinomial", "weights", "residuals")


def draw(kind: Resampling, seed: int, resamples: int, units: int) -> np.ndarray:
    """One number for every resample and unit, (resamples, units); a unit is a mixture or a run.

    - "weights": exponential, so that their shares are uniform on the simplex (the Bayesian
      bootstrap, Rubin 1981). No unit is ever lost, so that the fit stays determined.
    - "multinomial": how often a unit was drawn, with replacement (Efron 1979).
    - "residuals": normal factors of a unit's residuals (the wild bootstrap by cluster, Cameron,
      Gelbach & Miller 2008): runs keep their places, so that few of them do.

    Weights sum to the number of units. Resample i is the same however many there are.

    >>> draw("multinomial", 0, 2, 5).sum(axis=1).tolist()
    [5.0, 5.0]
    """
    if kind not in RESAMPLINGS:
        raise ValueError(f"resampling is {kind!r}; expected one of {', '.join(RESAMPLINGS)}.")
    generators = (np.random.default_rng([seed, number]) for number in range(resamples))
    return np.stack([_one(kind, generator, units) for generator in generators])


def _one(kind: Resampling, generator: np.random.Generator, units: int) -> np.ndarray:
    if kind == "residuals":
        return generator.standard_normal(units)
    if kind == "weights":
        weight = generator.standard_exponential(units)
        return weight / weight.mean()
    return np.bincount(generator.integers(units, size=units), minlength=units).astype(float)


def leave_one_out(units: int) -> np.ndarray:
    """Weights (units, units) that each leave one unit out."""
    return 1.0 - np.eye(units)
