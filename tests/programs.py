"""Functions of arrays, each by one program for all calls of a kind.

Called as they are, the functions of the package compile their loops anew at every call.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import bimix_jax as bx
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.problem import default_tolerance
from bimix_jax.fitting.program import solve
from bimix_jax.fitting.task import FitTask
from bimix_jax.xla.compilation import jit

NUMBERS = ("tolerance", "shrinkage", "starts", "budget_scale", "size")
"""Arguments of `fit_arrays` that change no program."""
ROWS = 128


@functools.cache
def _fit(law, **options):
    return jit(functools.partial(bx.fit_arrays, law, **options))


def fit_points(law, mixture, budget, loss, weight=None, own=0, fold=None, **options):
    """`fit_arrays` by one program for each law and shape, and for options other than numbers.

    Rows without a loss are appended up to the next multiple of `ROWS`.
    """
    options = {"tolerance": default_tolerance(loss.dtype)} | options
    if fold is None:
        options = {"shrinkage": 0.0} | options
    numbers = {n: np.asarray(options.pop(n), loss.dtype) for n in NUMBERS if n in options}
    weight = np.ones(len(loss), loss.dtype) if weight is None else weight
    fit, more = _fit(law, **options), -len(budget) % ROWS
    filled = {"mixture": mixture, "budget": budget}
    if "size" in numbers:
        filled["size"] = numbers.pop("size")
    filled = {name: np.concatenate([x, np.repeat(x[:1], more, 0)]) for name, x in filled.items()}
    loss, weight = (
        np.concatenate([x, np.full((more, *x.shape[1:]), fill, loss.dtype)])
        for x, fill in ((loss, np.nan), (weight, 0.0))
    )
    if fold is not None:
        fold = np.concatenate([fold, np.full(more, -1)])
    rows = {**filled, "loss": loss, "weight": weight}
    return fit(**rows, own=np.asarray(own), fold=fold, **numbers)


def fit_as_sweep(law, mixture, budget, loss, weight=None, own=0, **options):
    """An `ArrayFit` of points, by the program of `bx.fit`; loss and `own` as in `fit_points`."""
    domains, columns = [f"d{i}" for i in range(mixture.shape[1])], np.atleast_1d(own)
    targets = ["exam" if column < 0 else domains[column] for column in columns]
    losses, runs = loss.reshape(len(budget), -1), np.arange(len(budget)).astype(str)
    sweep = bx.Sweep(
        tuple(domains), tuple(targets), mixture, budget, losses, runs, "tokens", pd.DataFrame()
    )
    options = FitOptions(**{"shrinkage": 0.0} | options)
    found = solve(FitTask.of(sweep, law, options, targets, weight)).fit
    first = (0,) if loss.ndim == 2 else (0, 0)
    return jax.tree.map(lambda leaf: leaf[first], found)


@functools.cache
def _best(law, **options):
    return jit(functools.partial(bx.optimal_proportions, law, **options))


def best_mixture(law, coefficients, budget, weights=None, constraints=None, **options):
    """`optimal_proportions`; the options have to be hashable."""
    return _best(law, **options)(coefficients, budget, weights, constraints=constraints)


def both_ways(function):
    """One program of a function of a number: its value, and its derivative forward and reverse."""

    @jit
    def derivatives(shift):
        value, forward = jax.linearize(function, shift)
        units = jnp.eye(value.size).reshape(-1, *value.shape)
        (reverse,) = jax.vmap(jax.linear_transpose(forward, shift))(units)
        return value, forward(1.0), reverse.reshape(value.shape)

    return derivatives


predicted_losses = jit(bx.predict_losses, static_argnums=0)
