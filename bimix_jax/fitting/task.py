"""A law bound to a sweep: the border between names and tables, and arrays."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.coefficients import FAILED
from bimix_jax.fitting.options import FitOptions, Purpose, budget_weight
from bimix_jax.fitting.residual import Residual
from bimix_jax.fitting.shrinkage import STRENGTHS, has_shrinkage
from bimix_jax.laws import LAWS, WRAPPERS, as_law
from bimix_jax.laws.law import Law, check_parts
from bimix_jax.reading.settings import check_made
from bimix_jax.reading.targets import are_scores, error_scale
from bimix_jax.sweeps.scores import refuse_scores
from bimix_jax.sweeps.sweep import CURVE, Sweep
from bimix_jax.xla.compilation import jit

MOST_FOLDS, LEAST_FOLDS = 8, 3
"""Largest and least number of folds of mixtures; with fewer nothing can be chosen."""


class Folds(NamedTuple):
    """Folds that are left out one at a time."""

    number: np.ndarray
    """(points,) int, the fold of each point; −1 for points that are always fitted"""
    parts: int


@dataclasses.dataclass(frozen=True, eq=False)
class FitTask:
    """Everything that a fit of one law to one sweep needs, made by `FitTask.of`."""

    sweep: Sweep
    law: Law
    """law adapted to this sweep, see `Law.for_sweep`"""
    options: FitOptions
    targets: tuple[str, ...]
    weight: np.ndarray
    """(points, targets) ≥ 0, with the power of the budget and the noise of scores"""
    scale: float
    """budget at which the gauge of the coefficients is fixed"""
    own: np.ndarray
    """(targets,) int, the column of each target's own domain, −1 for none"""
    notes: tuple[str, ...] = ()
    """on targets that the law cannot express"""

    @classmethod
    def of(
        cls,
        sweep: Sweep,
        law: Law | str,
        options: FitOptions,
        targets: Sequence[str] | None = None,
        weight: ArrayLike | None = None,
        budget_scale: float | None = None,
    ) -> "FitTask":
        """Bind a law to a sweep.

        Args:
            sweep: what was measured.
            law: a law, as a user makes it, or its name.
            options: how it is fitted.
            targets: which targets; default all that the law can express, the others are noted.
            weight: ≥ 0, (points,), or (points, targets) of the sweep's targets, or of those asked
                for if they are fewer; 0 leaves a point out.
            budget_scale: where the gauge is fixed, in the sweep's unit; default the largest budget.

        Raises:
            ValueError: on an unknown target, no target at all, a target asked for that the law
                cannot express, several model sizes with a law that knows none, or weights of
                another shape.

        >>> import bimix_jax as bx
        >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep())
        >>> task = FitTask.of(sweep, bx.BiMix(), FitOptions(), targets=["python"])
        >>> task.loss.shape == task.weight.shape == (len(sweep.budget), 1)
        True
        """
        check_made(sweep, Sweep, "sweep")
        law = as_law(law)
        if budget_scale is not None and not 0 < budget_scale < np.inf:
            raise ValueError(f"budget_scale is {budget_scale}; expected a budget above 0, or None.")
        largest, own = sweep.largest_budget, sweep.own_index()
        scale = float(largest if budget_scale is None else budget_scale)
        bound = _law_for_sweep(law, sweep, scale)
        chosen, notes = choose_targets(sweep, bound, targets)
        columns = [sweep.targets.index(target) for target in chosen]
        weights = _weights(sweep, columns, weight)
        if not _is_known(bound):
            check_parts(bound, len(sweep.domains))
        if bound.label != law.label:
            notes += (f"{law.label} is fitted as {bound.label}, which is the same at one budget.",)
        # Relative to the sweep's largest budget, not to `budget_scale`, which may be another
        # sweep's.
        late = budget_weight(sweep.budget, largest, options.budget_power)[:, None]
        weights = weights * late * _score_weights(sweep, chosen, options.residual)
        return cls(sweep, bound, options, tuple(chosen), weights, scale, own[columns], notes)

    @functools.cached_property
    def columns(self) -> list[int]:
        """(targets,) columns of the sweep's losses."""
        return [self.sweep.targets.index(target) for target in self.targets]

    @property
    def loss(self) -> np.ndarray:
        """(points, targets) as measured, nan where nothing was measured."""
        return self.sweep.loss[:, self.columns]

    @property
    def error_scale(self) -> np.ndarray:
        """(points, targets) divisors of errors: the loss, or 1 of a score."""
        return error_scale(self.loss, self.sweep.metadata.described(self.targets))

    @functools.cached_property
    def has_shrinkage(self) -> bool:
        """True for a law whose further coefficients can shrink to a simpler law."""
        return has_shrinkage(self.law, len(self.sweep.domains))

    @functools.cached_property
    def folds(self) -> Folds | None:
        """Folds that choose the strength of the shrinkage; None where the strength is given."""
        asked = self.options.shrinkage
        if not self.has_shrinkage or not isinstance(asked, str):
            return None
        return choose_folds(self.sweep, np.any(self.weight > 0, axis=1), asked)

    def starts(self, starts: np.ndarray) -> np.ndarray:
        """Starts (starts, targets, exponents) of starts (starts, exponents) for any target."""
        each = np.repeat(starts[:, None], len(self.targets), axis=1)
        known = self.law.known_exponents(self.targets)
        return each if known is None else np.where(np.isnan(known), each, known)

    def seen(self, factor: np.ndarray) -> np.ndarray:
        """(fits, points, targets) bool: points that count, with weights times (fits, points)."""
        return (factor[:, :, None] * self.weight > 0) & np.isfinite(self.loss) & self.valued

    @property
    def valued(self) -> np.ndarray:
        """(points, targets) bool: the law has a value there."""
        return self._facts[0]

    @property
    def refuting(self) -> np.ndarray:
        """(points, targets) bool: a loss there refutes the simpler law, by `Law.refutes_centre`."""
        return self._facts[1]

    @functools.cached_property
    def _facts(self) -> tuple[np.ndarray, np.ndarray]:
        valued, refuting = _facts(self.law, self.sweep.mixture, self._membership())
        return np.asarray(valued), np.asarray(refuting)

    def called(self, exponents: np.ndarray, code: np.ndarray) -> str:
        """Name of the simplest law to which a fit with exponents (targets, exponents) reduces."""
        known = ~np.isin(code, FAILED)
        if not known.any():
            return self.law.label
        return self.law.reduced(exponents[known], self._membership()[known]).label

    def _membership(self) -> np.ndarray:
        """(targets, domains) 1 at the own domain of each target."""
        return (self.own[:, None] == np.arange(len(self.sweep.domains))).astype(float)

    @property
    def strength(self) -> float | None:
        """Strength of the shrinkage; None where there is none, or where `folds` choose it."""
        if not self.has_shrinkage or self.folds is not None:
            return None
        asked = self.options.shrinkage
        return float(STRENGTHS[0] if isinstance(asked, str) else asked)


