"""Fits of laws with members: every member is fitted by itself, and the fits are put together."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.coefficients import FAILED, Code, Coefficients
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import jit


def member_tasks(task: FitTask) -> list[FitTask]:
    """Return the task of every member."""
    return [dataclasses.replace(task, law=law) for law in task.law.members]


def member_fits(fitted: Fit) -> list[Fit]:
    """Return the fit of every member; the code says only whether it failed.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> both = bx.fit(sweep, bx.Stacked((bx.BiMix(), bx.LogLinear())))
    >>> [one.label for one in member_fits(both)]
    ['BiMix', 'LogLinear']
    """
    law: Any = fitted.law
    of = fitted.coefficients
    parts = zip(
        law.members,
        law.split(of.exponents, of.amplitudes),
        law.split_exponents(fitted.identified),
        np.moveaxis(fitted.shrinkage, -1, 0),
        strict=True,
    )
    return [
        _member(fitted, one, of._replace(exponents=exponents, amplitudes=amplitudes), known, pull)
        for one, (exponents, amplitudes), known, pull in parts
    ]


def _member(
    fitted: Fit, law: Law, of: Coefficients, identified: np.ndarray, strength: np.ndarray
) -> Fit:
    failed = np.all(of.amplitudes == 0, axis=-1)
    amplitudes: Any = np.where(failed[..., None], np.nan, of.amplitudes)
    return dataclasses.replace(
        fitted,
        coefficients=of._replace(amplitudes=amplitudes),
        code=np.where(failed, int(Code.NONFINITE), fitted.code),
        identified=identified,
        shrinkage=strength,
        law=law,
        notes=(),
    )


def joined(found: Sequence[ArrayFit]) -> ArrayFit:
    """Put the fits of members together, each leaf (…, targets, …).

    Amplitudes of a member that failed are 0, so that it does not count. The code is the mildest of
    all; the shrinkage has a further axis (…, targets, members); sums of squares are unknown.
    """
    first = found[0]
    whole: dict[str, Any] = {
        "coefficients": first.coefficients._replace(
            exponents=_concatenated([_known(fit, fit.coefficients.exponents) for fit in found]),
            amplitudes=_concatenated([_known(fit, fit.coefficients.amplitudes) for fit in found]),
        ),
        "code": np.min([fit.code for fit in found], axis=0),
        "sum_of_squares": np.full(np.shape(first.code), np.nan),
        "points": np.max([fit.points for fit in found], axis=0),
        "steps": np.sum([fit.steps for fit in found], axis=0),
        "identified": _concatenated([fit.identified for fit in found]),
        "agreement": np.mean([fit.agreement for fit in found], axis=0),
        "shrinkage": np.stack([fit.shrinkage for fit in found], axis=-1),
        "objective": np.sum([fit.objective for fit in found], axis=0),
    }
    return ArrayFit(**whole)


def _known(fit: ArrayFit, values: Any) -> Any:
    """Values (…, targets, coefficients), 0 where the fit failed."""
    failed = np.isin(fit.code, FAILED)[..., None]
    return np.where(failed | ~np.isfinite(values), 0.0, values)


def _concatenated(parts: Sequence[Any]) -> Any:
    return np.concatenate([np.asarray(part) for part in parts], axis=-1)


def combined(law: Law, losses: np.ndarray) -> np.ndarray:
    """Combine predictions (members, …) as the law does, nan where no member has one."""
    return np.asarray(_combined(law, np.asarray(losses, float)))


@functools.partial(jit, static_argnums=0, x64=True)
def _combined(law: Any, losses: Any) -> Any:
    return law.combined(losses)


def with_squares(
    task: FitTask, fit: ArrayFit, predicted: np.ndarray, factor: np.ndarray
) -> ArrayFit:
    """Fill in the sums of squares of predictions (fits, targets, points), as fits have them.

    `factor` (fits, points) is that of the weights of each fit.
    """
    weight = factor[:, None] * task.weight.T
    residual = _residual(task.options, predicted, task.loss.T)
    squares = np.where((weight > 0) & np.isfinite(residual), weight * residual, 0.0).sum(axis=-1)
    return fit._replace(sum_of_squares=squares, objective=squares / 2)


def _residual(options: FitOptions, predicted: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """ρ², or twice the Huber penalty of ρ, of predictions (…, points)."""
    with np.errstate(invalid="ignore"):
        rest = {
            "relative": lambda: predicted / loss - 1,
            "log": lambda: np.log(predicted / loss),
            "absolute": lambda: predicted - loss,
        }[options.residual]()
    size, most = np.abs(rest), np.inf if options.huber is None else options.huber
    return np.where(size <= most, size**2, 2 * most * size - most**2 if most < np.inf else 0.0)
