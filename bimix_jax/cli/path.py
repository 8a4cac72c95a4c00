"""`bimix path`."""

from typing import Annotated

import numpy as np
import typer

import bimix_jax as bx
from bimix_jax.cli.limits import Limits
from bimix_jax.cli.options import FitFile, Output, Weight, weights_of
from bimix_jax.cli.show import quantity, share, show_json, show_notes, show_table
from bimix_jax.mixture.path import STEPS


def path(
    fit: FitFile,
    limits: Limits,
    output: Output,
    least: Annotated[
        float | None,
        typer.Option("--from", help="Least budget; default the sweep's least."),
    ] = None,
    largest: Annotated[
        float | None,
        typer.Option("--to", help="Largest; default twice the sweep's largest."),
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="How many budgets.")] = STEPS,
    weight: Weight = None,
) -> None:
    """Find the best mixture at each of several budgets.

    Example: `bimix path fit.json --to 4e11 --plot path.png`
    """
    fitted = bx.load_fit(fit)
    first, last = fitted.observed_budgets
    ends = (first if least is None else least, 2 * last if largest is None else largest)
    fitted.check_budget(np.array(ends))
    found = bx.optimal_path(
        fitted,
        np.geomspace(*ends, steps),
        weights_of(weight, fitted),
        reference=limits.mixture_of(fitted),
        constraints=limits.constraints_of(fitted),
    )
    output.draw(lambda plots: plots.plot_path(found))
    if output.json:
        return show_json(found.document())
    shares = found.mixtures.rename(index=quantity).rename_axis(index=found.unit, columns="domain")
    show_table(shares, "Best mixture along the budget", form=share)
    losses = found.objective.rename(index=quantity).rename_axis(found.unit).to_frame("mean loss")
    show_table(losses.T.rename_axis(found.unit), "Its predicted mean loss, nats")
    return show_notes(found.notes)
