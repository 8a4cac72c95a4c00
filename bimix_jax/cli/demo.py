"""`bimix demo`: all steps on the embedded sweep."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli.fit import show_evaluation, show_fit
from bimix_jax.cli.optimize import show_optimum
from bimix_jax.cli.show import percent, quantity, share, show_line, show_notes, show_table
from bimix_jax.sweeps.sweep import Sweep

IN_PYTHON = """\
import bimix_jax as bx
sweep = bx.read_sweep(bx.datasets.debian_sweep())
train, test = sweep.split_runs(0.3, seed=0)
fitted = bx.fit(train, bx.BiMix())
print(fitted.table())
print(bx.evaluate(fitted, test).table())
print(fitted.predict(test.mixtures, budget=2 * sweep.largest_budget))
best = bx.optimize_mixture(fitted, budget=2 * sweep.largest_budget)
print(best.table())"""


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pictures.")] = Path(
        "bimix_demo"
    ),
) -> None:
    """Fit, evaluate and optimise on the embedded sweep of real runs, and draw the results.

    Example: `bimix demo -o pictures`
    """
    sweep = bx.read_sweep(bx.datasets.debian_sweep())
    train, test = sweep.split_runs(0.3, seed=0)
    show_line(f"Embedded sweep: {sweep.summary()}")
    show_notes(sweep.notes)
    fitted = bx.fit(train, bx.BiMix())
    show_fit(fitted, f"BiMix fitted to {len(train.runs)} of {len(sweep.runs)} runs")
    show_notes(fitted.messages())
    evaluation = bx.evaluate(fitted, test)
    show_evaluation(evaluation, f"Error on the {len(test.runs)} held-out runs")
    budget = 2 * sweep.largest_budget
    best = bx.optimize_mixture(fitted, budget)
    show_optimum(best, "uniform")
    shown = _beside(fitted, sweep, best)
    show_table(shown, f"Predicted losses, nats, at {quantity(budget)} {sweep.unit}")
    _show_clear_decision(fitted, sweep)
    _draw(fitted, evaluation, sweep, best, output)
    for line in ("", "The same in Python:", ""):
        show_line(line)
    for line in IN_PYTHON.splitlines():
        show_line(f"    {line}")


CLEAR = {"c": 1.0, "python": 1.0}
"""Weights of targets with which the best mixture is far from uniform."""
TRAINED = (
    "Trained for three seeds (benchmarks/README.md), C 0.48 and Python 0.52 were 13 % better than "
    "uniform, and reached its last loss with 39 % of the tokens."
)


def _show_clear_decision(fitted: bx.Fit, sweep: Sweep) -> None:
    """Print the decision where two targets count, which was checked by training."""
    best = bx.optimize_mixture(fitted, sweep.largest_budget, CLEAR)
    counted = best.mixture[best.mixture > 0.001].rename("proportion")
    title = f"Where only C and Python count, at {quantity(best.budget)} {sweep.unit}"
    gain = 1 - best.objective / best.reference_objective
    show_table(
        counted.to_frame().map(share).rename_axis("domain"),
        title,
        {},
        below=f"Predicted to be {percent(gain)} % better than uniform. {TRAINED}",
    )


def _beside(fitted: bx.Fit, sweep: Sweep, best: bx.Optimum) -> pd.DataFrame:
    """Return predicted losses of the recommended, the uniform and the best measured mixture."""
    run = bx.best_measured(sweep)
    names = ["recommended", "uniform", f"best run of the sweep ({run})"]
    mixtures = pd.DataFrame([best.mixture, best.reference, sweep.mixtures.loc[run]])
    losses = fitted.predict(mixtures.set_axis(pd.Index(names, name="mixture")), best.budget)
    table = pd.DataFrame(losses)
    table.insert(0, "mean", table.mean(axis=1))
    return table


def _draw(
    fitted: bx.Fit,
    evaluation: bx.Evaluation,
    sweep: Sweep,
    best: bx.Optimum,
    folder: Path,
) -> None:
    plots = bx.plots
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "curves.png": plots.plot_curves(fitted, sweep),
        "predicted.png": plots.plot_predicted(evaluation),
        "proportions.png": plots.plot_proportions(fitted, sweep),
        "mixture.png": plots.plot_mixture(best, "uniform"),
    }
    for file, figure in figures.items():
        plots.save_figure(figure, folder / file)
    show_line(f"Pictures: {', '.join(str(folder / file) for file in figures)}")
