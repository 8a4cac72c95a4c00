"""Functions of arrays, each by one program for all calls of a kind.

Called as they are, the functions of the package compile their loops anew at every call.
"""

import functools

import numpy as np

import bimix_jax as bx
from bimix_jax.xla.compilation import jit


@functools.cache
def _fit(law, **options):
    return jit(functools.partial(bx.fit_arrays, law, **options))


def fit_points(law, mixture, budget, loss, weight=None, own=0, size=None, **options):
    """`fit_arrays`; the options have to be hashable."""
    weight = np.ones(len(loss), loss.dtype) if weight is None else weight
    return _fit(law, **options)(mixture, budget, loss, weight, own=np.asarray(own), size=size)


@functools.cache
def _best(law, **options):
    return jit(functools.partial(bx.optimal_proportions, law, **options))


def best_mixture(law, coefficients, budget, weights=None, constraints=None, **options):
    """`optimal_proportions`; the options have to be hashable."""
    return _best(law, **options)(coefficients, budget, weights, constraints=constraints)


predicted_losses = jit(bx.predict_losses, static_argnums=0)
