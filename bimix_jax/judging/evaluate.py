"""Quality of a fit on held-out runs: error, R², rank."""

import dataclasses

import numpy as np
import pandas as pd

from bimix_jax.fitting.fitted import Fit
from bimix_jax.printable import Drawn
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.reading.metadata import UNSTATED, Metadata
from bimix_jax.reading.names import check_names
from bimix_jax.reading.settings import check_made
from bimix_jax.reading.targets import Target, error_scale
from bimix_jax.sweeps.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class Evaluation(Drawn):
    """Measured against predicted losses of a sweep, point by point."""

    targets: tuple[str, ...]
    run: np.ndarray
    """(points,) run labels"""
    budget: np.ndarray
    """(points,)"""
    measured: np.ndarray
    """(points, targets), nan where not measured or where the law has no value"""
    predicted: np.ndarray
    """(points, targets)"""
    common_budget: float
    """the largest budget that at least 90 % of the runs have"""
    notes: tuple[str, ...] = ()
    size: np.ndarray | None = None
    """(points,) parameters of the model, where there are several"""
    metadata: Metadata = UNSTATED
    """metadata of the fit, which describe the targets"""

    def __repr__(self) -> str:
        runs = counted(len(np.unique(self.run)), "run")
        targets = counted(len(self.targets), "target")
        return f"Evaluation({counted(len(self.run), 'point')} of {runs}, {targets})"

    def table(self) -> pd.DataFrame:
        """Table with a row per target and a last row "overall".

        Columns: `mre` mean relative error |y − ŷ|/y, of a score mean error in parts of its range,
        and `worst` its largest value (fractions);
        `r2` over all points; `r2_mixtures` and `spearman` across mixtures at the last common
        budget (nan with fewer than 3 mixtures); `points`. Overall is the mean over targets, but
        the largest `worst`. Of several model sizes `r2_mixtures` and `spearman` are the mean over
        those of single sizes. R² over all points flatters every law, since budgets differ more
        than mixtures do; `r2_mixtures` is what choosing a mixture depends on.
        """
        rows = [self._scores(i) for i in range(len(self.targets))]
        table = pd.DataFrame(rows, index=pd.Index(self.targets, name="target"))
        overall = table.mean()
        overall["worst"], overall["points"] = table["worst"].max(), table["points"].sum()
        table.loc["overall"] = overall
        return table.astype({"points": int})

    def _scores(self, target: int) -> dict[str, float]:
        usable = np.isfinite(self.measured[:, target])
        at_common = usable & np.isclose(self.budget, self.common_budget, rtol=1e-9)
        measured, predicted = self.measured[usable, target], self.predicted[usable, target]
        (described,) = self.metadata.described([self.targets[target]])
        error = _errors(measured, predicted, described)
        size = np.zeros(len(usable)) if self.size is None else self.size
        same = [
            (
                self.measured[at_common & (size == one), target],
                self.predicted[at_common & (size == one), target],
            )
            for one in np.unique(size)
        ]
        return {
            "mre": float(np.mean(error)) if len(error) else np.nan,
            "worst": float(np.max(error)) if len(error) else np.nan,
            "r2": r_squared(measured, predicted),
            "r2_mixtures": _mean_of_known([r_squared(*pair) for pair in same]),
            "spearman": _mean_of_known([spearman(*pair) for pair in same]),
            "points": int(usable.sum()),
        }


