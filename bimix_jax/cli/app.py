"""The commands, one file each, which is imported when its command is called."""

import gc
from collections import UserDict
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bimix_jax.cli.command import command

FILES = {"import": "import_logs"} | {
    name: name
    for name in (
        "check", "fit", "predict", "evaluate", "compare", "optimize", "certainty", "path",
        "tradeoff", "sensitivity", "propose", "batch", "bench", "entropy", "demo", "guide",
    )
}  # fmt: skip
"""Command → file, and function in it."""


class _Commands(UserDict[str, Any]):
    """Command → what runs it."""

    def __getitem__(self, name: str) -> Any:
        file = super().__getitem__(name)
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        gc.disable()  # imports leave no garbage, and much to look at
        try:
            function = getattr(import_module(f"bimix_jax.cli.{file}"), file)
            alone.command(name)(command(function))
            return typer.main.get_command(alone)
        finally:
            gc.enable()


class _Group(TyperGroup):
    """Of commands that need not wait for what others import, JAX and SciPy above all."""

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
    """From a sweep of small training runs to the best data mixture of the big one."""
