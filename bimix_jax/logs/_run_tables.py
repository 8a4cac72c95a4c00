"""Tables of runs: read from anything, and matched with the runs of the logs."""

import dataclasses
import functools
import importlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
from pyarrow import types

from bimix_jax.files import as_path, check_readable
from bimix_jax.logs._history import RUN_KEYS, label_of
from bimix_jax.quantities import counted
from bimix_jax.reading.column_names import shortened
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.frames import as_frame
from bimix_jax.reading.names import spelling
from bimix_jax.reading.nested import decoded, parse_json, read_json, read_toml
from bimix_jax.reading.tables import (
    READERS,
    RUN_COLUMNS,
    Source,
    listed,
    names_of,
    read_table,
    unknown_extension,
)

DOMAIN_KEYS = ("name", "domain", "source", "dataset", "id")
AMOUNTS = (
    "proportion",
    "share",
    "ratio",
    "weight",
    "percent",
    "percentage",
    "tokens",
    "num_tokens",
    "documents",
    "samples",
    "count",
    "amount",
)
"""Names of an amount beside the name of its domain."""
EXPECTED = "the mixtures of the runs"
Runs = Source | Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class RunTable:
    """A table with one row per run, or per run and domain."""

    name: str
    """name of the table in messages"""
    table: pd.DataFrame
    sparse: bool = False
    """True where a domain that a run does not name counts 0"""
    nulls: frozenset[tuple[int, str]] = frozenset()
    """(row, column) of cells that are named, but empty"""

    @functools.cached_property
    def lists(self) -> dict[str, np.ndarray]:
        """Column → the run's label in each row, for the columns that could name runs."""
        flat = {c: self.table[c].to_numpy(object) for c in names_of(self.table)}
        return {c: np.array([*map(label_of, cells)], object) for c, cells in flat.items()}


def read_runs(source: Runs, run: str | None = None) -> RunTable:
    """Read a table of runs from a file, a DataFrame, a mapping of run → {domain: amount} or a list.

    A document (.json, .toml, .yaml where PyYAML is installed, or a mapping) may be run → {domain:
    amount}, a list of runs, or either inside an object; nested entries of a run become columns like
    `mixture.web`.

    Args:
        source: as above.
        run: the column that names the runs, where a user named it; 007 is a name there.

    Raises:
        SweepError: if it cannot be read, or holds no runs.

    >>> read_runs({"a": {"mixture": {"web": 1}}, "b": {"mixture": {"code": 2}}}).table
      run  mixture.web  mixture.code
    0   a          1.0           NaN
    1   b          NaN           2.0
    """
    source = as_frame(source)
    if isinstance(source, pd.DataFrame):
        return _of_frame(_with_index(source), "The DataFrame", run)
    if isinstance(source, Mapping):
        rows = {k: v.to_dict() if isinstance(v, pd.Series) else v for k, v in source.items()}
        return _of_document(rows, "The mapping of runs")
    if not isinstance(source, (str, Path)):
        return _of_document(source, "The list of runs")
    path = as_path(source)
    ending = path.suffix.lower()
    if ending not in DOCUMENTS:
        _check_extension(path)
        table = read_table(path, (run,))
        nested = _nested_parquet(path) if ending == ".parquet" else None
        return RunTable(str(source), _without_blank(table)) if nested is None else nested
    try:
        document = DOCUMENTS[ending](path)
    except (ValueError, OSError) as error:
        raise SweepError(str(error)) from error
    return _of_document(document, str(source))


def _check_extension(path: Path) -> None:
    """Raise SweepError, which lists documents as well as tables, on a file of another extension."""
    known = tuple(dict.fromkeys((*READERS, *DOCUMENTS)))
    if path.is_file() and not path.name.lower().endswith(known):
        raise SweepError(unknown_extension(path, known))


def _nested_parquet(path: Path) -> RunTable | None:
    """Read a Parquet file whose cells are structures or lists of them; None if none are."""
    if not any(types.is_nested(field.type) for field in pyarrow.parquet.read_schema(path)):
        return None
    return _of_document(pyarrow.parquet.read_table(path).to_pylist(), str(path), nulls=False)


