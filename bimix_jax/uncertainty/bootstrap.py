"""The verb: from a sweep and a law to the fit and its resamples."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from jax.typing import ArrayLike

from bimix_jax.fitting.coefficients import FAILED, Code, predict_losses
from bimix_jax.fitting.fitted import Fit, filled
from bimix_jax.fitting.searches import Drawn
from bimix_jax.fitting.task import FitTask
from bimix_jax.judging.automatic import fit
from bimix_jax.judging.noise import noise_floor
from bimix_jax.laws.law import Law
from bimix_jax.quantities import counted
from bimix_jax.reading.names import align_mixtures
from bimix_jax.reading.targets import as_measured, ends_measured, error_scale
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty._held_out import HeldOut, joined, rows_beyond, rows_of_units
from bimix_jax.uncertainty._resamples import (
    CLOSE,
    Resampling,
    draw,
    fit_resamples,
    leave_one_out,
    search_all,
    task_of,
)
from bimix_jax.uncertainty._spread import (
    USUAL,
    Spread,
    expected_growth,
    growth_of,
    known_variance,
    note_on_reach,
    units_needed,
)
from bimix_jax.uncertainty.intervals import (
    LEAST_FREEDOM,
    Freedom,
    check_level,
    interval,
    mixtures_and_coefficients,
)
from bimix_jax.xla.compilation import jit

Unit = Literal["mixture", "run"]
UNITS: tuple[Unit, ...] = ("mixture", "run")
VARIANCE = 200
"""Number of resamples that are enough for a variance, to 10 %."""
ALONG = 32
"""Largest number of budgets at which the errors of a run are compared."""
FEWEST = 8
"""Least number of resamples without a unit for a variance of their predictions there."""
PARTS = 4
"""Largest number of parts of the runs, each of which is left out of a search for starts."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["fitted", "resampled", "left_out"],
    meta_fields=["freedom", "resampling", "seed"],
    drop_fields=["held_out", "sweep", "runs", "notes", "absent"],
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
    """fits without one unit each (a mixture with all its runs, or a run), arrays with a leading
    axis (units,)"""
    freedom: Freedom
    """degrees of freedom of the intervals, for the target with the fewest"""
    resampling: Resampling
    seed: int
    held_out: HeldOut | None = None
    """losses of every unit, and the predictions without it"""
    sweep: Sweep | None = None
    """points that were fitted"""
    runs: tuple[str, ...] = ()
    """labels of the runs that were left out, one per fit; joined where a mixture has several"""
    notes: tuple[str, ...] = ()
    absent: np.ndarray | None = None
    """(resamples, units) bool: the resample is without the unit; None where all contain all"""

    def __repr__(self) -> str:
        # Of names and shapes alone: under a transformation the arrays have no values.
        count = counted(int(np.shape(self.resampled.coefficients.amplitudes)[0]), "resample")
        return f"Bootstrap({count} by {self.resampling} of {self.fitted!r})"

    @property
    def failed(self) -> np.ndarray:
        """(resamples, targets) bool: the fit failed, or lost an exponent that is identified.

        Such a resample has no value for the target.
        """
        worse = np.isin(self.resampled.code, FAILED)
        if self.fitted.law.members:  # one member without an exponent moves the others little
            return np.asarray(worse)
        # A coefficient that the resample leaves open would enter an interval as any number.
        lost = self.fitted.identified & ~self.resampled.identified
        return np.asarray(worse | lost.any(axis=2))

    def interval(self, values: np.ndarray, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Low and high end (…) of any values (resamples, …) of the resampled fits."""
        return interval(values, level, self.freedom)

    def predict(
        self, mixtures: Any, budget: Any = None, level: float = 0.9, *, simultaneous: bool = False
    ) -> pd.DataFrame:
        """Predict losses, or scores, with intervals for the measured one of one new run.

        The intervals come from the errors of the law at every mixture without which it was fitted
        (jackknife; Barber et al. 2021), so that they hold if the law is not true. They widen with
        the spread of the resamples, away from what was run, and beyond the largest budget as the
        errors do at the later budgets of cut sweeps, this one and others.

        Args:
            mixtures: as `Fit.predict` takes them.
            budget: likewise.
            level: share of new runs whose loss is to lie inside.
            simultaneous: True for intervals that hold the loss of a target at all budgets of a run
                together, in that share of the runs, from the largest error of every mixture along
                its budgets; default each at its budget alone.

        Returns:
            Columns loss, low and high, then half the width as a fraction of the loss in two parts,
            by their share of the variance: noise (of the run, and of the fitted runs) and law
            (what it misses); of a score as a part of its range. Without an interval, of fewer
            mixtures than `units_needed`, they are nan. Rows by target for a single mixture, else by
            mixture and target.
        """
        check_level(level)
        values, labels = align_mixtures(mixtures, self.fitted.domains)
        budgets = np.broadcast_to(self.fitted.check_budget(budget), (len(values),))
        losses = self.fitted.known_points(values, budgets)
        self.fitted.check_values(losses, values, labels)
        half, noise = self.half_widths(values, budgets, level, simultaneous)
        described = self.fitted.described
        low, high = ends_measured(losses, half, described)
        # Half the width of a log distance is relative to the distance.
        half = half * losses / error_scale(losses, described)
        table = {
            "loss": as_measured(losses, described),
            "low": low,
            "high": high,
            "noise": half * noise,
            "law": half * (1 - noise),
        }
        columns = {name: value.ravel() for name, value in table.items()}
        targets = list(self.fitted.targets)
        if labels is None:
            return pd.DataFrame(columns, index=pd.Index(targets, name="target"))
        names = pd.MultiIndex.from_product([labels, targets], names=[labels.name, "target"])
        return pd.DataFrame(columns, index=names)

    def half_widths(
        self, mixture: np.ndarray, budget: np.ndarray, level: float, simultaneous: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(points, targets) half the width of intervals of log losses, and the share of noise."""
        largest = self._largest_errors if simultaneous else None
        sampling = self.sampling(mixture, budget)
        half, share = np.full_like(sampling, np.nan), np.full_like(sampling, np.nan)
        for one in np.unique(budget):
            rows, spread = budget == one, self.spread(one)
            variance = spread.variance(sampling[rows], one / self.fitted.observed_budgets[1])
            half[rows] = spread.half_width(variance, level, largest)
            known = sampling[rows] + np.nan_to_num(self.noise) ** 2
            share[rows] = np.minimum(known / variance, 1.0)
        return half, share

    @functools.cached_property
    def _largest_errors(self) -> np.ndarray:
        """(units, targets) largest standardised error of each unit along its budgets."""
        rows = self.held_out_rows
        budgets = np.unique(rows.budget[rows.within])
        some = np.unique(np.linspace(0, len(budgets) - 1, ALONG).round().astype(int))
        each = [self.spread(budget).standard for budget in budgets[some]]
        return np.asarray(np.fmax.reduce(each))

    def sampling(
        self, mixture: np.ndarray, budget: np.ndarray, size: np.ndarray | None = None
    ) -> np.ndarray:
        """Variance (points, targets) of log losses over the resamples."""
        with np.errstate(invalid="ignore", divide="ignore"):
            losses = np.log(self.predict_points(mixture, budget, size, VARIANCE))
        return known_variance(losses)

    def notes_on_budget(self, budget: float) -> tuple[str, ...]:
        """Note on a budget beyond those at which errors are known; none within."""
        ratio = budget / float(self.fitted.observed_budgets[1])
        return note_on_reach(ratio, self.held_out_rows.tested)

    @functools.cached_property
    def noise(self) -> float:
        """Standard deviation of the noise of a run, a fraction; nan where it is unknown."""
        if self.sweep is None:
            return float("nan")
        # Of normal noise, from its mean absolute value.
        return float(np.sqrt(np.pi / 2) * noise_floor(self.sweep, self.fitted.targets).least())

    @property
    def held_out_rows(self) -> HeldOut:
        """Losses beside the predictions of fits without them; ValueError where there are none."""
        if self.held_out is None:
            raise ValueError("this Bootstrap has no held-out runs; make one by bx.bootstrap.")
        return self.held_out

    def spread(self, budget: float) -> Spread:
        """Errors of the log losses of every unit without which the law was fitted, at the budget
        nearest to this one, see `HeldOut.errors_at`."""
        law, held_out = self.fitted.law, self.held_out_rows
        of_size = getattr(law, "size", None)
        rows = held_out.nearest(budget, of_size)
        size = rows.size if law.needs_size else None
        with np.errstate(invalid="ignore", divide="ignore"):
            losses = np.log(self.predict_points(rows.mixture, rows.budget, size, VARIANCE))
        sampling = known_variance(self.without_their_unit(losses, rows.unit))
        spread = Spread.of(held_out.errors_at(budget, of_size, rows), sampling)
        later, observed = held_out.beyond, self.fitted.observed_budgets
        own = growth_of(later.error, spread.square, later.budget, later.last, observed)
        tested = np.isfinite(later.error).any(axis=0)
        growth = expected_growth(own, spread.square, observed, tested)
        return dataclasses.replace(spread, growth=growth)

    def without_their_unit(self, values: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Values (resamples, rows, …), nan where the resample contains the unit (rows,) of the row.

        An error at a unit is of a fit without it, and resamples spread more at a mixture that they
        do not contain. Where few resamples are without a unit, all of them count.
        """
        if self.absent is None:
            return values
        absent = self.absent[: len(values), unit]
        enough = absent.sum(axis=0) >= FEWEST
        used = absent | ~enough
        return np.where(used.reshape(*used.shape, *[1] * (values.ndim - 2)), values, np.nan)

    def predict_points(
        self,
        mixture: np.ndarray,
        budget: Any,
        size: np.ndarray | None = None,
        resamples: int | None = None,
    ) -> np.ndarray:
        """Predict losses (resamples, points, targets) by every resample, nan where it failed.

        `size` (points,) is as in `Fit.predict_points`; only the first `resamples` are used.
        """
        budgets = np.broadcast_to(np.asarray(budget, float), (len(mixture),))
        some = jax.tree.map(lambda leaf: leaf[:resamples], self.resampled.coefficients)
        points = filled(mixture), filled(budgets), None if size is None else filled(size)
        losses = np.asarray(_predict(self.fitted.law, some, *points))[:, : len(mixture)]
        return np.where(self.failed[:resamples, None], np.nan, losses)

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
        law: a law or its name, default "auto" as in `fit`; or a `Fit` to this sweep. The strength
            of a law's shrinkage is chosen once, on the whole sweep, and kept, without each run too.
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
    >>> sure = bx.bootstrap(sweep, bx.BiMix(), n=200)
    >>> bool((sure.table()["low"] < sure.table()["value"]).all())
    True
    """
    given = isinstance(law, Fit)
    fitted = law if isinstance(law, Fit) else fit(sweep, law, weight=weight, **options)
    _check(sweep, fitted, n, unit, options if given else {})
    task = task_of(sweep, fitted, weight)
    run, first = _numbered(sweep.run)
    group, one_each = _numbered(sweep.mixture_group if unit == "mixture" else sweep.run)
    counted = np.any(task.weight > 0, axis=1)
    # A mixture without weight must not be drawn in place of one that has.
    used = np.unique(group[counted])
    times = np.ones((n, len(one_each)))
    times[:, used] = draw(resampling, seed, n, len(used))
    factor = times[:, group[first]]
    around = _around(fitted, task) if resampling == "residuals" else None
    resampled = fit_resamples(fitted, task, Drawn(factor, run, around))
    left_out, held_out, labels, places = _left_out(fitted, task, unit)
    made = Bootstrap(
        fitted,
        resampled,
        left_out,
        _freedom(fitted, task, group, one_each),
        resampling,
        seed,
        held_out,
        sweep.take(counted),
        labels,
        absent=times[:, group[places]] == 0 if resampling == "multinomial" else None,
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


def _left_out(
    fitted: Fit, task: FitTask, unit: Unit
) -> tuple[Fit, HeldOut, tuple[str, ...], np.ndarray]:
    """Fits without one unit each, the losses of the units beside predictions, their labels, and
    the first row (units,) of each."""
    sweep, counted = task.sweep, np.any(task.weight > 0, axis=1)
    labels = _labels(sweep, unit)
    number, first = _numbered(labels)
    used = np.unique(number[counted])
    # Choosing the strength of the shrinkage takes some fifty fits, so the fits without a unit keep
    # the strength of the whole sweep: they show the effect of a unit at it, not on it.
    without = Drawn(leave_one_out(len(first))[used], number)
    begin = _starts_without(fitted, task, number)[used]
    left_out = fit_resamples(fitted, task, without, begin, CLOSE)
    # Units without weight are in no fit, so that nothing is left out for them.
    place = np.where(counted, np.searchsorted(used, number), -1)
    rows = rows_of_units(left_out, sweep, place, counted, task.columns)
    both = joined(rows, rows_beyond(fitted, task, number, counted))
    places = first[used]
    return left_out, both, tuple(map(str, labels[places])), places


def _labels(sweep: Sweep, unit: Unit) -> np.ndarray:
    """(points,) label of the unit of each point: its run, or all runs of its mixture."""
    if unit == "run":
        return sweep.run
    runs = pd.Series(sweep.run).groupby(sweep.mixture_group)
    joined_runs = runs.unique().map(lambda those: ", ".join(sorted(map(str, those))))
    return np.asarray(joined_runs.loc[sweep.mixture_group], str)


def _starts_without(fitted: Fit, task: FitTask, unit: np.ndarray) -> np.ndarray:
    """(units, targets, exponents) start of the fit without each unit.

    No loss of that unit may influence it: the start is the solution without its part of the units,
    which is searched from all starts of the law.
    """
    # Units are dealt to a few parts, one search for each: fewer than one search per unit.
    part = np.arange(unit.max() + 1) % min(PARTS, unit.max() + 1)
    without = (part != np.unique(part)[:, None]).astype(float)
    found = search_all(fitted, task, Drawn(without, unit))
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
    notes += _note_on_units(made)
    if made.fitted.shrinkage.any():
        notes.append(
            "All resamples, and all fits without a run, keep the strength of shrinkage of the "
            "whole sweep: the influence of a run leaves out its effect on that choice."
        )
    return notes


def _note_on_units(made: Bootstrap) -> list[str]:
    """Note on too few units for intervals of the usual level."""
    units, needed = len(made.runs), units_needed(USUAL)
    if units >= needed:
        return []
    return [
        f"Intervals of {100 * USUAL:g} %, and probabilities, rest on the spread of the mixtures, "
        f"and on the errors at those that are left out of the fit: {needed} are needed, and there "
        f"are {units}. Measure {needed - units} more."
    ]


@functools.partial(jit, static_argnums=0, x64=True)
def _predict(law: Law, coefficients: Any, mixture: Any, budget: Any, size: Any) -> Any:
    """Losses (fits, points, targets) of the same points by every fit."""
    by_fit = jax.vmap(predict_losses, in_axes=(None, 0, None, None, None))
    return by_fit(law, coefficients, mixture, budget, size)
