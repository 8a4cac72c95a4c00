"""Pictures of a fit beside the measured losses: along the budget, and along the own proportion."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from bimix_jax.plots._style import GRADED, headed, log_axis, log_bar, log_norm, panels_of
from bimix_jax.printable import picture_text, picture_texts
from bimix_jax.reading.targets import value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bimix_jax.fitting.fitted import Fit
    from bimix_jax.sweeps.sweep import Sweep

RUNS_SHOWN = 6
BUDGETS_SHOWN = 4
PANEL = 2.1
"""Approximate width of a panel's axes, in inches."""


def plot_curves(fitted: "Fit", sweep: "Sweep") -> Figure:
    """Draw fitted curves over the measured points: loss against budget, one panel per target.

    A panel shows up to six runs, spread over the target's own proportion and coloured by it. Of
    several model sizes, the runs of the fit's size are shown (`Fit.at_model_size`).

    Raises:
        ValueError: if the sweep has no runs of that size.
    """
    sweep = _of_its_size(fitted, sweep)
    titles, unit = picture_texts(fitted.targets), picture_text(fitted.unit)
    what = value_text(fitted.described)
    figure, panels = panels_of(titles, f"budget ({unit})", what)
    for axes, target in zip(panels, fitted.targets, strict=True):
        _curves_of(axes, fitted, sweep, target)
        log_axis(axes, sweep.budget, PANEL)
    log_bar(figure, log_norm(sweep.mixture), "own proportion", sweep.mixture)
    runs = len(sweep.runs)
    some = f" ({RUNS_SHOWN} of {runs} runs per panel)" if runs > RUNS_SHOWN else ""
    values = "losses" if what == "loss (nats)" else "values"
    headed(figure, f"{picture_text(fitted.label)}: fitted curves over measured {values}{some}")
    return figure


def _of_its_size(fitted: "Fit", sweep: "Sweep") -> "Sweep":
    """Return the points of the model size that a fit predicts for."""
    size = getattr(fitted.law, "size", None)
    if sweep.size is None or size is None:
        return sweep
    there = np.isclose(sweep.size, size, rtol=1e-9)
    if not there.any():
        run = ", ".join(f"{each:g}" for each in np.unique(sweep.size))
        raise ValueError(
            f"fitted is of models of {size:g} parameters, of which the sweep has no runs; draw it "
            f"at_model_size one of {run}."
        )
    return sweep.take(there)


def _curves_of(axes: "Axes", fitted: "Fit", sweep: "Sweep", target: str) -> None:
    own = _own_proportion(fitted, sweep, target)
    column = sweep.targets.index(target)
    norm = log_norm(sweep.mixture)
    order = [sweep.domains.index(d) for d in fitted.domains]
    (described,) = sweep.metadata.described([target])
    measured = described.score(sweep.loss[:, column])
    for run in _spread_runs(sweep, own, column):
        rows = np.flatnonzero((sweep.run == run) & np.isfinite(measured))
        rows = rows[np.argsort(sweep.budget[rows])]
        color = GRADED(norm(own[rows[0]]))
        axes.plot(sweep.budget[rows], measured[rows], "o", ms=3.5, color=color)
        grid = np.geomspace(sweep.budget[rows[0]], sweep.budget[rows[-1]], 60)
        mixtures = np.repeat(sweep.mixture[rows[:1]][:, order], len(grid), axis=0)
        predicted = fitted.predict_points(mixtures, grid)[:, fitted.targets.index(target)]
        axes.plot(grid, described.score(predicted), "-", lw=1.2, color=color)


def _spread_runs(sweep: "Sweep", own: np.ndarray, column: int) -> list[str]:
    """Return runs with a measured loss, from the least to the largest own proportion above 0."""
    shown = (own > 0) & np.isfinite(sweep.loss[:, column])
    ordered = list(dict.fromkeys(sweep.run[i] for i in np.argsort(own, kind="stable") if shown[i]))
    picks = np.linspace(0, len(ordered) - 1, min(RUNS_SHOWN, len(ordered))).round().astype(int)
    return [ordered[i] for i in picks]


def plot_proportions(fitted: "Fit", sweep: "Sweep") -> Figure:
    """Draw loss against the target's own proportion at up to four budgets, one panel per target.

    For a target that is not a domain it is the largest proportion of the mixture, without a curve.
    Along a curve the own proportion changes, and the others keep their average ratio. Model sizes
    are treated as in `plot_curves`.
    """
    sweep = _of_its_size(fitted, sweep)
    titles, unit = picture_texts(fitted.targets), picture_text(fitted.unit)
    value = value_text(fitted.described)
    what = value.partition(" (")[0] if "or" not in value else "loss or score"
    own = [target in fitted.domains for target in fitted.targets]
    along = "own proportion" if all(own) else "own or largest proportion"
    along = along if any(own) else "largest proportion"
    figure, panels = panels_of(titles, along, value)
    norm = log_norm(sweep.budget)
    for axes, target in zip(panels, fitted.targets, strict=True):
        at = _own_proportion(fitted, sweep, target)
        for budget in _spread_budgets(sweep):
            _proportion_curve(axes, fitted, sweep, target, budget, GRADED(norm(budget)))
        log_axis(axes, at[at > 0], PANEL)
    log_bar(figure, norm, f"budget ({unit})", sweep.budget)
    budgets = len(np.unique(sweep.budget))
    some = f" ({BUDGETS_SHOWN} of {budgets} budgets)" if budgets > BUDGETS_SHOWN else ""
    headed(figure, f"{picture_text(fitted.label)}: {what} against {along}{some}")
    return figure


def _spread_budgets(sweep: "Sweep") -> np.ndarray:
    budgets = np.unique(sweep.budget)
    picks = np.linspace(0, len(budgets) - 1, min(BUDGETS_SHOWN, len(budgets)))
    return budgets[picks.round().astype(int)]


def _proportion_curve(
    axes: "Axes", fitted: "Fit", sweep: "Sweep", target: str, budget: float, color: tuple
) -> None:
    own = _own_proportion(fitted, sweep, target)
    at = np.isclose(sweep.budget, budget, rtol=1e-9) & (own > 0)
    (described,) = sweep.metadata.described([target])
    measured = described.score(sweep.loss[at, sweep.targets.index(target)])
    axes.plot(own[at], measured, "o", ms=3.5, color=color)
    if target not in fitted.domains or not at.any():
        return
    grid = np.geomspace(own[own > 0].min(), own.max(), 60)
    order = [sweep.domains.index(d) for d in fitted.domains]
    rest = sweep.mixture[:, order].mean(axis=0)
    position = fitted.domains.index(target)
    rest[position] = 0.0
    mixtures = (1 - grid)[:, None] * rest / rest.sum()
    mixtures[:, position] = grid
    predicted = fitted.predict_points(mixtures, budget)[:, fitted.targets.index(target)]
    axes.plot(grid, predicted, "-", lw=1.2, color=color)


def _own_proportion(fitted: "Fit", sweep: "Sweep", target: str) -> np.ndarray:
    """Return (points,) the target's own proportion; the largest one for a target that is not a
    domain."""
    if target in fitted.domains:
        return sweep.mixture[:, sweep.domains.index(target)]
    return sweep.mixture.max(axis=1)
