"""The commands: each imports its file when it is called, and turns a function into a command.

A command takes groups of options as frozen dataclasses, whose annotated fields are the options:

    def path(fit: options.FitFile, limits: Limits, output: Output) -> None: ...

`command` turns it into a function with one parameter per option, as typer needs it.
"""

import copy
import dataclasses
import functools
import gc
import inspect
import os
import sys
import warnings
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import OptionInfo, ParameterInfo

from bimix_jax import __version__
from bimix_jax.cli import FILES, named, waiting
from bimix_jax.cli.wording import use_options
from bimix_jax.files import RemotePath, as_path, check_apart, check_folder

WRITTEN = "a file that the command writes"
"""Mark of an option whose file is written; the file is checked before anything is computed."""
MAY_NAME_FILES = "texts that may name files: PATH or NAME=PATH"
"""Mark of an option whose texts may name input files, though its type is not Path."""


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the fields of its groups as parameters, for typer.

    It builds the groups and calls the function once every output is writable and differs from all
    inputs.

    Raises:
        OSError: when called, if an output cannot be a file.
        ValueError: when called, if an output is an input.
    """
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in inspect.signature(function).parameters.items()
        if dataclasses.is_dataclass(parameter.annotation)
    }
    signature = inspect.Signature(list(_expanded(function)))

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        given = {name: _as_paths(value) for name, value in given.items()}
        _check_files(signature.parameters, given)
        built = {
            name: group(
                **{field.name: given.pop(field.name) for field in dataclasses.fields(group)}
            )
            for name, group in groups.items()
        }
        if "jax" in sys.modules:
            begin_computing(function.__name__)
        return function(**built, **given)

    # typer reads the signature and the annotations, not the code.
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {n: one.annotation for n, one in signature.parameters.items()}
    return run


def begin_computing(name: str) -> None:
    """Say so, and take the compiled programs of earlier commands; say why where none may be kept.

    It is called before a command, or by one that imports JAX only later.
    """
    waiting.show(f"bimix {name}: computing")
    from bimix_jax.xla.cache import use_compilation_cache

    try:
        use_compilation_cache()
    except (OSError, RuntimeError) as error:
        warnings.warn(f"compiled programs are not kept: {error}", stacklevel=1)


def _expanded(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Yield one keyword parameter per option; keywords let defaults come before required
    options."""
    for name, parameter in inspect.signature(function).parameters.items():
        group = parameter.annotation
        if not dataclasses.is_dataclass(group):
            yield _option(name, group, parameter.default, None)
            continue
        for field in dataclasses.fields(group):
            missing = field.default is dataclasses.MISSING
            default = inspect.Parameter.empty if missing else field.default
            yield _option(field.name, field.type, default, getattr(group, "panel", None))


def _option(name: str, annotation: Any, default: Any, panel: str | None) -> inspect.Parameter:
    kind, info, *marks = get_args(annotation)
    info = copy.copy(info)
    info.rich_help_panel = panel if isinstance(info, OptionInfo) else None
    _read_numbers(kind, info)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, info, *marks],
    )


def _read_numbers(kind: Any, info: ParameterInfo) -> None:
    """Make an option of numbers accept them as people write them: 40B, 1,200, 90%."""
    scalar = _scalar(kind)
    if info.parser is None and scalar in named.PARSERS:
        info.parser = named.PARSERS[scalar](info.min, info.max)
        info.min = info.max = None
    if info.parser is not None and info.metavar is None:
        info.metavar = info.parser.__name__.upper()


def _scalar(kind: Any) -> Any:
    """Return the type of one value: float of `float | None` and of `list[float] | None`."""
    inner = [each for each in get_args(kind) if each is not NoneType]
    return _scalar(inner[0]) if inner else kind


def _check_files(parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
    sources, outputs = [], []
    for name, value in given.items():
        kind, _, *marks = get_args(parameters[name].annotation)
        each = value if isinstance(value, list) else [value] if value is not None else []
        if WRITTEN in marks:
            outputs += each
        elif _scalar(kind) is Path:
            sources += each
        elif MAY_NAME_FILES in marks:
            sources += [path for text in each for path in _named_files(text)]
    for path in outputs:
        check_folder(path)
    check_apart(sources, outputs)


def _as_paths(value: Any) -> Any:
    """Return paths, single or listed, with those of other file systems as such."""
    if isinstance(value, list):
        return [_as_paths(each) for each in value]
    return as_path(value) if isinstance(value, Path) else value


def _named_files(text: str) -> list[Path]:
    _, _, after = text.partition("=")
    paths = map(as_path, (text, after))
    return [path for path in paths if isinstance(path, RemotePath) or os.path.isfile(path)]


class _Command(TyperCommand):
    """A command that refuses a second value of an option that takes one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            ValueError: if an option of one value has several; the message lists them.
        """
        options = [p for p in self.get_params(ctx) if isinstance(p, TyperOption)]
        use_options({str(option.name): max(option.opts, key=len) for option in options})
        single = [option for option in options if not option.multiple]
        # The last value would win silently, so that a parser that collects all of them goes first.
        parser = self.make_parser(ctx)
        for option in single:
            several = copy.copy(option)
            several.multiple = True
            several.add_to_parser(parser, ctx)
        given, _, _ = parser.parse_args(list(args))
        for option in single:
            name, values = max(option.opts, key=len), given.get(str(option.name)) or []
            if not option.is_flag:
                named.refuse_several(name, values)
            elif len(set(values)) > 1:  # a flag that is repeated changes nothing
                raise ValueError(f"{name} and {option.secondary_opts[0]} are given; give one.")
        return super().parse_args(ctx, args)


class _Commands(UserDict[str, Any]):
    """Command → the object that runs it."""

    def __getitem__(self, name: str) -> Any:
        file = super().__getitem__(name)
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        gc.disable()  # imports leave no garbage, but slow the collector
        try:
            module = import_module(f"bimix_jax.cli.{file}")
            function = getattr(module, name, None) or getattr(module, file)
            alone.command(name, cls=_Command)(command(function))
            return typer.main.get_command(alone)
        finally:
            gc.enable()
            waiting.clear()


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


def _show_version(asked: bool) -> None:
    """Print the version and end, where it was asked for."""
    if asked:
        print(f"bimix_jax {__version__}")
        raise typer.Exit


@app.callback()
def bimix(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; anywhere on the line.")
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Compile everything anew, keep nothing; anywhere on the line. `bimix guide cache`",
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Find the best data mixture for a large training run from a sweep of small ones."""
    if no_cache:
        os.environ["BIMIX_CACHE"] = "off"
