"""Pictures of fits, evaluations and optima, as matplotlib figures that touch no global state."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from bimix_jax.design.picture import plot_proposal as plot_proposal
from bimix_jax.entropy.picture import plot_entropies as plot_entropies
from bimix_jax.files import atomic_path
from bimix_jax.mixture.pictures import plot_path as plot_path
from bimix_jax.mixture.pictures import plot_sensitivity as plot_sensitivity
from bimix_jax.mixture.pictures import plot_tradeoff as plot_tradeoff
from bimix_jax.printable import picture_text, picture_texts
from bimix_jax.uncertainty.picture import plot_certainty as plot_certainty

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bimix_jax.fitted import Fit
    from bimix_jax.judging.comparison import Comparison
    from bimix_jax.mixture.optimum import Optimum
    from bimix_jax.scoring import Evaluation
    from bimix_jax.sweep import Sweep

COLORS = mpl.colormaps["viridis"]
RECOMMENDED, BESIDE, WORSE = "#1b6ca8", "#c9c9c9", "#c8553d"
SPLIT_TITLES = {
    "mixtures": "unseen mixtures",
    "budgets": "later budgets",
    "both": "later budgets of unseen mixtures",
}
RUNS_SHOWN = 6
BUDGETS_SHOWN = 4


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to `path` (png, pdf, svg by extension), whole or not at all.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if matplotlib does not know the extension.
    """
    check_picture(path)
    with atomic_path(path) as beside:
        figure.savefig(beside, dpi=150)


def check_picture(path: str | Path) -> None:
    """Raise ValueError unless the extension of `path` is that of a picture."""
    known = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in known:
        raise ValueError(
            f"{path} has no extension of a picture; expected .png, .pdf or .svg (or one of "
            f"{', '.join(sorted(known))})."
        )


def plot_curves(fitted: "Fit", sweep: "Sweep") -> Figure:
    """Fitted curves over the measured points: loss against budget, one panel a target.

    Up to six runs a panel, spread over the target's own proportion, which is their colour. Of
    several model sizes those of the fit's (`Fit.at_model_size`).

    Raises:
        ValueError: if the sweep has no runs of that size.
    """
    figure, panels = _panels(len(fitted.targets))
    sweep = _of_its_size(fitted, sweep)
    for axes, target in zip(panels, fitted.targets, strict=False):
        _curves_of(axes, fitted, sweep, target)
        _readable_log(axes)
    _label_outer(panels, f"budget ({picture_text(fitted.unit)})", "loss (nats)")
    _colorbar(figure, _proportion_norm(sweep), "own proportion")
    figure.suptitle(f"{picture_text(fitted.label)}: fitted curves over measured losses")
    return figure


def _of_its_size(fitted: "Fit", sweep: "Sweep") -> "Sweep":
    """The points of the model size that a fit predicts for."""
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
    norm = _proportion_norm(sweep)
    order = [sweep.domains.index(d) for d in fitted.domains]
    for run in _spread_runs(sweep, own, column):
        rows = np.flatnonzero((sweep.run == run) & np.isfinite(sweep.loss[:, column]))
        rows = rows[np.argsort(sweep.budget[rows])]
        color = COLORS(norm(own[rows[0]]))
        axes.plot(sweep.budget[rows], sweep.loss[rows, column], "o", ms=3.5, color=color)
        grid = np.geomspace(sweep.budget[rows[0]], sweep.budget[rows[-1]], 60)
        mixtures = np.repeat(sweep.mixture[rows[:1]][:, order], len(grid), axis=0)
        predicted = fitted.predict_points(mixtures, grid)[:, fitted.targets.index(target)]
        axes.plot(grid, predicted, "-", lw=1.2, color=color)
    axes.set_title(picture_text(target), fontsize=10)


def _spread_runs(sweep: "Sweep", own: np.ndarray, column: int) -> list[str]:
    """Runs with a measured loss, from the least to the largest own proportion above 0."""
    shown = (own > 0) & np.isfinite(sweep.loss[:, column])
    ordered = list(dict.fromkeys(sweep.run[i] for i in np.argsort(own, kind="stable") if shown[i]))
    picks = np.linspace(0, len(ordered) - 1, min(RUNS_SHOWN, len(ordered))).round().astype(int)
    return [ordered[i] for i in picks]


def plot_predicted(evaluation: "Evaluation") -> Figure:
    """Predicted against measured losses of runs the fit has not seen, one panel a target."""
    figure, panels = _panels(len(evaluation.targets), square=True)
    norm = _budget_norm(evaluation.budget)
    errors = evaluation.table()["mre"].to_dict()
    for i, (axes, target) in enumerate(zip(panels, evaluation.targets, strict=False)):
        measured, predicted = evaluation.measured[:, i], evaluation.predicted[:, i]
        usable = np.isfinite(measured)
        both = np.concatenate([measured[usable], predicted[usable]])
        ends = [both.min(), both.max()] if len(both) else [0, 1]
        axes.plot(ends, ends, "-", color="0.6", lw=1)
        colors = COLORS(norm(evaluation.budget[usable]))
        axes.scatter(measured[usable], predicted[usable], s=12, c=colors)
        axes.set_title(f"{picture_text(target)}  {100 * errors[target]:.2f} %", fontsize=10)
    _label_outer(panels, "measured loss (nats)", "predicted loss (nats)")
    _colorbar(figure, norm, "budget")
    figure.suptitle("Held-out points: predicted against measured, with mean relative error")
    return figure


