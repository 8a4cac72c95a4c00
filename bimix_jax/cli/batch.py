"""`bimix batch`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import bimix_jax as bx
from bimix_jax.batching import batch as batches
from bimix_jax.batching.cache import VARIABLE, use_compilation_cache
from bimix_jax.batching.compiled import Method
from bimix_jax.batching.parts import strange_parts
from bimix_jax.batching.pieces import batch_files, expected_rows
from bimix_jax.batching.processes import join_processes, share_of_launcher
from bimix_jax.batching.summary import summary
from bimix_jax.cli import fit_options, options
from bimix_jax.cli.show import show_json, show_line, show_notes, show_table
from bimix_jax.fitting.options import FitOptions
from bimix_jax.tables import listed


def batch(
    sweeps: Annotated[
        Path,
        typer.Argument(help="Table with a column sweep, .parquet or .csv, or a folder of them."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of parts, Parquet.")],
    law: fit_options.LawName = "BiMix",
    loss: fit_options.Residual = "relative",
    huber: fit_options.Huber = None,
    tied: fit_options.Tied = None,
    emphasis: fit_options.Emphasis = 0.0,
    dtype: Annotated[str, typer.Option(help="float64, or float32 for screening.")] = "float64",
    rows: Annotated[int, typer.Option(help="Rows in memory at a time, about.", min=1)] = (
        batches.ROWS
    ),
    rank: Annotated[
        int | None, typer.Option(help="Which of --processes this is; default as the launcher says.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="How many processes share the input.", min=1)
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Meet the others by jax.distributed.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--compilation-cache", envvar=VARIABLE,
            help="Folder that keeps compiled programs; trust who can write to it.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Fit every sweep of a large table; interrupted, the same command does the rest.

    Rows of a sweep stand together. Exit code 1 if a file, part or sweep failed; a rerun tries the
    files and parts again.

    Example: `bimix batch sweeps.parquet -o fits/`
    """
    if cache is not None:
        use_compilation_cache(cache)
    asked = FitOptions(
        residual=loss,  # type: ignore[arg-type]
        huber=huber,
        tied=tuple(tied or ()),
        budget_power=emphasis,
        dtype=dtype,
    )
    method = Method(bx.law_named(law), asked)
    share = join_processes() if distributed else share_of_launcher()
    if rank is not None or processes is not None:
        share = batches.Share(rank or 0, processes or 1)
    files = batch_files(sweeps)
    with _progress_bar(files) as progress:
        report = batches.run_batch(files, output, method, share, rows, progress=progress)
    found = summary(output, report.parts)
    notes = [*report.notes, *_note_of_others(output, report.parts)]
    failed = [*report.failed, *found.reasons]
    if json:
        show_json(
            {
                "written": report.written, "there": report.there, "sweeps": found.sweeps,
                "failed_sweeps": found.failed, "codes": found.codes, "failed": failed,
                "notes": notes,
            }
        )  # fmt: skip
    else:
        show_table(found.table(), f"{output}: {found.sweeps} sweeps in {found.parts} parts")
        show_line(f"{report.written} parts written, {report.there} were there.")
        show_notes(notes)
        show_notes(failed, "Failed")
    if report.failed or found.failed:
        raise typer.Exit(1)


def _note_of_others(output: Path, parts: set[str]) -> list[str]:
    others = strange_parts(output, parts)
    if not others:
        return []
    return [
        f"{output} also holds {len(others)} files of other inputs, which are not counted here: "
        f"{listed(others)}. Whoever reads the whole folder reads them, too."
    ]


@contextlib.contextmanager
def _progress_bar(files: list[Path]) -> Iterator[batches.Progress]:
    expected = [expected_rows(path) for path in files]
    total = None if None in expected else sum(n or 0 for n in expected)
    bar = Progress(
        TextColumn("{task.percentage:>3.0f} %"), BarColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True),
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=total, rate="")
        done = 0

        def fits(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(bar.tasks[task].elapsed or 0.0, 1e-9)
            bar.update(task, rate=f"{rate:,.0f} sweeps/s")

        yield batches.Progress(lambda count: bar.advance(task, count), fits)
