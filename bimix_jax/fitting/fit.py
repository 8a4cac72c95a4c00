"""The verb: from a sweep and a law to a fit."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import jax
import numpy as np
import pandas as pd
from jax.typing import ArrayLike

from bimix_jax.fitting._runs import ObservedRuns
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.coefficients import FAILED, Coefficients
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.options import FitOptions, Given, note_of_budget_power
from bimix_jax.fitting.program import solve
from bimix_jax.fitting.stacked import member_tasks
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.sweeps.doubts import collinear_domains
from bimix_jax.sweeps.sweep import Sweep

if TYPE_CHECKING:
    import optax

PROOF = "as losses measured at an own proportion of 0 show that other domains count"


def fit(
    sweep: Sweep,
    law: Law | str,
    *,
    targets: Sequence[str] | None = None,
    weight: ArrayLike | None = None,
    budget_scale: float | None = None,
    optimizer: "optax.GradientTransformation | None" = None,
    **options: Unpack[Given],
) -> Fit:
    """Fit a law that the caller chose to every target of a sweep by one compiled program.

    `bx.fit` is `judging.automatic.fit`, which also chooses the law where none is given. Arguments,
    result and errors are described there; here the law is an instance or a name, not "auto".

    >>> from bimix_jax import datasets, read_sweep
    >>> fitted = fit(read_sweep(datasets.proxy_sweep()), "BiMix")
    >>> fitted.table().loc["python", "code"]
    'converged'
    """
    asked = FitOptions.of(fit, options)
    task = FitTask.of(sweep, law, asked, targets, weight, budget_scale)
    solved = solve(task, optimizer=optimizer)
    result: ArrayFit = jax.tree.map(lambda leaf: leaf[0], solved.fit)
    used = task.weight.astype(asked.dtype) > 0
    fitted = named_fit(task, result, _notes(task, result, used))
    error = _mean_relative_error(np.asarray(solved.predicted[0].T, float), task, used)
    return called(fitted).with_error(error)


def _notes(task: FitTask, result: ArrayFit, used: np.ndarray) -> tuple[str, ...]:
    """Notes for the reader of a fit, about the points that were `used`."""
    sweep, law, power = task.sweep, task.law, task.options.budget_power
    return (
        *sweep.notes,
        *task.notes,
        *_rows_left_out(task, np.asarray(result.points), used),
        *law.assumptions(),
        *(note_of_budget_power(sweep, power) if power else ()),
        *sweep.metadata.note_of_absent(() if sweep.size is None else ("model_size",)),
        *_notes_of_shrinkage(task, np.asarray(result.shrinkage[0])),
        *_note_of_members(task, result),
        *about_collinear(sweep.mixtures, law.members or [law]),
    )


def _note_of_members(task: FitTask, result: ArrayFit) -> tuple[str, ...]:
    """Note on the members that have no finite fit, or exponents that are not identified."""
    law: Any = task.law
    if not law.members:
        return ()
    of = result.coefficients
    parts = law.split(np.asarray(of.exponents), np.asarray(of.amplitudes))
    known = law.split_exponents(np.asarray(result.identified))
    notes = []
    for one, (_, amplitudes), identified in zip(law.members, parts, known, strict=True):
        failed = np.all(amplitudes == 0, axis=1)
        open_ = ~failed & ~identified[:, : len(one.exponent_names)].all(axis=1)
        for those, what in ((failed, "has no finite fit"), (open_, "is not identified")):
            names = ", ".join(np.array(task.targets)[those])
            notes += [f"{one.label} {what} for {names}"] if names else []
    if not notes:
        return ()
    return (f"In {law.label}, {'; '.join(notes)}: the other laws make up for it.",)


def _notes_of_shrinkage(task: FitTask, used: np.ndarray) -> tuple[str, ...]:
    """Notes on the shrinkage of the law, or of every member, at strengths () or (members,)."""
    each = member_tasks(task) or [task]
    pairs = zip(each, np.ravel(used), strict=True)
    return tuple(note for one, strength in pairs for note in _note_of_shrinkage(one, strength))


def _note_of_shrinkage(task: FitTask, used: float) -> tuple[str, ...]:
    """Note on how the strength of the shrinkage was chosen, and whether the simpler law remains."""
    if not task.has_shrinkage:
        return ()
    law, asked = task.law, task.options.shrinkage
    folds = 0 if task.folds is None else task.folds.parts
    further = " and ".join(law.shrunk)
    left_out = {0: "the few runs", 1: "later budgets"}.get(folds, "runs")
    if isinstance(asked, str) and np.isinf(used):
        return (
            f"{law.label}: cross-validation by {left_out} found {law.held_at_centre()} to estimate "
            "them.",
        )
    if not isinstance(asked, str):
        refuted = np.isinf(asked) and not np.isinf(used)
        how = f"not {asked:g} as asked, {PROOF}" if refuted else "as asked"
    else:
        how = f"the best when {left_out} are left out" if folds else f"{left_out} identify no other"
    return (f"{law.label}: {further} shrunk with strength {used:g}, {how}.",)


def called(fitted: Fit) -> Fit:
    """Return the fit, with a note where its law reduces to a simpler one."""
    if fitted.label == fitted.law.label:
        return fitted
    said = f"{fitted.law.label} is {fitted.label} with these coefficients, and is called so."
    return dataclasses.replace(fitted, notes=(*fitted.notes, said))


def about_collinear(mixtures: pd.DataFrame, laws: Sequence[Law]) -> tuple[str, ...]:
    """Note on domains whose effects the mixtures cannot tell apart, if a law has such effects."""
    names = dict.fromkeys(name for law in laws for name in law.domain_exponent_names)
    groups = collinear_domains(mixtures) if names else []
    if not groups:
        return ()
    return (
        f"The mixtures cannot tell the effects of these domains apart, so {' and '.join(names)} of "
        f"them are not known one by one: {'; '.join(map(', '.join, groups))}. Measure mixtures in "
        "which their ratio differs.",
    )


def named_fit(task: FitTask, result: ArrayFit, notes: tuple[str, ...]) -> Fit:
    """Attach names to the arrays of a fit; its errors are still unknown."""
    sweep = task.sweep
    seen = task.law.seen_mixtures(np.unique(sweep.mixture, axis=0))
    return Fit(
        coefficients=_coefficients(result),
        code=np.asarray(result.code),
        identified=np.asarray(result.identified),
        points=np.asarray(result.points),
        sum_of_squares=np.asarray(result.sum_of_squares, float),
        error=np.full(len(task.targets), np.nan),
        observed_proportions=np.stack([seen.min(axis=0), seen.max(axis=0)]),
        observed_mixtures=seen,
        observed_budgets=np.array([sweep.budget.min(), sweep.budget.max()]),
        shrinkage=np.asarray(result.shrinkage, float),
        agreement=np.asarray(result.agreement, float),
        law=task.law,
        domains=sweep.domains,
        targets=task.targets,
        unit=sweep.unit,
        options=task.options,
        notes=notes,
        sweep_digest=sweep.digest(),
        metadata=sweep.metadata,
        runs=ObservedRuns.of(task),
    )


def _coefficients(result: ArrayFit) -> Coefficients:
    """Convert to float64; nan where the fit failed, so that nothing is predicted from it."""
    found = jax.tree.map(lambda leaf: np.asarray(leaf, float), result.coefficients)
    # One nan amplitude makes every prediction of the target nan.
    failed = np.isin(result.code, FAILED)
    return found._replace(amplitudes=np.where(failed[:, None], np.nan, found.amplitudes))


def _rows_left_out(task: FitTask, points: np.ndarray, weighted: np.ndarray) -> list[str]:
    measured = np.isfinite(task.loss)
    total, counted = measured.sum(axis=0), (measured & weighted).sum(axis=0)
    reasons = {task.law.unusable_reason(): counted - points, "their weight is 0": total - counted}
    return [
        f"Points left out of the fit, as {reason}: {_counts(task.targets, lost, total)}."
        for reason, lost in reasons.items()
        if lost.any()
    ]


def _counts(chosen: Sequence[str], lost: np.ndarray, total: np.ndarray) -> str:
    each = zip(chosen, lost, total, strict=True)
    return ", ".join(f"{target} {part} of {whole}" for target, part, whole in each if part)


def _mean_relative_error(predicted: np.ndarray, task: FitTask, weighted: np.ndarray) -> np.ndarray:
    """(targets,) mean of |ŷ − y|/y, of |ê − e| for scores, over the points that count, or nan."""
    errors = np.abs(predicted - task.loss) / task.error_scale
    usable = np.isfinite(errors) & weighted
    total = np.where(usable, errors, 0.0).sum(axis=0)
    return total / np.where(usable.any(axis=0), usable.sum(axis=0), np.nan)
