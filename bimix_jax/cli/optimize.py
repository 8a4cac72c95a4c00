"""`bimix optimize`."""

from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.cli.recipe import check_emission, emit_recipe, recipe_of, show_recipe
from bimix_jax.cli.show import show_json, show_line, show_notes, show_table
from bimix_jax.files import check_apart
from bimix_jax.mixture.files import read_mixtures
from bimix_jax.recipe.forms import FORMS


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
    available: Annotated[
        Path | None,
        typer.Option(help="Table of domain, tokens and, if known, documents: gives epochs."),
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Planned, where budgets are not in tokens.")
    ] = None,
    emit: Annotated[
        str | None, typer.Option(help=f"Write it for a training stack: {', '.join(FORMS)}.")
    ] = None,
    paths: Annotated[
        Path | None, typer.Option(help="TOML file of domain = path, for --emit.")
    ] = None,
    digits: Annotated[int | None, typer.Option(help="Decimals of emitted weights.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to emit to; default what is printed, alone.",
            callback=options.writable,
        ),
    ] = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Find the mixture with the least predicted loss at a budget.

    Example: `bimix optimize fit.json --budget 4e10 --plot mixture.png`
    """
    check_apart([fit, reference, available, paths], [output, plot])
    check_emission(emit, paths, output, json)
    fitted = bx.load_fit(fit)
    given = options.pairs("--weight", weight)
    weights = {target: _number(target, value) for target, value in given.items()} or None
    beside = None if reference is None else read_mixtures(reference, fitted.domains)
    best = bx.optimize_mixture(fitted, budget, weights, method, beside)  # type: ignore[arg-type]
    name = "uniform" if reference is None else reference.stem
    recipe = recipe_of(best, fitted, fit, available, tokens, digits, emit)
    written = emit_recipe(recipe, emit, paths, output) if recipe and emit else []
    if plot:
        bx.plots.save_figure(bx.plots.plot_mixture(best, name), plot)
    if json:
        return show_json(best.document() | ({"recipe": recipe.table()} if recipe else {}))
    if emit is not None and output is None:
        return None
    show_optimum(best, name)
    return show_recipe(recipe, written)


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


def _number(target: str, value: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"--weight {target}={value}: expected one number ≥ 0.") from None
