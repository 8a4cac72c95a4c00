"""The compiled fit of one task, searched from every start of the law, and again if in doubt."""

import functools
from typing import Any

import jax
import numpy as np
import optax
from jax.typing import ArrayLike

from bimix_jax.fitting.again import best_ends
from bimix_jax.fitting.arrays import ArrayFit, fit_arrays
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import jit


def solve_task(task: FitTask, optimizer: optax.GradientTransformation | None = None) -> Any:
    """The best fit of a task as numpy arrays, an `ArrayFit` with a leading axis (targets,)."""
    options, sweep = task.options, task.sweep
    number, parts = (None, 0) if task.folds is None else task.folds
    given = {
        "mixture": sweep.mixture,
        "budget": sweep.budget,
        "loss": task.loss,
        "weight": task.weight,
        "budget_scale": task.scale,
        "shrinkage": task.strength,
        "size": sweep.size,
    }
    typed = {n: None if x is None else np.asarray(x, options.dtype) for n, x in given.items()}
    run = compiled(task.law, options.static, optimizer, parts)

    def search(starts: ArrayLike) -> ArrayFit:
        begin = np.asarray(starts, options.dtype)
        return jax.tree.map(np.asarray, run(typed | {"starts": begin}, task.own, number))

    with jax.enable_x64(options.dtype == "float64"):
        return best_ends(task.law, options.tied, len(sweep.domains), search)


@functools.lru_cache(maxsize=64)
def compiled(
    law: Law, options: FitOptions, optimizer: optax.GradientTransformation | None, folds: int
) -> Any:
    """`fit_arrays` with its static arguments bound, one compilation for each set of them.

    The function takes the arrays of `fit_arrays` by name, and the integers own and fold.
    """

    def run(given: dict[str, Any], own: Any, fold: Any) -> ArrayFit:
        settings = options.settings | {"optimizer": optimizer}
        return fit_arrays(law, **given, own=own, fold=fold, folds=folds, **settings)

    return jit(run)
