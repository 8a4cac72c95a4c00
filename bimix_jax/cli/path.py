"""`bimix path`."""

from typing import Annotated

import numpy as np
import typer

import bimix_jax as bx
from bimix_jax.cli import named, options
from bimix_jax.cli.show import quantity, share, show_json, show_notes, show_table


def path(
    fit: options.FitFile,
    least: Annotated[
        float | None,
        typer.Option(
            "--from", parser=named.quantity, help="Least budget; default the sweep's least."
        ),
    ] = None,
    largest: Annotated[
        float | None,
        typer.Option(
            "--to", parser=named.quantity, help="Largest; default twice the sweep's largest."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="How many budgets.")] = 9,
    weight: options.Weight = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Find the best mixture at each of several budgets.

    Example: `bimix path fit.json --to 4e11 --plot path.png`
    """
    fitted = bx.load_fit(fit)
    first, last = fitted.observed_budgets
    ends = (first if least is None else least, 2 * last if largest is None else largest)
    fitted.check_budget(np.array(ends))
    found = bx.optimal_path(
        fitted, np.geomspace(*ends, steps), named.values("--weight", weight, fitted.targets) or None
    )
    if plot:
        bx.plots.save_figure(bx.plots.plot_path(found), plot)
    if json:
        return show_json(found.document())
    shares = found.mixtures.rename(index=quantity).rename_axis(index=found.unit, columns="domain")
    show_table(shares, "Best mixture along the budget", form=share)
    losses = found.objective.rename(index=quantity).rename_axis(found.unit).to_frame("mean loss")
    show_table(losses.T.rename_axis(found.unit), "Its predicted mean loss, nats")
    return show_notes(found.notes)
