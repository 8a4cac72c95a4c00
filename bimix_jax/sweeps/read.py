"""CSV, Parquet, JSON lines or a DataFrame, wide, long or a pair of files, read as a Sweep."""

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd

from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.metadata import Kept, Metadata, kept_with, metadata_of, notes_of
from bimix_jax.reading.settings import settings_of
from bimix_jax.reading.tables import (
    BUDGET_COLUMNS,
    RUN_COLUMNS,
    SIZE_COLUMN,
    Source,
    listed,
    name_of,
    names_of,
    read_table,
)
from bimix_jax.sweeps import _checks as checks
from bimix_jax.sweeps._assembled import assembled
from bimix_jax.sweeps._checks import Finding
from bimix_jax.sweeps._layouts import Long, Wide, layout_of
from bimix_jax.sweeps._pairs import Pair, join, runs_without_blanks
from bimix_jax.sweeps._recognised import TOKENS, with_tokens
from bimix_jax.sweeps.sizes import stack_sizes
from bimix_jax.sweeps.sweep import Sweep


class Choice(TypedDict, total=False):
    """The keywords that `read_sweep` and `read_logs` share."""

    select: Mapping[str, Any] | None
    model_size: str | None
    metadata: Metadata | Mapping[str, Any] | None
    endpoints_only: bool


