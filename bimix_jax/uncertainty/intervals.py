"""Intervals from resamples, and the degrees of freedom that correct them."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import ndtr, stdtrit

from bimix_jax.fitting.coefficients import Coefficients, features_of
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.residual import predict
from bimix_jax.fitting.stacked import member_fits
from bimix_jax.laws.law import Law
from bimix_jax.uncertainty._spread import units_needed
from bimix_jax.xla.compilation import jit

SMALL = 1e-6
"""Relative singular value below which a direction of the coefficients moves no loss."""


def mixtures_and_coefficients(
    fitted: Fit, mixture: np.ndarray, budget: float, size: np.ndarray | None, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count the mixtures of each target (targets,), and the coefficients they determine (targets,).

    Args:
        fitted: the fit.
        mixture: (units, domains), one per unit.
        budget: () in the middle of the sweep.
        size: (units,) of the model, for laws with a size.
        count: (units, targets) points that were fitted.

    The coefficients are those of the mixture beyond the level of the loss: the trace of the map
    from the units' losses at one budget to the fitted losses, minus 1. Shrinkage lowers it. For
    BiMix it is 1, for its α. Of a law with members it is their mean, as the map of the mean of
    predictions is the mean of their maps; and that of its losses for a link.
    """
    if fitted.law.members or fitted.law.of_losses:
        each = [
            mixtures_and_coefficients(one, mixture, budget, size, count)
            for one in member_fits(fitted)
        ]
        return each[0][0], np.mean([spent for _, spent in each], axis=0)
    budgets = np.full(len(mixture), budget)
    found = _slopes(fitted.law, fitted.coefficients, mixture, budgets, size)
    slopes, pull = map(np.asarray, found)
    lower, upper = np.asarray(fitted.law.bounds(len(fitted.domains)), float).T
    lower = np.maximum(lower, jax.vmap(fitted.law.least)(jnp.asarray(fitted.coefficients.own)))
    exponents = np.asarray(fitted.coefficients.exponents)
    # An exponent on a bound does not move with the losses, so it costs no degree of freedom.
    free = fitted.identified & (exponents > lower) & (exponents < upper)
    traces = [
        _trace(slopes[t], _pulled(pull[t], fitted.shrinkage[t]), free[t], count[:, t])
        for t in range(len(fitted.targets))
    ]
    # Minus 1 for the level of the loss, which every law fits by its amplitudes.
    return (count > 0).sum(axis=0), np.maximum(np.array(traces) - 1, 0.0)


def _pulled(pull: np.ndarray, strength: float) -> np.ndarray:
    """Pulls (exponents,) at a strength, which may be infinite."""
    # 0 · ∞ would be nan: an exponent without a pull stays free at any strength.
    return np.multiply(pull, strength, out=np.zeros_like(pull), where=pull > 0)


@functools.partial(jit, static_argnums=0, x64=True)
def _slopes(law: Law, coefficients: Coefficients, mixture: Array, budget: Array, size: Any) -> Any:
    """Derivatives (targets, units, coefficients) of log losses, and pulls (targets, exponents)."""

    def of_target(one: Coefficients) -> tuple[Array, Array]:
        features = features_of(law, mixture, one.own, budget / one.budget_scale, size)

        def log_loss(exponents: Array, amplitudes: Array) -> Array:
            return jnp.log(predict(law, exponents, amplitudes, features))

        both = jax.jacfwd(log_loss, (0, 1))(one.exponents, one.amplitudes)
        shrinkage = law.shrinkage(one.own)
        pull = jnp.zeros_like(one.exponents) if shrinkage is None else shrinkage[1]
        return jnp.concatenate(both, axis=1), pull

    return jax.vmap(of_target)(coefficients)


