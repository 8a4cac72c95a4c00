"""`bimix import`."""

import gc
from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.cli.bar import byte_bar
from bimix_jax.cli.show import show_json, show_line, show_notes
from bimix_jax.files import check_apart
from bimix_jax.logs.budgets import ALIGNMENTS
from bimix_jax.logs.forms import FORMS, log_bytes


def import_logs(
    logs: Annotated[
        list[Path],
        typer.Argument(help="Files of logs, or folders with one a run.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Sweep to write, .parquet.", callback=options.writable),
    ],
    mixtures: Annotated[
        Path | None,
        typer.Option(
            help="Table of runs and their mixtures (.csv, .parquet, .jsonl, .json, .toml, .yaml): "
            "shares, percentages, tokens, counts or weights. Default: columns of the logs."
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(FORMS)}; default by the files' names.")
    ] = None,
    loss_pattern: Annotated[
        str | None, typer.Option(help="Metrics that are losses, like 'eval/{target}/loss'.")
    ] = None,
    run_key: Annotated[str | None, typer.Option(help="Column that names the runs.")] = None,
    step_key: Annotated[str | None, typer.Option(help="Column of steps.")] = None,
    tokens_key: Annotated[str | None, typer.Option(help="Column of tokens.")] = None,
    tokens_per_step: Annotated[
        float | None, typer.Option(help="Turns steps into tokens: batch × sequence length.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Of budgets: tokens or steps; default tokens where known.")
    ] = None,
    mixture_prefix: options.MixturePrefix = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(help="A column of the table of runs that is a domain; several times."),
    ] = None,
    align: Annotated[
        str,
        typer.Option(
            help=f"Runs logged at different budgets: {', '.join(ALIGNMENTS)}; auto is nearest "
            "where most points differ."
        ),
    ] = "auto",
    budget: Annotated[
        list[float] | None, typer.Option(help="A common budget; several times. Default: found.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="How far, relative, nearest may move.")] = 0.01,
    drop_unmatched: Annotated[
        bool, typer.Option("--drop-unmatched", help="Leave out runs that one side lacks.")
    ] = False,
    select: options.Select = None,
    meaning: options.Stated = None,
    endpoints_only: options.EndpointsOnly = False,
    json: options.Json = False,
) -> None:
    """Read training logs and the table of their mixtures into one file, a sweep.

    Example: `bimix import wandb/ --mixtures runs.csv --tokens-per-step 524288 -o sweep.parquet`
    """
    check_apart([*logs, mixtures], [output])
    gc.freeze()  # else the collector looks at every import again, every few files
    with byte_bar("logs", log_bytes(logs, form)) as advance:
        sweep = bx.read_logs(
            logs, mixtures, form=form, loss_pattern=loss_pattern, run_key=run_key,
            step_key=step_key, tokens_key=tokens_key, tokens_per_step=tokens_per_step, unit=unit,
            mixture_prefix=mixture_prefix, domains=domain or None,
            align=align, budgets=budget or None,  # type: ignore[arg-type]
            tolerance=tolerance, drop_unmatched=drop_unmatched,
            select=options.pairs("--select", select),
            meaning=options.pairs("--meaning", meaning), endpoints_only=endpoints_only,
            progress=advance,
        )  # fmt: skip
    sweep.save(output)
    notes = [*sweep.notes, *sweep.meaning.note_of_absent()]
    if json:
        return show_json({
            "runs": len(sweep.runs), "domains": sweep.domains, "targets": sweep.targets,
            "unit": sweep.unit, "points": len(sweep.budget), "notes": notes, "file": str(output),
        })  # fmt: skip
    show_line(sweep.summary())
    show_notes(notes)
    return show_line(f"Written: {output}; next: bimix check {output}")
