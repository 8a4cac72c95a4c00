"""Picture of a proposal: the runs to do, and the expected regret after them."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bimix_jax.plots._style import (
    FAINT,
    RECOMMENDED,
    SIZE,
    bare,
    handles_of,
    headed,
    legend_below,
    luminance,
    name_colors,
    names_on,
    width_of,
)
from bimix_jax.printable import picture_text
from bimix_jax.quantities import quantity_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bimix_jax.design.propose import Proposal

LEGIBLE = 0.06
"""Smallest share whose bar carries its number."""


def plot_proposal(proposal: "Proposal") -> Figure:
    """Draw proposed mixtures on the left, best first; the expected regret after each on the right.

    A run that repeats the mixture of a run above is labelled so. The dashed line is the regret
    after randomly drawn runs. Without a known regret only the mixtures are drawn.
    """
    rows = _rows(proposal)
    domains = len(proposal.mixtures.columns)
    height = max(3.4, 2.0 + 0.42 * len(rows)) + 0.05 * domains
    known = bool(np.isfinite(proposal.regret_now))
    figure = Figure(figsize=(6.9 + 4.1 * known + width_of(rows), height), layout="constrained")
    ratios = (1.7, 1) if known else (1,)
    panels = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    _shares(panels[0], proposal, rows)
    if known:
        _regret(panels[1], proposal)
    legend_below(figure, handles_of(panels[0]))
    at = f"{quantity_text(proposal.budget)} {picture_text(proposal.unit)}"
    headed(figure, f"Runs to do next, for a decision at {at}" if known else "Runs to do next")
    return figure


def _rows(proposal: "Proposal") -> list[str]:
    return [
        f"{run} (repeats {first})" if first != run else str(run)
        for run, first in proposal.first_of().items()
    ]


def _shares(axes: "Axes", proposal: "Proposal", rows: list[str]) -> None:
    position = np.arange(len(rows))
    begin = np.zeros(len(rows))
    colors = name_colors(proposal.mixtures.columns)
    for number, (domain, color) in enumerate(colors.items()):
        width = proposal.mixtures.iloc[:, number].to_numpy()
        axes.barh(
            position,
            width,
            0.72,
            left=begin,
            color=color,
            edgecolor="white",
            lw=0.6,
            label=picture_text(domain),
        )
        ink = "black" if luminance(color) > 0.6 else "white"
        for y, (x, share) in enumerate(zip(begin, width, strict=True)):
            if share >= LEGIBLE:
                axes.text(
                    float(x + share / 2),
                    y,
                    f"{share:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=ink,
                )
        begin = begin + width
    names_on(axes, rows)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("proportion", fontsize=SIZE)
    bare(axes, "left")


def _regret(axes: "Axes", proposal: "Proposal") -> None:
    now = 1000 * proposal.regret_now
    runs = np.arange(len(proposal.mixtures) + 1)
    axes.plot(
        runs,
        [now, *1000 * proposal.regret_random],
        "o--",
        color=FAINT,
        ms=4,
        label="runs drawn at random",
    )
    axes.plot(
        runs,
        [now, *1000 * proposal.regret_left],
        "o-",
        color=RECOMMENDED,
        ms=5,
        label="proposed runs",
    )
    axes.set_ylim(0, 1.25 * now)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("further runs", fontsize=SIZE)
    unit = "a nat" if proposal.regret_unit == "nats" else "a point"
    axes.set_ylabel(f"expected regret (thousandths of {unit})", fontsize=SIZE)
    axes.legend(frameon=False, fontsize=SIZE, loc="upper right")
    bare(axes)
