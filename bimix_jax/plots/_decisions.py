"""Pictures of the cost of a decision: along the budget, between groups, and per percentage
point."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from bimix_jax.plots._style import (
    FAINT,
    RECOMMENDED,
    SIZE,
    WORSE,
    bare,
    drawn_as_shapes,
    ends_of,
    handles_of,
    headed,
    height_of,
    label_ends,
    legend_below,
    log_axis,
    name_colors,
    width_of,
    wrapped,
)
from bimix_jax.printable import picture_text, picture_texts
from bimix_jax.quantities import quantity_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

    from bimix_jax.mixture.sensitivity import Sensitivity
    from bimix_jax.mixture.tradeoff import Tradeoff
    from bimix_jax.uncertainty.path import OptimalPath

ODDS = (0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98)
SLANTED = 10
"""Most columns with slanted names; more names stand upright."""
EQUAL = "every target counts the same (dot and dashed line)"
OUTSIDE = "outside the sweep's proportions (dotted and hatched)"
NAMED = 1.8
"""Width of a name in inches; longer ones take several lines."""
GROUP = 3
"""Most targets of a group that an axis lists."""


def plot_path(path: "OptimalPath") -> Figure:
    """Draw the best proportion of every domain against the budget.

    With resamples, bands hold the proportions of mixtures that cannot be told from the best one.
    Right of the line no run was measured.
    """
    domains = [str(name) for name in path.mixtures.columns]
    last = path.mixtures.iloc[-1].to_numpy()
    texts = [f"{picture_text(d)} {share:.3f}" for d, share in zip(domains, last, strict=True)]
    inches = max(4.0, height_of(len(domains)))
    figure = Figure(figsize=(6.8 + width_of(texts), inches + 1.2), layout="constrained")
    axes = figure.subplots()
    colors = name_colors(domains)
    _draw_path(axes, path, colors)
    ends = {d: (path.mixtures.index[-1], share) for d, share in zip(domains, last, strict=True)}
    label_ends(axes, ends, colors, inches, texts)
    axes.set_xlabel(f"budget ({picture_text(path.unit)})", fontsize=SIZE)
    axes.set_ylabel("proportion", fontsize=SIZE)
    bare(axes)
    bands = "" if path.low is None else f", and those not told from it at {100 * path.level:g} %"
    headed(figure, f"Best mixture along the budget{bands}")
    return figure


def _draw_path(axes: "Axes", path: "OptimalPath", colors: dict[str, str]) -> None:
    budgets = path.mixtures.index.to_numpy()
    for number, color in enumerate(colors.values()):
        axes.plot(budgets, path.mixtures.iloc[:, number], color=color, lw=1.8)
        if path.low is not None and path.high is not None:
            low, high = path.low.iloc[:, number], path.high.iloc[:, number]
            axes.fill_between(budgets, low, high, color=color, alpha=0.15, lw=0)
    log_axis(axes, budgets, 5.5)
    axes.set_xlim(budgets[0], budgets[-1])
    axes.set_ylim(bottom=0)
    if path.observed_budget < budgets[-1]:
        axes.axvspan(path.observed_budget, budgets[-1], color="0.95", lw=0, zorder=0)
        axes.annotate(
            "beyond the sweep",
            (budgets[-1], 1),
            (-4, 3),
            fontsize=8,
            color=FAINT,
            ha="right",
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
        )


def plot_tradeoff(tradeoff: "Tradeoff") -> Figure:
    """Draw the front between two groups on the left, the mixtures along it on the right."""
    domains = [str(name) for name in tradeoff.mixtures.columns]
    inches = max(4.0, height_of(len(domains)))
    figure = Figure(figsize=(10.4 + width_of(domains), inches + 1.6), layout="constrained")
    losses, shares = figure.subplots(1, 2, width_ratios=(1, 1.1))
    _front(losses, tradeoff)
    _mixtures_along(shares, tradeoff, domains, inches)
    outside = {OUTSIDE: Patch(facecolor="0.6", edgecolor="white", hatch="//", lw=0)}
    legend_below(figure, handles_of(losses) | (outside if _outside(tradeoff).any() else {}))
    at = f"{quantity_text(tradeoff.budget)} {picture_text(tradeoff.unit)}"
    headed(figure, f"Best mixtures between two groups of targets, at {at}")
    return figure


def _front(axes: "Axes", tradeoff: "Tradeoff") -> None:
    front = tradeoff.front
    equal = front[front.index == tradeoff.even].iloc[0]
    off = _outside(tradeoff)
    axes.plot(front["first"], front["second"], ":", color=RECOMMENDED, lw=2, zorder=2)
    axes.plot(
        front["first"].mask(off),
        front["second"].mask(off),
        "-",
        color=RECOMMENDED,
        lw=2,
        zorder=2,
        label="best mixtures",
    )
    beside = f"{tradeoff.reference.name} mixture"
    marks = {EQUAL: equal, beside: tradeoff.reference}
    for (label, at), color in zip(marks.items(), (WORSE, FAINT), strict=True):
        axes.plot(at["first"], at["second"], "o", color=color, ms=8, label=label, zorder=3)
    prices = tradeoff.table()["price"].to_numpy()
    for row in (len(front) // 4, -1 - len(front) // 4):
        at = front.iloc[row]
        axes.plot(at["first"], at["second"], "o", color=RECOMMENDED, ms=4)
        axes.annotate(
            f"1 {tradeoff.units[0].removesuffix('s')} gained costs {prices[row]:.2g}",
            tuple(at),
            (7, 5),
            fontsize=8,
            color=FAINT,
            textcoords="offset points",
        )
    axes.set_xlabel(_mean_of(tradeoff.first, tradeoff.units[0]), fontsize=SIZE)
    axes.set_ylabel(_mean_of(tradeoff.second, tradeoff.units[1]), fontsize=SIZE)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(0.1)
    bare(axes)


def _outside(tradeoff: "Tradeoff") -> np.ndarray:
    """(points,) bool: a proportion leaves the range of the sweep."""
    mixtures, seen = tradeoff.mixtures.to_numpy(), tradeoff.measured.loc[tradeoff.mixtures.columns]
    off = (mixtures < seen["min"].to_numpy() - 1e-9) | (mixtures > seen["max"].to_numpy() + 1e-9)
    return np.asarray(off.any(axis=1))


def _mean_of(targets: tuple[str, ...], unit: str) -> str:
    what = "loss" if unit == "nats" else "score"
    return wrapped(f"mean {what} of {_named(targets)} ({unit})", 3.6)


def _named(targets: tuple[str, ...]) -> str:
    shown = ", ".join(picture_texts(targets[:GROUP]))
    return shown if len(targets) <= GROUP else f"{shown} and {len(targets) - GROUP} more"


def _mixtures_along(axes: "Axes", tradeoff: "Tradeoff", domains: list[str], inches: float) -> None:
    weight = tradeoff.mixtures.index.to_numpy()
    odds = np.log(weight / (1 - weight))
    colors = name_colors(domains)
    axes.stackplot(
        odds,
        tradeoff.mixtures.to_numpy().T,
        colors=list(colors.values()),
        lw=0.4,
        edgecolor="white",
    )
    axes.axvline(np.log(tradeoff.even / (1 - tradeoff.even)), color=WORSE, lw=1.4, ls="--")
    axes.fill_between(
        odds,
        0,
        1,
        where=_outside(tradeoff),
        facecolor="none",
        edgecolor="white",
        hatch="//",
        lw=0,
        step="mid",
    )
    ticks = [w for w in ODDS if weight[0] * 0.999 <= w <= weight[-1] * 1.001]
    axes.xaxis.set_major_locator(FixedLocator([np.log(w / (1 - w)) for w in ticks]))
    axes.set_xticklabels([f"{w:g}" for w in ticks])
    axes.set_xlim(odds[0], odds[-1])
    axes.set_ylim(0, 1)
    bounds = np.cumsum([0.0, *tradeoff.mixtures.iloc[-1]])
    middles = (bounds[1:] + bounds[:-1]) / 2
    ends = {d: (odds[-1], middle) for d, middle in zip(domains, middles, strict=True)}
    label_ends(axes, ends, colors, inches)
    axes.set_xlabel(wrapped(f"weight of {_named(tradeoff.second)}", 4.8), fontsize=SIZE)
    axes.set_ylabel("proportion", fontsize=SIZE)
    bare(axes)


def plot_sensitivity(sensitivity: "Sensitivity") -> Figure:
    """Draw the effect of one more point of each domain (rows) on every loss, in nats, and score
    (columns); what is worse is red."""
    table = sensitivity.table()
    values = table.to_numpy()
    # Red is a loss that grows, and a score that falls.
    signs = -np.array(sensitivity.better)
    rows = [
        wrapped(f"{picture_text(d)}  {share:.3f}", NAMED)
        for d, share in sensitivity.mixture.items()
    ]
    columns = [wrapped(text, NAMED) for text in picture_texts(table.columns)]
    slanted = len(columns) <= SLANTED
    long, high = (width_of("\n".join(names).split("\n")) for names in (rows, columns))
    wide = long + 1.2 + 0.6 * len(columns) + slanted * high
    tall = high + 2.0 + 0.34 * len(rows)
    figure = Figure(figsize=(max(wide, 5.0), tall), layout="constrained")
    axes = figure.subplots()
    norm = _signed_norm(values)
    # A mesh, not an image, whose colours a page could not adapt to its theme.
    image = axes.pcolormesh(values * signs, cmap="RdBu_r", norm=norm)
    axes.invert_yaxis()
    for (row, column), value in np.ndenumerate(values):
        dark = np.isfinite(value) and abs(norm(value) - 0.5) > 0.32
        axes.text(
            column + 0.5,
            row + 0.5,
            _points_text(value),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "0.15",
        )
    _name_both(axes, rows, columns, slanted)
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.8, pad=0.02, aspect=40)
    some = bool((signs < 0).any())
    _signed_bar(bar, "change for the worse" if some else "change of the loss, nats")
    headed(
        figure,
        f"Change of each {'target' if some else 'loss'} (column) by one more percentage point of a "
        "domain (row)",
        "Beside each domain: its proportion.",
    )
    return figure


def _name_both(axes: "Axes", rows: list[str], columns: list[str], slanted: bool) -> None:
    """Label rows at the left, columns at the top."""
    turned = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"}
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=SIZE)
    axes.set_xticks(
        np.arange(len(columns)) + 0.5,
        columns,
        fontsize=SIZE,
        **turned if slanted else {"rotation": 90},
    )
    axes.xaxis.tick_top()
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _signed_bar(bar: "Colorbar", what: str) -> None:
    largest = ends_of(bar.norm)[1]
    drawn_as_shapes(bar)
    ticks = [-largest, -largest / 10, 0.0, largest / 10, largest]
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.set_ticks(ticks, labels=[f"{tick:+.2g}" if tick else "0" for tick in ticks])
    bar.set_label(f"{what} (compressed scale of colours)", fontsize=SIZE)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def _signed_norm(values: np.ndarray) -> AsinhNorm:
    """Return a scale from the largest fall to an equal rise, on which small changes show, too."""
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
    return AsinhNorm(largest / 20, vmin=-largest, vmax=largest)


def _points_text(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:+.2g}" if abs(value) >= 5e-5 else "0"
