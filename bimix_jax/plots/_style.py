"""The style of all pictures: colours, separated labels, scales, captions, files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, hsv_to_rgb, to_hex, to_rgb
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from bimix_jax.files import atomic_path
from bimix_jax.printable import picture_texts
from bimix_jax.quantities import quantity_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

GRADED = mpl.colormaps["viridis"]
"""Colours of ordered values: proportions, budgets."""
RECOMMENDED, BESIDE, WORSE, INK, FAINT = "#1b6ca8", "#c9c9c9", "#c8553d", "0.25", "0.45"
FEW = tuple(to_hex(color) for color in mpl.colormaps["tab10"].colors)  # type: ignore[attr-defined]
"""Colours of up to ten names; more names are spread around the circle of hues."""
SHADES = ((0.85, 0.70), (0.50, 0.85), (1.00, 0.40))
"""Saturation and value of the colours of many names, for each round of the circle of hues."""
READABLE = 0.45
"""Luminance of the lightest readable text on white."""
SIZE = 9
"""Points of labels; titles have 11 points, texts in panels 8."""
LETTER = 0.0085
"""Average width of a letter in inches, per point of its size."""
LINE = 0.0185
"""Distance of lines of text in inches, per point."""


def name_colors(names: Iterable[object]) -> dict[str, str]:
    """Return a colour for each name, all different, the same in every picture of these names."""
    labels = [str(name) for name in names]
    if len(labels) <= len(FEW):
        return dict(zip(labels, FEW, strict=False))
    around = math.ceil(len(labels) / len(SHADES))
    colors = {}
    for i, label in enumerate(labels):
        turn, step = divmod(i, around)
        hue = (step + turn / len(SHADES)) / around
        colors[label] = to_hex(tuple(hsv_to_rgb((hue, *SHADES[turn]))))
    return colors


def luminance(color: str) -> float:
    """Return the luminance of a colour, from 0 to 1."""
    # Weights of red, green and blue in the luma of ITU-R BT.601.
    return float(np.dot(to_rgb(color), (0.3, 0.59, 0.11)))


def readable(color: str) -> str:
    """Return the colour, darkened until it is readable as text on white."""
    darker = min(1.0, READABLE / max(luminance(color), 1e-9))
    red, green, blue = to_rgb(color)
    return to_hex((red * darker, green * darker, blue * darker))


def width_of(texts: Iterable[str], size: float = SIZE) -> float:
    """Return the approximate width of the longest text in inches."""
    return LETTER * size * max((len(text) for text in texts), default=0)


def height_of(lines: int, size: float = SIZE) -> float:
    """Return the height of lines of text in inches."""
    return LINE * size * lines


def wrapped(text: str, inches: float, size: float = SIZE) -> str:
    """Wrap a text to an approximate width."""
    return fill(text, max(20, int(inches / (LETTER * size))))


def headed(figure: Figure, *sentences: str) -> None:
    """Set a figure's title, each sentence in as many lines as it needs."""
    inches = figure.get_figwidth() - 0.4
    figure.suptitle("\n".join(wrapped(each, inches, 11) for each in sentences), fontsize=11)


def bare(axes: "Axes", *sides: str) -> None:
    """Remove the frame at the top, at the right, and at further sides."""
    axes.spines[["top", "right", *sides]].set_visible(False)
    axes.tick_params(labelsize=SIZE)


def legend_below(figure: Figure, handles: "Mapping[str, Artist]") -> None:
    """Draw a legend below the whole figure, where it covers nothing, in as many columns as fit."""
    room = (figure.get_figwidth() - 0.4) / (width_of(handles) + 0.5)
    figure.legend(
        handles.values(),
        handles.keys(),
        frameon=False,
        fontsize=SIZE,
        handlelength=1.4,
        ncols=max(1, min(len(handles), int(room))),
        loc="outside lower center",
        columnspacing=1.2,
    )


