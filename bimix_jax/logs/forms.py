"""Forms of logs, recognised from their names and content: files, folders and objects."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.files import check_readable
from bimix_jax.logs import _olmix as olmix
from bimix_jax.logs import _tables as tables
from bimix_jax.logs import _tensorboard as tensorboard
from bimix_jax.logs import _trainer as trainer
from bimix_jax.logs import _wandb as wandb
from bimix_jax.logs._columns import Columns, of_frame, of_records
from bimix_jax.logs._history import LogFile, Read
from bimix_jax.logs._runs import named
from bimix_jax.logs._trainer import ENDINGS
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.nested import read_json
from bimix_jax.reading.tables import read_table

Logs = str | Path | pd.DataFrame | Mapping[str, Any] | Sequence[Any]
EXPECTED = (
    "expected files or folders, a DataFrame (or rows as mappings) with a column run, a list of "
    "those, or a mapping of run → DataFrame or rows"
)


def as_files(logs: Logs) -> list[LogFile] | None:
    """Return objects as files that were read already; None for paths.

    Raises:
        SweepError: if they are neither paths nor tables, or do not name their runs.

    >>> [file.run for file in as_files({"a": [{"step": 1, "eval/web/loss": 3.0}]})]
    ['a']
    """
    if isinstance(logs, (str, Path)):
        return as_files(_document(Path(logs))) if _is_document(Path(logs)) else None
    if isinstance(logs, Mapping):
        return [
            _file(_columns(table, f"logs of run {run}"), str(run)) for run, table in logs.items()
        ]
    if _is_table(logs) or _is_records(logs):
        return [_file(_columns(logs, "logs"), "")]
    if not isinstance(logs, Iterable) or isinstance(logs, bytes):
        raise SweepError(f"logs is {_called(logs)}; {EXPECTED}.")
    parts = list(logs)
    if all(isinstance(part, (str, Path)) for part in parts):
        return as_files(parts[0]) if len(parts) == 1 else None
    return [_file(_columns(part, f"logs[{i}]"), "") for i, part in enumerate(parts)]


def _is_document(path: Path) -> bool:
    """True where a file is JSON of run → rows, or of rows; a trainer's state is another form."""
    return path.suffix.lower() == ".json" and path.is_file() and not path.name.endswith(ENDINGS)


def _document(path: Path) -> Any:
    try:
        return read_json(path, "logs: rows, or run → rows")
    except ValueError as error:
        raise SweepError(str(error)) from error


def _is_table(value: Any) -> bool:
    return isinstance(value, pd.DataFrame) or hasattr(value, "to_pandas")


def _is_records(value: Any) -> bool:
    return (
        isinstance(value, Sequence) and bool(value) and all(isinstance(v, Mapping) for v in value)
    )


def _columns(table: Any, where: str) -> Columns:
    if _is_table(table):
        # Tables of Arrow, Polars and others have to_pandas, and none of these packages is needed
        # for it.
        frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
        return of_frame(read_table(frame))
    if isinstance(table, Mapping) and table and all(map(_is_list, table.values())):
        return of_frame(read_table(pd.DataFrame(dict(table))))
    if isinstance(table, Iterable) and not isinstance(table, (str, bytes, Mapping)):
        rows = list(table)
        if rows and all(isinstance(row, Mapping) for row in rows):
            return of_records(rows)
    raise SweepError(f"{where} is {_called(table)}; {EXPECTED}.")


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray, pd.Series))


def _file(columns: Columns, run: str) -> LogFile:
    return LogFile(Path(run or "logs"), Path(), run, columns)


def _called(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else f'{text[:57]}...'} ({type(value).__name__})"


class _Form(NamedTuple):
    """A form of logs: the names of its files, its loss pattern, and its reader."""

    fits: Callable[[Path], bool]
    pattern: str
    """default pattern of its losses"""
    read: Read


LOG_FORMS = {
    "tensorboard": _Form(
        lambda p: tensorboard.MARK in p.name, tensorboard.PATTERN, tensorboard.read
    ),
    "trainer": _Form(lambda p: p.name.endswith(trainer.ENDINGS), trainer.PATTERN, trainer.read),
    "olmix": _Form(
        lambda p: p.name == olmix.METRICS and (p.parent / olmix.RATIOS).is_file(),
        olmix.PATTERN,
        olmix.read,
    ),
    "wandb": _Form(lambda p: p.name.lower().endswith(wandb.ENDINGS), wandb.PATTERN, wandb.read),
    "table": _Form(lambda p: p.name.lower().endswith(tables.ENDINGS), tables.PATTERN, tables.read),
}
"""Forms in the order in which they are tried; other files are taken for W&B's."""


