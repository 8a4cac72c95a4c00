"""The commands, one file each."""

import typer

from bimix_jax.cli.batch import batch
from bimix_jax.cli.bench import bench
from bimix_jax.cli.certainty import certainty
from bimix_jax.cli.check import check
from bimix_jax.cli.compare import compare
from bimix_jax.cli.demo import demo
from bimix_jax.cli.entropy import entropy
from bimix_jax.cli.evaluate import evaluate
from bimix_jax.cli.fit import fit
from bimix_jax.cli.import_logs import import_logs
from bimix_jax.cli.optimize import optimize
from bimix_jax.cli.path import path
from bimix_jax.cli.predict import predict
from bimix_jax.cli.propose import propose
from bimix_jax.cli.sensitivity import sensitivity
from bimix_jax.cli.tradeoff import tradeoff

app = typer.Typer(
    help="From a sweep of small training runs to the best data mixture of the big one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
COMMANDS = (
    check, fit, predict, evaluate, compare, optimize, certainty, path, tradeoff, sensitivity,
    propose, batch, bench, entropy, demo,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.command("import")(import_logs)
