"""Cells of logs as numbers, and the columns that count training."""

import contextlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from bimix_jax.quantities import number_of
from bimix_jax.reading import written_numbers
from bimix_jax.reading.errors import SweepError

# Trainers log in groups: train/ (Hugging Face), trainer/ (Lightning), throughput/ (OLMo-core).
WHERE = r"(?:(?:train|trainer|training|time|throughput|progress|perf|optim|data)[/.])?"
"""Prefixes of a counter's name; a prefix of evaluations marks a counter of something else."""
GLOBAL_STEP = re.compile(r"(?:.*[/._])?global_?steps?", re.I)
"""Names of columns that count steps of the optimizer, with any prefix."""
OTHER_STEP = re.compile(
    WHERE + r"(?:(?:train|training|optimizer|num|current)_)?(?:step|iteration|iter|update)s?"
    rf"|{WHERE}(?:iter_num|batch)",
    re.I,
)
LOGGER_STEP = "_step"
"""W&B's own counter: it counts calls of the logger, several or none per step."""
TOKENS = (
    "tokens",
    "num_input_tokens_seen",
    "tokens_seen",
    "num_tokens",
    "consumed_tokens",
    "total_tokens",
    "num_tokens_seen",
    "input_tokens_seen",
    "seen_tokens",
    "tokens_consumed",
    "tokens_processed",
    "tokens_trained",
    "trained_tokens",
    "train_tokens",
    "n_tokens",
    "cumulative_tokens",
    "token",
)
"""Names of token columns in usual loggers, the likeliest first."""
TOKEN = re.compile(rf"{WHERE}({'|'.join(TOKENS)})", re.I)
TIME = re.compile(r".*time.*|_?(?:timestamp|runtime|duration|date|created_?at)", re.I)
EPOCH = re.compile(r"(?:.*[/._])?epochs?", re.I)
What = Literal["steps", "tokens", "time", "epochs"]


@lru_cache(maxsize=1 << 16)
def counted_by(name: str) -> What | None:
    """Return what a column counts, by its name, or None.

    >>> counted_by("train/global_step"), counted_by("throughput/total tokens"), counted_by("loss")
    ('steps', 'tokens', None)
    >>> counted_by("Relative Time (Process)")
    'time'
    """
    plain = _plain(name)
    kinds: dict[What, bool] = {
        "steps": plain == LOGGER_STEP or _is_step(plain),
        "tokens": bool(TOKEN.fullmatch(plain)),
        "time": bool(TIME.fullmatch(plain)),
        "epochs": bool(EPOCH.fullmatch(plain)),
    }
    return next((kind for kind, there in kinds.items() if there), None)


def _plain(name: str) -> str:
    # OLMo-core writes throughput/total tokens, with a blank.
    return name.strip().replace(" ", "_")


@lru_cache(maxsize=1 << 16)
def is_global_step(name: str) -> bool:
    """True where the name is one of the optimizer's steps."""
    return bool(GLOBAL_STEP.fullmatch(_plain(name)))


@lru_cache(maxsize=1 << 16)
def _is_step(name: str) -> bool:
    return is_global_step(name) or bool(OTHER_STEP.fullmatch(_plain(name)))


def step_columns(columns: Iterable[str]) -> list[str]:
    """Return columns that count training steps, the surest first, without W&B's own counter.

    >>> step_columns(["_step", "iter", "loss", "eval/global_step", "train/global_step"])
    ['train/global_step', 'eval/global_step', 'iter']
    """
    found = [c for c in columns if c.lower() != LOGGER_STEP and _is_step(c)]
    # A counter of evaluations is written at evaluations only, and may count something else.
    return sorted(found, key=lambda c: (not is_global_step(c), "eval" in c.lower()))


def token_columns(columns: Iterable[str]) -> list[str]:
    """Return columns that count tokens, the likeliest first."""
    ranks = {c: TOKEN.fullmatch(_plain(c)) for c in columns}
    return sorted(
        (c for c, found in ranks.items() if found),
        key=lambda c: TOKENS.index(TOKEN.fullmatch(_plain(c))[1].lower()),  # type: ignore[index]
    )


# Commas and underscores are left to number_of, which reads them already.
GROUPED = re.compile(r"\d{1,3}(?:([ '’_\u00a0\u2009\u202f])\d{3}(?:\1\d{3})*|(?:\.\d{3}){2,})")
"""Numbers like 32 768 000, 32'768'000 and 32.768.000; a single 32.768 may be a fraction."""


ONE_GROUP = re.compile(r"[1-9]\d{0,2}\.\d{3}")


class Numbers(NamedTuple):
    """Cells as numbers, with a mask of the cells that are text."""

    cells: np.ndarray
    """as they are written"""
    values: np.ndarray
    """(cells,) nan where a cell is empty or text, inf where it is not finite"""
    text: np.ndarray
    """(cells,) True where the cell is not a number"""
    written: tuple[str, float] | None = None
    """the first cell of text that was read as a number, and the number"""


