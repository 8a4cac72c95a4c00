"""Options that several commands share, and their conversion to objects."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.app import WRITTEN
from bimix_jax.cluster import Cluster
from bimix_jax.reading.metadata import BETTER, NAMES
from bimix_jax.reading.tables import names_of, read_table
from bimix_jax.reading.written_numbers import number_of_parameters
from bimix_jax.sweeps.read import read_sweep
from bimix_jax.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FitFile = Annotated[
    Path, typer.Argument(metavar="FIT", help="A fit written by `bimix fit`.", show_default=False)
]
Select = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=VALUE", help="Keep only these rows; may be given several times."),
]
Stated = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="ENTRY=VALUE",
        help=f"What the numbers mean: {', '.join([*NAMES, *BETTER])}; losses are converted from "
        "the unit that is stated. targets=FILE describes targets, in TOML or a table.",
    ),
]
EndpointsOnly = Annotated[
    bool, typer.Option("--endpoints-only", help="Keep the last point of each run.")
]
MixturePrefix = Annotated[str | None, typer.Option(help="Prefix of the columns of proportions.")]
Budget = Annotated[
    float | None,
    typer.Option(
        help="Budget of the decision, in the sweep's unit; default the sweep's largest.",
        show_default=False,
    ),
]
Weight = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TARGET=WEIGHT",
        help="Weight of a target, or of a family of them; targets not named get 0. Default: 1.",
    ),
]
LossesTable = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Write the losses as CSV.", show_default=False),
    WRITTEN,
]


Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="RUN", help="Leave out a run, e.g. a diverged one; several times."),
]
FromBudget = Annotated[
    float | None,
    typer.Option(help="Leave out points at smaller budgets, e.g. those inside the warm-up."),
]


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """A sweep, read in the same way by every command."""

    panel: ClassVar[str] = "How the sweep is read"

    file: Annotated[
        Path,
        typer.Argument(
            metavar="SWEEP",
            help="Table of runs: .csv, .csv.gz, .parquet, .jsonl.",
            show_default=False,
        ),
    ]
    losses: Annotated[
        Path | None,
        typer.Option(help="Second file of a pair: the losses, joined on --key."),
    ] = None
    key: Annotated[str | None, typer.Option(help="Column that joins a pair of files.")] = None
    budget_column: Annotated[
        str | None, typer.Option(help="Column of budgets: tokens, step, …")
    ] = None
    select: Select = None
    exclude: Exclude = None
    run_column: Annotated[str | None, typer.Option(help="Column that names the runs.")] = None
    mixture_prefix: MixturePrefix = None
    loss_prefix: Annotated[str | None, typer.Option(help="Prefix of the columns of losses.")] = None
    model_size_column: Annotated[
        str | None,
        typer.Option(help="Column of model sizes, several of which are fitted together."),
    ] = None
    from_budget: FromBudget = None
    metadata: Stated = None
    endpoints_only: EndpointsOnly = False

    def words(self) -> list[str]:
        """Return the arguments that read the same sweep in another command."""
        given = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(SweepOptions)
        }
        words = [str(given.pop("file"))]
        for name, value in given.items():
            option = f"--{name.replace('_', '-')}"
            if value is True:
                words.append(option)
            elif value:
                each = value if isinstance(value, list) else [value]
                words += [word for one in each for word in (option, _text(one))]
        return words

    def read(self) -> Sweep:
        """Read the sweep; `read_sweep` chooses the columns and reports problems."""
        measured = read_sweep(
            self.file,
            self.losses,
            key=self.key,
            budget=self.budget_column,
            select=selection(self.select, (self.file, self.losses)),
            run=self.run_column,
            mixture_prefix=self.mixture_prefix,
            loss_prefix=self.loss_prefix,
            model_size=self.model_size_column,
            metadata=metadata_of(self.metadata),
            endpoints_only=self.endpoints_only,
        )
        return kept_of(measured, self.exclude, self.from_budget)


def _text(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def kept_of(measured: Sweep, exclude: Sequence[str] | None, from_budget: float | None) -> Sweep:
    """Leave out the runs of --exclude and the points below --from-budget."""
    kept = measured.without_runs(exclude) if exclude else measured
    return kept if from_budget is None else kept.from_budget(from_budget)


@dataclasses.dataclass(frozen=True)
class Json:
    """The form of the printed output."""

    panel: ClassVar[str] = "Output"

    json: Annotated[
        bool, typer.Option("--json", help="Print JSON for machines instead of tables.")
    ] = False


@dataclasses.dataclass(frozen=True)
class At:
    """The budget, and the model size of a fit to several, that losses are predicted at."""

    budget: Budget = None
    model_size: Annotated[
        str | None,
        typer.Option(
            help="Parameters of the model, e.g. 7B, for a fit to several sizes.",
            show_default=False,
        ),
    ] = None

    def fit_of(self, file: Path) -> "bx.Fit":
        """Return the fit of a file, at the model size that was given."""
        fitted, size = bx.load_fit(file), self.model_size
        return fitted if size is None else fitted.at_model_size(number_of_parameters(size))


@dataclasses.dataclass(frozen=True)
class Output(Json):
    """The form of the printed output, and a picture."""

    plot: Annotated[
        Path | None,
        typer.Option(help="Write a picture: .png, .pdf or .svg.", show_default=False),
        WRITTEN,
    ] = None

    def __post_init__(self) -> None:
        if self.plot is not None:
            bx.plots.check_picture(self.plot)

    def draw(self, figure: Callable[[Any], "Figure"]) -> None:
        """Write the figure that is made with `bimix_jax.plots`, if a picture is requested."""
        if self.plot is not None:
            bx.plots.save_figure(figure(bx.plots), self.plot)


@dataclasses.dataclass(frozen=True)
class OnCluster:
    """The engine that shares out the work, instead of this process."""

    panel: ClassVar[str] = "On a cluster"

    engine: Annotated[
        str | None,
        typer.Option(metavar="ray", help="Share the work out by Ray. `bimix guide clusters`"),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(help="Address of a running cluster of Ray; default one here."),
    ] = None

    def cluster(self, workers: int | None, gpus: float = 0.0) -> Cluster | None:
        """Return the cluster; None where no engine is given.

        Raises:
            ValueError: on another engine, or options of one without it.
        """
        if self.engine is None and self.address is None and not gpus:
            return None
        if self.engine != "ray":
            found = "missing" if self.engine is None else repr(self.engine)
            raise ValueError(
                f"--engine is {found}; expected ray. `bimix guide clusters` shows how Dask and "
                "Spark call the package."
            )
        return Cluster(self.address, workers, gpus)


def weights_of(given: Sequence[str] | None, of: "bx.Fit | Sweep") -> dict[str, float] | None:
    """Return TARGET=WEIGHT options as a mapping, or None if there are none."""
    return named.values("--weight", given, of.targets) or None


def metadata_of(given: Sequence[str] | None) -> dict[str, Any]:
    """Return the entries of --metadata ENTRY=VALUE, split at the first =.

    Raises:
        ValueError: if an entry is given twice that is not a list.
    """
    found = _collected("--metadata", given, ())
    for entry, values in found.items():
        if isinstance(values, list) and entry not in BETTER:
            named.refuse_several(f"--metadata {entry}", values)
    return found


def selection(given: Sequence[str] | None, tables: Sequence[Path | None]) -> dict[str, Any]:
    """Return COLUMN=VALUE options; if one has several =, the tables' columns decide the split."""
    doubtful = any(item.count("=") > 1 for item in given or [])
    there = [path for path in tables if path is not None] if doubtful else []
    columns = [name for path in there for name in names_of(read_table(path))]
    return _collected("--select", given, columns)


def _collected(option: str, given: Sequence[str] | None, names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for item in given or []:
        name, value = named.split_name(option, item, [*names, item.partition("=")[0]])
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
