"""`bimix batch`."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import bimix_jax as bx
from bimix_jax.batching import batch as batches
from bimix_jax.batching.batch import join_processes, share_of_launcher
from bimix_jax.batching.compiled import BatchMethod
from bimix_jax.batching.parts import strange_parts, summary
from bimix_jax.batching.pieces import VARIABLE, batch_files, expected_rows, use_compilation_cache
from bimix_jax.cli.fit_options import LawName, WeightedByBudget
from bimix_jax.cli.options import Json
from bimix_jax.cli.show import show_json, show_line, show_notes, show_table
from bimix_jax.fitting.options import FitOptions
from bimix_jax.quantities import counted
from bimix_jax.reading.tables import listed


@dataclasses.dataclass(frozen=True)
class Processes:
    """The part of the input that this process fits."""

    panel: ClassVar[str] = "Several processes"

    rank: Annotated[
        int | None, typer.Option(help="Number of this process, from 0; default from the launcher.")
    ] = None
    processes: Annotated[
        int | None, typer.Option(help="Number of processes that share the input.", min=1)
    ] = None
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Find the other processes with jax.distributed.")
    ] = False

    def share(self) -> batches.Share:
        """Return the part of this process, from the options or else from the launcher."""
        share = join_processes() if self.distributed else share_of_launcher()
        if self.rank is None and self.processes is None:
            return share
        return batches.Share(self.rank or 0, self.processes or 1)


def batch(
    sweeps: Annotated[
        Path,
        typer.Argument(
            help="Table with a column sweep, .parquet or .csv, or a folder of them.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder for the parts, Parquet.", show_default=False),
    ],
    settings: WeightedByBudget,
    among: Processes,
    output: Json,
    law: LawName = "BiMix",
    dtype: Annotated[str, typer.Option(help="float64, or float32 for screening.")] = "float64",
    rows: Annotated[
        int, typer.Option(help="Approximate number of rows in memory at a time.", min=1)
    ] = (batches.ROWS),
    cache: Annotated[
        Path | None,
        typer.Option(
            "--compilation-cache",
            envvar=VARIABLE,
            help="Folder that keeps compiled programs; trust who can write to it.",
        ),
    ] = None,
) -> None:
    """Fit every sweep of a large table; after an interruption, the same command does the rest.

    Rows of one sweep must be consecutive. Exit code 1 if a file, part or sweep failed; a rerun
    tries the files and parts again.

    Example: `bimix batch sweeps.parquet -o fits/`
    """
    if cache is not None:
        use_compilation_cache(cache)
    method = BatchMethod(bx.law_named(law), FitOptions(dtype=dtype, **settings.settings))
    share = among.share()
    files = batch_files(sweeps)
    with _progress_bar(files) as progress:
        report = batches.run_batch(files, folder, method, share, rows, progress=progress)
    found = summary(folder, report.parts)
    notes = [*report.notes, *_note_of_others(folder, report.parts)]
    failed = [*report.failed, *found.reasons]
    if output.json:
        show_json(
            {
                "written": report.written,
                "there": report.there,
                "sweeps": found.sweeps,
                "failed_sweeps": found.failed,
                "codes": found.codes,
                "failed": failed,
                "notes": notes,
            }
        )
    else:
        show_table(
            found.table(),
            f"{folder}: {counted(found.sweeps, 'sweep')} in {counted(found.parts, 'part')}",
        )
        show_line(f"{counted(report.written, 'part')} written, {report.there} already there.")
        show_notes(notes)
        show_notes(failed, "Failed")
    if report.failed or found.failed:
        raise typer.Exit(1)


def _note_of_others(output: Path, parts: set[str]) -> list[str]:
    others = strange_parts(output, parts)
    if not others:
        return []
    return [
        f"{output} also holds {counted(len(others), 'file')} of other inputs, not counted here: "
        f"{listed(others)}. Readers of the whole folder read them, too."
    ]


@contextlib.contextmanager
def _progress_bar(files: list[Path]) -> Iterator[batches.BatchProgress]:
    expected = [expected_rows(path) for path in files]
    total = None if None in expected else sum(n or 0 for n in expected)
    bar = Progress(
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("", total=total, rate="")
        done = 0

        def fits(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(bar.tasks[task].elapsed or 0.0, 1e-9)
            bar.update(task, rate=f"{rate:,.0f} sweeps/s")

        yield batches.BatchProgress(lambda count: bar.advance(task, count), fits)
