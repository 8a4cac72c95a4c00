"""The proof as a picture: what every choice came to at both budgets, and what was predicted."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.proof.choices import Choices
from benchmarks.proof.judged import REFERENCE, losses_at, mean_curves, standard_error
from bimix_jax.quantities import quantity_text

LAW, OTHER, PREDICTED = "#1b6ca8", "#5a5a5a", "#c8553d"
WIDE = 2.5
"""Losses farther from the median than this many times the best one is are drawn at the edge."""
LINE = 30
"""Letters of a line of a label."""
HARD = "\N{NO-BREAK SPACE}"


def plot_proof(losses: pd.DataFrame, choices: Choices) -> Figure:
    """One row a trained mixture, best first at the larger budget; a panel a budget.

    A dot is the mean over seeds with its standard error, light dots are the seeds, diamonds what
    laws predicted of their own optimum; the dashed line is the uniform mixture. What is far off
    stands at the edge.
    """
    curves = mean_curves(losses)
    panels = {name: losses_at(curves, at) for name, at in choices.budgets().items()}
    order, texts = _order(panels, choices), labels(choices)
    places = _heights([texts[name] for name in order])
    rows = {name: places[texts[name]] for name in order}
    colors = {c.name: LAW if c.predicted else OTHER for c in choices.trained()}
    size = 3.5 + 4 * len(panels), 2.2 + 0.42 * max(places.values())
    figure = Figure(figsize=size, layout="constrained")
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, found) in zip(columns, panels.items(), strict=True):
        _panel(axes, rows, found.reindex(order), _predictions(choices, name), colors)
        at = choices.budgets()[name]
        axes.set_title(f"after {quantity_text(at)} tokens{_times(name)}", fontsize=12, loc="left")
    axes.set_yticks(list(places.values()), list(places), fontsize=10)
    axes.set_ylim(max(places.values()) + 0.6, min(places.values()) - 0.6)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center",
                  ncols=2 * len(panels), fontsize=10, frameon=False)  # fmt: skip
    return figure


def _order(panels: dict[str, pd.DataFrame], choices: Choices) -> list[str]:
    """Mixtures by their mean loss at the last budget; those not there yet follow."""
    means = [found.mean(axis=1).sort_values() for found in reversed(panels.values())]
    measured = [str(name) for mean in means for name in mean.index]
    return list(dict.fromkeys(measured + [choice.name for choice in choices.trained()]))


def _times(name: str) -> str:
    multiple = name.removesuffix("x")
    return ", the sweep's length" if multiple == "1" else f", {multiple} times its length"


def labels(choices: Choices) -> dict[str, str]:
    """Name of a trained mixture → names of all choices that it stands for, in lines."""
    found = dict[str, dict[str, list[str]]]()
    for choice in choices.choices:
        law, _, times = choice.name.rpartition("-")
        name = law if choice.predicted else choice.name
        budgets = found.setdefault(choice.trained_as, {}).setdefault(name, [])
        budgets += [times.replace("x", "×")] if choice.predicted else []
    names = {of: [" ".join([n, *budgets]) for n, budgets in each.items()]
             for of, each in found.items()}  # fmt: skip
    # Spaces within a name must not end a line.
    return {
        of: fill(", ".join(name.replace(" ", HARD) for name in each), LINE).replace(HARD, " ")
        for of, each in names.items()
    }


def _heights(texts: list[str]) -> dict[str, float]:
    """Label → its place from the top, so far from its neighbours as its lines need."""
    lines = np.array([max(text.count("\n") + 1, 2) / 2 for text in texts])
    return dict(zip(texts, np.cumsum(lines) - lines / 2, strict=True))


def _predictions(choices: Choices, budget: str) -> list[tuple[str, float]]:
    """Trained mixture and predicted mean loss, for every optimum of a law."""
    position = list(choices.budgets()).index(budget)
    return [(c.trained_as, c.predicted[position]) for c in choices.choices if c.predicted]


def _panel(
    axes: Axes, rows: dict[str, float], found: pd.DataFrame, predicted: list[tuple[str, float]],
    colors: dict[str, str],
) -> None:  # fmt: skip
    if not found.notna().any(axis=None):
        axes.annotate("nothing measured yet", (0.5, 0.5), xycoords="axes fraction", ha="center")
    shown = [(rows[name], value) for name, value in predicted if name in rows]
    low, high = _limits(found, np.array([value for _, value in shown]))
    axes.set_xlim(low, high)
    if REFERENCE in found.index:
        axes.axvline(found.loc[REFERENCE].mean(), color="0.6", ls="--", lw=1, zorder=0,
                     label="uniform mixture")  # fmt: skip
    for name, row in rows.items():
        _measured(axes, row, found.loc[name].dropna(), colors[name])
    if shown:
        _predicted(axes, *np.array(shown).T)
    axes.plot([], [], "o", color=LAW, ms=8, label="measured: a law's optimum")
    axes.plot([], [], "o", color=OTHER, ms=8, label="measured: another choice")
    axes.grid(axis="y", color="0.93")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("mean loss over targets (nats per token)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _limits(found: pd.DataFrame, predicted: np.ndarray) -> tuple[float, float]:
    """Least and largest loss shown: near the best and the usual, however bad the worst is.

    The uniform mixture, which everything is held against, is always shown.
    """
    means = found.mean(axis=1).dropna()
    if not len(means):
        return 0.0, 1.0
    best, usual = means.min(), means.median()
    reach = WIDE * max(usual - best, 1e-2)
    every = np.concatenate([means, found.to_numpy().ravel(), predicted])
    near = every[(every > best - reach) & (every < usual + reach)]
    near = np.append(near, means[means.index == REFERENCE])
    margin = 0.04 * (near.max() - near.min()) + 1e-3
    return float(near.min() - margin), float(near.max() + margin)


def _measured(axes: Axes, row: float, seeds: pd.Series, color: str) -> None:
    """The mean with its standard error over its seeds; at the edge, with its value, if beyond."""
    if not len(seeds):
        return
    high = axes.get_xlim()[1]
    mean = seeds.mean()
    if mean > high:
        axes.plot(high, row, ">", color=color, ms=8, clip_on=False)
        axes.annotate(f"{mean:.3f}", (high, row), (-8, 0), textcoords="offset points",
                      ha="right", va="center", fontsize=9, color=color)  # fmt: skip
        return
    axes.plot(seeds, np.full(len(seeds), row), "o", color=color, ms=4, alpha=0.35, mew=0)
    error = standard_error(seeds)
    axes.errorbar(mean, row, xerr=error if np.isfinite(error) else None, fmt="o", color=color,
                  ms=8, capsize=4, elinewidth=1.8)  # fmt: skip


def _predicted(axes: Axes, rows: np.ndarray, values: np.ndarray) -> None:
    """Diamonds; triangles at the edge for what is beyond."""
    low, high = axes.get_xlim()
    inside = (values >= low) & (values <= high)
    axes.plot(values[inside], rows[inside], "D", color=PREDICTED, mfc="none", ms=7, mew=1.5,
              label="predicted by the law (triangle: beyond)", zorder=4, clip_on=False)  # fmt: skip
    for beyond, edge, mark in ((values < low, low, "<"), (values > high, high, ">")):
        if beyond.any():  # nothing, unclipped, would count as being at 0
            axes.plot(np.full(beyond.sum(), edge), rows[beyond], mark, color=PREDICTED,
                      mfc="none", ms=8, mew=1.5, clip_on=False)  # fmt: skip