def _trace(slopes: np.ndarray, pull: np.ndarray, free: np.ndarray, count: np.ndarray) -> float:
    """Trace of the smoother J (JᵀJ + P)⁻¹ Jᵀ on the units with points, free exponents only."""
    amplitudes = slopes.shape[1] - len(free)
    keep = np.concatenate([free & np.isfinite(pull), np.ones(amplitudes, bool)])
    ridge = np.concatenate([np.where(free, pull, 0.0), np.zeros(amplitudes)])[keep]
    # A mixture of several points weighs as many, as in the sum of squares.
    used = (count > 0) & np.isfinite(slopes).all(axis=1)
    rows = slopes[used][:, keep] * np.sqrt(count[used])[:, None]
    stacked = np.concatenate([rows, np.diag(np.sqrt(ridge * count.sum()))])
    # The fit adds its pull to a mean over points, so beside a sum it counts once per point. Columns
    # of unit length make the threshold independent of the units of the coefficients.
    left, size, _ = np.linalg.svd(
        stacked / np.maximum(np.linalg.norm(stacked, axis=0), 1e-300), full_matrices=False
    )
    # The trace of the hat matrix is the squared norm of the data rows of an orthonormal basis of
    # the stacked columns, where the ridge is further rows.
    basis = left[: len(rows), size > SMALL * size.max(initial=0.0)]
    return float(np.sum(basis**2))


LEAST_KNOWN = 0.5
"""Share of the resamples that must have a value for an interval."""
LEAST_FREEDOM = 3.0
"""Least number of mixtures beyond the determined coefficients for an interval: with 2, Student's
distribution has no variance."""


@dataclasses.dataclass(frozen=True)
class Freedom:
    """Degrees of freedom of an interval."""

    units: int
    """number of mixtures (or runs) that were drawn from"""
    coefficients: float
    """number of the law's coefficients that they determine, beyond the level of the loss"""

    @property
    def left(self) -> float:
        """Degrees of freedom that remain."""
        return self.units - self.coefficients

    @property
    def enough(self) -> bool:
        """True where an interval can be given."""
        # Traces that should be whole numbers are so only to rounding.
        return self.left >= LEAST_FREEDOM - 1e-6

    @property
    def inflation(self) -> float:
        """√(n/(n − k)), by which residuals are too small once k coefficients are fitted."""
        return float(np.sqrt(self.units / self.left))


def _expanded_tail(level: float, freedom: Freedom) -> float:
    """Share of resamples to leave out at either end, for an interval of that level.

    Φ(−√(n/(n−k))·t), t the quantile of Student's distribution with n − k degrees of freedom:
    plain percentiles over few units are too narrow. Source: Hesterberg, "What Teachers Should
    Know About the Bootstrap", The American Statistician 2015, for a mean, where k = 1; that k
    is the number of coefficients of the mixture is our choice, by measured coverage
    (`benchmarks/coverage.py`).

    >>> [round(_expanded_tail(0.9, Freedom(n, 1.0)), 3) for n in (8, 40, 1000)]
    [0.021, 0.044, 0.05]
    """
    student = stdtrit(freedom.left, (1 - level) / 2)
    return float(ndtr(student * freedom.inflation))


def check_level(level: float) -> None:
    """Check that a level is between 0 and 1.

    Raises:
        ValueError: if it is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share, 0.9 or 90%.")


def interval(values: np.ndarray, level: float, freedom: Freedom) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end (…) of values (resamples, …); resamples that are nan do not count.

    The ends are nan where fewer than half of the resamples have a value, or there are fewer
    mixtures than `units_needed`, or than the coefficients take.

    Raises:
        ValueError: if level is not between 0 and 1.
    """
    check_level(level)
    # Resamples that fail are not a random part of all: with many, what is left misleads.
    known = np.mean(~np.isnan(values), axis=0) >= LEAST_KNOWN
    enough = freedom.enough and freedom.units >= units_needed(level)
    if not enough:
        known = np.zeros_like(known)
    tail = _expanded_tail(level, freedom) if enough else 0.0
    low, high = np.nanquantile(np.where(known, values, 0.0), [tail, 1 - tail], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)
