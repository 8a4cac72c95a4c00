"""Options that several commands share, and what they turn into."""

from pathlib import Path
from typing import Annotated, Any

import typer

import bimix_jax as bx
from bimix_jax.cli.named import quantity
from bimix_jax.files import check_folder
from bimix_jax.formats import read_sweep
from bimix_jax.meaning import NAMES
from bimix_jax.sweep import Sweep


def _picture(path: Path | None) -> Path | None:
    """Refuse what cannot be written before anything is computed or written."""
    if path is not None:
        bx.plots.check_picture(path)
    return writable(path)


def writable(path: Path | None) -> Path | None:
    """Refuse a folder, or a file in none, before anything is computed or written."""
    if path is not None:
        check_folder(path)
    return path


SweepFile = Annotated[
    Path, typer.Argument(help="Table of runs: .csv, .csv.gz, .parquet, .jsonl.", show_default=False)
]
FitFile = Annotated[Path, typer.Argument(help="A fit written by `bimix fit`.", show_default=False)]
LossesFile = Annotated[
    Path | None,
    typer.Option("--losses", help="Second file of a pair: the losses, joined on --key."),
]
Key = Annotated[str | None, typer.Option(help="Column that joins a pair of files.")]
BudgetColumn = Annotated[
    str | None, typer.Option("--budget-column", help="Column of budgets: tokens, step, …")
]
Select = Annotated[
    list[str] | None,
    typer.Option(help="COLUMN=VALUE, keep only these rows; may be given several times."),
]
RunColumn = Annotated[str | None, typer.Option("--run-column", help="Column that names the runs.")]
MixturePrefix = Annotated[str | None, typer.Option(help="What proportion columns begin with.")]
LossPrefix = Annotated[str | None, typer.Option(help="What loss columns begin with.")]
Budget = Annotated[
    float | None,
    typer.Option(
        parser=quantity, help="In the sweep's unit; default its largest.", show_default=False
    ),
]
Weight = Annotated[
    list[str] | None,
    typer.Option(help="TARGET=WEIGHT; targets not named count 0. Default: all count 1."),
]
FromBudget = Annotated[
    float | None,
    typer.Option(
        parser=quantity, help="Leave out points at smaller budgets, e.g. those inside the warm-up."
    ),
]
Stated = Annotated[
    list[str] | None,
    typer.Option(
        "--meaning",
        help=f"ENTRY=VALUE, what the numbers mean: {', '.join(NAMES)}; losses are converted from "
        "the unit that is stated.",
    ),
]
EndpointsOnly = Annotated[
    bool, typer.Option("--endpoints-only", help="Keep the last point of each run.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
Plot = Annotated[
    Path | None,
    typer.Option(
        help="Write a picture: .png, .pdf or .svg.", show_default=False, callback=_picture
    ),
]


def load_sweep(
    sweep: Path,
    losses: Path | None,
    key: str | None,
    budget_column: str | None,
    select: list[str] | None,
    run_column: str | None,
    mixture_prefix: str | None,
    loss_prefix: str | None,
    from_budget: float | None,
    meaning: list[str] | None = None,
    endpoints_only: bool = False,
) -> Sweep:
    """`read_sweep` with the options of the command line."""
    measured = read_sweep(
        sweep, losses, key=key, budget=budget_column, select=pairs("--select", select),
        run=run_column, mixture_prefix=mixture_prefix, loss_prefix=loss_prefix,
        meaning=pairs("--meaning", meaning), endpoints_only=endpoints_only,
    )  # fmt: skip
    return measured if from_budget is None else measured.from_budget(from_budget)


def pairs(option: str, given: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE options as a mapping; a name given twice collects its values."""
    found: dict[str, list[str]] = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{option} is {item!r}; expected NAME=VALUE.")
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