class _TableSettings(Choice, total=False):
    """The keywords of `read_sweep`."""

    key: str | None
    budget: str | None
    run: str | None
    mixture_prefix: str | None
    loss_prefix: str | None


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The keywords of `read_sweep`, checked once.

    Raises:
        SweepError: if `select` is not a mapping.
    """

    key: str | None = None
    budget: str | None = None
    select: Mapping[str, Any] | None = None
    run: str | None = None
    mixture_prefix: str | None = None
    loss_prefix: str | None = None
    model_size: str | None = None
    metadata: Metadata | Mapping[str, Any] | None = None
    endpoints_only: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.select or {}, Mapping):
            raise SweepError(
                f"select is {self.select!r}; expected a mapping of a column to its value."
            )

    @property
    def selected(self) -> Mapping[str, Any]:
        """Column → wanted value or values."""
        return self.select or {}

    @property
    def prefixes(self) -> tuple[str | None, str | None]:
        """Prefixes of the columns of proportions, and of losses."""
        return self.mixture_prefix, self.loss_prefix

    @property
    def names(self) -> tuple[str | None, ...]:
        """Columns whose cells stay as they are written: 007 may be a run, or a value to select."""
        return (self.run, self.key, *self.selected)


def read_sweep(
    source: Source, losses: Source | None = None, **settings: Unpack[_TableSettings]
) -> Sweep:
    """Read training runs with their mixtures and losses, and check them.

    Three layouts are recognised by their columns:

    - wide: `r_<domain>` and `loss_<target>`, one row per run and budget; other prefixes or
      suffixes are recognised, with a note, where only one reading of the columns is possible;
    - long: `domain` (or `target`), `proportion` and `loss`, one row per run, budget and domain; or
      `target` and `loss` beside wide `r_<domain>`;
    - a pair of files, proportions in one and losses in the other, joined on a key, names without
      their shared parts: `train_the_pile_github` meets `metric/the_pile_github_val_loss`.

    Args:
        source: a path (.csv, .csv.gz, .parquet, .jsonl, .ndjson) or a DataFrame.
        losses: the second file of a pair.
        settings: how the table is read.

            - key: the column that joins the pair; default the one both have.
            - budget: the budget column; default the first of tokens, step, steps, budget, in any
              case; `tokens_b`, `Tokens (M)` and the like are turned into tokens. Without one the
              sweep has the single budget 1, unit "run".
            - select: column → value or list of values; other rows are left out.
            - run: the column that names the runs; default run, run_id, run_name or index.
            - mixture_prefix, loss_prefix: prefixes of the columns; default "r_" and "loss_".
            - model_size: a column of model sizes ("122M" or numbers), several of which are an error
              without it; all are then read into one sweep (`stack_sizes`).
            - metadata: units and conditions that the file does not state, a `Metadata` or a mapping
              of its entries; losses are converted from the unit stated there.
            - endpoints_only: keep the last point of each run (`Sweep.endpoints`).

    Returns:
        A `Sweep`; its notes list choices, normalisation and omissions.

    Raises:
        SweepError: with every finding (column, row, value) and its remedy.
        TypeError: on a setting that does not exist; the message names the nearest one.

    >>> sweep = read_sweep(pd.DataFrame({
    ...     "run": ["a", "b"], "tokens": [1e9, 1e9], "r_code": [0.2, 0.6], "r_text": [0.8, 0.4],
    ...     "loss_code": [2.1, 1.9], "loss_text": [3.0, 3.1]}))
    >>> sweep.domains, sweep.unit, sweep.mixtures.loc["b", "code"].item()
    (('code', 'text'), 'tokens', 0.6)
    """
    with _naming(source, losses):
        asked = settings_of(_Asked, read_sweep, settings)
    return _read(source, losses, asked)


def _read(source: Source, losses: Source | None, asked: _Asked) -> Sweep:
    with _naming(source, losses):
        table = read_table(source, asked.names)
        kept = _kept_with(table, name_of(source))
        given = metadata_of(asked.metadata)
        # A unit stated twice differently would convert losses wrongly without a sign of it.
        given.check_like(kept.metadata, "metadata=", name_of(source))
        asked = dataclasses.replace(asked, metadata=kept.metadata.and_stated(given))
        sizes_in = asked.model_size or kept.size
        # Once a size is selected, a saved sweep of several sizes is a sweep of one.
        if sizes_in and kept.size not in asked.selected:
            return _of_every_size(table, losses, sizes_in, asked)
        sweep = _of_one_size(table, losses, kept, asked, name_of(source))
        return sweep.endpoints() if asked.endpoints_only else sweep


def _of_every_size(table: pd.DataFrame, losses: Source | None, column: str, asked: _Asked) -> Sweep:
    """Read the rows of each model size, and stack the sweeps."""
    if column not in table:
        raise SweepError(
            f"model_size: there is no column {column}; expected one of {listed(table.columns)}."
        )
    # A stated size is that of one model, and here each part has its own.
    stated = dataclasses.replace(metadata_of(asked.metadata), model_size=None)
    parts = {}
    for size in table[column].dropna().unique():
        one = dataclasses.replace(
            asked, select={**asked.selected, column: size}, model_size=None, metadata=stated
        )
        part = _read(table, losses, one)
        # All sizes are read, so the note of rows left out by size would be wrong.
        kept = tuple(n for n in part.notes if not n.endswith(f"selected by {column} = {size}."))
        parts[size] = dataclasses.replace(part, notes=kept)
    return stack_sizes(parts)


def _of_one_size(
    table: pd.DataFrame, losses: Source | None, kept: Kept, asked: _Asked, name: str
) -> Sweep:
    notes = list(kept.notes)
    layout: Wide | Long
    if losses is None:
        layout = layout_of(table, asked.prefixes, name)
    else:
        name = f"{name} with {name_of(losses)}"
        pair = _pair(table, losses, asked, notes)
        table, asked = pair.table, dataclasses.replace(asked, run=asked.run or pair.key)
        layout = Wide(pair.domains, pair.targets, pair.file_rows)
    if not len(table):
        raise SweepError(f"{name} has no rows; expected one per run and budget.")
    table, rows = _select(table, asked.selected, notes)
    wanted = asked.budget or kept.unit
    if wanted is None or wanted != kept.unit:  # a saved sweep has the unit that it had
        table, wanted = _in_tokens(table, wanted, layout.used, notes)
    budget = _budget_column(table, wanted, layout.used, notes)
    run = _run_column(table, asked.run, layout, notes)
    table = runs_without_blanks(table, run, notes)
    sizes = _several_model_sizes(table.drop(columns=list({*layout.used, run, budget} - {None})))
    parts = layout.take_apart(table, rows, run, budget)
    return assembled(parts, name, sizes, notes, metadata_of(asked.metadata))


@contextlib.contextmanager
def _naming(source: Source, losses: Source | None) -> Iterator[None]:
    """Add the name of the table to every error that does not name it."""
    try:
        yield
    except SweepError as error:
        names = [name_of(each) for each in (source, losses) if each is not None]
        if any(name in str(error) for name in names):
            raise
        raise SweepError(f"{' with '.join(names)}: {error}") from error


def _pair(table: pd.DataFrame, losses: Source, asked: _Asked, notes: list[str]) -> Pair:
    """Join proportions with the losses of another file."""
    second = read_table(losses, asked.names)
    notes += [f"{name_of(losses)}: {note}" for note in notes_of(second)]
    usual = [c for t in (table, second) for c in _called(BUDGET_COLUMNS, t, set())]
    known = {c for c in (asked.budget, *asked.names, *usual) if c is not None}
    return join(table, second, asked.key, asked.prefixes, known, notes)


def _kept_with(table: pd.DataFrame, name: str) -> Kept:
    """Return the unit, size and notes from the table's attrs, if their columns exist."""
    kept = kept_with(table.attrs, name)
    # Another program may have dropped or renamed columns and kept the attrs.
    unit = kept.unit if kept.unit in table and kept.unit != "run" else None
    return kept._replace(unit=unit, size=kept.size if kept.size in table else None)


# ---- rows and columns ----------------------------------------------------------------------------


