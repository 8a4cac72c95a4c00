"""The root of a decreasing function, by Newton's method that never leaves a bracket."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

MAX_STEPS = 100


def decreasing_root(
    function: Callable[[Array, Any], Array], arguments: Any, low: Array, high: Array
) -> Array:
    """x with function(x, arguments) = 0, where function(low) ≥ 0 ≥ function(high), elementwise.

    `low` and `high` have the shape of x, and element k of the function depends on element k of x
    alone. A step that leaves the bracket, or is not half the last one, is replaced by bisection.
    Differentiable in `arguments` (a pytree) by the implicit function theorem: the last step is
    taken outside the loop.

    >>> import jax.numpy as jnp
    >>> print(decreasing_root(lambda x, a: a - x**3, 8.0, jnp.array(0.0), jnp.array(5.0)).round(4))
    2.0
    """
    fixed, low, high = jax.lax.stop_gradient((arguments, low, high))
    ones = jnp.ones_like(low)
    resolution = 4 * jnp.finfo(low.dtype).eps

    def step(state: tuple) -> tuple:
        x, low, high, last, steps, _ = state
        value, slope = jax.jvp(lambda x: function(x, fixed), (x,), (ones,))
        low, high = jnp.where(value > 0, x, low), jnp.where(value > 0, high, x)
        newton = -value / slope
        inside = (x + newton >= low) & (x + newton <= high) & (jnp.abs(newton) <= 0.5 * last)
        change = jnp.where(inside, newton, (low + high) / 2 - x)
        change = jnp.where(value == 0, 0.0, change)
        done = jnp.all(~(jnp.abs(change) > resolution * (1 + jnp.abs(x))))
        return x + change, low, high, jnp.abs(change), steps + 1, done

    start = ((low + high) / 2, low, high, high - low, 0, jnp.array(False))
    x = jax.lax.while_loop(lambda s: (s[4] < MAX_STEPS) & ~s[5], step, start)[0]
    slope = jax.jvp(lambda x: function(x, fixed), (x,), (ones,))[1]
    value = function(x, arguments)
    flat = ~(slope < 0)
    return x - jnp.where(flat, 0.0, value / jnp.where(flat, -1.0, jax.lax.stop_gradient(slope)))
