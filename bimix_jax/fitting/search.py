"""The one loop: run any optax transformation on an objective within bounds, keep the best point."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

ROUNDING = 32
"""Values closer than this many machine epsilons (relative) count as equal."""


class Evaluation(NamedTuple):
    """An objective at one point, as the loop needs it."""

    value: Array
    """() what is minimised."""
    gradient: Array
    """(parameters,) with 0 where a bound holds the parameter."""
    hessian: Array
    """(parameters, parameters) model of the curvature, identity where a bound holds."""
    measure: Array
    """() how far from stationary, dimensionless; the loop stops below the tolerance."""
    extra: Any = ()
    """Whatever the caller wants back from the best point."""


class Minimum(NamedTuple):
    """The best point a search met."""

    params: Array
    evaluation: Evaluation
    steps: Array


Objective = Callable[[Array], Evaluation]


def minimize(
    objective: Objective,
    start: Array,
    lower: Array,
    upper: Array,
    optimizer: optax.GradientTransformation,
    tolerance: ArrayLike,
    max_steps: int,
) -> Minimum:
    """Minimise from `start` (parameters,) within [lower, upper] until `measure` ≤ tolerance.

    `optimizer` is any optax transformation; it is offered value, grad, value_fn and hessian as
    extra arguments. Ends also when the objective is not finite at the start, or after max_steps
    evaluations. Not differentiable in reverse mode: derive at the solution instead.
    """
    # Traced once, where every `vmap` around the loop would trace them some times more.
    objective = jax.jit(objective)
    extended = optax.with_extra_args_support(optimizer)

    def value_of(params: Array, hessian: Any = None) -> Array:
        # A line search of optax wants every extra argument named by the function it searches.
        return objective(params).value

    @jax.jit
    def step(carry: tuple[Array, Any, Minimum]) -> tuple[Array, Any, Minimum]:
        params, state, best = carry
        now = objective(params)
        best = _better(best, params, now)
        change, state = extended.update(
            now.gradient, state, params,
            value=now.value, grad=now.gradient, value_fn=value_of, hessian=now.hessian,
        )  # fmt: skip
        return jnp.clip(params + change, lower, upper), state, best

    def unfinished(carry: tuple[Array, Any, Minimum]) -> Array:
        best = carry[2]
        hopeless = (best.steps > 0) & ~jnp.isfinite(best.evaluation.value)
        return ~(best.evaluation.measure <= tolerance) & ~hopeless & (best.steps < max_steps)

    start = jnp.clip(start, lower, upper)
    first = (start, extended.init(start), _nothing_yet(objective, start))
    return jax.lax.while_loop(unfinished, step, first)[2]


def _nothing_yet(objective: Objective, start: Array) -> Minimum:
    shapes = jax.eval_shape(objective, start)
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    worst = jnp.full((), jnp.inf, start.dtype)
    return Minimum(start, blank._replace(value=worst, measure=worst), jnp.zeros((), jnp.int32))


def _better(best: Minimum, params: Array, now: Evaluation) -> Minimum:
    slack = ROUNDING * jnp.finfo(params.dtype).eps * jnp.abs(best.evaluation.value)
    lower = now.value < best.evaluation.value - slack
    equal = now.value <= best.evaluation.value + slack
    lower |= equal & (now.measure <= best.evaluation.measure)
    params, evaluation = jax.tree.map(
        lambda new, old: jnp.where(lower, new, old),
        (params, now),
        (best.params, best.evaluation),
    )
    return Minimum(params, evaluation, best.steps + 1)
