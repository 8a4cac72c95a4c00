"""Names of runs: from files, columns and mixture tables."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from bimix_jax.logs._history import RUN_KEYS, LogFile
from bimix_jax.logs._run_tables import RunTable
from bimix_jax.names import spelling
from bimix_jax.quantities import counted
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import RUN_COLUMNS, listed
from bimix_jax.sweeps.pairs import shortened

USUAL = tuple(dict.fromkeys((*RUN_COLUMNS, *RUN_KEYS)))
"""Usual names of the column that names the runs."""
# Exponents of up to six digits: Decimal accepts more, whose zeros could not be written out.
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d{1,6})?", re.I)
MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DATE = re.compile(
    rf"\d{{1,2}}-({MONTH})[a-z]*(-\d+)?|({MONTH})[a-z]*-\d+|\d{{1,4}}[/.-]\d{{1,2}}[/.-]\d{{1,4}}"
    r"( \d\d:\d\d(:\d\d)?)?",
    re.I,
)
"""Forms in which spreadsheets write dates."""


def same_runs(logged: Iterable[str], labels: Iterable[str]) -> dict[str, str]:
    """Map labels of the table to runs of the logs, where they mean the same run.

    Labels that differ are matched by spelling, as numbers (7 and 007), or without the prefix or
    suffix that all runs or all labels share, if each then has one counterpart.

    >>> same_runs(["007", "Web"], ["7", "web", "8"])
    {'web': 'Web', '7': '007'}
    """
    runs, names = list(dict.fromkeys(logged)), list(dict.fromkeys(labels))
    known = set(runs)
    found = {name: name for name in names if name in known}
    for form in (spelling, _as_number):
        there, here = (
            _by_form(form, [name for name in side if name not in found and name not in done])
            for side, done in ((names, ()), (runs, found.values()))
        )
        found |= {
            there[key][0]: here[key][0]
            for key in there
            if len(there[key]) == len(here.get(key, ())) == 1
        }
    return found or _by_what_differs(runs, names)


def _by_form(form: Callable[[str], str | None], names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if (key := form(name)) is not None:
            groups[key].append(name)
    return groups


def _as_number(name: str) -> str | None:
    """Return the exact number that a name spells, in one form for all ways to write it."""
    if not NUMBER.fullmatch(name):
        return None
    # Decimal is exact: 0.1 stays 0.1, and ids of 20 digits stay different.
    sign, digits, exponent = Decimal(name).as_tuple()
    written = "".join(map(str, digits))
    plain = written.strip("0")
    zeros = len(written) - len(written.rstrip("0"))
    return f"{'-' * sign}{plain}e{int(exponent) + zeros}" if plain else "0"


def _by_what_differs(runs: list[str], names: list[str]) -> dict[str, str]:
    """Match labels after a prefix or suffix that all runs, or all labels, share is cut."""
    # One name shares all of itself with itself, and parts of dates say nothing about runs.
    if len(runs) < 2 or len(names) < 2 or any(map(DATE.fullmatch, names)):
        return {}
    ways = [(short, names) for short in shortened(runs)]
    ways += [(runs, short) for short in shortened(names)]
    for short_runs, short_names in ways:
        run_of = dict(zip(short_runs, runs, strict=True))
        if set(run_of) <= set(short_names):
            pairs = zip(short_names, names, strict=True)
            return {name: run_of[short] for short, name in pairs if short in run_of}
    return {}


def run_column(runs: RunTable, logged: Sequence[str], key: str | None, others: Set[str]) -> str:
    """Return the column of the table, not in `others`, that names most runs of the logs.

    Raises:
        SweepError: if there is no column that could.
    """
    lists = {c: labels for c, labels in runs.lists.items() if c not in others}
    if key is not None and key in lists:
        return key
    usual = [c for name in USUAL for c in lists if c.lower() == name]
    known = set(logged)
    exactly = {c: len(known.intersection(labels)) for c, labels in lists.items()}
    whole = len(known) in exactly.values()  # fast: then no other names can be of more runs

    def merit(column: str) -> tuple[int, int, bool, int]:
        labels = [label for label in lists[column] if isinstance(label, str)]
        exact = exactly[column]
        matched = exact if exact or whole else len(same_runs(logged, labels))
        if column not in usual and 2 * matched < len(known):
            exact = matched = 0  # a few numbers match by chance
        place = -usual.index(column) if column in usual else -len(lists)
        return exact, matched, len(set(labels)) == len(labels), place

    best = max(lists, key=merit, default=None)
    if best is not None and merit(best)[1] > 0:
        return best
    if not usual:
        raise SweepError(
            f"{runs.name}: no column names the runs of the logs, {listed(logged)}; the columns are "
            f"{listed(lists)}. Name it with run_key= (--run-key), or name the runs alike."
        )
    return usual[0]


def run_lists(runs: RunTable) -> list[frozenset[str]]:
    """Return the run labels of each column of the table, columns of usual names first."""
    lists = runs.lists
    usual = [c for name in USUAL for c in lists if c.lower() == name]
    others = [c for c in lists if c not in usual and c.lower() != "domain"]
    return [frozenset(x for x in lists[c] if isinstance(x, str)) for c in (*usual, *others)]


def note_of_labels(same: dict[str, str]) -> list[str]:
    """Return a note of labels that are written differently from their runs."""
    unlike = [f"{name} is {run}" for name, run in same.items() if name != run]
    if not unlike:
        return []
    return [
        f"{counted(len(unlike), 'run is', 'runs are')} written differently in the table of "
        "mixtures and in the logs: "
        f"{listed(unlike)}."
    ]


def hint_of_dates(labels: Sequence[str], logged: Sequence[str]) -> str:
    """Return a hint if labels look like dates that a spreadsheet made of them."""
    dates = [label for label in labels if DATE.fullmatch(label)]
    if not dates or 2 * len(dates) < len(labels) or all(DATE.fullmatch(run) for run in logged):
        return ""
    return (
        f" {listed(dates[:3])} look like dates that a spreadsheet made of names like {logged[0]}: "
        "import that column as text, or type the names again."
    )


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
