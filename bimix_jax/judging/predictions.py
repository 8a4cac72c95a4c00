"""What a law predicts of held-out points: every split in one compiled call."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.arrays import fit_arrays
from bimix_jax.fitting.coefficients import predict_losses
from bimix_jax.fitting.fit import FOLDS, LEAST_FOLDS, is_restrained, law_for_sweep
from bimix_jax.fitting.residual import Residual
from bimix_jax.fitting.restraint import STRENGTHS
from bimix_jax.judging.splits import Split
from bimix_jax.laws.law import Law
from bimix_jax.sweep import Sweep

WARM_STRENGTH = 1e-5
"""Restraint of the fit to the whole sweep, whose end is where every split's fit starts."""


class HeldOut(NamedTuple):
    """Fits of one law to every split, as arrays."""

    predicted: np.ndarray
    """(splits, points, targets) losses, also of the points that were fitted"""
    code: np.ndarray
    """(splits, targets) int, see `Code`"""
    restraint: np.ndarray
    """(splits,) strength that was chosen"""
    agreement: np.ndarray
    """(targets,) share of the starts that reach the best optimum of the whole sweep"""


def predict_splits(
    sweep: Sweep, law: Law, splits: Sequence[Split], targets: Sequence[str], residual: Residual
) -> HeldOut:
    """Fit a law to the train part of every split and predict all points.

    The law's starts search the whole sweep once; the fit of every split starts where that ends.
    Restraints are chosen within each train part.
    """
    columns = [sweep.targets.index(target) for target in targets]
    fold, folds = _folds(sweep, law, splits)
    law = law_for_sweep(law, sweep, sweep.largest_budget)
    with jax.enable_x64(True):
        found = _compiled(law, residual, folds)(
            sweep.mixture, sweep.budget, sweep.loss[:, columns], sweep.own_index()[columns],
            np.stack([split.train for split in splits]).astype(float), fold, sweep.size,
        )  # fmt: skip
    return HeldOut(*map(np.asarray, found))


def _folds(sweep: Sweep, law: Law, splits: Sequence[Split]) -> tuple[np.ndarray, int]:
    """Folds (splits, points) within every train part; 0 of them where no strength is chosen."""
    folds = min(int(sweep.folds(FOLDS, split.train).max()) + 1 for split in splits)
    dealt = np.stack([sweep.folds(folds, split.train) for split in splits])
    chosen = is_restrained(law, len(sweep.domains)) and folds >= LEAST_FOLDS
    return dealt, folds if chosen else 0


@functools.lru_cache(maxsize=64)
def _compiled(law: Law, residual: Residual, folds: int) -> Any:
    def run(
        mixture: Array, budget: Array, loss: Array, own: Array, train: Array, fold: Array,
        size: Array | None,
    ) -> tuple[Array, ...]:  # fmt: skip
        fit_to = functools.partial(
            fit_arrays, law, mixture, budget, loss,
            own=own, budget_scale=jnp.max(budget), residual=residual, size=size,
        )  # fmt: skip
        whole = fit_to(restraint=WARM_STRENGTH)
        starts = whole.coefficients.exponents[:, None]

        def one(part: tuple[Array, Array]) -> tuple[Array, ...]:
            weight, fold = part
            if folds:
                found = fit_to(weight=weight, starts=starts, fold=fold, folds=folds)
            else:
                found = fit_to(weight=weight, starts=starts, restraint=STRENGTHS[0])
            predicted = predict_losses(law, found.coefficients, mixture, budget, size)
            return predicted, found.code, found.restraint[0]

        return *jax.lax.map(one, (train, fold)), whole.agreement

    return jax.jit(run)