def plot_proportions(fitted: "Fit", sweep: "Sweep") -> Figure:
    """Loss against the target's own proportion at up to four budgets, one panel a target.

    The curves move the own proportion and keep the others at their average ratio. Model sizes as
    in `plot_curves`.
    """
    figure, panels = _panels(len(fitted.targets))
    sweep = _of_its_size(fitted, sweep)
    norm = _budget_norm(sweep.budget)
    for axes, target in zip(panels, fitted.targets, strict=False):
        for budget in _spread_budgets(sweep):
            _proportion_curve(axes, fitted, sweep, target, budget, COLORS(norm(budget)))
        _readable_log(axes)
        axes.set_title(picture_text(target), fontsize=10)
    _label_outer(panels, "own proportion", "loss (nats)")
    _colorbar(figure, norm, f"budget ({picture_text(fitted.unit)})")
    figure.suptitle(f"{picture_text(fitted.label)}: loss against own proportion")
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
    axes.plot(own[at], sweep.loss[at, sweep.targets.index(target)], "o", ms=3.5, color=color)
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


def plot_mixture(optimum: "Optimum", reference_name: str = "reference") -> Figure:
    """The recommended mixture beside the reference, and what it does to every predicted loss."""
    figure = Figure(figsize=(9.5, 0.45 * len(optimum.mixture) + 2.0), layout="constrained")
    shares, losses = figure.subplots(1, 2)
    order = optimum.mixture.sort_values().index
    _bars(shares, optimum.mixture[order], optimum.reference[order], reference_name)
    _ranges(shares, optimum.observed.loc[order])
    _flat_ranges(shares, optimum, order)
    shares.set_xlabel("proportion (thin line: range in the sweep; thick: as good to .1 %)")
    shares.legend(frameon=False, loc="lower right", fontsize=9)
    targets = [t for t in order if t in optimum.losses.index]
    targets += [t for t in optimum.losses.index if t not in targets]
    change = (optimum.losses - optimum.reference_losses)[targets]
    _changes(losses, change)
    losses.set_xlabel(f"predicted loss minus that of {picture_text(reference_name)} (nats)")
    what = (
        "least budget" if optimum.objective_name == "budget" else f"{optimum.objective_name} loss"
    )
    figure.suptitle(
        f"Recommended at {_short(optimum.budget)} {picture_text(optimum.unit)}: {what} "
        f"{optimum.objective:.4f}, {picture_text(reference_name)} {optimum.reference_objective:.4f}"
    )
    if len(optimum.binding):
        held = [
            f"{picture_text(name)} ({row.gain:.2g})" for name, row in optimum.binding.iterrows()
        ]
        figure.supxlabel(
            "held by (what 1 % more room gains): " + "; ".join(held), fontsize=8, wrap=True
        )
    return figure


def _flat_ranges(axes: "Axes", optimum: "Optimum", order: "pd.Index") -> None:
    """How far each proportion can go, its interval where known, and the optimum when free."""
    position = np.arange(len(order)) + 0.2
    flat = optimum.flatness.loc[order]
    axes.hlines(position, flat["flat_low"], flat["flat_high"], color="#0d3b5e", lw=3.5, alpha=0.55)
    if optimum.intervals is not None:
        band = optimum.intervals.loc[order]
        axes.hlines(position, band["low"], band["high"], color="k", lw=1, label="interval")
    if len(optimum.binding):
        free = optimum.unconstrained[order]
        axes.plot(free, position, "D", ms=5, mfc="w", mec=WORSE, label="without constraints")


