"""`bimix fit`."""

from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import fit_options, options
from bimix_jax.cli.show import number, percent, show_json, show_line, show_notes, show_table
from bimix_jax.files import check_apart


def fit(
    sweep: options.SweepFile,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Fit to write, JSON.", callback=options.writable),
    ],
    losses: options.LossesFile = None,
    key: options.Key = None,
    budget_column: options.BudgetColumn = None,
    select: options.Select = None,
    run_column: options.RunColumn = None,
    mixture_prefix: options.MixturePrefix = None,
    loss_prefix: options.LossPrefix = None,
    from_budget: options.FromBudget = None,
    meaning: options.Stated = None,
    endpoints_only: options.EndpointsOnly = False,
    law: fit_options.LawName = "BiMix",
    loss: fit_options.Residual = "relative",
    huber: fit_options.Huber = None,
    tied: fit_options.Tied = None,
    restraint: fit_options.Restraint = "mixtures",
    emphasis: fit_options.Emphasis = 0.0,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Fit the law to a sweep and write the coefficients.

    Example: `bimix fit sweep.csv --select model_size=122000000 -o fit.json --plot curves.png`
    """
    check_apart([sweep, losses], [output, plot])
    measured = options.load_sweep(
        sweep, losses, key, budget_column, select, run_column, mixture_prefix, loss_prefix,
        from_budget, meaning, endpoints_only,
    )  # fmt: skip
    fitted = bx.fit(
        measured, bx.law_named(law), residual=loss, huber=huber, tied=tied or (),  # type: ignore[arg-type]
        shrinkage=fit_options.restraint(restraint), budget_power=emphasis,  # type: ignore[arg-type]
    )  # fmt: skip
    fitted.save(output)
    if plot:
        bx.plots.save_figure(bx.plots.plot_curves(fitted, measured), plot)
    notes = [*fitted.notes, *fitted.messages()]
    if json:
        return show_json({"fit": fitted.table(), "notes": notes, "file": str(output)})
    show_line(f"{sweep}: {measured.summary()}")
    show_fit(fitted, f"{fitted.label}, {loss} residuals")
    for name in fitted.law.domain_exponent_names:
        shown = fitted.by_domain(name).rename_axis("target")
        show_table(shown, f"{name}: rows are targets, columns domains")
    show_notes(notes)
    return show_line(f"Written: {', '.join(str(p) for p in (output, plot) if p)}")


def show_fit(fitted: bx.Fit, title: str) -> None:
    """Print the coefficients of every target, and what they are coefficients of."""
    columns = {"code": ("result", number), "error": ("mean error, %", percent)}
    formula = (fitted.law.__doc__ or "").partition("\n")[0]
    symbols = f" Here r is a proportion and s the budget in {fitted.unit}."
    below = formula + symbols if formula.startswith("L_i = ") else ""
    show_table(fitted.table(), title, columns, below=below)
