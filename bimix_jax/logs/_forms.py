"""Files of logs: found by their forms, and named after their runs."""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bimix_jax.files import as_path, check_readable
from bimix_jax.logs._columns import Columns, columns_of, is_one_table, no_logs
from bimix_jax.logs._history import LogFile, Read
from bimix_jax.logs._scalars import (
    EVENTS,
    STATE,
    latest_states,
    read_event_file,
    read_trainer_state,
)
from bimix_jax.logs._tabular import METRICS, RATIOS, read_olmix, read_table_of_logs, read_wandb
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.nested import read_json
from bimix_jax.reading.tables import READERS, listed

Logs = str | Path | pd.DataFrame | Mapping[str, Any] | Sequence[Any]


def as_files(logs: Logs) -> list[LogFile] | None:
    """Return objects as files that were read already; None for paths.

    Raises:
        SweepError: if they are neither paths nor tables, or do not name their runs.

    >>> [file.run for file in as_files({"a": [{"step": 1, "eval/web/loss": 3.0}]})]
    ['a']
    """
    if isinstance(logs, (str, Path)):
        return as_files(_document(as_path(logs))) if is_document(as_path(logs)) else None
    if isinstance(logs, Mapping):
        return [
            _file(columns_of(table, f"logs of run {run}"), str(run)) for run, table in logs.items()
        ]
    if is_one_table(logs):
        return [_file(columns_of(logs, "logs"), "")]
    if not isinstance(logs, Iterable) or isinstance(logs, bytes):
        raise no_logs(logs, "logs")
    parts = list(logs)
    if all(isinstance(part, (str, Path)) for part in parts):
        return as_files(parts[0]) if len(parts) == 1 else None
    return [_file(columns_of(part, f"logs[{i}]"), "") for i, part in enumerate(parts)]


def is_document(path: Path) -> bool:
    """True where a file is JSON of run → rows, or of rows; a trainer's state is another form."""
    return path.suffix.lower() == ".json" and path.is_file() and not path.name.endswith(STATE)


def _document(path: Path) -> Any:
    try:
        return read_json(path, "logs: rows, or run → rows")
    except ValueError as error:
        raise SweepError(str(error)) from error


def _file(columns: Columns, run: str) -> LogFile:
    return LogFile(Path(run or "logs"), Path(), run, columns)


class _Form(NamedTuple):
    """A form of logs: the names of its files, its loss pattern, and its reader."""

    fits: Callable[[Path], bool]
    pattern: str
    """default pattern of its losses"""
    read: Read


TABLES = tuple(READERS)
"""Endings of files that are tables."""
# In this order they are tried; other files are taken for W&B's.
LOG_FORMS = {
    "tensorboard": _Form(lambda p: EVENTS in p.name, "eval/{target}/loss", read_event_file),
    "trainer": _Form(lambda p: p.name.endswith(STATE), "eval_{target}_loss", read_trainer_state),
    "olmix": _Form(
        lambda p: p.name == METRICS and (p.parent / RATIOS).is_file(), "{target}", read_olmix
    ),
    "wandb": _Form(lambda p: p.name.lower().endswith(TABLES), "eval/{target}/loss", read_wandb),
    "table": _Form(lambda p: p.name.lower().endswith(TABLES), "loss_{target}", read_table_of_logs),
}


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
            found.append(Found(name, *(latest_states(files) if name == "trainer" else (files,))))
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
    path = as_path(source)
    if not path.exists():
        raise SweepError(f"{source} does not exist; expected logs there.")
    if path.is_dir():
        return path
    try:
        return check_readable(path, "logs")
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


ENDING = re.compile(r"(\.(csv|tsv|txt|parquet|jsonl|ndjson|json))?(\.(gz|bz2|xz|zst))?$", re.I)
# history is W&B's, trainer_state the Trainer's, metrics that of Lightning's CSVLogger, events.…
# TensorBoard's.
SAYS_NOTHING = re.compile(
    r"(wandb[-_.]?)?(history|trainer_(state|log)|metrics|logs?|scalars|output|results|events.*)",
    re.I,
)
"""Names of files that are the same in every run's folder."""
# checkpoint-500 is the Trainer's, files and wandb W&B's, lightning_logs Lightning's.
NO_RUN = re.compile(
    r"checkpoint[-_]\d+|files|logs|tensorboard|tb|runs|wandb|lightning_logs|csv_logs|trainer_state",
    re.I,
)
"""Folders that loggers make inside a run's folder, or around those of all runs."""
# In order: Lightning, PyTorch's SummaryWriter, Hydra's date and its time, seconds since 1970, W&B.
ATTEMPT = re.compile(
    r"version_\d+|[A-Z][a-z]{2}\d\d_\d\d-\d\d-\d\d_.+|\d{4}-\d\d-\d\d([_T-]\d\d-\d\d-\d\d)?|"
    r"\d\d-\d\d-\d\d|\d{10}(\.\d+)?|(?:offline-)?run-\d{8}_\d{6}-(?P<id>\w+)",
)
"""Folders that loggers make at every start of a run; they name it if nothing else does."""
# Like part-00000-of-00004, as Spark and the Hub name them.
PIECE = re.compile(r"(part|shard|data|train|history)?[-_]?\d+([-_]of[-_]\d+)?", re.I)
"""Names of the files of a table that was split."""


