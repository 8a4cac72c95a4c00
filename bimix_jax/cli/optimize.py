"""`bimix optimize`."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import limits, named, options, recipe
from bimix_jax.cli.show import (
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
from bimix_jax.files import check_apart
from bimix_jax.mixture.files import read_mixtures

HULL = "no blend of runs"
OUTSIDE = {"": "", "below": "below its range", "above": "above its range", "hull": HULL}
"""What is said of a proportion that the sweep does not reach."""


def optimize(
    fit: options.FitFile,
    budget: options.Budget = None,
    weight: options.Weight = None,
    method: Annotated[str, typer.Option(help="auto, exact or gradient.")] = "auto",
    reference: Annotated[
        Path | None, typer.Option(help="Mixture to compare with, JSON or a table of one row.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="mean, worst, or budget: the least that reaches every --goal.")
    ] = "mean",
    goal: Annotated[list[str] | None, typer.Option(help="TARGET=LOSS to reach.")] = None,
    constraints: limits.ConstraintsFile = None,
    lower: limits.Lower = None,
    upper: limits.Upper = None,
    fix: limits.Fix = None,
    available: limits.Available = None,
    epochs: limits.Epochs = None,
    tokens: limits.PlannedTokens = None,
    tokens_per_step: limits.TokensPerStep = None,
    group: limits.Groups = None,
    kl: limits.Pull = None,
    guardrail: limits.Guardrail = None,
    emit: recipe.Emit = None,
    paths: recipe.PathsFile = None,
    digits: recipe.Digits = None,
    output: recipe.Output = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Find the best mixture at a budget, within bounds, tokens that exist, and guardrails.

    Example: `bimix optimize fit.json --budget 4e10 --available code=5e9 --epochs 4 --guardrail 1`
    """
    check_apart([fit, reference, constraints, paths, *limits.tables_of(available)], [output, plot])
    recipe.check_emission(emit, paths, output, json)
    if goal and objective != "budget":
        raise ValueError("--goal goes with --objective budget; expected both, or --weight.")
    if objective == "budget" and (weight or budget is not None):
        option = "--weight" if weight else "--budget"
        raise ValueError(
            f"{option} does nothing with --objective budget, which finds the least budget that "
            "reaches every --goal; leave it out."
        )
    fitted = bx.load_fit(fit)
    beside = None if reference is None else read_mixtures(reference, fitted.domains)
    there, known = limits.available_tokens(available, fitted.domains)
    asked = limits.constraints_of(
        fitted, constraints, lower, upper, fix, there, epochs, tokens, tokens_per_step, group, kl,
        guardrail,
    )  # fmt: skip
    limits.check_shares_of_tokens(asked, fitted)
    best = bx.optimize_mixture(
        fitted, budget, named.values("--weight", weight, fitted.targets) or None, method, beside,  # type: ignore[arg-type]
        constraints=asked, objective=objective,
        goals=named.values("--goal", goal, fitted.targets) or None,
    )  # fmt: skip
    name = "uniform" if reference is None else reference.stem
    made = recipe.recipe_of(best, fitted, fit, known, digits, emit)
    written = recipe.emit_recipe(made, best.notes, emit, paths, output) if made and emit else []
    if plot:
        bx.plots.save_figure(bx.plots.plot_mixture(best, name), plot)
    if json:
        return show_json(best.document() | ({"recipe": made.table()} if made else {}))
    if emit is not None and output is None:
        return None
    show_optimum(best, name)
    return recipe.show_recipe(made, written)


def show_optimum(best: bx.Optimum, name: str) -> None:
    """Print an optimum beside its reference, with what has to be said about it."""
    show_mixture(best, name)
    form = quantity if best.objective_name == "budget" else number
    what = {"mean": "Mean loss", "worst": "Worst loss", "budget": "Least budget"}
    show_line(
        f"{what.get(best.objective_name, best.objective_name)} {form(best.objective)}, {name} "
        f"{form(best.reference_objective)}; {_proof(best)} ({best.method})."
    )
    if best.saved == best.saved:
        more = "less" if best.saved >= 0 else "more"
        show_line(
            f"By its prediction as good as {name} with {100 * abs(best.saved):.1f} % {more} budget."
        )
    if len(best.binding):
        show_table(
            best.binding[["gain"]], "What holds it",
            {"gain": ("gain of 1 % more room, nats", number)},
        )  # fmt: skip
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
        shown["epochs"] = best.epochs.map(number)
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
    if best.proven:
        return f"no mixture is better by more than {gap}"
    return f"a local optimum, stationary to {gap}; the law does not exclude a better one elsewhere"
