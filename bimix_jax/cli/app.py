"""The commands, whose files are imported when they are called."""

import gc
from collections import UserDict
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bimix_jax.cli.command import command

FILES = {
    "import": "import_logs",
    "check": "check",
    "fit": "fit",
    "predict": "fit",
    "evaluate": "fit",
    "compare": "compare",
    "optimize": "optimize",
    "certainty": "decisions",
    "path": "decisions",
    "tradeoff": "decisions",
    "sensitivity": "decisions",
    "propose": "propose",
    "batch": "batch",
    "bench": "batch",
    "entropy": "entropy",
    "demo": "demo",
    "guide": "guide",
}
"""Command → its file, where the function has the command's name, or else that of the file."""


class _Commands(UserDict[str, Any]):
    """Command → the object that runs it."""

    def __getitem__(self, name: str) -> Any:
        file = super().__getitem__(name)
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        gc.disable()  # imports leave no garbage, but slow the collector
        try:
            module = import_module(f"bimix_jax.cli.{file}")
            function = getattr(module, name, None) or getattr(module, file)
            alone.command(name)(command(function))
            return typer.main.get_command(alone)
        finally:
            gc.enable()


class _Group(TyperGroup):
    """A group of commands without the imports of other commands, such as JAX and SciPy."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(FILES)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.callback()
def bimix(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; anywhere on the line.")
    ] = False,
) -> None:
    """Find the best data mixture for a large training run from a sweep of small ones."""