def handles_of(axes: "Axes") -> "dict[str, Artist]":
    """Return the labelled marks of some axes, by label."""
    handles, labels = axes.get_legend_handles_labels()
    # Bars come first, because the other marks refer to them.
    named = sorted(zip(labels, handles, strict=True), key=lambda p: not isinstance(p[1], Container))
    return dict(named)


def names_on(axes: "Axes", names: "Sequence[object] | pd.Index", size: float = SIZE) -> None:
    """Label the rows of horizontal bars."""
    axes.set_yticks(range(len(names)), picture_texts(names), fontsize=size)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.tick_params(axis="y", length=0)


def whiskers(axes: "Axes", at: ArrayLike, low: ArrayLike, high: ArrayLike, label: str = "") -> None:
    """Draw ranges as horizontal lines with a mark at either end."""
    axes.hlines(at, low, high, color=INK, lw=1.8, label=label or "_", zorder=3)
    for end in (low, high):
        axes.plot(end, at, "|", ms=7, mew=1.6, color=INK, zorder=3)


def label_ends(
    axes: "Axes",
    ends: dict[str, tuple[float, float]],
    colors: dict[str, str],
    inches: float,
    texts: Sequence[str] | None = None,
) -> None:
    """Write each name right of the axes at the height of its end, apart from its neighbours.

    A thin line joins a label to its end, because labels may be moved.

    Args:
        axes: whose limits are final.
        ends: by name, in data.
        colors: by name.
        inches: height of the axes, about.
        texts: texts in place of the names, in their order.
    """
    shown = dict(zip(ends, texts or picture_texts(ends), strict=True))
    names = sorted(ends, key=lambda name: ends[name][1])
    bottom, top = axes.get_ylim()
    at = (np.array([ends[name][1] for name in names]) - bottom) / (top - bottom)
    for name, place in zip(names, spread_out(at, height_of(1) / inches, (0.0, 1.0)), strict=True):
        line = {"arrowstyle": "-", "color": colors[name], "lw": 0.8, "relpos": (0.0, 0.5)}
        axes.annotate(
            shown[name],
            ends[name],
            (1.04, place),
            fontsize=SIZE,
            color=readable(colors[name]),
            va="center",
            textcoords="axes fraction",
            annotation_clip=False,
            arrowprops=line | {"shrinkA": 1.0, "shrinkB": 0.0},
        )


def spread_out(
    values: np.ndarray, least: float, ends: tuple[float, float] = (-math.inf, math.inf)
) -> list[float]:
    """Move ascending values apart by simple small steps, so that neighbours differ by `least`.

    >>> spread_out(np.array([1.0, 1.0, 5.0]), 1.0), spread_out(np.array([0.0, 0.0]), 1.0, (0, 9))
    ([0.5, 1.5, 5.0], [0.0, 1.0])
    """
    groups: list[tuple[float, int]] = []
    for value in values:
        groups.append((float(value), 1))
        while len(groups) > 1:
            (low, n), (high, k) = groups[-2:]
            if high - low >= least * (n + k) / 2:
                break
            groups[-2:] = [((low * n + high * k) / (n + k), n + k)]
    moved = [mid + least * (i - (n - 1) / 2) for mid, n in groups for i in range(n)]
    above = np.arange(len(moved)) * least
    moved = list(np.maximum(moved, ends[0] + above))
    return [float(x) for x in np.minimum(moved, ends[1] - above[::-1])]


FINE = (1, 1.5, 2, 3, 4, 5, 6, 8)
"""Steps of the ticks of a range of less than about a decade."""


