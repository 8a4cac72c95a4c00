"""Fits of laws of several parts: each is fitted by itself, and the fits are put together."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from bimix_jax.fitting._links import fitted_links, task_of_losses, through_links
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.coefficients import FAILED, Code, Coefficients
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.laws.through_losses import MOST
from bimix_jax.xla.compilation import jit

AT_ONCE = 2**14
"""Numbers that are combined at once."""


def member_tasks(task: FitTask) -> list[FitTask]:
    """Return the task of every member, or of the losses of a law `ThroughLosses`."""
    law: Any = task.law
    if law.of_losses:
        return [task_of_losses(task, np.arange(len(law.losses)))]
    return [dataclasses.replace(task, law=law) for law in task.law.members]


def member_fits(fitted: Fit) -> list[Fit]:
    """Return the fit of every member; the code says only whether it failed.

    Of a law `ThroughLosses` they are the fits of the first losses of all links, of the second ones,
    and so on.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> both = bx.fit(sweep, bx.Stacked((bx.BiMix(), bx.LogLinear())))
    >>> [one.label for one in member_fits(both)]
    ['BiMix', 'LogLinear']
    """
    law: Any = fitted.law
    of = fitted.coefficients
    if law.of_losses:
        return [_of_place(fitted, place) for place in range(MOST)]
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


def _of_place(fitted: Fit, place: int) -> Fit:
    """The fit of the losses at a place of the links, under the names of the scores."""
    law: Any = fitted.law
    of: Any = fitted.coefficients
    number, exponents, amplitudes, _ = law.parts(of.exponents, of.amplitudes)
    own = np.array(law.own)[np.asarray(np.rint(number[..., place]), int)]
    known = fitted.identified.reshape(*fitted.identified.shape[:-1], MOST, -1)
    return dataclasses.replace(
        fitted,
        coefficients=of._replace(
            exponents=exponents[..., place, :],
            amplitudes=amplitudes[..., place, :],
            own=(own[..., None] == np.arange(len(fitted.domains))).astype(float),
        ),
        identified=known[..., place, 1:],
        # That of the scores.
        sum_of_squares=np.full(len(number), np.nan),
        law=law.base,
        notes=(),
    )


def _fit_of_losses(fitted: Fit) -> tuple[np.ndarray, Fit]:
    """Numbers (used,) of the losses in the links of a law `ThroughLosses`, and their fit."""
    law: Any = fitted.law
    number = _loss_numbers(fitted)
    used, first = np.unique(number, return_index=True)
    target, place = np.unravel_index(first, number.shape)
    each = member_fits(fitted)
    parts = [_taken(each[at], of) for of, at in zip(target, place, strict=True)]
    whole = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
    names = tuple(law.losses[i] for i in used)
    return used, dataclasses.replace(fitted, law=law.base, targets=names, notes=(), **whole)


def _taken(fitted: Fit, target: int) -> dict[str, Any]:
    """The arrays of one target."""
    by_target = ("code", "identified", "points", "sum_of_squares", "error", "shrinkage")
    arrays = {name: getattr(fitted, name) for name in (*by_target, "agreement", "coefficients")}
    return jax.tree.map(lambda leaf: np.asarray(leaf)[target], arrays)


def _loss_numbers(fitted: Fit) -> np.ndarray:
    """(targets, 3) int losses of the links of a law `ThroughLosses`."""
    law: Any = fitted.law
    of = fitted.coefficients
    return np.asarray(np.rint(law.parts(of.exponents, of.amplitudes)[0]), int)


def relinked(
    fitted: Fit, task: FitTask, drawn: Any, starts: np.ndarray | None, search: Callable[..., Any]
) -> ArrayFit:
    """Fit the losses and the links of a law `ThroughLosses` to many draws.

    Args:
        fitted: the fit to the whole sweep, whose choice of losses stays.
        task: what was fitted.
        drawn: the draws, `program.Drawn`.
        starts: (fits, targets, exponents) or None.
        search: fits the losses, given their fit, their task and the starts (fits, losses,
            exponents).
    """
    law: Any = task.law
    if drawn.around is not None:
        raise ValueError(
            f"resampling is 'residuals', which {law.label} does not have: its links rest on "
            "measured losses. Use 'multinomial' or 'weights'."
        )
    number = _loss_numbers(fitted)
    used, of_losses = _fit_of_losses(fitted)
    begin = None
    if starts is not None:
        first = np.unravel_index(np.unique(number, return_index=True)[1], number.shape)
        begin = starts.reshape(*starts.shape[:2], MOST, -1)[:, first[0], first[1], 1:]
    found = search(of_losses, task_of_losses(task, used), begin)
    links = fitted_links(task, drawn.factor[:, drawn.unit], number)
    return through_links(task, found, used, links)


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
        # That of the combined predictions, below those of most members, says nothing of this one.
        sum_of_squares=np.full(np.shape(failed), np.nan),
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
    """Combine predictions (members, …) as the law does, nan where no member has one.

    By parts of one size, so that all shapes share a program.
    """
    flat = losses.reshape(len(losses), -1).astype(float)
    count = flat.shape[1]
    padded = np.pad(flat, ((0, 0), (0, -count % AT_ONCE)))
    parts = [padded[:, first : first + AT_ONCE] for first in range(0, count, AT_ONCE)]
    found = [np.zeros(0), *(np.asarray(_combined(law, part)) for part in parts)]
    return np.concatenate(found)[:count].reshape(losses.shape[1:])


@functools.partial(jit, static_argnums=0, x64=True)
def _combined(law: Any, losses: Any) -> Any:
    return law.combined(losses)