def _select(
    table: pd.DataFrame, select: Mapping[str, Any], notes: list[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    keep = np.ones(len(table), bool)
    for column, wanted in select.items():
        if column not in table:
            raise SweepError(
                f"select: there is no column {column}; expected one of {listed(table.columns)}."
            )
        values = list(wanted) if pd.api.types.is_list_like(wanted) else [wanted]
        chosen = [_equals(table[column], value) for value in values]
        absent = [v for v, rows in zip(values, chosen, strict=True) if not rows.any()]
        if absent or not values:
            raise SweepError(
                f"select: no row has {column} = {listed(absent) or 'one of no values'}; it takes "
                f"the values {listed(table[column].dropna().unique())}."
            )
        keep &= np.any(chosen, axis=0)
    said = ", ".join(f"{c} = {v}" for c, v in select.items())
    if not keep.any():
        raise SweepError(f"select: no row has {said} together; select less.")
    if select:
        notes.append(f"{keep.sum()} of {len(keep)} rows selected by {said}.")
    # The index of a table that was read holds the places of its rows, counted from 0.
    return table[keep].reset_index(drop=True), table.index.to_numpy()[keep] + 1


def _equals(column: pd.Series, value: Any) -> np.ndarray:
    """Compare as text, or else as numbers if this matches one text only, not both 07 and 7.0."""
    same_text = (column.astype("string") == str(value)).fillna(False).to_numpy(bool)
    numeric = pd.api.types.is_numeric_dtype(column)
    # In a column of text 7 means the cell 7 first, and 7.0 only if there is none.
    if same_text.any() and not numeric:
        return same_text
    same_number = checks.numbers(column)[0] == checks.numbers(pd.Series([str(value)]))[0]
    one = numeric or column[same_number].astype(str).nunique() == 1
    return same_text | (same_number & one)


def _in_tokens(
    table: pd.DataFrame, budget: str | None, used: set[str], notes: list[str]
) -> tuple[pd.DataFrame, str | None]:
    """Return the table with a column of billions of tokens in tokens, and the column of budgets."""
    renamed, said = with_tokens(table, budget, used)
    notes += said
    return renamed, "tokens" if said else budget


def _budget_column(
    table: pd.DataFrame, budget: str | None, used: set[str], notes: list[str]
) -> str | None:
    if budget is not None:
        if budget not in table or budget in used:
            raise SweepError(
                f"budget= (--budget-column): there is no column {budget} to take budgets from; "
                f"expected one of {listed([c for c in table if c not in used])}."
            )
        return budget
    there = _called(BUDGET_COLUMNS, table, used)
    units = [c for c in names_of(table) if c not in used and TOKENS.fullmatch(c)]
    if not there and units:
        raise SweepError(
            f"the budgets: found {listed(units)}{' with text' * (len(units) == 1)}; expected one "
            "column of numbers. Name it with budget= (--budget-column), or call it tokens."
        )
    if not there:
        notes.append("No budget column: the sweep has a single budget, called 1 run.")
        return None
    if len(there) > 1:
        others = ", ".join(there[1:])
        notes.append(
            f"Budgets are taken from {there[0]} ({others} is there too; budget= (--budget-column) "
            "chooses)."
        )
    return there[0]


def _run_column(table: pd.DataFrame, run: str | None, layout: Wide | Long, notes: list[str]) -> str:
    """Return the column of run labels; without one, make it from the mixtures (and seeds)."""
    if run is not None:
        if run not in table or run in layout.used:
            there = [c for c in table if c not in layout.used]
            raise SweepError(
                f"run= (--run-column): no column {run} to name runs by; expected one of "
                f"{listed(there)}."
            )
        return run
    named = _called(RUN_COLUMNS, table, layout.used)
    # Exports often have an empty column of names beside a filled one.
    filled = [c for c in named if checks.are_named(table[c]).any()]
    notes += [f"Column {c} is empty, so it names no run." for c in named if c not in filled]
    if filled:
        return filled[0]
    if not layout.domains:
        raise SweepError(
            "run: a long table needs a column that names the runs; name it with run= "
            "(--run-column)."
        )
    # Runs of one mixture differ by their seeds, and by nothing else that a table usually states.
    by = [*layout.domains, *(c for c in ("seed",) if c in table)]
    table["run"] = "run" + table.groupby(by, sort=False, dropna=False).ngroup().astype(str)
    notes.append(
        "No run column: every mixture" + (" and seed" if "seed" in by else "") + " is a run."
    )
    return "run"


def _called(names: tuple[str, ...], table: pd.DataFrame, used: set[str]) -> list[str]:
    """Return columns that have one of the names, in any case, in the order of the names."""
    free = [c for c in names_of(table) if c not in used]
    return [c for name in names for c in free if c.lower() == name]


def _several_model_sizes(rest: pd.DataFrame) -> list[Finding]:
    for column in names_of(rest):
        values: Any = rest[column].dropna().unique() if SIZE_COLUMN.fullmatch(column) else []
        if len(values) > 1:
            # repr of a NumPy number is np.float64(…), which users would have to take apart.
            example = values[0].item() if isinstance(values[0], np.generic) else values[0]
            return [
                Finding(
                    f"column {column}",
                    f"several model sizes: {listed(values)}",
                    f"Choose one with select={{{column!r}: {example!r}}} "
                    f"(--select {shlex.quote(f'{column}={example}')}), or fit them together with "
                    f"model_size={column!r} (--model-size-column {shlex.quote(column)}).",
                )
            ]
    return []
