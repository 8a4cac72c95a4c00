"""What a resample is: a number for every run, drawn by seed and number of the resample alone."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Resampling = Literal["weights", "multinomial", "residuals"]
RESAMPLINGS: tuple[Resampling, ...] = ("weights", "multinomial", "residuals")


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
    with jax.enable_x64(True):
        key = jax.random.key(seed)
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(np.arange(resamples))
        return np.asarray(jax.vmap(lambda key: _one(kind, key, units))(keys))


def _one(kind: Resampling, key: Array, units: int) -> Array:
    if kind == "residuals":
        return jax.random.normal(key, (units,))
    if kind == "weights":
        weight = jax.random.exponential(key, (units,))
        return weight / jnp.mean(weight)
    drawn = jax.random.randint(key, (units,), 0, units)
    return jnp.zeros(units).at[drawn].add(1.0)


def leave_one_out(units: int) -> np.ndarray:
    """Weights (units, units) that each leave one unit out."""
    return 1.0 - np.eye(units)