def numbers(cells: Sequence[Any] | np.ndarray) -> Numbers:
    """Return cells as numbers; a logged nan, in JSON or as text, becomes inf.

    >>> numbers([1, None, "NaN", "high"]).values
    array([ 1., nan, inf, nan])
    """
    if not isinstance(cells, np.ndarray):
        # Exact types, because a truth value is an int to isinstance and not a number here.
        cells = np.array(cells, float if set(map(type, cells)) <= {int, float} else object)
    if cells.dtype.kind in "fiu":
        return Numbers(cells, cells.astype(float), np.zeros(len(cells), bool))
    values, text = written_numbers.numbers(pd.Series(cells, dtype=object))
    # A logged nan marks a run that diverged, an empty cell a metric that was not evaluated then.
    gone = np.flatnonzero(np.isnan(values) & ~text)
    values[[i for i in gone if str(cells[i]).strip().lower() == "nan"]] = np.inf
    return Numbers(cells, values, text)


def amounts(cells: Sequence[Any] | np.ndarray) -> Numbers:
    """Return cells of a counter as numbers; text like 32,768,000 or 1.2B is understood.

    >>> amounts([500, "1,000", "2 000", None, "soon"]).values
    array([ 500., 1000., 2000.,   nan,   nan])
    """
    found, written = numbers(cells), None
    marked = _dotted(found)
    if marked is not None:
        none = np.zeros(len(found.cells), bool)
        return Numbers(found.cells, marked.values, none, marked.example)
    for i in np.flatnonzero(found.text):
        try:
            found.values[i] = number_of(_ungrouped(found.cells[i]), "a counter")
        except ValueError:
            continue
        found.text[i] = False
        written = written or (str(found.cells[i]), float(found.values[i]))
    if written and written[0].count(".") > 1:
        # Beside 1.000.000, the dot of 500.000 separates thousands, too.
        for i in np.flatnonzero([bool(ONE_GROUP.fullmatch(str(c).strip())) for c in found.cells]):
            found.values[i] = float(str(found.cells[i]).replace(".", ""))
    return found._replace(written=written)


def _dotted(found: Numbers) -> written_numbers.Dotted | None:
    """Return a counter of text whose dots may separate thousands."""
    if found.cells.dtype.kind != "O":  # fast: most counters are numbers
        return None
    texts = [cell for cell in found.cells if cell is not None]
    if not texts or not all(isinstance(cell, str) for cell in texts):
        return None
    return written_numbers.dotted(written_numbers.text_of(pd.Series(found.cells, dtype=object)))


def _ungrouped(cell: object) -> object:
    """Return text without separators between groups of three digits, if it has only one reading."""
    grouped = isinstance(cell, str) and GROUPED.fullmatch(cell.strip())
    return re.sub(r"\D", "", str(cell)) if grouped else cell


def numbers_of(name: str, cells: Sequence[Any] | np.ndarray) -> Numbers:
    """Return cells of a column: amounts if it is a counter, else numbers."""
    # A loss with a suffix is damage, but counters are often written with one.
    return amounts(cells) if counted_by(name) in ("steps", "tokens") else numbers(cells)


EXPECTED = "a share, count or weight ≥ 0 (0 is a value)"


def amounts_of(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return amounts, nan for empty cells, and a mask of cells that hold anything else.

    >>> values, wrong = amounts_of(pd.Series(["25%", "1.2B", "", "much"]))
    >>> values.tolist(), wrong.tolist()
    ([0.25, 1200000000.0, nan, nan], [False, False, False, True])
    """
    values, wrong = written_numbers.numbers(column)
    values, wrong = values.copy(), wrong.copy()
    for i in np.flatnonzero(wrong):
        with contextlib.suppress(ValueError):
            values[i] = number_of(column.iloc[i], "cell", percent=True)
            wrong[i] = False
    return values, wrong


def are_amounts(column: pd.Series) -> bool:
    """True where at least half of the written cells are amounts; a stray word is then an error."""
    values, wrong = amounts_of(column)
    known = int(np.sum(~np.isnan(values)))
    return known > 0 and known >= int(np.sum(wrong))


def checked_amounts(column: pd.Series, name: str) -> np.ndarray:
    """Return the amounts of a domain, (runs,); the index of the column names the runs.

    Raises:
        SweepError: on an empty cell, a word, or a number below 0 or beyond range.
    """
    values, wrong = amounts_of(column)
    wrong = wrong | np.isnan(values) | (values < 0) | np.isinf(values)
    if wrong.any():
        first = int(np.argmax(wrong))
        more = f" ({int(wrong.sum())} cells are so)" if wrong.sum() > 1 else ""
        raise SweepError(
            f"{name}: run {column.index[first]} has {column.name} = {column.iloc[first]}{more}; "
            f"expected {EXPECTED}."
        )
    return values
