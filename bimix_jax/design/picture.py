"""The picture of a proposal: the runs to do, and what they leave of the expected regret."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bimix_jax.mixture.pictures import BESIDE, MARKED, SHORT, domain_colors
from bimix_jax.printable import picture_text, picture_texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bimix_jax.design.propose import Proposal

LEGIBLE = 0.06
"""Shares from this on carry their number."""


def plot_proposal(proposal: "Proposal") -> Figure:
    """Proposed mixtures on the left, best first; the expected regret as they are run on the right.

    The dashed line is what runs drawn at random would leave.
    """
    height = max(3.4, 1.6 + 0.42 * len(proposal.mixtures))
    figure = Figure(figsize=(11.0, height), layout="constrained")
    shares, regret = figure.subplots(1, 2, width_ratios=(1.7, 1))
    _shares(shares, proposal)
    _regret(regret, proposal)
    budget = f"{SHORT(proposal.budget)} {picture_text(proposal.unit)}"
    figure.suptitle(
        f"Runs to do next, for the decision at {budget}",
        fontsize=11,
    )
    return figure


def _shares(axes: "Axes", proposal: "Proposal") -> None:
    position = np.arange(len(proposal.mixtures))
    begin = np.zeros(len(position))
    for domain, color in domain_colors(proposal.mixtures.columns).items():
        width = proposal.mixtures[domain].to_numpy()
        axes.barh(position, width, 0.72, left=begin, color=color, edgecolor="white", lw=0.6,
                  label=picture_text(domain))  # fmt: skip
        for y, (x, share) in enumerate(zip(begin, width, strict=True)):
            if share >= LEGIBLE:
                axes.text(float(x + share / 2), y, f"{share:.2f}", ha="center", va="center",
                          fontsize=8, color="white")  # fmt: skip
        begin = begin + width
    axes.set_yticks(position, picture_texts(proposal.mixtures.index))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("proportion")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=9)
    columns = min(7, len(proposal.mixtures.columns))
    axes.legend(frameon=False, fontsize=8, ncols=columns, loc="lower center",
                bbox_to_anchor=(0.5, 1.0), handlelength=1, columnspacing=1)  # fmt: skip


def _regret(axes: "Axes", proposal: "Proposal") -> None:
    now = 1000 * proposal.regret_now
    runs = np.arange(len(proposal.mixtures) + 1)
    axes.plot(runs, [now, *1000 * proposal.regret_random], "o--", color=BESIDE, ms=4,
              label="drawn at random")  # fmt: skip
    axes.plot(runs, [now, *1000 * proposal.regret_left], "o-", color=MARKED, ms=5, label="proposed")
    axes.set_ylim(0, 1.08 * now)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("further runs")
    axes.set_ylabel("expected regret (thousandths of a nat)")
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
