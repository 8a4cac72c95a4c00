"""The commands, one file each."""

import typer

from bimix_jax.cli.batch import batch
from bimix_jax.cli.compare import compare
from bimix_jax.cli.demo import demo
from bimix_jax.cli.entropy import entropy
from bimix_jax.cli.evaluate import evaluate
from bimix_jax.cli.fit import fit
from bimix_jax.cli.optimize import optimize
from bimix_jax.cli.predict import predict

app = typer.Typer(
    help="From a sweep of small training runs to the best data mixture of the big one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for command in (fit, batch, predict, evaluate, compare, optimize, entropy, demo):
    app.command()(command)