def evaluate(fitted: Fit, sweep: Sweep) -> Evaluation:
    """Compare a fit with a held-out sweep (`Sweep.split_runs`, `Sweep.split_budgets`).

    Args:
        fitted: from `fit`.
        sweep: with the fit's domains, in any order, and some of its targets.

    Returns:
        An `Evaluation`; see its `table`. Points where the law has no value (BiMix at r = 0) are
        left out and noted.

    Raises:
        ValueError: if the domains or units differ, an entry of `Metadata` that both state
            differs, or no target is in both.
    """
    check_made(fitted, Fit, "fitted")
    check_made(sweep, Sweep, "sweep")
    sweep = sweep.spelled_as(fitted.domains, fitted.targets)
    check_names("sweep domains", sweep.domains, fitted.domains)
    if sweep.unit != fitted.unit:
        raise ValueError(
            f"sweep: budgets are in {sweep.unit}, those of the fit in {fitted.unit}; expected the "
            "same. Read the sweep with budget= naming the fit's column."
        )
    fitted.metadata.check_like(sweep.metadata, "the fit", "the sweep")
    targets = tuple(t for t in fitted.targets if t in sweep.targets)
    if not targets:
        raise ValueError(
            f"sweep: it has losses of {', '.join(sweep.targets)}, and the fit is of "
            f"{', '.join(fitted.targets)}; expected a target in common."
        )
    order = [sweep.domains.index(d) for d in fitted.domains]
    budget = fitted.check_budget(sweep.budget)
    predicted = fitted.predict_points(sweep.mixture[:, order], budget, sweep.size)
    predicted = predicted[:, [fitted.targets.index(t) for t in targets]]
    measured = sweep.loss[:, [sweep.targets.index(t) for t in targets]]
    usable = np.isfinite(predicted)
    return Evaluation(
        targets,
        sweep.run,
        sweep.budget,
        np.where(usable, measured, np.nan),
        predicted,
        sweep.last_common_budget(),
        _left_out(targets, np.isfinite(measured) & ~usable, fitted),
        sweep.size,
        fitted.metadata,
    )


def _left_out(targets: tuple[str, ...], lost: np.ndarray, fitted: Fit) -> tuple[str, ...]:
    return tuple(
        f"{target}: {counted(count, 'point')} not scored: {fitted.law.unusable_reason()}"
        for target, count in zip(targets, lost.sum(axis=0), strict=True)
        if count
    )


def _mean_of_known(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan


def _errors(measured: np.ndarray, predicted: np.ndarray, target: Target) -> np.ndarray:
    """(points,) |y − ŷ|/y of a loss, |e − ê| of a score.

    >>> _errors(np.array([2.0, 4.0]), np.array([2.2, 4.0]), Target("web")).round(3).tolist()
    [0.1, 0.0]
    """
    scale = error_scale(measured[:, None], [target])[:, 0]
    return np.abs(predicted - measured) / scale


def r_squared(measured: np.ndarray, predicted: np.ndarray) -> float:
    """1 − SS_res/SS_tot on log losses; nan with fewer than 3 points or no variation.

    >>> r_squared(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    1.0
    """
    if len(measured) < 3:
        return np.nan
    # On logs, because the laws are fitted to relative residuals.
    y = np.log(measured)
    total = np.sum((y - y.mean()) ** 2)
    return float(1 - np.sum((y - np.log(predicted)) ** 2) / total) if total > 0 else np.nan


def spearman(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Rank correlation, ties sharing their mean rank; nan with fewer than 3 points or all tied."""
    if len(measured) < 3:
        return np.nan
    # Pearson's correlation of ranks is Spearman's, ties included.
    one, other = (_ranks(values) for values in (measured, predicted))
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) * np.ptp(other) > 0 else np.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value from 1, the mean rank for those that are tied.

    >>> _ranks(np.array([0.5, 0.2, 0.5])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])


def best_measured(sweep: Sweep) -> str:
    """Name of the run with the least mean measured loss over targets at the last common budget.

    Only runs with every loss measured there take part.

    Raises:
        ValueError: if there is no such run.
    """
    there = np.isclose(sweep.budget, sweep.last_common_budget(), rtol=1e-9)
    complete = there & np.isfinite(sweep.loss).all(axis=1)
    if not complete.any():
        raise ValueError(
            "sweep: no run has every loss measured at the last common budget "
            f"{quantity_text(sweep.last_common_budget())} {sweep.unit}, so none can be called "
            "the best."
        )
    rows = np.flatnonzero(complete)
    return str(sweep.run[rows[np.argmin(sweep.loss[rows].mean(axis=1))]])
