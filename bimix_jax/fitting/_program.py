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
    numbers = (
        sweep.mixture,
        sweep.budget,
        task.loss,
        task.weight,
        task.scale,
        task.strength,
        sweep.size,
    )
    typed = [None if given is None else np.asarray(given, options.dtype) for given in numbers]
    run = compiled(task.law, options.static, optimizer, parts)

    def search(starts: ArrayLike) -> ArrayFit:
        found = run(*typed, task.own, number, np.asarray(starts, options.dtype))
        return jax.tree.map(np.asarray, found)

    with jax.enable_x64(options.dtype == "float64"):
        return best_ends(task.law, options.tied, len(sweep.domains), search)


@functools.lru_cache(maxsize=64)
def compiled(
    law: Law, options: FitOptions, optimizer: optax.GradientTransformation | None, folds: int
) -> Any:
    """`fit_arrays` with its static arguments bound, one compilation for each set of them."""

    def run(
        mixture: Any,
        budget: Any,
        loss: Any,
        weight: Any,
        scale: Any,
        shrinkage: Any,
        size: Any,
        own: Any,
        fold: Any,
        starts: Any,
    ) -> ArrayFit:
        return fit_arrays(
            law,
            mixture,
            budget,
            loss,
            weight,
            own=own,
            budget_scale=scale,
            residual=options.residual,
            huber=options.huber,
            tied=options.tied,
            optimizer=optimizer,
            max_steps=options.max_steps,
            shrinkage=shrinkage,
            fold=fold,
            folds=folds,
            size=size,
            starts=starts,
        )

    return jit(run)
