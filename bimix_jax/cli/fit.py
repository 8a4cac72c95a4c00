"""`bimix fit`."""

from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli.command import WRITTEN
from bimix_jax.cli.fit_options import FitSettings, LawName
from bimix_jax.cli.options import Output, SweepOptions
from bimix_jax.cli.show import number, percent, show_json, show_line, show_notes, show_table


def fit(
    sweep: SweepOptions,
    written: Annotated[
        Path,
        typer.Option("-o", "--output", help="Fit to write, JSON.", show_default=False),
        WRITTEN,
    ],
    settings: FitSettings,
    output: Output,
    law: LawName = "BiMix",
) -> None:
    """Fit a law to a sweep and write the coefficients.

    Example: `bimix fit sweep.csv --select model_size=122000000 -o fit.json --plot curves.png`
    """
    measured = sweep.read()
    fitted = settings.fit(measured, bx.law_named(law))
    fitted.save(written)
    output.draw(lambda plots: plots.plot_curves(fitted, measured))
    notes = [*fitted.notes, *fitted.messages()]
    if output.json:
        return show_json({"fit": fitted.table(), "notes": notes, "file": str(written)})
    show_line(f"{sweep.file}: {measured.summary()}")
    show_fit(fitted, f"{fitted.label}, {settings.residual} residuals")
    for name in fitted.law.domain_exponent_names:
        shown = fitted.by_domain(name).rename_axis("target")
        show_table(shown, f"{name}: rows are targets, columns domains")
    show_notes(notes)
    return show_line(f"Written: {', '.join(str(p) for p in (written, output.plot) if p)}")


def show_fit(fitted: bx.Fit, title: str) -> None:
    """Print the coefficients of every target, and the formula that they belong to."""
    columns = {"code": ("result", number), "error": ("mean error, %", percent)}
    formula = (fitted.law.__doc__ or "").partition("\n")[0]
    symbols = f" Here r is a proportion and s the budget in {fitted.unit}."
    below = formula + symbols if formula.startswith("L_i = ") else ""
    show_table(fitted.table(), title, columns, below=below)
