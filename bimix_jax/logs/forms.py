"""The forms of logs, and which one a file or folder has."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bimix_jax.checks import SweepError
from bimix_jax.logs import olmix, tables, tensorboard, trainer, wandb
from bimix_jax.logs.history import LogFile, Read


class Form(NamedTuple):
    """A form of logs: how its files are called, its losses, and how it is read."""

    fits: Callable[[Path], bool]
    pattern: str
    """of its losses, where the user gives none"""
    read: Read


FORMS = {
    "tensorboard": Form(
        lambda p: tensorboard.MARK in p.name, tensorboard.PATTERN, tensorboard.read
    ),
    "trainer": Form(lambda p: p.name.endswith(trainer.ENDINGS), trainer.PATTERN, trainer.read),
    "olmix": Form(
        lambda p: p.name == olmix.METRICS and (p.parent / olmix.RATIOS).is_file(),
        olmix.PATTERN,
        olmix.read,
    ),
    "wandb": Form(lambda p: p.name.lower().endswith(wandb.ENDINGS), wandb.PATTERN, wandb.read),
    "table": Form(lambda p: p.name.lower().endswith(tables.ENDINGS), tables.PATTERN, tables.read),
}
"""In the order in which they are tried; what fits none of the first is taken for W&B's."""


def find_files(sources: Sequence[str | Path], form: str | None) -> tuple[str, list[LogFile]]:
    """The form of the sources, and their files, of folders all that have that form.

    Raises:
        SweepError: if a source does not exist, the form is unknown, or no file has it.
    """
    there = [_existing(source) for source in sources]
    if form is not None and form not in FORMS:
        raise SweepError(f"form is {form!r}; expected one of {', '.join(FORMS)}.")
    every = [file for source in there for file in _files_of(source)]
    for name in FORMS if form is None else [form]:
        files = [file for file in every if FORMS[name].fits(file.path)]
        if files:
            return name, trainer.latest(files) if name == "trainer" else files
    raise SweepError(
        f"{', '.join(map(str, sources)) or 'logs'}: no file of logs"
        f"{'' if form is None else f' of the form {form}'} there; expected .csv, .jsonl or "
        ".parquet histories, trainer_state.json, TensorBoard event files, or ratios.csv with "
        "metrics.csv."
    )


def _existing(source: str | Path) -> Path:
    if not Path(source).exists():
        raise SweepError(f"{source} does not exist; expected logs there.")
    return Path(source)


def _files_of(source: Path) -> list[LogFile]:
    if source.is_file():
        return [LogFile(source, source.parent)]
    return [LogFile(path, source) for path in sorted(source.rglob("*")) if path.is_file()]


def log_bytes(sources: Sequence[str | Path], form: str | None) -> int:
    """Size of all files that would be read, for the length of a progress bar."""
    return sum(file.path.stat().st_size for file in find_files(sources, form)[1])
