"""Which domains an optimum can judge: those that some target depends on."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.compilation import jit
from bimix_jax.fitted import Fit
from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.laws.law import Law

if TYPE_CHECKING:
    from bimix_jax.mixture.decision import Decision

NOTHING = 1e-6
"""A share this small is none."""
FELT = 1e-9
"""Least slope by a share, of the steepest of the target; below is what keeps a law finite."""


def refuse_unmeasured(decision: "Decision", mixture: np.ndarray | None = None) -> None:
    """Raise ValueError if a domain gets nothing only because no target depends on it.

    Args:
        decision: that was made.
        mixture: (domains,) the optimum; None where every domain that nothing measures gets
            nothing.

    It may get nothing where its share is bounded or fixed, where somebody left its own target out
    of the weights, and where a pull has the last word.
    """
    fitted, asked = decision.fitted, decision.asked
    if asked.pull:
        return
    needed = decision.weights > 0
    if decision.feasible.allowed is not None:
        needed = needed | np.isfinite(decision.feasible.allowed)
    blind = ~measured_domains(fitted, decision.budget, needed)
    if mixture is not None:
        blind &= mixture < NOTHING
    said = {*asked.lower, *asked.upper, *asked.fixed, *decision.left_out}
    nothing = [
        d for d, unseen in zip(fitted.domains, blind, strict=True) if unseen and d not in said
    ]
    if nothing:
        raise ValueError(
            f"{', '.join(nothing)}: no target that counts depends on this share, so the optimum "
            "would give it 0 whatever it is worth. The fit has the targets "
            f"{', '.join(fitted.targets)}: measure a loss for each domain, correct the name of a "
            "loss column, or use a law in which other losses depend on it. If 0 is meant, bound "
            f"its share (--lower {nothing[0]}=0, or lower= of the constraints)."
        )


def measured_domains(fitted: Fit, budget: float, needed: np.ndarray) -> np.ndarray:
    """(domains,) bool: whether the loss of a target that is `needed` (targets,) depends on it."""
    own = np.asarray(fitted.coefficients.own)
    if fitted.law.is_power_of_own:
        return own[needed].any(axis=0)
    with jax.enable_x64(True):
        slopes = np.asarray(_slopes(fitted.law, fitted.coefficients, np.asarray(budget)))
    steepest = np.abs(slopes).max(axis=1, keepdims=True)
    return np.any((np.abs(slopes) > FELT * steepest)[needed], axis=0)


@functools.partial(jit, static_argnums=0)
def _slopes(law: Law, coefficients: Coefficients, budget: Array) -> Array:
    """(targets, domains) of the losses where there is as much of every domain."""
    domains = coefficients.own.shape[1]
    even = jnp.full(domains, 1 / domains, coefficients.amplitudes.dtype)
    return jax.jacfwd(lambda r: predict_losses(law, coefficients, r[None], budget)[0])(even)
