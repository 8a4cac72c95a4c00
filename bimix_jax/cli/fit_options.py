"""Options of commands that fit a law."""

from typing import Annotated

import typer

from bimix_jax.laws import LAWS

LawName = Annotated[str, typer.Option("--law", help=f"One of {', '.join(LAWS)}.")]
Residual = Annotated[str, typer.Option("--loss", help="Residual: relative, log or absolute.")]
Huber = Annotated[
    float | None, typer.Option(help="Residuals beyond this count linearly, e.g. .02 for 2 %.")
]
Tied = Annotated[
    list[str] | None, typer.Option(help="Exponent that is one for all targets, e.g. beta.")
]
Restraint = Annotated[
    str,
    typer.Option(
        metavar="STRENGTH|mixtures|budgets",
        help="How strongly further coefficients are drawn to the simpler law: a number, or chosen "
        "for mixtures nobody ran or for later budgets of those that were run.",
    ),
]

Emphasis = Annotated[
    float,
    typer.Option(
        help="Power of the budget by which points count: 2 for budgets beyond the sweep's, 0 for "
        "all alike.",
    ),
]

Later = Annotated[
    float,
    typer.Option(
        "--emphasis",
        help="Power of the budget by which points count where later ones are held out.",
    ),
]


def restraint(given: str) -> float | str:
    """A strength, or what it is chosen for."""
    try:
        return float(given)
    except ValueError:
        return given
