"""Damped Gauss-Newton as an optax transformation."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from bimix_jax.fitting.search import ROUNDING
from bimix_jax.xla.small_systems import positive_definite_solve


class GaussNewtonState(NamedTuple):
    """The best point so far with its model of the objective, and how far to trust that model."""

    anchor: Array
    value: Array
    gradient: Array
    hessian: Array
    damping: Array


def gauss_newton(
    initial_damping: float = 1e-3, decrease: float = 0.1, increase: float = 8.0
) -> optax.GradientTransformationExtraArgs:
    """Levenberg-Marquardt: step = −(H + λ·diag H)⁻¹ g from the best point so far.

    λ is multiplied by `decrease` after a step that lowered the value and by `increase` after one
    that did not; a rejected step is undone by the next update, which starts from the best point,
    so that each update costs one evaluation. `update` needs `value` and `hessian` (any positive
    semidefinite model of the curvature) beside the gradient.

    Source: Marquardt 1963, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters".

    >>> import jax.numpy as jnp
    >>> optimizer = gauss_newton(initial_damping=0.0)
    >>> x = jnp.array([3.0])
    >>> state = optimizer.init(x)
    >>> step, state = optimizer.update(2 * x, state, x, value=x[0] ** 2, hessian=jnp.array([[2.0]]))
    >>> print(x + step)
    [0.]
    """

    def init(params: Array) -> GaussNewtonState:
        size = params.shape[0]
        return GaussNewtonState(
            anchor=params,
            value=jnp.full((), jnp.inf, params.dtype),
            gradient=jnp.zeros_like(params),
            hessian=jnp.eye(size, dtype=params.dtype),
            damping=jnp.full((), initial_damping / decrease, params.dtype),
        )

    def update(
        updates: Array,
        state: GaussNewtonState,
        params: Array,
        *,
        value: Array,
        hessian: Array,
        **unused: Any,
    ) -> tuple[Array, GaussNewtonState]:
        slack = ROUNDING * jnp.finfo(params.dtype).eps * jnp.abs(state.value)
        accepted = value <= state.value + slack
        state = GaussNewtonState(
            anchor=jnp.where(accepted, params, state.anchor),
            value=jnp.where(accepted, value, state.value),
            gradient=jnp.where(accepted, updates, state.gradient),
            hessian=jnp.where(accepted, hessian, state.hessian),
            damping=state.damping * jnp.where(accepted, decrease, increase),
        )
        step = _damped_step(state.hessian, state.gradient, state.damping)
        return state.anchor + step - params, state

    return optax.GradientTransformationExtraArgs(init, update)


def _damped_step(hessian: Array, gradient: Array, damping: Array) -> Array:
    diagonal = jnp.diag(hessian)
    step = -positive_definite_solve(hessian + jnp.diag(damping * diagonal), gradient)
    return jnp.where(jnp.isfinite(step), step, 0.0)


DEFAULT_OPTIMIZER = gauss_newton()
"""One object, so that fits with the default share their compilations."""
