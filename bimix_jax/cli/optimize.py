"""`bimix optimize`."""

from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.limits import Limits
from bimix_jax.cli.options import Budget, FitFile, Output, Weight, weights_of
from bimix_jax.cli.recipe import Emission, show_recipe
from bimix_jax.cli.show import (
    amount,
    change,
    number,
    quantity,
    share,
    show_json,
    show_line,
    show_notes,
    show_table,
    span,
)
from bimix_jax.mixture.objective import OBJECTIVES
from bimix_jax.reading.names import did_you_mean

EXACT = 1e-9
"""Gap below which an optimum is exact: far below any digit that is shown."""
HULL = "no blend of runs"
OUTSIDE = {"": "", "below": "below its range", "above": "above its range", "hull": HULL}
"""Texts for a proportion outside the sweep."""


def optimize(
    fit: FitFile,
    limits: Limits,
    emission: Emission,
    output: Output,
    budget: Budget = None,
    weight: Weight = None,
    method: Annotated[str, typer.Option(help="auto, exact or gradient.")] = "auto",
    objective: Annotated[
        str, typer.Option(help="mean or worst: of the losses, each times its --weight.")
    ] = "mean",
    goal: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET=LOSS", help="Loss to reach with the least budget."),
    ] = None,
) -> None:
    """Find the best mixture at a budget, within bounds, existing tokens, and guardrails.

    Example: `bimix optimize fit.json --budget 4e10 --available code=5e9 --epochs 4 --guardrail 1`
    """
    emission.check(output.json)
    if objective not in OBJECTIVES:
        raise ValueError(
            f"--objective is {objective!r}; expected {' or '.join(OBJECTIVES)}."
            f"{did_you_mean(objective, OBJECTIVES)}"
        )
    if goal:
        _refuse_beside_goals(budget, weight, objective)
    fitted = bx.load_fit(fit)
    asked = limits.constraints_of(fitted, shown=True)
    how: Any = {"method": method, "reference": limits.mixture_of(fitted), "constraints": asked}
    if goal:
        best = bx.least_budget(fitted, named.values("--goal", goal, fitted.targets), **how)
    else:
        weights = weights_of(weight, fitted)
        best = bx.optimize_mixture(fitted, budget, weights, objective=objective, **how)  # type: ignore[arg-type]
    made = emission.recipe_of(best, fitted, fit, limits.table_of_tokens(fitted.domains))
    written = emission.write(made, best.notes) if made else []
    output.draw(lambda plots: plots.plot_mixture(best, limits.name))
    if output.json:
        return show_json(best.document() | ({"recipe": made.table()} if made else {}))
    if emission.alone:
        return None
    show_optimum(best, limits.name)
    return show_recipe(made, written)


def _refuse_beside_goals(budget: float | None, weight: list[str] | None, objective: str) -> None:
    given = {
        "--budget": budget is not None,
        "--weight": bool(weight),
        "--objective": objective != "mean",
    }
    for option in (option for option, there in given.items() if there):
        raise ValueError(
            f"{option} does nothing with --goal, which finds the least budget that reaches every "
            "goal; leave it out."
        )


def show_optimum(best: bx.Optimum, name: str) -> None:
    """Print an optimum beside its reference, with its notes."""
    show_mixture(best, name)
    goals = best.objective_name == "budget"
    form = quantity if goals else number
    what = {"mean": "Mean loss", "worst": "Worst loss", "budget": "Least budget"}
    beside = form(best.reference_objective)
    if goals and np.isnan(best.reference_objective):
        beside = "needs more than a factor of 1000 of that"
    show_line(
        f"{what.get(best.objective_name, best.objective_name)} {form(best.objective)}, {name} "
        f"{beside}; {_proof(best)} ({best.method})."
    )
    if best.saved == best.saved:
        more = f"{100 * abs(best.saved):.1f} % {'less' if best.saved >= 0 else 'more'} budget"
        show_line(
            f"Predicted to reach the goals with {more} than {name}."
            if goals
            else f"Predicted to be as good as {name} with {more}."
        )
    if len(best.binding):
        saved, form = (f"{best.unit} saved", quantity) if goals else ("gain, nats,", amount)
        show_table(
            best.binding[["gain"]],
            "Binding constraints",
            {"gain": (f"{saved} if relaxed by 1 %", form)},
            below="Each limit alone is relaxed by 1 % of itself: of the share, of the tokens, or "
            "of the loss that it allows.",
        )
    if len(best.alternatives):
        names = [f"mixture {i + 1}" for i in range(len(best.alternatives))]
        shown = best.alternatives.set_axis(names).rename_axis(columns="domain").T
        show_table(shown, "As good within 0.1 %, and as different as possible", form=share)
    show_notes(best.notes)


def show_mixture(best: bx.Optimum, name: str) -> None:
    """Print the recommended mixture, by domain, and its predicted losses, by target."""
    shown = pd.DataFrame({"proportion": best.mixture.map(share)})
    if best.intervals is not None:
        shown["interval"] = span(best.intervals["low"], best.intervals["high"])
    shown[name] = best.reference.map(share)
    if len(best.binding):
        shown["without constraints"] = best.unconstrained.map(share)
    shown["as good within 0.1 %"] = span(best.flatness["flat_low"], best.flatness["flat_high"])
    shown["range in the sweep"] = span(best.observed["min"], best.observed["max"])
    if best.epochs is not None:
        shown["epochs"] = best.epochs.map(amount)
    outside = best.observed["flag"].map(OUTSIDE)
    if (outside != "").any():
        shown["outside the sweep"] = outside
    at = f"{quantity(best.budget)} {best.unit}"
    show_table(
        shown.rename_axis("domain"), f"Recommended mixture at {at}", {}, below=_blend(outside)
    )
    losses = pd.DataFrame({"recommended": best.losses, name: best.reference_losses})
    losses["change"] = best.losses - best.reference_losses
    columns = {"change": ("change", change)}
    show_table(losses.rename_axis("target"), f"Predicted losses, nats, at {at}", columns)


def _blend(outside: pd.Series) -> str:
    said = "its range is kept, but no blend of the sweep's mixtures has these proportions together."
    return f"{HULL.capitalize()}: {said}" if (outside == HULL).any() else ""


def _proof(best: bx.Optimum) -> str:
    gap = f"{max(best.gap, 0.0):.1g}"
    if best.proven and best.gap < EXACT:
        return "proven optimal"
    if best.proven:
        return f"proven optimal to {gap}"
    return f"a local optimum, stationary to {gap}; the law does not exclude a better one elsewhere"
