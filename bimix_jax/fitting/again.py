"""Repeated searches, from other starts, of fits whose first search may have missed the optimum."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.coefficients import Code
from bimix_jax.laws.law import Law

IN_DOUBT = (int(Code.BOUNDARY), int(Code.UNIDENTIFIED))
"""Codes of ends at which the slope is 0 because an amplitude is 0 or a power is too steep to
matter, although another optimum may be lower."""
POOR = 0.2
"""Root of the mean squared residual above which a fit is searched again. Of 1 980 fits to few and
noisy points, those that missed a lower end had 0.44 or more; fits of real sweeps have 0.005. Noise
of a few per cent, which no search lowers, must not send a batch through all of them."""


def all_starts(law: Law, tied: tuple[str, ...], domains: int) -> Any:
    """Starts of each search, the first one for every fit and further ones where in doubt.

    Tied targets, which could only change together, have no further ones.
    """
    return [law.starts(domains), *(() if law.ties(tied) else law.further_starts(domains))]


def best_ends(law: Law, tied: tuple[str, ...], domains: int, search: Callable[[Any], Any]) -> Any:
    """Best ends of a search from all starts of a law, and from further ones where in doubt.

    Args:
        law: what is fitted; tied: its exponents that targets share; domains: how many.
        search: what gives for starts (starts, exponents) a NamedTuple of arrays as `is_better`
            and `chosen` take it.
    """
    first, *further = all_starts(law, tied, domains)
    best = search(first)
    for starts in further:
        if in_doubt(best).any():
            other = search(starts)
            best = chosen(is_better(best, other), best, other)
    return best


def compiled_best_ends(search: Callable[[Array], Any], starts: Array) -> Any:
    """Best ends as `best_ends` finds them, in one program; starts (searches, starts, exponents).

    All fits go on to the next search while any of them is in doubt, so there should be few.
    """
    # Traced once, for its shapes and for the loop.
    search = jax.jit(search)
    blank = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(search, starts[0])
    )

    def further(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        number, best = carry
        other = search(starts[number])
        return number + 1, chosen((number == 0) | is_better(best, other), best, other)

    def unfinished(carry: tuple[Array, Any]) -> Array:
        number, best = carry
        return (number == 0) | (number < len(starts)) & in_doubt(best).any()

    return jax.lax.while_loop(unfinished, further, (jnp.zeros((), int), blank))[1]


class Ended(NamedTuple):
    """The fields of an `ArrayFit` that decide whether fits are searched again."""

    code: np.ndarray
    objective: np.ndarray
    points: np.ndarray


def in_doubt(found: Any) -> Any:
    """True where a fit is searched again: its code is in doubt, or its residual is `POOR`."""
    # The objective is ½ Σ ρ², so this compares the root mean square with `POOR`.
    poor = found.objective > POOR**2 / 2 * found.points
    return functools.reduce(operator.or_, [found.code == code for code in IN_DOUBT], poor)


def is_better(first: Any, second: Any) -> Any:
    """True where the second search of a fit in doubt ended lower, by more than rounding.

    Both have the code, the objective and the number of points of every fit, as an `ArrayFit` does.

    >>> first = Ended(*np.array([[Code.BOUNDARY, Code.CONVERGED], [1e-3, 1e-3], [12, 12]]))
    >>> print(is_better(first, first._replace(objective=first.objective / 2)))
    [ True False]
    """
    return in_doubt(first) & is_lower(first, second)


def is_lower(first: Any, second: Any) -> Any:
    """True where the second search ended lower, by more than rounding."""
    before, after = first.objective, second.objective
    epsilon = float(np.finfo(before.dtype).eps)
    # The second term is for fits to rounding, whose objective is nearly 0.
    slack = math.sqrt(epsilon) * before + 8 * epsilon * first.points
    return after < before - slack


def chosen(better: Any, first: Any, second: Any) -> Any:
    """Select arrays with the leading axes of `better`: the second where that is True."""

    def one(before: Any, after: Any) -> Any:
        further = (1,) * (before.ndim - better.ndim)
        select = before.__array_namespace__().where
        return select(better.reshape(better.shape + further), after, before)

    return jax.tree.map(one, first, second)
