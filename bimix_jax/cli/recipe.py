"""Tokens and epochs in the output of `bimix optimize`, and the file that it emits."""

import dataclasses
import hashlib
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import typer

import bimix_jax as bx
from bimix_jax.cli.command import WRITTEN
from bimix_jax.cli.show import amount, quantity, share, show_line, show_notes, show_table
from bimix_jax.printable import printable
from bimix_jax.recipe.forms import RECIPE_FORMS, form_named
from bimix_jax.recipe.recipe import DIGITS


@dataclasses.dataclass(frozen=True)
class Emission:
    """A file for a training stack, and the precision of its weights."""

    panel: ClassVar[str] = "What is written for the training stack"

    emit: Annotated[
        str | None,
        typer.Option(
            metavar="FORM", help=f"Form of the recipe to write, one of {', '.join(RECIPE_FORMS)}."
        ),
    ] = None
    paths: Annotated[Path | None, typer.Option(help="TOML file of domain = path, for --emit.")] = (
        None
    )
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
            raise ValueError(
                f"{option} goes with --emit; expected a form, {', '.join(RECIPE_FORMS)}."
            )

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
        of_tokens = fitted.metadata.share_unit in (None, "tokens")
        known = available is not None or best.constraints.available
        if not (of_tokens or known or self.emit):
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
        sys.stdout.write(recipe.emit(self.emit, known))
        if not form_named(self.emit).carries_stamp:
            sys.stderr.write(recipe.stamp.comment())
        for note in dict.fromkeys([*notes, *recipe.notes]):
            print(f"bimix: {printable(note)}", file=sys.stderr)
        return []


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
