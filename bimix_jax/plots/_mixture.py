"""Pictures of a recommended mixture: beside a reference, and with its uncertainty."""

import itertools
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bimix_jax.plots._style import (
    BESIDE,
    FAINT,
    INK,
    RECOMMENDED,
    SIZE,
    WORSE,
    bare,
    handles_of,
    headed,
    legend_below,
    names_on,
    whiskers,
    width_of,
)
from bimix_jax.printable import picture_text
from bimix_jax.quantities import quantity_text
from bimix_jax.reading.targets import value_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bimix_jax.mixture.optimum import Optimum
    from bimix_jax.uncertainty.certainty import BetweenLaws, Certainty

GAINS = 2000
"""Number of gains of the distribution that is drawn."""
BINS = 41
MARKS = "Dosv^"
"""Marks of further laws."""


def plot_mixture(optimum: "Optimum", reference_name: str = "reference") -> Figure:
    """Draw the recommended mixture beside the reference, and the changes of all predicted
    losses."""
    order = optimum.mixture.sort_values().index
    targets = [t for t in order if t in optimum.losses.index]
    targets += [t for t in optimum.losses.index if t not in targets]
    names = width_of([str(name) for name in (*order, *targets)])
    rows = max(len(order), len(targets))
    figure = Figure(figsize=(9.5 + 2 * names, 0.4 * rows + 2.3), layout="constrained")
    shares, losses = figure.subplots(1, 2, width_ratios=(1.2, 1))
    name = picture_text(reference_name)
    _shares(shares, optimum, order, name)
    change = optimum.losses - optimum.reference_losses
    _changes(losses, change[targets], optimum.improvements[targets] >= 0)
    what = value_text(optimum.decision.fitted.described)
    losses.set_xlabel(f"predicted {what} minus that of {name}")
    legend_below(figure, handles_of(shares))
    headed(figure, _achieved(optimum, name), *_held(optimum))
    return figure


def _achieved(optimum: "Optimum", reference: str) -> str:
    at = f"{quantity_text(optimum.budget)} {picture_text(optimum.unit)}"
    if optimum.objective_name == "budget":
        least = quantity_text(optimum.reference_objective)
        return f"Recommended mixture: the goals are reached at {at}, with {reference} at {least}"
    return (
        f"Recommended mixture at {at}: predicted {optimum.objective_text} "
        f"{optimum.objective:.4f}, {reference} {optimum.reference_objective:.4f}"
    )


def _held(optimum: "Optimum") -> tuple[str, ...]:
    if not len(optimum.binding):
        return ()
    held = [f"{picture_text(name)} ({gain:.2g})" for name, gain in optimum.binding["gain"].items()]
    return ("Held by (gain if relaxed by 1 %): " + "; ".join(held),)


def _shares(axes: "Axes", optimum: "Optimum", order: "pd.Index", reference: str) -> None:
    """Draw both mixtures as bars, with ranges above: in the sweep, equally good, the interval."""
    position = np.arange(len(order))
    seen, flat = optimum.observed.loc[order], optimum.flatness.loc[order]
    axes.barh(position + 0.17, optimum.mixture[order], 0.32, color=RECOMMENDED, label="recommended")
    axes.barh(position - 0.17, optimum.reference[order], 0.32, color=BESIDE, label=reference)
    whiskers(axes, position + 0.17, flat["flat_low"], flat["flat_high"], "as good within 0.1 %")
    axes.hlines(
        position + 0.41, seen["min"], seen["max"], color=FAINT, lw=1, label="range in the sweep"
    )
    if optimum.intervals is not None:
        band = optimum.intervals.loc[order]
        axes.hlines(position + 0.17, band["low"], band["high"], color="k", lw=1, label="interval")
    if len(optimum.binding):
        free = optimum.unconstrained[order]
        axes.plot(free, position + 0.17, "D", ms=5, mfc="w", mec=WORSE, label="without constraints")
    names_on(axes, order)
    axes.set_xlim(left=0)
    axes.set_xlabel("proportion", fontsize=SIZE)
    bare(axes)