@functools.partial(jit, static_argnums=0, x64=True)
def _facts(law: Law, mixture: Array, own: Array) -> tuple[Array, Array]:
    """Values and refutations, each (points, targets), of mixtures (points, domains) and own
    (targets, domains)."""

    def of_both(stated: Callable[[Array, Array], Array]) -> Array:
        return jax.vmap(jax.vmap(stated, in_axes=(None, 0)), in_axes=(0, None))(mixture, own)

    return of_both(law.usable), of_both(law.refutes_centre)


def _is_known(law: Law) -> bool:
    """True for the package's laws, whose parts agree, and its wrappers around them."""
    base = getattr(law, "base", None)
    kinds = (*LAWS.values(), *WRAPPERS.values())
    return type(law) in kinds and (base is None or _is_known(base))


def _law_for_sweep(law: Law, sweep: Sweep, budget_scale: float) -> Law:
    """Apply `Law.for_sweep`, after a check that the law takes several model sizes into account."""
    if sweep.size is not None and not law.needs_size:
        raise ValueError(
            f"law: the sweep has several model sizes, which {law.label} does not take into "
            f"account; use WithModelSize({law!r}), or select one size."
        )
    return law.for_sweep(sweep, budget_scale)


def choose_targets(
    sweep: Sweep, law: Law, targets: Sequence[str] | None
) -> tuple[list[str], tuple[str, ...]]:
    """Choose the targets to fit, and note those that the law cannot express."""
    unknown = [t for t in targets or () if t not in sweep.targets]
    if unknown:
        raise ValueError(
            f"targets names {', '.join(unknown)}, but the sweep measured "
            f"{', '.join(sweep.targets)}."
        )
    asked = list(sweep.targets if targets is None else targets)
    if not asked:
        raise ValueError(f"targets is empty; expected some of {', '.join(sweep.targets)}.")
    beyond = [t for t in asked if not law.expresses(t, sweep.domains)]
    able = ", ".join(name for name, known in LAWS.items() if not known.needs_own)
    possible = [t for t in asked if t not in beyond]
    refuse_scores(sweep, possible or asked)
    if (beyond and targets is not None) or not possible:
        raise ValueError(
            f"targets: {law.label} {law.not_expressed(beyond, sweep.domains)}. Use a law that can "
            f"express them (--law, law=): {able}; or call a target as it is called there."
        )
    note = f"Targets left out, as {law.label} cannot express them: "
    return possible, (note + f"{', '.join(beyond)} ({able} can).",) if beyond else ()


