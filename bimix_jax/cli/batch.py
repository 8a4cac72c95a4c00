"""`bimix batch` and `bimix bench`: many sweeps at once, and the rate at which they are fitted."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import jax
import numpy as np
import pandas as pd
import typer
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import bimix_jax as bx
from bimix_jax.batching.batch import ROWS, BatchProgress, Report, Share, run_batch, run_batch_on
from bimix_jax.batching.rates import Case, measure, measure_ceilings
from bimix_jax.cli.fit_options import LAWS_HELP, WeightedByBudget
from bimix_jax.cli.options import Json, OnCluster
from bimix_jax.cli.show import (
    error_bar,
    number,
    percent,
    quantity,
    show_json,
    show_line,
    show_notes,
    show_table,
)
from bimix_jax.fitting.options import FitOptions
from bimix_jax.quantities import counted


@dataclasses.dataclass(frozen=True)
class Processes:
    """The part of the input that this process fits, or the workers of an engine."""

    panel: ClassVar[str] = "Several processes"

    rank: Annotated[
        int | None, typer.Option(help="Number of this process, from 0.", show_default=False)
    ] = None
    processes: Annotated[
        int | None, typer.Option(help="Number of processes that share the input.", min=1)
    ] = None
    workers: Annotated[
        int | None, typer.Option(help="Workers of the engine; default one per machine.", min=1)
    ] = None
    gpus: Annotated[float, typer.Option(help="GPUs per worker of the engine.", min=0)] = 0.0

    def share(self, rows: int) -> Share:
        """Return the part of this process."""
        return Share(self.rank or 0, self.processes or 1, rows)


@dataclasses.dataclass(frozen=True)
class Fitting:
    """The law, the floating type, and the use of memory and disk."""

    law: Annotated[str, typer.Option(help=f"One of {LAWS_HELP}")] = "BiMix"
    dtype: Annotated[str, typer.Option(help="float64, or float32 for screening.")] = "float64"
    rows: Annotated[
        int, typer.Option(help="Approximate number of rows in memory at a time.", min=1)
    ] = ROWS


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
    engine: OnCluster,
    output: Json,
    fitting: Fitting,
) -> None:
    """Fit every sweep of a large table; after an interruption, the same command does the rest.

    Rows of one sweep must be consecutive. Exit code 1 if a file, part or sweep failed; a rerun
    tries the files and parts again.

    Example: `bimix batch sweeps.parquet -o fits/`
    """
    law = bx.law_named(fitting.law)
    options = FitOptions(dtype=fitting.dtype, **settings.settings)
    cluster, share = engine.cluster(among.workers, among.gpus), among.share(fitting.rows)
    if cluster is not None and share.processes > 1:
        raise ValueError("--engine ray shares the input itself; leave out --rank and --processes.")
    if cluster is not None:
        report = run_batch_on(cluster, sweeps, folder, law, options, fitting.rows)
    else:
        with _progress_bar() as progress:
            report = run_batch(sweeps, folder, law, options, share, progress)
    _show(report, output.json)


@contextlib.contextmanager
def _progress_bar() -> Iterator[BatchProgress]:
    """Yield the callbacks of a bar that advances by rows and shows the sweeps per second."""
    share, rate = TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.fields[rate]}")
    with error_bar(share, BarColumn(), rate, TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=None, rate="")
        done = 0

        def fits(count: int) -> None:
            nonlocal done
            done += count
            per_second = done / max(bar.tasks[task].elapsed or 0.0, 1e-9)
            bar.update(task, rate=f"{per_second:,.0f} sweeps/s")

        yield BatchProgress(
            lambda total: bar.update(task, total=total),
            lambda count: bar.advance(task, count),
            fits,
        )


def _show(report: Report, json: bool) -> None:
    """Print the counts of a batch; exit with code 1 if anything failed."""
    found = report.summary()
    notes = [*report.notes, *report.note_of_others()]
    failed = [*report.failed, *found.reasons]
    if json:
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
        sweeps, parts = counted(found.sweeps, "sweep"), counted(found.parts, "part")
        title = f"{report.folder}: {sweeps} in {parts}"
        if found.codes:
            show_table(found.table(), title)
        else:
            show_line(f"{title}, nothing fitted.")
        show_line(f"{counted(report.written, 'part')} written, {report.there} already there.")
        show_notes(notes)
        # A reason may list several findings, one a line.
        show_notes((" ".join(reason.split()) for reason in failed), "Failed")
    if report.failed or found.failed:
        raise typer.Exit(1)


CASES = (
    Case(),
    Case(dtype="float32"),
    Case("log"),
    Case(huber=0.02),
    Case(points=200),
    Case(dtype="float32", fits=100_000),
)
MANY = 1 << 20
LARGE_CASES = (
    Case(fits=MANY),
    Case(dtype="float32", fits=MANY),
    Case("log", fits=MANY),
    Case(huber=0.02, fits=MANY),
)
"""Cases for devices that run hundreds of thousands of fits at once and compile for longer."""

COLUMNS = {
    "fits/s": ("fits per second", quantity),
    "with compile": ("with compilation", quantity),
    "on device": ("on the device alone", quantity),
    "excess": ("excess of sums of squares", number),
    "bound": ("limited by", number),
    "of it": ("share of that limit, %", percent),
    "load": ("load of the machine", number),
}


def bench(output: Json) -> None:
    """Measure the number of fits per second on this machine, and its share of the machine's peak.

    This takes about a minute. Rates are medians, after compilation, of at least five calls of the
    batch that `bimix batch` runs. "On the device alone" is the compiled search on data in the
    memory of a GPU or TPU. Two limits are measured here, arithmetic and memory traffic; the
    nearer one counts.

    Example: `bimix bench`
    """
    ceilings = {dtype: measure_ceilings(dtype) for dtype in ("float64", "float32")}
    cases = CASES if jax.default_backend() == "cpu" else LARGE_CASES
    rows = [measure(case, ceilings[case.dtype]) for case in cases]
    device = f"{len(jax.local_devices())} × {jax.devices()[0].device_kind}, jax {jax.__version__}"
    if output.json:
        return show_json(
            {
                "device": device,
                "ceilings": {dtype: found._asdict() for dtype, found in ceilings.items()},
                "rows": rows,
            }
        )
    show_table(pd.DataFrame(rows).set_index("method"), f"Fits per second on {device}", COLUMNS)
    for dtype, found in ceilings.items():
        show_line(
            f"Ceilings in {dtype}: {found.flops / 1e9:.3g} billion operations and "
            f"{found.bytes / 1e9:.3g} GB per second."
        )
    return show_line(_to_quote(rows))


def _to_quote(rows: list[dict]) -> str:
    """Return the highest rate, and its share of the ceiling."""
    best = max(rows, key=lambda row: np.fmax(row["fits/s"], row["on device"]))
    rate = np.fmax(best["fits/s"], best["on device"])
    where = " of data on the device" if best["on device"] > best["fits/s"] else ""
    return (
        f"{rate:,.0f} fits per second in {best['dtype']}{where}, {100 * best['of it']:.0f} % of "
        f"the ceiling ({best['bound']})."
    )