def named(files: Sequence[LogFile]) -> list[LogFile]:
    """Return the files with the runs that their places name.

    The run is named after the file, without its extension. If this name is generic, or files of
    several folders share it, the run is named after the folders in which the paths differ.
    """
    stems = [_stem(file) for file in files]
    repeated = _in_several_folders(files, stems)
    alone = len({f.path.parent for f, stem in zip(files, stems, strict=True) if stem in repeated})
    one_a_folder = alone == sum(stem in repeated for stem in stems)
    pieces = bool(repeated) and all(PIECE.fullmatch(stem) for stem in stems if stem)
    runs = []
    for stem, folder in zip(stems, _folders(files), strict=True):
        if stem is None or pieces or (one_a_folder and stem in repeated):
            runs.append(folder)
        else:
            runs.append(f"{folder}/{stem}" if stem in repeated else stem)
    return [file._replace(run=run) for file, run in zip(files, runs, strict=True)]


def _stem(file: LogFile) -> str | None:
    stem = ENDING.sub("", file.path.name)
    return None if not stem or SAYS_NOTHING.fullmatch(stem) else stem


def _in_several_folders(files: Sequence[LogFile], stems: Sequence[str | None]) -> set[str]:
    places = {(stem, file.path.parent) for file, stem in zip(files, stems, strict=True) if stem}
    counts = Counter(stem for stem, _ in places)
    return {stem for stem, count in counts.items() if count > 1}


def _folders(files: Sequence[LogFile]) -> list[str]:
    """Return for each file the folders that name its run, without those that all files share."""
    below = [_below(file) for file in files]
    # A run that was started twice has two attempts, which are logs of the same run.
    telling = [[p for p in parts if not ATTEMPT.fullmatch(p)] for parts in below]
    # Where nothing else differs, the attempts are the runs.
    if len(set(map(tuple, telling))) == 1 and (len(set(map(tuple, below))) > 1 or not telling[0]):
        telling = below
    apart = _apart(telling)
    return [
        "/".join(map(_without_date, parts)) or _above(file)
        for file, parts in zip(files, apart, strict=True)
    ]


def _below(file: LogFile) -> list[str]:
    parts = file.path.parent.relative_to(file.root).parts
    return [part for part in parts if not NO_RUN.fullmatch(part)]


def _above(file: LogFile) -> str:
    """Return the nearest folder around the file that can name a run."""
    return _naming(file.path.parent.absolute())


@lru_cache
def _naming(folder: Path) -> str:
    """Return the folder, or the nearest one around it, that can name a run."""
    folders = list(reversed(folder.resolve().parts))
    return next((f for f in folders if not NO_RUN.fullmatch(f)), folders[0])


def _apart(paths: list[list[str]]) -> list[list[str]]:
    """Drop the folders that all paths begin with, if a part of each path remains."""
    first = 0
    while len({tuple(path[: first + 1]) for path in paths}) == 1 and first + 1 < min(
        map(len, paths), default=0
    ):
        first += 1
    return [path[first:] for path in paths]


def _without_date(folder: str) -> str:
    """Return the run's id from the name of a W&B folder; W&B uses the id elsewhere."""
    found = ATTEMPT.fullmatch(folder)
    return found["id"] if found and found["id"] else folder


# ---- the names of a table of runs ----------------------------------------------------------------


def as_listed(
    files: Sequence[LogFile], lists: Sequence[frozenset[str]]
) -> tuple[list[LogFile], frozenset[str]]:
    """Name the files after the runs of the list that agrees with most of their places.

    Returns:
        The files, and that list; all lists as one where no place agrees with any.

    Raises:
        SweepError: if the place of a file names two runs of the list.
    """
    places = [_candidates(file) for file in files]

    def agreeing(labels: frozenset[str]) -> int:
        return sum(not labels.isdisjoint(names) for names in places)

    # max keeps the first of equals, and columns with usual names come first.
    best = max(lists, key=agreeing, default=frozenset[str]())
    if not agreeing(best):
        return list(files), frozenset().union(*lists)
    named = [_as_listed(file, names, best) for file, names in zip(files, places, strict=True)]
    return named, best


def _candidates(file: LogFile) -> list[str]:
    """Return possible names of a run by the place of its file: names, and parts of the path."""
    parts = [*file.path.parent.relative_to(file.root).parts]
    stem = ENDING.sub("", file.path.name)
    joined = ["/".join(parts[i:]) for i in range(len(parts))]
    below = [*joined, *(f"{folder}/{stem}" for folder in joined), *parts]
    names = [file.run, stem, stem.split(".")[0], *below, *map(_without_date, parts)]
    return [*dict.fromkeys(names), *([] if parts else [_above(file)])]


def _as_listed(file: LogFile, names: list[str], labels: Collection[str]) -> LogFile:
    if file.run in labels:
        return file
    found = [name for name in names if name in labels]
    if len(found) > 1:
        raise SweepError(
            f"{file.path}: its place names {len(found)} runs of the table of mixtures: "
            f"{listed(found)}. Name the folders and files of logs after one run each."
        )
    return file._replace(run=found[0]) if found else file
