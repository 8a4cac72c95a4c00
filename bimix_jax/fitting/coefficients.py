"""Coefficients of fits, and the codes that report the result of a fit."""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting._linear import on_grid
from bimix_jax.fitting.residual import predict
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import full_precision


class Code(enum.IntEnum):
    """Result of one target's fit; a batch carries codes, never exceptions.

    >>> Code.UNIDENTIFIED.label
    'unidentified'
    """

    CONVERGED = 0
    BOUNDARY = 1
    UNIDENTIFIED = 2
    MAX_STEPS = 3
    NONFINITE = 4
    BAD_DATA = 5

    @property
    def label(self) -> str:
        """Code in lower case, as tables show it."""
        return self.name.lower()

    @property
    def message(self) -> str:
        """Explanation of the code and its remedy."""
        return _MESSAGES[self]


FAILED = (int(Code.BAD_DATA), int(Code.NONFINITE))
"""Codes of fits without predictions."""

_MESSAGES = {
    Code.CONVERGED: "The fit converged inside its bounds.",
    Code.BOUNDARY: (
        "The best fit lies on a bound: an amplitude is 0 or an exponent at its limit, so the data "
        "do not show the shape of the law; add budgets or mixtures that are further apart. "
        "It is the best end that the starts reached; there may be a better one."
    ),
    Code.UNIDENTIFIED: (
        "These data cannot tell some exponent (shown as nan): α needs runs with different own "
        "proportions, β needs several budgets; predictions hold only where the data vary. "
        "It is the best end that the starts reached; there may be a better one."
    ),
    Code.MAX_STEPS: (
        "The search stopped before it converged; raise max_steps or try the default optimizer."
    ),
    Code.NONFINITE: (
        "The search met numbers that are not finite; look for extreme losses or budgets."
    ),
    Code.BAD_DATA: (
        "No usable points: every loss is missing, or the law is infinite at every mixture."
    ),
}


class Coefficients(NamedTuple):
    """Everything that a law needs to predict one target; a leading axis holds several."""

    exponents: Array
    """(exponents,)"""
    amplitudes: Array
    """(amplitudes,) of budgets divided by the budget scale"""
    own: Array
    """(domains,) 1 at the target's own domain, 0 elsewhere"""
    budget_scale: Array
    """() in the unit of the budgets"""


@full_precision
def predict_losses(
    law: Law,
    coefficients: Coefficients,
    mixture: ArrayLike,
    budget: ArrayLike,
    size: ArrayLike | None = None,
) -> Array:
    """Predict losses (points, targets) of mixtures (points, domains) at budgets (points,).

    `coefficients` has a leading axis (targets,); a budget is in the unit of its scale; `size`
    (points,) is the model's, for laws with a size. Points have mixtures (mixtures, domains) in
    turn, again and again, as in `fit_arrays`. Infinite where the law is (BiMix at a proportion of
    0).
    """
    losses = losses_on_grid(law, coefficients, mixture, budget, size)
    return losses.reshape(len(losses), -1).T


def losses_on_grid(
    law: Law,
    coefficients: Coefficients,
    mixture: ArrayLike,
    budget: ArrayLike,
    size: ArrayLike | None = None,
) -> Array:
    """`predict_losses` as (targets, points), on a grid as (targets, slots, mixtures)."""
    mixtures, budgets, sizes = one_float_type(mixture, budget, size)
    points = max(budgets.size, len(mixtures))
    slots = points // max(1, len(mixtures)) if law.has_log_worth else 1
    mixtures = of_points(mixtures, points)
    budgets = jnp.broadcast_to(budgets, (points,))

    def one(target: Coefficients) -> Array:
        features = features_of(law, mixtures, target.own, budgets / target.budget_scale, sizes)
        features = on_grid(features, slots)
        return predict(law, target.exponents, target.amplitudes, features, slots)

    return jax.vmap(one)(coefficients)


def of_points(mixture: ArrayLike, points: int) -> Array:
    """Mixtures (points, domains) of points that have mixtures (mixtures, domains) in turn."""
    shares = jnp.asarray(mixture)
    if len(shares) == points:
        return shares
    return jnp.tile(shares, (points // len(shares), 1))


def features_of(law: Law, mixture: Array, own: Array, budget: Array, size: Array | None) -> Any:
    """Compute the law's features of points (points, …), for budgets in budget scales."""
    if size is None:
        return jax.vmap(law.features, in_axes=(0, None, 0))(mixture, own, budget)
    sizes = jnp.broadcast_to(size, budget.shape)
    return jax.vmap(law.features_at_size, in_axes=(0, None, 0, 0))(mixture, own, budget, sizes)


def one_float_type(*values: Any) -> list[Any]:
    """Convert to arrays of one floating type, the widest among them; None stays None.

    NumPy converts whole numbers to floats first: token counts do not fit into 32 bits.
    """
    arrays = [_as_float(v) for v in values]
    sized = [a.dtype for a in arrays if a is not None and a.ndim]
    dtype = jnp.result_type(*(sized or [float]))
    return [None if a is None else jnp.asarray(a, dtype) for a in arrays]


def _as_float(value: Any) -> Any:
    if value is None or (isinstance(value, Array) and jnp.issubdtype(value.dtype, jnp.floating)):
        return value
    if isinstance(value, Array):
        return value.astype(float)
    array = np.asarray(value)
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(float)