def _of_frame(frame: pd.DataFrame, name: str, run: str | None) -> RunTable:
    if any(frame[c].map(_is_nested).any() for c in frame if frame[c].dtype == object):
        return _of_document(frame.to_dict("records"), name, nulls=False)
    return RunTable(name, _without_blank(read_table(frame, (run,))))


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn an unnamed index of labels into a column "index"."""
    unnamed = frame.index.nlevels == 1 and frame.index.name is None
    labels = not pd.api.types.is_numeric_dtype(frame.index)
    if unnamed and labels and "index" not in frame:
        frame = frame.rename_axis("index")
    if all(level is None for level in frame.index.names):
        return frame
    return frame.reset_index()


def _yaml(path: Path) -> Any:
    """Read a YAML file with every scalar as text, so that the language code "no" stays text."""
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise ValueError(
            f"{path} is read with PyYAML, which is not installed; save it as JSON."
        ) from None
    text = check_readable(path, EXPECTED).read_text(encoding="utf-8-sig")
    try:
        # BaseLoader makes plain text alone, and no Python objects.
        return yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not complete YAML: {reason}.") from error


def _json_lines(path: Path) -> Any:
    lines = decoded(check_readable(path, EXPECTED).read_bytes(), str(path)).split("\n")
    return [
        parse_json(line, f"{path}, line {i}", unique=True)
        for i, line in enumerate(lines, 1)
        if line.strip()
    ]


DOCUMENTS = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": lambda path: read_json(path, EXPECTED),
    ".toml": lambda path: read_toml(path, EXPECTED),
    ".yaml": _yaml,
    ".yml": _yaml,
}


def _of_document(document: Any, name: str, nulls: bool = True) -> RunTable:
    """Return a document as a table; `nulls` distinguishes empty entries from absent ones."""
    rows = _rows(document)
    if rows is None:
        raise SweepError(
            f"{name}: expected an object of run → {{domain: amount}}, or a list of runs, but found "
            f"{_shape(document)}."
        )
    flat = [dict(_leaves(row, "")) for row in rows]
    empty = {(i, key) for i, row in enumerate(flat) for key, cell in row.items() if cell is None}
    table = _without_blank(read_table(pd.DataFrame(flat)))
    return RunTable(name, table, True, frozenset(empty if nulls else ()))


def _rows(document: Any) -> list[dict[str, Any]] | None:
    """Return one mapping per run, or None if the document has no runs."""
    if isinstance(document, Sequence) and not isinstance(document, str) and document:
        return list(document) if all(isinstance(row, Mapping) for row in document) else None
    if not isinstance(document, Mapping) or not document:
        return None
    values = list(document.values())
    if all(isinstance(value, Mapping) for value in values):
        # An object of one object may be a wrapper (runs: …) around all runs, or a single run.
        inner = _rows(values[0]) if len(values) == 1 else None
        return inner or [{"run": run, **amounts} for run, amounts in document.items()]
    if all(_named_amounts(value) for value in values):
        return [{"run": run, **_named_amounts(value)} for run, value in document.items()]
    if all(_is_list(value) for value in values) and len(set(map(len, values))) == 1:
        return [dict(zip(document, row, strict=True)) for row in zip(*values, strict=True)]
    found = [rows for value in values if (rows := _rows(value)) is not None]
    # Several lists of runs in one document are ambiguous.
    return found[0] if len(found) == 1 else None


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def _named_amounts(value: Any) -> dict[str, Any]:
    """Return a list of {name, amount} as name → amount; empty if it is not such a list."""
    if not _is_list(value) or not len(value) or not all(isinstance(v, Mapping) for v in value):
        return {}
    names = next((k for k in DOMAIN_KEYS if all(k in v for v in value)), None)
    amounts = next((k for k in AMOUNTS if all(k in v for v in value)), None)
    if names is None or amounts is None or len({v[names] for v in value}) < len(value):
        return {}
    return {str(v[names]): v[amounts] for v in value}


def _shape(document: Any) -> str:
    if isinstance(document, Mapping):
        return f"an object of {listed(document) or 'nothing'}"
    return f"a list of {len(document)}" if isinstance(document, list) else repr(document)[:40]


def _without_blank(table: pd.DataFrame) -> pd.DataFrame:
    """Drop rows and unnamed columns without content, which spreadsheets leave; keep the index."""
    blank = table.map(lambda cell: isinstance(cell, str) and not cell.strip()).astype(bool)
    written = table.notna() & ~blank
    unnamed = table.columns.str.fullmatch(r"Unnamed: \d+|")
    return table.loc[written.any(axis=1), written.any() | ~unnamed]


def _is_nested(cell: Any) -> bool:
    return isinstance(cell, Mapping) or bool(_named_amounts(cell))


def _leaves(row: Mapping[Any, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        inner = value if isinstance(value, Mapping) else _named_amounts(value)
        if inner:
            yield from _leaves(inner, f"{before}{key}.")
        elif not _is_list(value):
            yield f"{before}{key}", value


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
            _by_spelling(form, [name for name in side if name not in found and name not in done])
            for side, done in ((names, ()), (runs, found.values()))
        )
        found |= {
            there[key][0]: here[key][0]
            for key in there
            if len(there[key]) == len(here.get(key, ())) == 1
        }
    return found or _by_what_differs(runs, names)


def _by_spelling(form: Callable[[str], str | None], names: Iterable[str]) -> dict[str, list[str]]:
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
            f"{listed(lists)}. Name it with run_key= (--run-key), or give the runs the "
            "same names in both."
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
