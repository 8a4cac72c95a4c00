"""`jax.vmap` that leaves out an axis of length 1."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def over_leading_axis(function: Callable[..., Any]) -> Callable[..., Any]:
    """Apply a function along the leading axis of all its arguments, as `jax.vmap` does.

    An axis of length 1 is taken away and put back, because every `vmap` around a loop traces its
    body twice more.

    >>> double = over_leading_axis(lambda x: 2 * x)
    >>> print(double(jnp.ones((1, 2))), double(jnp.ones((3, 1))).shape)
    [[2. 2.]] (3, 1)
    """

    def applied(*args: Any) -> Any:
        if jax.tree.leaves(args)[0].shape[0] != 1:
            return jax.vmap(function)(*args)
        alone = jax.tree.map(lambda leaf: jnp.squeeze(leaf, 0), args)
        return jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 0), function(*alone))

    return applied
