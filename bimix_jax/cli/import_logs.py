"""`bimix import`."""

import dataclasses
import gc
from pathlib import Path
from typing import Annotated, ClassVar

import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.app import WRITTEN
from bimix_jax.cli.options import (
    EndpointsOnly,
    Exclude,
    FromBudget,
    Json,
    MixturePrefix,
    Select,
    Stated,
    kept_of,
    metadata_of,
    selection,
)
from bimix_jax.cli.show import byte_bar, show_json, show_line, show_notes
from bimix_jax.logs.read_logs import ALIGNMENTS, LOG_FORMS, log_bytes


@dataclasses.dataclass(frozen=True)
class LogColumns:
    """Options that name columns and metrics of the logs and of the table of runs."""

    panel: ClassVar[str] = "What the columns mean"

    form: Annotated[
        str | None,
        typer.Option(help=f"One of {', '.join(LOG_FORMS)}; default by the files' names."),
    ] = None
    loss_pattern: Annotated[
        str | None, typer.Option(help="Metrics that are losses, like 'eval/{target}/loss'.")
    ] = None
    run_key: Annotated[str | None, typer.Option(help="Column that names the runs.")] = None
    step_key: Annotated[str | None, typer.Option(help="Column of steps.")] = None
    tokens_key: Annotated[str | None, typer.Option(help="Column of tokens.")] = None
    tokens_per_step: Annotated[
        float | None, typer.Option(help="Turns steps into tokens: batch × sequence length.")
    ] = None
    unit: Annotated[
        str | None,
        typer.Option(help="Unit of budgets: tokens or steps; default tokens where known."),
    ] = None
    mixture_prefix: MixturePrefix = None
    domains: Annotated[
        list[str] | None,
        typer.Option(
            "--domain", help="A column of the table of runs that is a domain; several times."
        ),
    ] = None
    metadata: Stated = None


@dataclasses.dataclass(frozen=True)
class Joining:
    """Options for aligning runs logged at different budgets, and for choosing points."""

    panel: ClassVar[str] = "Which points are kept"

    align: Annotated[
        str,
        typer.Option(
            help=f"Runs logged at different budgets: {', '.join(ALIGNMENTS)}; auto is nearest "
            "where most points differ."
        ),
    ] = "auto"
    budgets: Annotated[
        list[float] | None,
        typer.Option(
            "--budget", help="A common budget; several times. Default: chosen from the logs."
        ),
    ] = None
    tolerance: Annotated[
        float,
        typer.Option(
            parser=named.share, help="Largest relative move of a budget with --align nearest."
        ),
    ] = 0.01
    drop_unmatched: Annotated[
        bool,
        typer.Option("--drop-unmatched", help="Leave out runs without logs or without a mixture."),
    ] = False
    select: Select = None
    exclude: Exclude = None
    from_budget: FromBudget = None
    endpoints_only: EndpointsOnly = False


def import_logs(
    logs: Annotated[
        list[Path],
        typer.Argument(help="Files of logs, or folders with one per run.", show_default=False),
    ],
    written: Annotated[
        Path,
        typer.Option("-o", "--output", help="Sweep to write, .parquet.", show_default=False),
        WRITTEN,
    ],
    columns: LogColumns,
    joining: Joining,
    output: Json,
    mixtures: Annotated[
        Path | None,
        typer.Option(
            help="Table of runs and their mixtures (.csv, .parquet, .jsonl, .json, .toml, .yaml): "
            "shares, percentages, tokens, counts or weights. Default: columns of the logs."
        ),
    ] = None,
) -> None:
    """Read training logs and the table of their mixtures into one file, a sweep.

    Example: `bimix import wandb/ --mixtures runs.csv --tokens-per-step 524288 -o sweep.parquet`
    """
    gc.freeze()  # else the collector scans all imports every few files
    options = dataclasses.asdict(columns) | dataclasses.asdict(joining)
    exclude, from_budget = options.pop("exclude"), options.pop("from_budget")
    # An option that may be given several times is an empty list where it is not given.
    asked = {name: value for name, value in options.items() if value != []}
    asked["select"] = selection(joining.select, [mixtures])
    asked["metadata"] = metadata_of(columns.metadata)
    with byte_bar("logs", lambda: log_bytes(logs, columns.form)) as advance:
        read = bx.read_logs(logs, mixtures, progress=advance, **asked)
    sweep = kept_of(read, exclude, from_budget)
    sweep.save(written)
    notes = [*sweep.notes, *sweep.metadata.note_of_absent()]
    if output.json:
        return show_json(
            {
                "runs": len(sweep.runs),
                "domains": sweep.domains,
                "targets": sweep.targets,
                "unit": sweep.unit,
                "points": len(sweep.budget),
                "notes": notes,
                "file": str(written),
            }
        )
    show_line(sweep.summary())
    show_notes(notes)
    return show_line(f"Written: {written}; next: bimix check {written}")
