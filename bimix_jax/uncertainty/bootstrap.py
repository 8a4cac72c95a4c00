"""The verb: from a sweep and a law to the fit and its resamples."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from jax.typing import ArrayLike

from bimix_jax.fitting.coefficients import FAILED, Code, predict_losses
from bimix_jax.fitting.fit import fit
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.program import Drawn
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.reading.names import align_mixtures
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty._resamples import (
    Resampling,
    draw,
    fit_resamples,
    leave_one_out,
    search_all,
    task_of,
)
from bimix_jax.uncertainty.intervals import (
    LEAST_FREEDOM,
    Freedom,
    interval,
    mixtures_and_coefficients,
)
from bimix_jax.xla.compilation import jit

Unit = Literal["mixture", "run"]
UNITS: tuple[Unit, ...] = ("mixture", "run")
PARTS = 8
"""Largest number of parts of the runs, each of which is left out of a search for starts."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["fitted", "resampled", "left_out"],
    meta_fields=["freedom", "resampling", "seed"],
    drop_fields=["runs", "notes"],
)
@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """A fit, and the same fit to resampled runs; made by `bootstrap`.

    A pytree, so that vmap over `resampled` applies any computation of one fit to all of them. All
    resamples share the gauge of the fit.
    """

    fitted: Fit
    """fit to the whole sweep, which recommends and predicts"""
    resampled: Fit
    """arrays with a leading axis (resamples,)"""
    left_out: Fit
    """fits without one run each, arrays with a leading axis (runs,)"""
    freedom: Freedom
    """degrees of freedom of the intervals, for the target with the fewest"""
    resampling: Resampling
    seed: int
    runs: tuple[str, ...] = ()
    """labels of the runs that were left out, one per fit"""
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> np.ndarray:
        """(resamples, targets) bool: the fit failed, or lost an exponent that is identified.

        Such a resample has no value for the target.
        """
        worse = np.isin(self.resampled.code, FAILED)
        # A coefficient that the resample leaves open would enter an interval as any number.
        lost = self.fitted.identified & ~self.resampled.identified
        return np.asarray(worse | lost.any(axis=2))

    def interval(self, values: np.ndarray, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Low and high end (…) of any values (resamples, …) of the resampled fits."""
        return interval(values, level, self.freedom)

    def predict(self, mixtures: Any, budget: Any = None, level: float = 0.9) -> pd.DataFrame:
        """Predict losses with intervals for the law, not for a run with its noise.

        Args:
            mixtures: as `Fit.predict` takes them.
            budget: likewise.
            level: share of the sweeps in which the interval is to cover the truth.

        Returns:
            Columns loss, low and high; rows by target for a single mixture, else by mixture and
            target.
        """
        values, labels = align_mixtures(mixtures, self.fitted.domains)
        budgets = np.broadcast_to(self.fitted.check_budget(budget), (len(values),))
        losses = self.fitted.known_points(values, budgets)
        self.fitted.check_values(losses, values, labels)
        low, high = self.interval(self.predict_points(values, budgets), level)
        table = {"loss": losses.ravel(), "low": low.ravel(), "high": high.ravel()}
        targets = list(self.fitted.targets)
        if labels is None:
            return pd.DataFrame(table, index=pd.Index(targets, name="target"))
        names = pd.MultiIndex.from_product([labels, targets], names=[labels.name, "target"])
        return pd.DataFrame(table, index=names)

    def predict_points(self, mixture: np.ndarray, budget: Any) -> np.ndarray:
        """Predict losses (resamples, points, targets) by every resample, nan where it failed."""
        budgets = np.broadcast_to(np.asarray(budget, float), (len(mixture),))
        coefficients = self.resampled.coefficients
        losses = np.asarray(_predict(self.fitted.law, coefficients, mixture, budgets))
        return np.where(self.failed[:, None], np.nan, losses)

    def table(self, level: float = 0.9) -> pd.DataFrame:
        """Coefficients with intervals: rows by target and coefficient, columns value, low, high."""
        targets = range(len(self.fitted.targets))
        values = [self._report(self.fitted.coefficients, i) for i in targets]
        rows = [self._rows(i, level) for i in targets]
        point = np.array([number for value in values for number in value.values()], float)
        low, high = (np.concatenate([row[end] for row in rows]) for end in (0, 1))
        names = pd.MultiIndex.from_tuples(
            [(t, n) for t, value in zip(self.fitted.targets, values, strict=True) for n in value],
            names=["target", "coefficient"],
        )
        columns = {"value": point, "low": low, "high": high}
        return pd.DataFrame(columns, index=names)

    def _rows(self, target: int, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Ends (coefficients,) of the intervals on a target's reported coefficients."""
        each = list(self._report(self.resampled.coefficients, target).values())
        failed = self.failed[:, target, None]
        return self.interval(np.where(failed, np.nan, np.stack(each, axis=-1)), level)

    def _report(self, coefficients: Any, target: int) -> dict[str, np.ndarray]:
        """Reported coefficients of one target, each (…), from coefficients (…, targets, …)."""
        known = self.fitted.identified[target]
        return self.fitted.law.report(
            np.where(known, coefficients.exponents[..., target, :], np.nan),
            np.asarray(coefficients.amplitudes)[..., target, :],
            np.asarray(coefficients.budget_scale)[..., target],
        )


def bootstrap(
    sweep: Sweep,
    law: Law | Fit | None = None,
    n: int = 1000,
    seed: int = 0,
    *,
    resampling: Resampling = "multinomial",
    unit: Unit = "mixture",
    weight: ArrayLike | None = None,
    **options: Any,
) -> Bootstrap:
    """Fit a law to a sweep and to n resamples of its runs, by one compiled program.

    Whole mixtures are drawn, with all budgets of all their runs: checkpoints of a run are not
    independent, and replicates share the error of a law at their mixture. Resample i depends on
    seed, sweep and i alone. Every resample starts at the solution of the whole sweep, and fits
    without a run start at a solution that does not use this run.

    Args:
        sweep: the measured sweep.
        law: default `BiMix()`; or a `Fit` to this sweep. The strength of a law's shrinkage is
            chosen once, on the whole sweep, and kept, without each run too.
        n: number of resamples.
        seed: of the draws.
        resampling: "multinomial" (runs with replacement), "weights" (exponential weights, so that
            no run is ever lost) or "residuals" (normal factors, for few runs).
        unit: the unit of the draw, "mixture" or "run".
        weight: (points,) or (points, targets) as `fit` takes it.
        options: further ones of `fit`, where law is no `Fit`.

    Raises:
        ValueError: on an unknown option, a `Fit` to another sweep, or fewer than three mixtures.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> sure = bx.bootstrap(sweep, n=200)
    >>> bool((sure.table()["low"] < sure.table()["value"]).all())
    True
    """
    given = isinstance(law, Fit)
    fitted = law if isinstance(law, Fit) else fit(sweep, law, weight=weight, **options)
    _check(sweep, fitted, n, unit, options if given else {})
    task = task_of(sweep, fitted, weight)
    run, first = _numbered(sweep.run)
    group, one_each = _numbered(sweep.mixture_group if unit == "mixture" else sweep.run)
    # A mixture without weight must not be drawn in place of one that has.
    used = np.unique(group[np.any(task.weight > 0, axis=1)])
    factor = np.ones((n, len(one_each)))
    factor[:, used] = draw(resampling, seed, n, len(used))
    factor = factor[:, group[first]]
    around = _around(fitted, task) if resampling == "residuals" else None
    resampled, left_out = _fits(fitted, task, Drawn(factor, run, around))
    made = Bootstrap(
        fitted,
        resampled,
        left_out,
        _freedom(fitted, task, group, one_each),
        resampling,
        seed,
        tuple(map(str, sweep.run[first])),
    )
    return dataclasses.replace(made, notes=(*fitted.notes, *_notes(made)))


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number every label, independently of the order of rows, with the first row of each."""
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    return numbers.reshape(-1), first


def _around(fitted: Fit, task: FitTask) -> np.ndarray:
    """(points, targets) fitted losses that residuals are drawn around."""
    sweep = task.sweep
    predicted = fitted.predict_points(sweep.mixture, sweep.budget, sweep.size)
    # Where the law has no value the residual is 0, so that its factor changes nothing.
    return np.where(np.isfinite(predicted), predicted, task.loss)


def _fits(fitted: Fit, task: FitTask, drawn: Drawn) -> tuple[Fit, Fit]:
    """Fit the resamples, and all runs but one."""
    # Choosing the strength of the shrinkage takes some fifty fits, so the fits without a run keep
    # the strength of the whole sweep: they show the effect of a run at it, not on it.
    without = Drawn(leave_one_out(drawn.factor.shape[1]), drawn.unit)
    begin = _starts_without(fitted, task, drawn.unit)
    return fit_resamples(fitted, task, drawn), fit_resamples(fitted, task, without, begin)


def _starts_without(fitted: Fit, task: FitTask, run: np.ndarray) -> np.ndarray:
    """(runs, targets, exponents) start of the fit without each run.

    No loss of that run may influence it: the start is the solution without its part of the runs,
    which is searched from all starts of the law.
    """
    # Runs are dealt to a few parts, one search for each: fewer than one search per run.
    part = np.arange(run.max() + 1) % min(PARTS, run.max() + 1)
    without = (part != np.unique(part)[:, None]).astype(float)
    found = search_all(fitted, task, Drawn(without, run))
    return np.asarray(found.coefficients.exponents)[part]


def _freedom(fitted: Fit, task: FitTask, group: np.ndarray, one_each: np.ndarray) -> Freedom:
    sweep = task.sweep
    # Points that the fit used: measured, weighted, and where the law has a value.
    used = np.isfinite(task.loss) & (task.weight > 0)
    used &= np.isfinite(fitted.predict_points(sweep.mixture, sweep.budget, sweep.size))
    count = np.zeros((len(one_each), len(fitted.targets)))
    np.add.at(count, group, used)
    units, spent = mixtures_and_coefficients(
        fitted,
        sweep.mixture[one_each],
        float(np.median(sweep.budget)),
        None if sweep.size is None else sweep.size[one_each],
        count,
    )
    # One number for all targets, and the cautious one: what remains decides how wide intervals are.
    least = int(np.argmin(units - spent))
    return Freedom(int(units[least]), float(spent[least]))


def _check(sweep: Sweep, fitted: Fit, n: int, unit: str, unused: dict[str, Any]) -> None:
    if unused:
        raise ValueError(
            f"options {', '.join(unused)} are those of a fit, but law is a Fit already; leave "
            "them out."
        )
    if fitted.sweep_digest and fitted.sweep_digest != sweep.digest():
        raise ValueError(
            "law is a Fit to another sweep than this one; give the sweep that was fitted, with "
            "the same selection, or the law."
        )
    if n < 2:
        raise ValueError(f"n is {n}; expected 2 resamples or more, 1000 for example.")
    if unit not in UNITS:
        raise ValueError(f"unit is {unit!r}; expected one of {', '.join(UNITS)}.")
    count = len(np.unique(sweep.mixture_group if unit == "mixture" else sweep.run))
    if count < 2:
        raise ValueError(f"the sweep has one {unit}, so none can be resampled; measure more.")


def _notes(made: Bootstrap) -> list[str]:
    """Notes on failed resamples and on intervals that cannot be given."""
    notes = []
    failed, freedom = np.any(made.failed, axis=1), made.freedom
    if failed.any():
        notes.append(
            f"{int(failed.sum())} of {len(failed)} resamples failed for some target, or lost an "
            "exponent; they do not count there."
        )
    slow = (made.resampled.code == Code.MAX_STEPS).any(axis=1)
    if slow.any():
        notes.append(f"{int(slow.sum())} of {len(slow)} resamples ended before they converged.")
    if not freedom.enough:
        notes.append(
            f"Too few mixtures for an interval: {freedom.units} of them determine "
            f"{freedom.coefficients:.1f} coefficients of the mixture, which leaves "
            f"{freedom.left:.1f}; {LEAST_FREEDOM:g} are needed. Measure more mixtures, or use a "
            "law with fewer coefficients."
        )
    if made.fitted.shrinkage.any():
        notes.append(
            "All resamples, and all fits without a run, keep the strength of shrinkage of the "
            "whole sweep: the influence of a run leaves out its effect on that choice."
        )
    return notes


_predict = jit(jax.vmap(predict_losses, in_axes=(None, 0, None, None)), static_argnums=0, x64=True)