def _changes(axes: "Axes", change: "pd.Series", better: "pd.Series") -> None:
    position = np.arange(len(change))
    colors = np.where(better, RECOMMENDED, WORSE)
    finite = np.isfinite(change)
    bars = axes.barh(position, change.where(finite, 0.0), 0.5, color=colors)
    labels = [f"{v:+.3f}" if f else "undefined" for v, f in zip(change, finite, strict=True)]
    axes.bar_label(bars, labels, padding=3, fontsize=8)
    axes.axvline(0, color=INK, lw=0.8)
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    names_on(axes, change.index)
    bare(axes, "left")


def plot_certainty(
    sure: "Certainty", reference: str = "reference", others: "BetweenLaws | None" = None
) -> Figure:
    """Draw the recommended mixture with intervals, and the distribution of the gain over the
    reference.

    Args:
        sure: from `certainty`.
        reference: how the reference is called.
        others: from `between_laws`, the optima of further laws.
    """
    order, name = sure.optimum.mixture.sort_values().index, picture_text(reference)
    size = (10.0 + width_of(map(str, order)), max(0.36 * len(order) + 2.3, 3.8))
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
    _intervals(left, sure, order, name)
    if others is not None:
        _other_laws(left, others, order)
    _gain(right, sure)
    right.set_xlabel(f"gain in mean loss over {name}, %", fontsize=SIZE)
    legend_below(figure, handles_of(left))
    law, best = picture_text(sure.bootstrap.fitted.label), sure.optimum
    at = f"{quantity_text(best.budget)} {picture_text(best.unit)}"
    headed(figure, f"{law}: the recommended mixture at {at}, and its uncertainty")
    return figure


def _intervals(axes: "Axes", sure: "Certainty", order: "pd.Index", reference: str) -> None:
    mixture, beside = sure.optimum.mixture[order], sure.optimum.reference[order]
    ends, position = sure.ends.loc[order], np.arange(len(order))
    axes.barh(position, mixture, 0.62, color=RECOMMENDED, alpha=0.85, label="recommended")
    axes.plot(beside, position, "|", ms=14, mew=2.2, color="0.55", label=reference)
    label, seen = f"{100 * sure.level:g} % interval", sure.optimum.observed.loc[order]
    axes.hlines(
        position + 0.41, seen["min"], seen["max"], color=FAINT, lw=1, label="range in the sweep"
    )
    whiskers(axes, position, ends["low"], ends["high"], label)
    names_on(axes, order)
    largest = [ends["high"].max(), mixture.max(), beside.max(), seen["max"].max()]
    axes.set_xlim(0, 1.06 * float(np.nanmax(largest)))
    axes.set_xlabel("proportion", fontsize=SIZE)
    bare(axes)


def _other_laws(axes: "Axes", others: "BetweenLaws", order: "pd.Index") -> None:
    """Draw the optima of the laws after the first."""
    laws = list(others.mixtures.columns.drop(["least", "largest"]))[1:]
    position = np.arange(len(order))
    for law, mark in zip(laws, itertools.cycle(MARKS)):
        shares = others.mixtures.loc[order, law]
        axes.plot(shares, position, mark, ms=6, mfc="w", mec=WORSE, label=f"by {picture_text(law)}")


def _gain(axes: "Axes", sure: "Certainty") -> None:
    low, high = 100 * np.array(sure.gain_interval())
    values = 100 * sure.plausible_gains(GAINS)
    # The tails must not squeeze the rest into one bar.
    inside = np.quantile(values, [0.005, 0.995])
    edges = np.linspace(min(inside[0], 0.0), max(inside[1], 0.0), BINS)
    counts, edges = np.histogram(values, edges)
    middle = (edges[:-1] + edges[1:]) / 2
    colors = np.where(middle > 0, RECOMMENDED, WORSE)
    axes.bar(middle, counts, np.diff(edges), color=colors, alpha=0.85)
    axes.axvline(0, color=INK, lw=1)
    top = 1.12 * max(counts.max(), 1)
    if np.isfinite(low):
        whiskers(axes, top, low, high)
    axes.plot(100 * sure.gain, top, "o", ms=5, color=INK)
    axes.set_ylim(0, 1.1 * top)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_title(_caption(sure, low, high), fontsize=SIZE)
    bare(axes, "left")


def _caption(sure: "Certainty", low: float, high: float) -> str:
    if not np.isfinite(low):
        return "too few mixtures for an interval"
    return (
        f"{100 * sure.gain:.2f} % ({low:.2f} to {high:.2f}), better with probability "
        f"{sure.shown_probability()}"
    )
