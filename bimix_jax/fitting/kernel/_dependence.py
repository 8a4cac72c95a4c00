"""Dependences of the results of a function on the entries of its argument, from its jaxpr."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal
from jax.typing import ArrayLike

Entries = frozenset[int]


def dependences(function: Callable[[Any], Sequence[Any]], x: ArrayLike) -> list[Entries]:
    """List for every result the entries of `x` (entries,) that it may depend on.

    Only entries that are sliced out one by one are separated; any other use of `x` depends on all
    of it. An entry that is not listed has no effect.

    >>> dependences(lambda x: (x[0] * x[1], x[1] + 1, x.sum()), np.ones(3))
    [frozenset({0, 1}), frozenset({1}), frozenset({0, 1, 2})]
    """
    program = jax.make_jaxpr(lambda x: [jax.numpy.asarray(y) for y in function(x)])(x).jaxpr
    (argument,) = program.invars
    known: dict[Any, Entries] = {argument: frozenset(range(np.shape(x)[0]))}

    def of(variable: Any) -> Entries:
        return frozenset() if isinstance(variable, Literal) else known.get(variable, frozenset())

    for step in program.eqns:
        found = frozenset[int]().union(*(of(v) for v in step.invars))
        if step.primitive.name == "slice" and step.invars[0] is argument:
            first, last = step.params["start_indices"][0], step.params["limit_indices"][0]
            found = frozenset(range(first, last))
        known |= dict.fromkeys(step.outvars, found)
    return [of(v) for v in program.outvars]
