"""`bimix optimize`: the best mixture, and the file that it emits for a training stack."""

import dataclasses
import hashlib
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import named, waiting
from bimix_jax.cli.app import WRITTEN
from bimix_jax.cli.limits import Limits
from bimix_jax.cli.options import (
    At,
    FitFile,
    Output,
    Weight,
    weights_of,
)
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
from bimix_jax.mixture.proportions import OBJECTIVES
from bimix_jax.printable import printable
from bimix_jax.quantities import budget_text
from bimix_jax.reading.settings import did_you_mean
from bimix_jax.recipe.forms import RECIPE_FORMS, form_named
from bimix_jax.recipe.recipe import DIGITS, counts_tokens

EXACT = 1e-9
"""Gap below which an optimum is exact: far below any digit that is shown."""
HULL = "no blend of runs"
OUTSIDE = {"": "", "below": "below its range", "above": "above its range", "hull": HULL}
"""Texts for a proportion outside the sweep."""
FORMS = ", ".join(RECIPE_FORMS)
"""Forms of a recipe, as texts of help and messages list them."""
RecipePaths = Annotated[Path | None, typer.Option(help="TOML file of domain = path, for --emit.")]


@dataclasses.dataclass(frozen=True)
class Question(At):
    """The budget and the objective of the decision, or the losses to reach."""

    weight: Weight = None
    method: Annotated[str, typer.Option(help="auto, exact or gradient.")] = "auto"
    objective: Annotated[
        str, typer.Option(help="mean or worst: of the losses or scores, by their --weight.")
    ] = "mean"
    goal: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET=LOSS", help="Loss, or score, to reach with the least budget."),
    ] = None

    def check(self) -> None:
        """Refuse an unknown objective, and options that do nothing beside goals."""
        if self.objective not in OBJECTIVES:
            raise ValueError(
                f"--objective is {self.objective!r}; expected {' or '.join(OBJECTIVES)}."
                f"{did_you_mean(self.objective, OBJECTIVES)}"
            )
        given = {
            "--budget": self.budget is not None,
            "--weight": bool(self.weight),
            "--objective": self.objective != "mean",
        }
        idle = next((option for option, there in given.items() if there), None)
        if self.goal and idle is not None:
            raise ValueError(
                f"{idle} does nothing with --goal, which finds the least budget that reaches every "
                "goal; leave it out."
            )

    def answer(self, fitted: bx.Fit, limits: Limits) -> bx.Optimum:
        """Return the best mixture at the budget, or that of the least budget for the goals."""
        asked = limits.constraints_of(fitted, shown=True)
        how: Any = {
            "method": self.method,
            "reference": limits.mixture_of(fitted),
            "constraints": asked,
        }
        if self.goal:
            return bx.least_budget(fitted, named.values("--goal", self.goal, fitted.targets), **how)
        weights = weights_of(self.weight, fitted)
        return bx.optimize_mixture(fitted, self.budget, weights, objective=self.objective, **how)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Emission:
    """A file for a training stack, and the precision of its weights."""

    panel: ClassVar[str] = "What is written for the training stack"

    emit: Annotated[
        str | None,
        typer.Option(metavar="FORM", help=f"Form of the recipe to write, one of {FORMS}."),
    ] = None
    paths: RecipePaths = None
    digits: Annotated[
        int | None, typer.Option(help=f"Decimals of emitted weights; default {DIGITS}.")
    ] = None
    emitted: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write; by default the form alone is printed."),
        WRITTEN,
    ] = None

    def check(self, json: bool) -> None:
        """Refuse options that do not go together before anything is computed."""
        if self.emit is not None:
            form_named(self.emit)
            if json and self.emitted is None:
                raise ValueError("--json and --emit both print; name a file for one with -o.")
        elif self.paths is not None or self.emitted is not None:
            option = "--paths" if self.emitted is None else "--output"
            raise ValueError(f"{option} goes with --emit; expected a form, {FORMS}.")

    @property
    def alone(self) -> bool:
        """True where only the emitted file is printed."""
        return self.emit is not None and self.emitted is None

    def recipe_of(
        self, best: bx.Optimum, fitted: bx.Fit, file: Path, available: Any
    ) -> bx.Recipe | None:
        """Return the recipe, with the hash of the fit's file and the command line in its stamp.

        None if no file is requested and shares of documents cannot be converted to tokens.
        """
        if not (counts_tokens(best, available) or self.emit):
            return None
        digits = DIGITS if self.digits is None else self.digits
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        recipe = bx.make_recipe(best, fitted, available, digits=digits)
        return recipe.stamped(digest, shlex.join(["bimix", *sys.argv[1:]]))

    def write(self, recipe: bx.Recipe, notes: Iterable[str]) -> list[Path]:
        """Write the file; without a name, print it alone, and the rest to standard error.

        Returns:
            The files that were written.
        """
        if self.emit is None:
            return []
        known = None if self.paths is None else bx.read_paths(self.paths, list(recipe.shares.index))
        if self.emitted is not None:
            return recipe.save(self.emitted, self.emit, known)
        waiting.clear()
        sys.stdout.write(recipe.emit(self.emit, known))
        if not form_named(self.emit).carries_stamp:
            sys.stderr.write(recipe.stamp.comment())
        for note in dict.fromkeys([*notes, *recipe.notes]):
            print(f"bimix: {printable(note)}", file=sys.stderr)
        return []