class Found(NamedTuple):
    """The files of one form."""

    form: str
    files: list[LogFile]
    notes: tuple[str, ...] = ()
    """notes of files that are there, but not read"""


def found_objects(files: list[LogFile], form: str | None) -> list[Found]:
    """Return tables that were given instead of files, as W&B's form and as any table."""
    forms = ("wandb", "table")
    if form is not None and form not in forms:
        raise SweepError(
            f"form is {form!r}; expected {' or '.join(forms)} where logs are tables, not files."
        )
    return [Found(name, files) for name in forms if form in (None, name)]


def find_files(
    sources: Sequence[str | Path], form: str | None, besides: Sequence[Path] = ()
) -> list[Found]:
    """Find the files of each form in the sources, in the order in which forms are tried.

    Hidden files, and the files in `besides`, are not logs.

    Raises:
        SweepError: if a source does not exist, the form is unknown, or no file has it.
    """
    there = [_existing(source) for source in sources]
    if form is not None and form not in LOG_FORMS:
        raise SweepError(f"form is {form!r}; expected one of {', '.join(LOG_FORMS)}.")
    others = [path.stat() for path in besides if path.exists()]
    every = [file for source in there for file in _files_of(source)]
    every = [file for file in every if not _is_one_of(file.path, others)]
    found = _by_form(every, list(LOG_FORMS) if form is None else [form])
    if found:
        return found
    raise SweepError(
        f"{', '.join(map(str, sources)) or 'logs'}: no file of logs"
        f"{'' if form is None else f' of the form {form}'} there; expected .csv, .jsonl or "
        ".parquet histories, trainer_state.json, TensorBoard event files, or ratios.csv with "
        "metrics.csv."
    )


def _is_one_of(path: Path, others: Sequence[os.stat_result]) -> bool:
    """True where a file is one of the others, under any name."""
    # The table of mixtures often lies among the logs, perhaps given by a link.
    return bool(others) and any(os.path.samestat(path.stat(), other) for other in others)


def _by_form(every: Sequence[LogFile], forms: Sequence[str]) -> list[Found]:
    """Return the forms, each with the files that no form before it has taken."""
    found: list[Found] = []
    taken: set[Path] = set()
    for name in forms:
        files = [f for f in every if LOG_FORMS[name].fits(f.path) and f.path not in taken]
        if files:
            taken |= {file.path for file in files}
            files = named(files)
            found.append(Found(name, *(trainer.latest(files) if name == "trainer" else (files,))))
    return [one._replace(notes=(*one.notes, *_not_read(one, found))) for one in found]


def _not_read(one: Found, found: Sequence[Found]) -> tuple[str, ...]:
    """Return a note of the forms that are not read; nothing if there is one form only."""
    others = [f"{len(other.files)} of the form {other.form}" for other in found if other != one]
    if not others or one.form == "olmix":
        return ()
    return (
        f"Read as {one.form}: {counted(len(one.files), 'file')}. Not read: {', '.join(others)} "
        "(form= or --form chooses).",
    )


def _existing(source: str | Path) -> Path:
    if not Path(source).exists():
        raise SweepError(f"{source} does not exist; expected logs there.")
    if Path(source).is_dir():
        return Path(source)
    try:
        return check_readable(source, "logs")
    except OSError as error:
        raise SweepError(str(error)) from error


def _files_of(source: Path) -> list[LogFile]:
    if source.is_file():
        return [LogFile(source, source.parent)]
    paths = [path for path in sorted(source.rglob("*")) if path.is_file()]
    return [
        LogFile(path, source)
        for path in paths
        # Hidden folders hold checkpoints of notebooks and caches, copies of logs among them.
        if not any(part.startswith(".") for part in path.relative_to(source).parts)
    ]


def log_bytes(sources: Sequence[str | Path], form: str | None) -> int:
    """Return the size of all files that would be read, for the length of a progress bar."""
    if len(sources) == 1 and _is_document(Path(sources[0])):
        return Path(sources[0]).stat().st_size
    return sum(file.bytes for file in find_files(sources, form)[0].files)
