"""Options of commands that fit a law; apart from the others, as they import JAX."""

import dataclasses
from typing import Annotated, Any, ClassVar

import typer

import bimix_jax as bx
from bimix_jax.cli import named, waiting
from bimix_jax.fitting.options import LATER
from bimix_jax.judging.automatic import AUTO
from bimix_jax.laws import LAWS
from bimix_jax.laws.law import Law
from bimix_jax.quantities import counted, number_of
from bimix_jax.sweeps.sweep import Sweep

PANEL = "How the law is fitted"

LAWS_HELP = (
    f"{', '.join(LAWS)}; WithWarmUp(LAW) or WithModelSize(LAW) around one; Stacked or "
    "Stacked(LAW, LAW) for several as one; Bridged(FIT) for the fit of smaller models in a file."
)
LawName = Annotated[
    str,
    typer.Option(
        "--law", help=f"auto, the best of a few at held-out points, or one of {LAWS_HELP}"
    ),
]


def law_asked(name: str) -> Law | str:
    """Return the law of that name, or "auto" itself."""
    return AUTO if name.strip().lower() == AUTO else bx.law_named(name, bx.load_fit)


Residual = Annotated[str, typer.Option("--residual", help="relative, log or absolute.")]


Huber = Annotated[
    float | None,
    typer.Option(
        parser=named.share,
        help="Residuals beyond this are penalised linearly, e.g. 0.02 or 2%.",
    ),
]


@dataclasses.dataclass(frozen=True)
class Residuals:
    """The measure of residuals, and the exponents that targets share."""

    panel: ClassVar[str] = PANEL

    residual: Residual = "relative"
    huber: Huber = None
    tied: Annotated[
        list[str] | None,
        typer.Option(help="Exponent that all targets share, e.g. beta; several times."),
    ] = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of `bimix_jax.fit`."""
        return {"residual": self.residual, "huber": self.huber, "tied": tuple(self.tied or ())}


STRENGTH = "STRENGTH|mixtures|budgets"


@dataclasses.dataclass(frozen=True)
class HeldOutSettings(Residuals):
    """The options of residuals, and the shrinkage of fits to the part that is not held out."""

    shrinkage: Annotated[
        str | None,
        typer.Option(
            metavar=STRENGTH,
            help="How strongly further coefficients are drawn to the simpler law, as in `bimix "
            "fit`; default chosen for what is held out.",
        ),
    ] = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of `bimix_jax.fit`."""
        strength = {} if self.shrinkage is None else {"shrinkage": _strength(self.shrinkage)}
        return {**super().settings, **strength}


@dataclasses.dataclass(frozen=True)
class WeightedByBudget(Residuals):
    """The options of residuals, and the weight of budgets."""

    budget_power: Annotated[
        float,
        typer.Option(
            help="Weight points by budget^POWER: 2 for budgets beyond the sweep's, 0 for equal "
            "weights.",
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
            metavar=STRENGTH,
            help="How strongly further coefficients are drawn to the simpler law: a number, or "
            "chosen by leaving out mixtures or later budgets.",
        ),
    ] = "mixtures"

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of `bimix_jax.fit`."""
        return {**super().settings, "shrinkage": _strength(self.shrinkage)}

    def fit(self, sweep: Sweep, law: Law | str) -> bx.Fit:
        """Fit the law, or the one that is chosen for "auto", with these settings."""
        what = "choosing a law" if isinstance(law, str) else f"fitting {law.label}"
        waiting.show(f"{what} to {counted(len(sweep.runs), 'run')}")
        return bx.fit(sweep, law, **self.settings)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Options for held-out mixtures and held-out later budgets."""

    panel: ClassVar[str] = "What is held out"

    runs: Annotated[
        float, typer.Option(parser=named.share, help="Share of the mixtures held out.")
    ] = 0.3
    budgets: Annotated[
        float,
        typer.Option(
            parser=named.share, help="Share of the budgets held out, from the largest down."
        ),
    ] = 0.5
    seed: Annotated[int, typer.Option(help="Seed of the choice of held-out mixtures.")] = 0
    budget_power: Annotated[
        float,
        typer.Option(help="Weight points by budget^POWER where later budgets are held out."),
    ] = LATER


def _strength(given: str) -> float | str:
    """Return the strength as a number, or the name of the method that chooses it."""
    try:
        return number_of(given, "shrinkage")
    except ValueError:
        return given
