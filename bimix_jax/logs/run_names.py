"""Which run a file of logs is of: what its place in the folders tells."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

from bimix_jax.logs.history import LogFile
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed

ENDING = re.compile(r"(\.(csv|tsv|txt|parquet|jsonl|ndjson|json))?(\.(gz|bz2|xz|zst))?$", re.I)
SAYS_NOTHING = re.compile(
    r"(wandb[-_.]?)?(history|trainer_(state|log)|metrics|logs?|scalars|output|results|events.*)",
    re.I,
)
"""Names of files that are called the same in every run's folder."""
NO_RUN = re.compile(
    r"checkpoint[-_]\d+|files|logs|tensorboard|tb|runs|wandb|lightning_logs|csv_logs|trainer_state",
    re.I,
)
"""Folders that loggers make within the folder of a run, or around those of all runs."""
ATTEMPT = re.compile(
    r"version_\d+|[A-Z][a-z]{2}\d\d_\d\d-\d\d-\d\d_.+|\d{4}-\d\d-\d\d([_T-]\d\d-\d\d-\d\d)?|"
    r"\d\d-\d\d-\d\d|\d{10}(\.\d+)?|(?:offline-)?run-\d{8}_\d{6}-(?P<id>\w+)",
)
"""Folders that loggers make at every start of a run: they name it where nothing else does."""
PIECE = re.compile(r"(part|shard|data|train|history)?[-_]?\d+([-_]of[-_]\d+)?", re.I)
"""Names of the files that one table was cut into."""


def named(files: Sequence[LogFile]) -> list[LogFile]:
    """The files with the runs that their places tell.

    A file's own name is the run's, without its ending, unless it says nothing or files of several
    folders have it: then the folders below the one that was given are, as far as they differ.
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
    """Of each file the folders that name its run, without those that all files share."""
    below = [_below(file) for file in files]
    telling = [[p for p in parts if not ATTEMPT.fullmatch(p)] for parts in below]
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
    """The next folder around the file that can name a run."""
    return _naming(file.path.parent.absolute())


@lru_cache
def _naming(folder: Path) -> str:
    """The folder, or the next around it, that can name a run."""
    folders = list(reversed(folder.resolve().parts))
    return next((f for f in folders if not NO_RUN.fullmatch(f)), folders[0])


def _apart(paths: list[list[str]]) -> list[list[str]]:
    """Without the folders that all paths begin with, if that leaves something of each."""
    first = 0
    while len({tuple(path[: first + 1]) for path in paths}) == 1 and first + 1 < min(
        map(len, paths), default=0
    ):
        first += 1
    return [path[first:] for path in paths]


def _without_date(folder: str) -> str:
    """A folder of W&B as the run's id alone, which is what W&B calls it elsewhere."""
    found = ATTEMPT.fullmatch(folder)
    return found["id"] if found and found["id"] else folder


# ---- the names of a table of runs ----------------------------------------------------------------


def as_listed(
    files: Sequence[LogFile], lists: Sequence[frozenset[str]]
) -> tuple[list[LogFile], frozenset[str]]:
    """The files with the runs of the list, of several, that most of their places agree with.

    Returns:
        The files, and that list; all lists as one where no place agrees with any.

    Raises:
        SweepError: if the place of a file names two runs of the list.
    """
    places = [_candidates(file) for file in files]

    def agreeing(labels: frozenset[str]) -> int:
        return sum(not labels.isdisjoint(names) for names in places)

    best = max(lists, key=agreeing, default=frozenset[str]())
    if not agreeing(best):
        return list(files), frozenset().union(*lists)
    named = [_as_listed(file, names, best) for file, names in zip(files, places, strict=True)]
    return named, best


def _candidates(file: LogFile) -> list[str]:
    """What a run could be called by the place of its file: names, and parts of the path."""
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
            f"{listed(found)}. Give the folders and files of logs names of one run each."
        )
    return file._replace(run=found[0]) if found else file
