"""`bimix optimize`."""

from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.cli.show import show_json, show_line, show_notes, show_table
from bimix_jax.mixture.files import read_mixtures


def optimize(
    fit: options.FitFile,
    budget: options.Budget = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(help="TARGET=WEIGHT; targets not named count 0. Default: all count 1."),
    ] = None,
    method: Annotated[str, typer.Option(help="auto, exact or gradient.")] = "auto",
    reference: Annotated[
        Path | None, typer.Option(help="Mixture to compare with, JSON or a table of one row.")
    ] = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Find the mixture with the least predicted loss at a budget.

    Example: `bimix optimize fit.json --budget 4e10 --plot mixture.png`
    """
    fitted = bx.load_fit(fit)
    weights = options.numbers("--weight", weight)
    beside = None if reference is None else read_mixtures(reference, fitted.domains)
    best = bx.optimize_mixture(fitted, budget, weights, method, beside)  # type: ignore[arg-type]
    name = "uniform" if reference is None else reference.stem
    if plot:
        bx.plots.save_figure(bx.plots.plot_mixture(best, name), plot)
    if json:
        return show_json(best.document())
    show_optimum(best, name)
    return None


def show_optimum(best: bx.Optimum, name: str) -> None:
    """Print an optimum beside its reference, with what has to be said about it."""
    show_table(best.table(), f"Recommended mixture at {best.budget:g} {best.unit}")
    show_line(
        f"Mean loss {best.objective:.4f}, {name} {best.reference_objective:.4f}; "
        f"{_proof(best)} ({best.method})."
    )
    show_notes(best.notes)


def _proof(best: bx.Optimum) -> str:
    gap = f"{max(best.gap, 0.0):.1g}"
    if best.proven:
        return f"no mixture is better by more than {gap}"
    return f"a local optimum, stationary to {gap}; the law does not exclude a better one elsewhere"