def plot_comparison(comparison: "Comparison") -> Figure:
    """Mean error of every law on what it has not seen, one panel a kind of split.

    The line at a dot is twice the standard error of the paired difference to the law that is
    trusted, which is blue; the band is the noise. Laws that are passed over, as the runs leave
    their coefficients open, are hollow.
    """
    kinds = list(dict.fromkeys(comparison.kinds))
    height = 0.5 * len(comparison.laws) + 1.9
    figure = Figure(figsize=(3.4 * len(kinds) + 1.6, height), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    any_open = False
    for axes, kind in zip(panels, kinds, strict=True):
        trusted = comparison.laws.index(comparison.best_of(kind))
        open_ones = comparison.passed_over(kind)
        any_open |= bool(open_ones.any())
        noise = 100 * comparison.noise.least()
        _error_dots(axes, comparison.table_of(kind), trusted, open_ones, noise)
        axes.set_title(SPLIT_TITLES.get(kind, kind), fontsize=10)
    breaks = "\n" if len(kinds) == 1 else " "
    hollow = f",{breaks}hollow: its runs leave it open" if any_open else ""
    figure.supxlabel(
        f"mean relative error, %{breaks}(line: ± 2 s.e. of the difference{breaks}to the trusted "
        f"law, blue{hollow})", size=9,
    )  # fmt: skip
    where = SPLIT_TITLES.get(comparison.decisive, comparison.decisive)
    figure.suptitle(f"{picture_text(comparison.best)} is the law to trust ({where})")
    return figure


def _error_dots(
    axes: "Axes", table: "pd.DataFrame", trusted: int, hollow: np.ndarray, noise: float
) -> None:
    position = np.arange(len(table))[::-1]
    error, spread = 100 * table["mre"].to_numpy(), 200 * table["se"].fillna(0.0).to_numpy()
    colors = [RECOMMENDED if i == trusted else "0.45" for i in range(len(table))]
    if np.isfinite(noise):
        axes.axvspan(0, noise, color="0.93", lw=0)
        axes.text(noise, len(table) - 0.45, " noise", fontsize=8, color="0.5", va="center")
    axes.hlines(position, error - spread, error + spread, color=colors, lw=1.6)
    faces = ["w" if open_ else color for open_, color in zip(hollow, colors, strict=True)]
    axes.scatter(error, position, s=42, c=faces, edgecolors=colors, zorder=3)
    for x, y, width in zip(error, position, spread, strict=True):
        axes.annotate(f"{x:.2f}", (x + width, y), (5, 0), textcoords="offset points", fontsize=8,
                      va="center")  # fmt: skip
    axes.set_yticks(position, picture_texts(table.index))
    axes.set_ylim(-0.6, len(table) - 0.2)
    axes.set_xlim(0, 1.2 * np.nanmax(error + spread))
    axes.spines[["top", "right"]].set_visible(False)


def _bars(axes: "Axes", values: "pd.Series", beside: "pd.Series", name: str) -> None:
    position = np.arange(len(values))
    axes.barh(position + 0.2, values, 0.38, color=RECOMMENDED, label="recommended")
    axes.barh(position - 0.2, beside, 0.38, color=BESIDE, label=picture_text(name))
    axes.set_yticks(position, picture_texts(values.index))
    axes.spines[["top", "right"]].set_visible(False)


def _ranges(axes: "Axes", observed: "pd.DataFrame") -> None:
    low, high = observed["min"].to_numpy(), observed["max"].to_numpy()
    axes.hlines(np.arange(len(low)) + 0.44, low, high, color="0.35", lw=1)


def _changes(axes: "Axes", change: "pd.Series") -> None:
    position = np.arange(len(change))
    colors = np.where(change <= 0, RECOMMENDED, WORSE)
    finite = np.isfinite(change)
    bars = axes.barh(position, change.where(finite, 0.0), 0.5, color=colors)
    labels = [f"{v:+.3f}" if f else "undefined" for v, f in zip(change, finite, strict=True)]
    axes.bar_label(bars, labels, padding=3, fontsize=8)
    axes.axvline(0, color="0.3", lw=0.8)
    axes.margins(x=0.18)
    axes.set_yticks(position, picture_texts(change.index))
    axes.spines[["top", "right", "left"]].set_visible(False)


def _own_proportion(fitted: "Fit", sweep: "Sweep", target: str) -> np.ndarray:
    """(points,) the target's own proportion; the largest one for a target that is no domain."""
    if target in fitted.domains:
        return sweep.mixture[:, sweep.domains.index(target)]
    return sweep.mixture.max(axis=1)


def _proportion_norm(sweep: "Sweep") -> LogNorm:
    positive = sweep.mixture[sweep.mixture > 0]
    return LogNorm(positive.min(), positive.max())


def _budget_norm(budget: np.ndarray) -> LogNorm:
    largest = budget.max()
    return LogNorm(min(budget.min(), 0.999 * largest), largest)


def _panels(count: int, square: bool = False) -> "tuple[Figure, list[Axes]]":
    columns = min(4, count)
    rows = math.ceil(count / columns)
    height = 2.9 if square else 2.5
    figure = Figure(figsize=(2.9 * columns + 1.0, height * rows + 0.7), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_visible(False)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    return figure, axes[:count]


def _label_outer(panels: "list[Axes]", x: str, y: str) -> None:
    for i, axes in enumerate(panels):
        if i % 4 == 0:
            axes.set_ylabel(y, fontsize=9)
        if i + 4 >= len(panels):
            axes.set_xlabel(x, fontsize=9)


def _readable_log(axes: "Axes") -> None:
    """Log scale with a few ticks written as 0.05, 200 k, 2 M."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _short(value: float, _: object = None) -> str:
    if value < 1:
        return f"{value:g}"
    return EngFormatter(sep="\N{THIN SPACE}")(float(f"{value:.3g}"))


def _colorbar(figure: Figure, norm: LogNorm, label: str) -> None:
    mappable = ScalarMappable(norm, COLORS)
    bar = figure.colorbar(mappable, ax=figure.axes, shrink=0.7, pad=0.01, aspect=30)
    bar.set_label(label, fontsize=9)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(_short))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.ax.tick_params(labelsize=8)
