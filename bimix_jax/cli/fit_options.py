"""Options of commands that fit a law."""

import dataclasses
from typing import Annotated, Any, ClassVar

import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.fitting.budget_power import LATER
from bimix_jax.laws import LAWS
from bimix_jax.laws.law import Law
from bimix_jax.quantities import number_of
from bimix_jax.sweeps.sweep import Sweep

PANEL = "How the law is fitted"

LawName = Annotated[str, typer.Option("--law", help=f"One of {', '.join(LAWS)}.")]
Residual = Annotated[str, typer.Option("--residual", help="Residual: relative, log or absolute.")]


@dataclasses.dataclass(frozen=True)
class Residuals:
    """The measure of residuals, and the exponents that targets share."""

    panel: ClassVar[str] = PANEL

    residual: Residual = "relative"
    huber: Annotated[
        float | None,
        typer.Option(
            parser=named.share, help="Residuals beyond this count linearly, e.g. 0.02 or 2%."
        ),
    ] = None
    tied: Annotated[
        list[str] | None, typer.Option(help="Exponent that is one for all targets, e.g. beta.")
    ] = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of `bimix_jax.fit`."""
        return {"residual": self.residual, "huber": self.huber, "tied": tuple(self.tied or ())}


@dataclasses.dataclass(frozen=True)
class WeightedByBudget(Residuals):
    """The options of residuals, and the weight of budgets."""

    budget_power: Annotated[
        float,
        typer.Option(
            help="Power of the budget by which points count: 2 for budgets beyond the sweep's, 0 "
            "for all alike.",
        ),
    ] = 0.0

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of `bimix_jax.fit`."""
        return {**super().settings, "budget_power": self.budget_power}


@dataclasses.dataclass(frozen=True)
class FitSettings(WeightedByBudget):
    """All arguments of `bimix_jax.fit` except the sweep and the law."""

    shrinkage: Annotated[
        str,
        typer.Option(
            metavar="STRENGTH|mixtures|budgets",
            help="How strongly further coefficients are drawn to the simpler law: a number, or "
            "chosen for mixtures nobody ran or for later budgets of those that were run.",
        ),
    ] = "mixtures"

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of `bimix_jax.fit`."""
        return {**super().settings, "shrinkage": _strength(self.shrinkage)}

    def fit(self, sweep: Sweep, law: Law) -> bx.Fit:
        """Fit the law with these settings."""
        return bx.fit(sweep, law, **self.settings)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Options for held-out mixtures and held-out later budgets."""

    panel: ClassVar[str] = "What is held out"

    runs: Annotated[
        float, typer.Option(parser=named.share, help="Share of the mixtures held out.")
    ] = 0.3
    budgets: Annotated[
        float, typer.Option(parser=named.share, help="Share of the budgets held out, the later.")
    ] = 0.5
    seed: Annotated[int, typer.Option(help="Which mixtures are held out.")] = 0
    budget_power: Annotated[
        float,
        typer.Option(
            help="Power of the budget by which points count where later ones are held out."
        ),
    ] = LATER


def _strength(given: str) -> float | str:
    """Return the strength as a number, or the name of the method that chooses it."""
    try:
        return number_of(given, "shrinkage")
    except ValueError:
        return given