def _weights(sweep: Sweep, columns: list[int], weight: ArrayLike | None) -> np.ndarray:
    """(points, chosen targets) weights as given."""
    shape = (len(sweep.budget), len(columns))
    if weight is None:
        return np.ones(shape)
    values: Any = np.asarray(weight, float)
    allowed = (shape[:1], shape, (shape[0], len(sweep.targets)))
    if values.shape not in allowed or not np.all(values >= 0):
        raise ValueError(
            f"weight has shape {values.shape} and least value {np.min(values):.3g}; expected "
            f"numbers ≥ 0 of shape ({shape[0]},) or {shape}, points by targets."
        )
    if values.ndim == 1:
        return np.broadcast_to(values[:, None], shape)
    return values[:, columns] if values.shape[-1] == len(sweep.targets) else values


def _score_weights(sweep: Sweep, targets: Sequence[str], residual: Residual) -> np.ndarray:
    """(points, targets) weights by which the residuals of scores are differences of points.

    Residuals are those of the distance e to the maximum, relative ones unless asked otherwise:
    ((ê − e)/e)² · e² is (ê − e)². With known numbers of examples the points of one target count by
    the inverse of their variance, relative to its mean. Losses have 1.
    """
    described = sweep.metadata.described(targets)
    weights = np.ones((len(sweep.budget), len(described)))
    for i in np.flatnonzero(are_scores(described)):
        distance = sweep.loss[:, sweep.targets.index(described[i].name)]
        if residual != "absolute":
            weights[:, i] = np.where(np.isfinite(distance), distance**2, 1.0)
        if described[i].examples is not None:
            certain = 1 / described[i].variance(distance)
            weights[:, i] *= np.where(np.isfinite(certain), certain, 0.0) / np.nanmean(certain)
    return weights


def choose_folds(sweep: Sweep, counted: np.ndarray, purpose: Purpose) -> Folds | None:
    """Choose the folds of the `counted` points (points,) bool; None for too few.

    Folds of later budgets where enough budgets remain, else of runs.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep())
    >>> everything = np.ones(len(sweep.budget), bool)
    >>> choose_folds(sweep, everything, "mixtures").parts
    8
    >>> later = choose_folds(sweep, everything, "budgets")
    >>> later.parts, int(np.sum(later.number == 0))
    (1, 80)
    """
    later = _later_budgets(sweep, counted) if purpose == "budgets" else None
    return later if later is not None else _runs(sweep, counted)


def _runs(sweep: Sweep, counted: np.ndarray) -> Folds | None:
    """Folds of whole mixtures, at most `MOST_FOLDS`."""
    number = sweep.folds(MOST_FOLDS, counted)
    count = int(number.max()) + 1
    return Folds(number, count) if count >= LEAST_FOLDS else None


def _later_budgets(sweep: Sweep, counted: np.ndarray) -> Folds | None:
    """One fold, the later half of the budgets, of all mixtures."""
    budgets = np.unique(sweep.budget[counted])
    # The early half must still determine the curve, which has `CURVE` coefficients.
    early = len(budgets) - len(budgets) // 2
    if early < CURVE:
        return None
    later = counted & (sweep.budget >= budgets[early])
    return Folds(np.where(later, 0, -1), 1)
