"""`bimix decide`: from a sweep or logs to a decision, in one command."""

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import named, waiting
from bimix_jax.cli._stages import PARTS, Stages
from bimix_jax.cli.app import WRITTEN
from bimix_jax.cli.limits import Limits
from bimix_jax.cli.optimize import FORMS, RecipePaths
from bimix_jax.cli.options import (
    Json,
    SweepOptions,
    Weight,
    metadata_of,
    selection,
    weights_of,
)
from bimix_jax.cli.show import (
    amount,
    error_bar,
    number,
    percent,
    probability,
    share,
    show_json,
    show_line,
    show_notes,
    show_table,
)
from bimix_jax.diagnosis.diagnose import Diagnosis
from bimix_jax.files import as_path, write_atomically
from bimix_jax.printable import printable
from bimix_jax.quantities import budget_text, counted
from bimix_jax.report.plan import Plan
from bimix_jax.report.report import Report
from bimix_jax.report.trackers import check_tracker, log_decision
from bimix_jax.sweeps.sweep import Sweep

NOT_ENOUGH = 1
"""Exit code where the sweep is not enough to decide."""
SUMMARY = {
    "probability": ("probability that the recommended one is better", probability),
}
SHOWN = 3
"""Number of the sweep's warnings that are shown."""


@dataclasses.dataclass(frozen=True)
class Measured(SweepOptions):
    """The measured runs: a sweep, a plan that names one, or logs."""

    file: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SWEEP|LOGS",
            help="Table of runs (.csv, .csv.gz, .parquet, .jsonl), or files or folders of logs; "
            "default those of the plan.",
            show_default=False,
        ),
    ] = None  # type: ignore[assignment]
    plan: Annotated[
        Path | None,
        typer.Option(help="TOML file of everything that is asked; options replace its entries."),
    ] = None
    mixtures: Annotated[
        Path | None, typer.Option(help="Table of runs and their mixtures, for logs.")
    ] = None
    form: Annotated[str | None, typer.Option(help="Form of logs, as `bimix import` takes it.")] = (
        None
    )
    loss_pattern: Annotated[
        str | None, typer.Option(help="Metrics of logs that are losses: 'eval/{target}/loss'.")
    ] = None

    def asked(self, tokens_per_step: float | None) -> Plan:
        """Return the plan of the file, with the options of reading in place of its entries."""
        if not self.file and self.plan is None:
            raise ValueError(
                "SWEEP is missing; expected a table of runs, or logs. Type: bimix decide sweep.csv "
                "--budget 40B; with logs: bimix decide logs/ --mixtures runs.csv --budget 40B."
            )
        base = Plan() if self.plan is None else Plan.load(self.plan)
        files = {
            "sweep": tuple(map(str, self.file or ())),
            "mixtures": _text(self.mixtures),
            "losses": _text(self.losses),
            "exclude": tuple(self.exclude or ()),
            "from_budget": self.from_budget,
        }
        given = {name: value for name, value in files.items() if value}
        named_so = dataclasses.replace(base, **given)  # type: ignore[arg-type]
        reading = self._reading(named_so, tokens_per_step)
        return dataclasses.replace(named_so, read={**base.read, **reading})

    def _reading(self, plan: Plan, tokens_per_step: float | None) -> dict[str, Any]:
        """Return the arguments of `read_logs`, or of `read_sweep`, that are options here."""
        tables = [as_path(each) for each in (*plan.sweep, plan.mixtures, plan.losses) if each]
        alike = {
            "select": selection(self.select, [path for path in tables if path.is_file()]) or None,
            "metadata": metadata_of(self.metadata) or None,
            "mixture_prefix": self.mixture_prefix,
            "endpoints_only": self.endpoints_only or None,
        }
        logs = {
            "form": self.form,
            "loss_pattern": self.loss_pattern,
            "tokens_per_step": tokens_per_step,
            "run_key": self.run_column,
            "step_key": self.budget_column,
        }
        table = {
            "key": self.key,
            "budget": self.budget_column,
            "run": self.run_column,
            "loss_prefix": self.loss_prefix,
            "model_size": self.model_size_column,
        }
        own = logs if plan.has_logs or self.form else table
        return {name: value for name, value in {**alike, **own}.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Decided:
    """The question, and how much is computed for the answer."""

    panel: ClassVar[str] = "What is decided"

    budget: Annotated[
        float | None,
        typer.Option(
            help="Budget of the large run, in the sweep's unit; default twice its largest.",
            show_default=False,
        ),
    ] = None
    model_size: Annotated[
        str | None,
        typer.Option(
            help="Parameters of the large model, e.g. 7B, for a sweep of several sizes; default "
            "its largest.",
            show_default=False,
        ),
    ] = None
    weight: Weight = None
    law: Annotated[
        list[str] | None,
        typer.Option(help="Compare this law; several times. Default: a few of `bimix compare`."),
    ] = None
    level: Annotated[
        float | None, typer.Option(parser=named.share, help="Level of the intervals; default 0.9.")
    ] = None
    guard_probability: Annotated[
        float | None,
        typer.Option(
            parser=named.share,
            help="Probability with which the mixture keeps each --guardrail, e.g. 0.9; default "
            "about a half where one binds.",
        ),
    ] = None
    resamples: Annotated[int | None, typer.Option(help="Number of resamples; default 64.")] = None
    propose: Annotated[
        int | None, typer.Option(help="Number of runs to propose; default 4, 0 for none.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of everything that is drawn.")] = None
    entropy: Annotated[
        Path | None,
        typer.Option(help="A mixture from `bimix entropy`, to stand beside the others."),
    ] = None

    def added(self, plan: Plan) -> Plan:
        """Return the plan with the options that were given in place of its entries."""
        given = {
            "budget": self.budget,
            "model_size": self.model_size,
            "laws": tuple(self.law or ()) or None,
            "level": self.level,
            "guard_probability": self.guard_probability,
            "resamples": self.resamples,
            "propose": self.propose,
            "seed": self.seed,
            "entropy": _text(self.entropy),
        }
        return dataclasses.replace(plan, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Files(Json):
    """The files that are written, and the progress that is shown."""

    panel: ClassVar[str] = "Output"

    folder: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write; it is made if it is missing.")
    ] = Path("decision")
    emit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORM",
            help=f"Form of the recipe, several times: {FORMS}. Default json.",
        ),
    ] = None
    paths: RecipePaths = None
    write_plan: Annotated[
        Path | None,
        typer.Option(
            help="Write a commented plan for this sweep, and do nothing else.", show_default=False
        ),
        WRITTEN,
    ] = None
    log: Annotated[
        str | None,
        typer.Option(
            metavar="TRACKER", help="Log page, fit and recipe as artefacts to wandb or mlflow."
        ),
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False

    def added(self, plan: Plan) -> Plan:
        """Return the plan with the forms and paths that were given."""
        given = {"emit": tuple(self.emit or ()), "paths": _text(self.paths)}
        return dataclasses.replace(plan, **{k: v for k, v in given.items() if v})  # type: ignore[arg-type]


def decide(measured: Measured, limits: Limits, asked: Decided, output: Files) -> None:
    """Go from a sweep or logs to a decision: mixture, certainty, recipe and a page to send.

    Exit code 1: the sweep is not enough to decide, and the runs to do are written.

    Example: `bimix decide sweep.csv --budget 40B --available tokens.csv --epochs 4 -o decision`
    """
    if output.log is not None:
        check_tracker(output.log)
    plan = output.added(asked.added(measured.asked(limits.tokens_per_step)))
    with _progress(output.quiet or output.json) as stage:
        stage("reading")
        sweep = plan.read_measured()
        plan = _with_limits(plan, limits, asked, sweep)
        if output.write_plan is not None:
            return _write_plan(plan, sweep, output.write_plan)
        report = bx.decide(sweep, plan, folder=output.folder, progress=stage)
        stage("writing")
        written = report.save(output.folder, shlex.join(["bimix", *sys.argv[1:]]))
    if output.log is not None:
        logged = log_decision(report, written, output.log)
        print(f"bimix: logged to {output.log}: {logged}", file=sys.stderr)
    if output.json:
        show_json(report.to_dict())
    else:
        _show(report, written, output.folder)
    if report.missing is not None:
        raise typer.Exit(NOT_ENOUGH)
    return None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _with_limits(plan: Plan, limits: Limits, asked: Decided, sweep: Sweep) -> Plan:
    """Return the plan with the limits, weights and reference that were given in its place."""
    table = limits.table_of_tokens(sweep.domains)
    if plan.has_logs and sweep.unit == "tokens":
        limits = dataclasses.replace(limits, tokens_per_step=None)  # of the logs, not of the run
    allowed = limits.constraints_of(sweep, shown=True, base=plan.constraints)
    weights = weights_of(asked.weight, sweep)
    if weights is not None:
        allowed = dataclasses.replace(allowed, weights=weights)
    if table is not None:  # the plan names the file, which holds documents, too
        allowed = dataclasses.replace(allowed, available={})
    return dataclasses.replace(
        plan,
        constraints=allowed,
        available=table or (None if allowed.available else plan.available),
        reference=plan.reference if limits.reference is None else limits.reference,
    )


def _write_plan(plan: Plan, sweep: Sweep, path: Path) -> None:
    from bimix_jax.report._template import template

    write_atomically(path, template(plan, sweep, path.parent))
    show_line(f"Written: {path}; next: bimix decide --plan {path}")


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function for the name of each stage, and for how far it is, which a terminal
    shows."""
    from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

    if quiet:
        waiting.clear()
        yield lambda stage: None
        return
    columns = SpinnerColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
    with error_bar(*columns, TimeElapsedColumn(), transient=True) as bar:
        task, stages = bar.add_task("", total=len(PARTS)), Stages()

        def stage(text: str) -> None:
            shown = printable(stages.told(text))
            bar.update(task, description=shown, completed=stages.number)

        yield stage


def _show(report: Report, written: list[Path], folder: Path) -> None:
    """Print the decision: a sentence, the shares, what binds, the files and what comes next."""
    show_line(f"{report.sweep.summary()}.")
    show_line("")
    show_line(report.sentence())
    if report.optimum is None:
        _show_runs(report)
    else:
        _show_shares(report)
    _show_doubts(report.diagnosis)
    show_line("")
    show_line(f"Written: {', '.join(map(str, written))}")
    again = f"bimix decide --plan {folder / 'plan.toml'}"
    if report.optimum is None:
        return show_line(f"Next: do the runs of {folder / 'next_runs.csv'}, add them, and {again}")
    page = folder / "index.html"
    return show_line(f"Next: open {page}; another budget or limit: {again} --budget …")


def _show_shares(report: Report) -> None:
    """Print the mixtures side by side, their gains, and the limits that bind."""
    best: Any = report.optimum
    mixtures = cast(pd.DataFrame, report.baselines["share"]).T
    shares = mixtures.map(share).rename_axis("domain")
    if best.epochs is not None:
        shares["epochs"] = best.epochs.map(amount)
    at = budget_text(best.budget, best.unit)
    show_table(shares, f"Mixtures at {at}", {})
    summary = cast(pd.DataFrame, report.baselines["summary"])
    show_table(
        summary,
        f"Predicted, beside {report.reference_name}",
        SUMMARY
        | {"objective": (f"{best.objective_text}, {best.objective_unit}", number)}
        | {"gain": (f"gain, {'points' if best.decision.of_scores else '%'}", percent)},
        below=_fitted(report),
    )
    if len(best.binding):
        show_line("")
        show_line(f"Binding: {'; '.join(best.binding.index)}.")


def _fitted(report: Report) -> str:
    """Name the law, and the stack of laws that nobody asked for."""
    if report.fitted is None:
        return ""
    said = f"Fitted: {report.fitted.label}."
    if report.plan.laws:
        return said
    return f"{said} A stack of several laws takes about three times as long: --law Stacked."


def _show_runs(report: Report) -> None:
    if report.next_runs is not None:
        runs: pd.DataFrame = report.next_runs.mixtures.rename_axis("run")
        show_table(runs, f"{counted(len(runs), 'run')} to do", form=share)


def _show_doubts(found: Diagnosis) -> None:
    """Print the warnings and errors of the check, with its advice."""
    doubts = [f"{o.what}. {o.advice}".strip() for o in found.observations if o.severity > 0]
    more = len(doubts) - SHOWN
    also = [f"and {more} more in the page."] if more > 0 else []
    show_notes([*doubts[:SHOWN], *also], "Doubts about the sweep")
