"""How many mixtures are left over, once the coefficients that they determine have taken theirs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.coefficients import Coefficients, features_of
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.residual import predict
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import jit

SMALL = 1e-6
"""Directions that move the losses of mixtures by less (relative to the first) do not count."""


def mixtures_and_coefficients(
    fitted: Fit, mixture: np.ndarray, budget: float, size: np.ndarray | None, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures that every target has (targets,), and coefficients they determine (targets,).

    Args:
        fitted: the fit.
        mixture: (units, domains), one a unit.
        budget: one in the middle of the sweep.
        size: (units,) of the model, for laws that know it.
        count: (units, targets) points that were fitted.

    The coefficients are those of the mixture beyond the level of the loss: the trace of the map
    from the units' losses at one budget to what is fitted to them, minus 1. A restraint makes it
    smaller. BiMix: 1, its α.
    """
    with jax.enable_x64(True):
        budgets = np.full(len(mixture), budget)
        slopes, pull = _slopes(fitted.law, fitted.coefficients, mixture, budgets, size)
        slopes, pull = np.asarray(slopes), np.asarray(pull)
    lower, upper = np.asarray(fitted.law.bounds(len(fitted.domains)), float).T
    lower = np.maximum(lower, jax.vmap(fitted.law.least)(jnp.asarray(fitted.coefficients.own)))
    exponents = np.asarray(fitted.coefficients.exponents)
    free = fitted.identified & (exponents > lower) & (exponents < upper)
    traces = [
        _trace(slopes[t], _pulled(pull[t], fitted.restraint[t]), free[t], count[:, t])
        for t in range(len(fitted.targets))
    ]
    return (count > 0).sum(axis=0), np.maximum(np.array(traces) - 1, 0.0)


def _pulled(pull: np.ndarray, strength: float) -> np.ndarray:
    """Pulls (exponents,) at a strength, which may be infinite."""
    return np.multiply(pull, strength, out=np.zeros_like(pull), where=pull > 0)


@functools.partial(jit, static_argnums=0)
def _slopes(law: Law, coefficients: Coefficients, mixture: Array, budget: Array, size: Any) -> Any:
    """Derivatives (targets, units, coefficients) of log losses, and pulls (targets, exponents)."""

    def of_target(one: Coefficients) -> tuple[Array, Array]:
        features = features_of(law, mixture, one.own, budget / one.budget_scale, size)

        def log_loss(exponents: Array, amplitudes: Array) -> Array:
            return jnp.log(predict(law, exponents, amplitudes, features))

        both = jax.jacfwd(log_loss, (0, 1))(one.exponents, one.amplitudes)
        restraint = law.restraint(one.own)
        pull = jnp.zeros_like(one.exponents) if restraint is None else restraint[1]
        return jnp.concatenate(both, axis=1), pull

    return jax.vmap(of_target)(coefficients)


def _trace(slopes: np.ndarray, pull: np.ndarray, free: np.ndarray, count: np.ndarray) -> float:
    """Trace of the smoother J (JᵀJ + P)⁻¹ Jᵀ on the units with points, free exponents only."""
    amplitudes = slopes.shape[1] - len(free)
    keep = np.concatenate([free & np.isfinite(pull), np.ones(amplitudes, bool)])
    ridge = np.concatenate([np.where(free, pull, 0.0), np.zeros(amplitudes)])[keep]
    used = (count > 0) & np.isfinite(slopes).all(axis=1)
    rows = slopes[used][:, keep] * np.sqrt(count[used])[:, None]
    stacked = np.concatenate([rows, np.diag(np.sqrt(ridge * count.sum()))])
    left, size, _ = np.linalg.svd(stacked / np.maximum(np.linalg.norm(stacked, axis=0), 1e-300),
                                  full_matrices=False)  # fmt: skip
    basis = left[: len(rows), size > SMALL * size.max(initial=0.0)]
    return float(np.sum(basis**2))
