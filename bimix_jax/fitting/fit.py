"""The verb: a sweep and a law in, a fit out."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from bimix_jax.compilation import jit
from bimix_jax.fitted import Fit
from bimix_jax.fitting.again import best_ends
from bimix_jax.fitting.arrays import ArrayFit, fit_arrays
from bimix_jax.fitting.codes import FAILED
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.fitting.emphasis import about_emphasis, check_emphasis, emphasised
from bimix_jax.fitting.folds import PURPOSES, Purpose, choose_folds
from bimix_jax.fitting.residual import RESIDUALS, Residual
from bimix_jax.fitting.restraint import STRENGTHS
from bimix_jax.indistinct import indistinct_domains
from bimix_jax.laws import LAWS, BiMix, check_law
from bimix_jax.laws.law import Law
from bimix_jax.scores import refuse_scores
from bimix_jax.sweep import Sweep

PROOF = "as losses measured at an own proportion of 0 show that other domains count"


def fit(
    sweep: Sweep,
    law: Law | None = None,
    *,
    loss: Residual = "relative",
    huber: float | None = None,
    optimizer: optax.GradientTransformation | None = None,
    tied: Sequence[str] = (),
    targets: Sequence[str] | None = None,
    weight: ArrayLike | None = None,
    emphasis: float = 0.0,
    budget_scale: float | None = None,
    max_steps: int | None = None,
    restraint: float | Purpose = "mixtures",
    dtype: str = "float64",
) -> Fit:
    """Fit a law to every target of a sweep in one compiled call.

    Args:
        sweep: what was measured, from `read_sweep`.
        law: default `BiMix()`.
        loss: the residual, "relative" (ŷ−y)/y, "log" ln ŷ − ln y, or "absolute" ŷ−y.
        huber: residuals beyond this size count linearly (.02 is 2 % with relative residuals).
        optimizer: any optax transformation instead of damped Gauss-Newton.
        tied: exponents that are one number for all targets, ("beta",) for example.
        targets: which targets; default all that the law can express, the others are noted.
        weight: ≥ 0, (points,), or (points, targets) of the sweep's targets, or of those asked for
            if they are fewer; 0 leaves a point out.
        emphasis: power ≥ 0 of the budget by which points count; 2 for budgets beyond the sweep's.
            Where a restraint is chosen, errors of all points left out count alike.
        budget_scale: where the gauge is fixed, in the sweep's unit; default its largest budget.
            Give the whole sweep's to parts of it whose coefficients are to be compared.
        max_steps: most evaluations from a start.
        restraint: strength ≥ 0 with which the law's further coefficients (transfer weights, cross
            exponents) are drawn to the simpler law, 0 for not at all; or what it is chosen for:
            "mixtures" nobody ran, by runs left out, or later "budgets" of those that were run.
        dtype: "float64", or "float32" for screening.

    Returns:
        A `Fit`. How each target went is in its codes; nothing is raised for a target that failed.

    Raises:
        ValueError: on an option that does not exist, an unknown target, no target at all, or a
            target asked for that the law cannot express.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.BiMix())
    >>> fitted.table().loc["python", "code"], round(float(fitted.table().loc["python", "alpha"]), 3)
    ('converged', 0.043)
    """
    law = law or BiMix()
    names = (tied,) if isinstance(tied, str) else tuple(tied)
    _check_options(law, loss, huber, dtype, budget_scale, restraint)
    check_emphasis(emphasis)
    chosen, notes = choose_targets(sweep, law, targets)
    columns = [sweep.targets.index(t) for t in chosen]
    own = sweep.own_index()[columns]
    scale = float(sweep.largest_budget if budget_scale is None else budget_scale)
    law = law_for_sweep(law, sweep, scale)
    weights = point_weights(sweep, columns, weight, emphasis)
    strength, fold, folds = restraint_arguments(sweep, law, restraint, np.any(weights > 0, axis=1))
    losses = sweep.loss[:, columns]
    numbers = sweep.mixture, sweep.budget, losses, weights, scale, strength, sweep.size
    typed = [None if given is None else np.asarray(given, dtype) for given in numbers]
    with jax.enable_x64(dtype == "float64"):
        run = compiled(law, loss, huber, names, optimizer, max_steps, folds)

        def search(starts: ArrayLike) -> ArrayFit:
            return jax.tree.map(np.asarray, run(*typed, own, fold, np.asarray(starts, dtype)))

        result = best_ends(law, names, len(sweep.domains), search)
    used = np.asarray(weights, dtype) > 0
    notes = (
        *sweep.notes, *notes,
        *_rows_left_out(sweep, law, chosen, columns, result.points, used),
        *law.assumptions(), *about_emphasis(sweep, emphasis),
        *sweep.meaning.note_of_absent(() if sweep.size is None else ("model_size",)),
        *_about_restraint(sweep, law, restraint, folds, float(result.restraint[0])),
        *about_indistinct(sweep, [law]),
    )  # fmt: skip
    fitted = called(named_fit(sweep, law, chosen, result, notes, loss, huber, names, emphasis))
    return fitted.with_error(_mean_relative_error(fitted, sweep, columns, used))


@functools.lru_cache(maxsize=64)
def compiled(
    law: Law,
    residual: Residual,
    huber: float | None,
    tied: tuple[str, ...],
    optimizer: optax.GradientTransformation | None,
    max_steps: int | None,
    folds: int,
) -> Any:
    """`fit_arrays` with its static arguments bound, one compilation for each set of them."""

    def run(
        mixture: Any, budget: Any, loss: Any, weight: Any, scale: Any, restraint: Any, size: Any,
        own: Any, fold: Any, starts: Any,
    ) -> ArrayFit:  # fmt: skip
        return fit_arrays(
            law, mixture, budget, loss, weight, own=own, budget_scale=scale, residual=residual,
            huber=huber, tied=tied, optimizer=optimizer, max_steps=max_steps, restraint=restraint,
            fold=fold, folds=folds, size=size, starts=starts,
        )  # fmt: skip

    return jit(run)


def law_for_sweep(law: Law, sweep: Sweep, budget_scale: float) -> Law:
    """`Law.for_sweep`, after making sure that model sizes are not overlooked."""
    if sweep.size is not None and not law.needs_size:
        raise ValueError(
            f"law: the sweep has several model sizes, of which {law.label} knows nothing; use "
            f"WithModelSize({law!r}), or select one size."
        )
    return law.for_sweep(sweep, budget_scale)


def restraint_arguments(
    sweep: Sweep, law: Law, restraint: float | Purpose, counted: np.ndarray
) -> tuple[float | None, np.ndarray | None, int]:
    """The strength if it is known, else the fold (points,) of every point, and their number."""
    if not is_restrained(law, len(sweep.domains)):
        return None, None, 0
    if not isinstance(restraint, str):
        return float(restraint), None, 0
    folds = choose_folds(sweep, counted, restraint)
    return (STRENGTHS[0], None, 0) if folds is None else (None, *folds)


def is_restrained(law: Law, domains: int) -> bool:
    """Whether the law has a restraint whose strength is to be chosen."""
    return law.restraint(jnp.zeros(domains)) is not None


def _about_restraint(
    sweep: Sweep, law: Law, asked: float | Purpose, folds: int, used: float
) -> tuple[str, ...]:
    if not is_restrained(law, len(sweep.domains)):
        return ()
    further = " and ".join(law.domain_exponent_names)
    left_out = {0: "so few runs", 1: "later budgets"}.get(folds, "runs")
    if isinstance(asked, str) and np.isinf(used):
        return (
            f"{law.label}: {left_out} do not show what the other domains do beyond the noise, so "
            f"{further} coefficients are held where they change nothing; measure more mixtures.",
        )
    if not isinstance(asked, str):
        refuted = np.isinf(asked) and not np.isinf(used)
        how = f"not {asked:g} as asked, {PROOF}" if refuted else "as asked"
    else:
        how = f"the best when {left_out} are left out" if folds else f"{left_out} show no other"
    return (f"{law.label}: {further} restrained with strength {used:g}, {how}.",)


def called(fitted: Fit) -> Fit:
    """The same fit, with a note where it is that of a simpler law."""
    if fitted.label == fitted.law.label:
        return fitted
    said = f"{fitted.law.label} is {fitted.label} with these coefficients, and is called so."
    return dataclasses.replace(fitted, notes=(*fitted.notes, said))


def about_indistinct(sweep: Sweep, laws: Sequence[Law]) -> tuple[str, ...]:
    """A note on domains whose effects the mixtures cannot tell apart, if a law asks for those."""
    names = dict.fromkeys(name for law in laws for name in law.domain_exponent_names)
    groups = indistinct_domains(sweep.mixtures) if names else []
    if not groups:
        return ()
    return (
        f"The mixtures cannot tell the effects of these domains apart, so {' and '.join(names)} of "
        f"them are not known one by one: {'; '.join(map(', '.join, groups))}. Measure mixtures in "
        "which their ratio differs.",
    )


def _check_options(
    law: Law,
    loss: str,
    huber: float | None,
    dtype: str,
    budget_scale: float | None,
    restraint: float | Purpose,
) -> None:
    check_law(law)
    known = restraint in PURPOSES if isinstance(restraint, str) else (restraint or 0) >= 0
    if not known or restraint is None:
        raise ValueError(
            f"restraint is {restraint!r}; expected a strength ≥ 0, or one of {', '.join(PURPOSES)}."
        )
    if loss not in RESIDUALS:
        raise ValueError(f"loss is {loss!r}; expected one of {', '.join(RESIDUALS)}.")
    if huber is not None and not huber > 0:
        raise ValueError(f"huber is {huber}; expected a size of residual above 0, or None.")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; expected 'float64' or 'float32'.")
    if budget_scale is not None and not 0 < budget_scale < np.inf:
        raise ValueError(f"budget_scale is {budget_scale}; expected a budget above 0, or None.")


def choose_targets(
    sweep: Sweep, law: Law, targets: Sequence[str] | None
) -> tuple[list[str], tuple[str, ...]]:
    """The targets to fit, and a note on those that the law cannot express."""
    unknown = [t for t in targets or () if t not in sweep.targets]
    if unknown:
        raise ValueError(
            f"targets names {', '.join(unknown)}, but the sweep measured "
            f"{', '.join(sweep.targets)}."
        )
    asked = list(sweep.targets if targets is None else targets)
    if not asked:
        raise ValueError(f"targets is empty; expected some of {', '.join(sweep.targets)}.")
    beyond = [t for t in asked if law.needs_own and t not in sweep.domains]
    able = ", ".join(name for name, known in LAWS.items() if not known.needs_own)
    possible = [t for t in asked if t not in beyond]
    refuse_scores(sweep, possible or asked)
    if (beyond and targets is not None) or not possible:
        raise ValueError(
            f"targets: {law.label} looks at the share of the domain that a target is, and none of "
            f"{', '.join(beyond)} is among the domains {', '.join(sweep.domains)}. Use a law that "
            f"can express them (--law, law=): {able}; or call a target as the domain that it "
            "measures."
        )
    note = f"Targets left out, as {law.label} cannot express what is not a domain: "
    return possible, (note + f"{', '.join(beyond)} ({able} can).",) if beyond else ()


def point_weights(
    sweep: Sweep, columns: list[int], weight: ArrayLike | None, emphasis: float
) -> np.ndarray:
    """Weights (points, chosen targets) as `fit` takes them, times what the emphasis gives."""
    late = emphasised(sweep.budget, sweep.largest_budget, emphasis)
    return _given_weights(sweep, columns, weight) * late[:, None]


def _given_weights(sweep: Sweep, columns: list[int], weight: ArrayLike | None) -> np.ndarray:
    shape = (len(sweep.budget), len(columns))
    if weight is None:
        return np.ones(shape)
    values = np.asarray(weight, float)
    allowed = (shape[:1], shape, (shape[0], len(sweep.targets)))
    if values.shape not in allowed or not np.all(values >= 0):
        raise ValueError(
            f"weight has shape {values.shape} and least value {np.min(values):.3g}; expected "
            f"numbers ≥ 0 of shape ({shape[0]},) or {shape}, points by targets."
        )
    if values.ndim == 1:
        return np.broadcast_to(values[:, None], shape)
    return values[:, columns] if values.shape[-1] == len(sweep.targets) else values


def named_fit(
    sweep: Sweep,
    law: Law,
    chosen: list[str],
    result: ArrayFit,
    notes: tuple[str, ...],
    loss: Residual,
    huber: float | None,
    tied: tuple[str, ...],
    emphasis: float = 0.0,
) -> Fit:
    """Arrays of a fit with the names that go with them."""
    return Fit(
        coefficients=_coefficients(result),
        code=np.asarray(result.code),
        identified=np.asarray(result.identified),
        points=np.asarray(result.points),
        sum_of_squares=np.asarray(result.sum_of_squares, float),
        error=np.full(len(chosen), np.nan),
        observed_proportions=np.stack([sweep.mixture.min(axis=0), sweep.mixture.max(axis=0)]),
        observed_mixtures=np.unique(sweep.mixture, axis=0),
        observed_budgets=np.array([sweep.budget.min(), sweep.budget.max()]),
        restraint=np.asarray(result.restraint, float),
        agreement=np.asarray(result.agreement, float),
        law=law,
        domains=sweep.domains,
        targets=tuple(chosen),
        unit=sweep.unit,
        loss=loss,
        huber=huber,
        tied=tied,
        emphasis=float(emphasis),
        notes=notes,
        sweep_digest=sweep.digest(),
        meaning=sweep.meaning,
    )


def _coefficients(result: ArrayFit) -> Coefficients:
    """As float64; nan where the fit failed, so that nothing is predicted from it."""
    found = jax.tree.map(lambda leaf: np.asarray(leaf, float), result.coefficients)
    failed = np.isin(result.code, FAILED)
    return found._replace(amplitudes=np.where(failed[:, None], np.nan, found.amplitudes))


def _rows_left_out(
    sweep: Sweep,
    law: Law,
    chosen: list[str],
    columns: list[int],
    points: np.ndarray,
    weighted: np.ndarray,
) -> list[str]:
    measured = np.isfinite(sweep.loss[:, columns])
    total, counted = measured.sum(axis=0), (measured & weighted).sum(axis=0)
    reasons = {law.unusable_reason(): counted - points, "their weight is 0": total - counted}
    return [
        f"Points left out of the fit, as {reason}: {_counts(chosen, lost, total)}."
        for reason, lost in reasons.items()
        if lost.any()
    ]


def _counts(chosen: list[str], lost: np.ndarray, total: np.ndarray) -> str:
    each = zip(chosen, lost, total, strict=True)
    return ", ".join(f"{target} {part} of {whole}" for target, part, whole in each if part)


def _mean_relative_error(
    fitted: Fit, sweep: Sweep, columns: list[int], weighted: np.ndarray
) -> np.ndarray:
    measured = sweep.loss[:, columns]
    errors = np.abs(fitted.predict_points(sweep.mixture, sweep.budget, sweep.size) / measured - 1)
    usable = np.isfinite(errors) & weighted
    total = np.where(usable, errors, 0.0).sum(axis=0)
    return total / np.where(usable.any(axis=0), usable.sum(axis=0), np.nan)