def log_ticks(low: float, high: float, inches: float, upright: bool = False) -> list[float]:
    """Return round ticks of a logarithmic scale, as many as have room for their labels.

    >>> [quantity_text(tick) for tick in log_ticks(1e9, 3.2e10, 3.0)]
    ['1B', '2B', '5B', '10B', '20B']
    >>> [quantity_text(tick) for tick in log_ticks(1e9, 3.2e10, 1.0)]
    ['1B', '10B']
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inch = math.log10(high / low) / inches if high > low else 1.0
    for steps in (FINE, (1, 2, 5), (1, 3), (1,), (1,)):
        ticks = [
            float(f"{step}e{decade}")
            for decade in decades
            for step in steps
            if low * 0.999 <= float(f"{step}e{decade}") <= high * 1.001
        ]
        label = width_of(map(quantity_text, ticks), 8)
        need = inch * (1.6 * height_of(1, 8) if upright else label + 0.12)
        if len(ticks) < 2:
            return [low, high] if math.log10(high / low) > need else [high]
        if np.diff(np.log10(ticks)).min() >= need:
            return ticks
    return ticks[:: math.ceil(need)]


def log_axis(axes: "Axes", values: np.ndarray, inches: float) -> None:
    """Make the horizontal axis logarithmic, with few round ticks, written as 0.05, 200K, 2M."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(values.min(), values.max(), inches)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity_text(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def log_norm(values: np.ndarray) -> LogNorm:
    """Return the scale of colours for the positive values; a single one is in its middle."""
    positive = values[values > 0]
    least, largest = float(positive.min()), float(positive.max())
    return LogNorm(least, largest) if least < largest else LogNorm(0.1 * largest, 10 * largest)


def ends_of(norm: Normalize) -> tuple[float, float]:
    """Return the least and the largest value of a scale of colours."""
    return float(norm.vmin or 0.0), float(norm.vmax or 0.0)


def log_bar(figure: Figure, norm: LogNorm, label: str, values: np.ndarray) -> None:
    """Draw the bar of a scale of colours, beside all axes, unless all values are equal."""
    if np.ptp(values[values > 0]) == 0:
        return
    inches = min(4.0, 0.7 * figure.get_figheight())
    bar = figure.colorbar(
        ScalarMappable(norm, GRADED),
        ax=figure.axes,
        shrink=inches / figure.get_figheight(),
        pad=0.01,
        aspect=24,
    )
    bar.set_label(label, fontsize=SIZE)
    drawn_as_shapes(bar)
    bar.ax.yaxis.set_major_locator(FixedLocator(log_ticks(*ends_of(norm), inches, True)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity_text(value)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=8)


def drawn_as_shapes(bar: "Colorbar") -> None:
    """Keep a bar of colours free of images, so that its colours are those of the marks."""
    if bar.solids is not None:
        bar.solids.set_rasterized(False)
        # Without edges of their own colour thin lines show between the steps.
        bar.solids.set_edgecolor("face")


def panels_of(
    titles: Sequence[str], x: str, y: str, tall: float = 2.5
) -> "tuple[Figure, list[Axes]]":
    """Return a figure with a small panel under each title, up to four in a row.

    Args:
        titles: one per panel.
        x: label of the lowest panels.
        y: label of the panels at the left.
        tall: height of a panel in inches.
    """
    columns, size = min(4, len(titles)), 10
    rows, wide = math.ceil(len(titles) / columns), 2.9
    figsize = (wide * columns + 1.2, tall * rows + 0.7)
    figure = Figure(figsize=figsize, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for i, axes in enumerate(panels):
        axes.set_visible(i < len(titles))
        bare(axes)
        axes.tick_params(labelsize=8)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        # A stated place spares matplotlib a search for one, among all texts of all panels.
        if i % columns == 0:
            axes.set_ylabel(y, fontsize=SIZE)
        else:
            axes.yaxis.set_label_coords(0, 0.5)
        if i + columns >= len(titles):
            axes.set_xlabel(x, fontsize=SIZE)
        else:
            axes.xaxis.set_label_coords(0.5, 0)
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(wrapped(title, wide - 0.5, size), fontsize=size, y=1.0)
    return figure, panels[: len(titles)]


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