def optimize(
    fit: FitFile, limits: Limits, emission: Emission, output: Output, question: Question
) -> None:
    """Find the best mixture at a budget, within bounds, existing tokens, and guardrails.

    Example: `bimix optimize fit.json --budget 4e10 --available code=5e9 --epochs 4 --guardrail 1`
    """
    emission.check(output.json)
    question.check()
    fitted = question.fit_of(fit)
    best = question.answer(fitted, limits)
    made = emission.recipe_of(best, fitted, fit, limits.table_of_tokens(fitted.domains))
    written = emission.write(made, best.notes) if made else []
    output.draw(lambda plots: plots.plot_mixture(best, limits.name))
    if output.json:
        return show_json(best.document() | ({"recipe": made.table()} if made else {}))
    if emission.alone:
        return None
    show_optimum(best, limits.name)
    return show_recipe(made, written)


def show_optimum(best: bx.Optimum, name: str) -> None:
    """Print an optimum beside its reference, with its notes."""
    show_mixture(best, name)
    goals = best.objective_name == "budget"
    form = quantity if goals else number
    what = "Least budget" if goals else best.objective_text.capitalize()
    beside = form(best.reference_objective)
    if goals and np.isnan(best.reference_objective):
        beside = "needs more than a factor of 1000 of that"
    show_line(f"{what} {form(best.objective)}, {name} {beside}; {_proof(best)} ({best.method}).")
    if best.saved == best.saved:
        more = f"{100 * abs(best.saved):.1f} % {'less' if best.saved >= 0 else 'more'} budget"
        show_line(
            f"Predicted to reach the goals with {more} than {name}."
            if goals
            else f"Predicted to be as good as {name} with {more}."
        )
    if len(best.binding):
        saved = f"{best.unit} saved" if goals else f"gain, {best.objective_unit},"
        show_table(
            best.binding[["gain"]],
            "Binding constraints",
            {"gain": (f"{saved} if relaxed by 1 %", quantity if goals else amount)},
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
    at = budget_text(best.budget, best.unit)
    show_table(
        shown.rename_axis("domain"), f"Recommended mixture at {at}", {}, below=_blend(outside)
    )
    losses = pd.DataFrame({"recommended": best.losses, name: best.reference_losses})
    losses["change"] = best.losses - best.reference_losses
    columns = {"change": ("change", change)}
    show_table(losses.rename_axis("target"), f"{best.losses_text}, at {at}", columns)


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


def show_recipe(recipe: bx.Recipe | None, written: list[Path]) -> None:
    """Print tokens, epochs, shares, notes, and the files that were written."""
    if recipe is None:
        return show_line("Shares are of documents: tokens and epochs need --available.")
    if recipe.tokens is not None:
        _show_tokens(recipe)
    show_notes(recipe.notes, "Notes on the recipe")
    if written:
        show_line(f"Written: {', '.join(map(str, written))}")
    return None


def _show_tokens(recipe: bx.Recipe) -> None:
    """Print a recipe's tokens and epochs, and those of its rounded weights if they differ
    visibly."""
    table = recipe.table()
    emitted = {
        "rounded": ("share", 1.0),
        "rounded_tokens": ("tokens", recipe.tokens or 1.0),
        "rounded_epochs": ("epochs", 1.0),
    }
    same = [
        name
        for name, (exact, whole) in emitted.items()
        if name in table
        and np.allclose(table[name], table[exact], 5e-4, 5e-5 * whole, equal_nan=True)
    ]
    table = table.drop(columns=same)
    columns = {
        "share": ("share of tokens", share),
        "tokens": ("tokens", quantity),
        "available": ("tokens there are", quantity),
        "epochs": ("epochs", amount),
        "rounded": ("weight emitted", share),
        "rounded_tokens": ("its tokens", quantity),
        "rounded_epochs": ("its epochs", amount),
    }
    show_table(table, f"Tokens needed, {quantity(recipe.tokens)} in all", columns)
