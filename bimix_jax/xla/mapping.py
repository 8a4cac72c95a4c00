"""Functions applied along a leading axis: `jax.vmap`, or a loop where that is faster."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


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


def over_rows(function: Callable[[Any], Any], rows: Any, used: Array, side_by_side: bool) -> Any:
    """Apply a function to arrays with a leading axis (rows,), in a loop or side by side.

    Args:
        function: of one row, with loops of its own; side by side all rows go on until the last of
            them ends.
        rows: its arguments.
        used: () int, how many rows count; in a loop the results of the others are 0.
        side_by_side: True for `jax.vmap`.

    >>> print(over_rows(lambda x: x + 1, jnp.ones(3), jnp.array(2), False))
    [2. 2. 0.]
    """
    if side_by_side:
        return jax.vmap(function)(rows)

    def row_of(number: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[number], rows)

    def next_one(number: Array, results: Any) -> Any:
        put = functools.partial(jax.lax.dynamic_update_index_in_dim, index=number, axis=0)
        return jax.tree.map(put, results, function(row_of(number)))

    shapes, count = jax.eval_shape(function, row_of(0)), len(jax.tree.leaves(rows)[0])
    nothing = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, used, next_one, nothing)
