"""Read logs and the table of runs as a Sweep."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd

from bimix_jax.files import as_path
from bimix_jax.logs._domains import without_averages
from bimix_jax.logs._forms import (
    LOG_FORMS,
    TABLES,
    Found,
    Logs,
    as_files,
    as_listed,
    find_files,
    found_objects,
    is_document,
)
from bimix_jax.logs._history import RUN, LogFile
from bimix_jax.logs._mixtures import Logged, Mixtures, mixtures_of
from bimix_jax.logs._points import (
    BUDGET,
    finite_losses,
    on_common_budgets,
    one_row_a_budget,
    with_budgets,
    without_untrained,
)
from bimix_jax.logs._rows import NoLosses, Progress, Rows, read_rows
from bimix_jax.logs._run_tables import Runs, RunTable, hint_of_dates, read_runs, run_lists
from bimix_jax.logs._settings import ALIGNMENTS as ALIGNMENTS
from bimix_jax.logs._settings import Asked, LogSettings, Reading
from bimix_jax.logs._tabular import RATIOS
from bimix_jax.reading.column_names import about_perplexities, match_names
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.frames import as_frame
from bimix_jax.reading.metadata import ATTRIBUTES, Metadata, add_notes, metadata_of
from bimix_jax.reading.settings import settings_of
from bimix_jax.reading.tables import (
    LOSS_PREFIX,
    MIXTURE_PREFIX,
    listed,
    names_of,
    prefixed,
    read_table,
)
from bimix_jax.sweeps._recognised import recognised, with_tokens
from bimix_jax.sweeps.read import read_sweep
from bimix_jax.sweeps.sweep import CHANGED, TWO_MIXTURES, Sweep


def read_logs(
    logs: Logs,
    mixtures: Runs | None = None,
    *,
    progress: Progress = lambda name, size: None,
    **settings: Unpack[LogSettings],
) -> Sweep:
    """Read the logs of training runs and the table of their mixtures as a sweep.

    Args:
        logs: files, or folders with a file or folder per run, which gives the run its name; or
            tables in memory: a DataFrame or rows of all runs, a list of those, or run → table.
        mixtures: the table of runs: wide, long or a mapping (also .json, .toml, .yaml) of run →
            {domain: amount}; shares, percentages, tokens, counts or weights. Default: the columns
            of the logs that begin with the mixture prefix; ratios.csv for olmix.
        progress: called with the name and the bytes of every file that has been read.
        settings: how the logs are read.

            - form: "wandb" (history as CSV, JSON lines or Parquet, or the CSV of a chart),
              "trainer" (`trainer_state.json`), "tensorboard", "olmix" (ratios.csv and metrics.csv)
              or "table"; default by the names of the files.
            - loss_pattern: which metrics are losses, {target} where the target's name is; default
              eval/{target}/loss, eval_{target}_loss for trainer, loss_{target} for table.
            - run_key, step_key, tokens_key: their columns, where they have no usual name.
            - tokens_per_step: turns steps into tokens.
            - unit: of budgets, "tokens" or "steps"; default tokens where they are known.
            - mixture_prefix: prefix of the columns of proportions.
            - domains: the columns of the table of runs that are domains, with or without that
              prefix; default those with it, else the columns of numbers that are named like
              targets, with the others that complete their sums.
            - align: how runs that were logged at different budgets meet. "nearest" moves every loss
              to the nearest common budget within the tolerance, "interpolate" puts curves linear in
              the log budget through them, "none" leaves them; "auto" (default) is "nearest" where
              fewer than half of the points lie at common budgets.
            - budgets: the common ones; default those of the run that most points agree with.
            - tolerance: largest relative distance from a common budget; default 0.01.
            - drop_unmatched: leave out runs without a mixture and mixtures without a run, which is
              an error otherwise.
            - select, model_size, metadata, endpoints_only: as in `read_sweep`.

    Returns:
        A `Sweep`; its notes list dropped, moved, merged and normalised data.

    Raises:
        SweepError: with the finding, the expectation, and the remedy.
        TypeError: on a setting that does not exist; the message names the nearest one.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for run, losses in {"a": [3.0, 2.0], "b": [3.5, 2.5]}.items():
    ...     log = pd.DataFrame({"_step": [100, 200], "eval/web/loss": losses})
    ...     log.to_csv(folder / f"{run}.csv", index=False)
    >>> runs = pd.DataFrame({"run": ["a", "b"], "web": [30, 10], "code": [10, 30]})
    >>> sweep = read_logs(folder, runs, tokens_per_step=1000)
    >>> sweep.mixtures.loc["a", "web"].item(), sweep.budget.tolist()
    (0.75, [100000.0, 200000.0, 100000.0, 200000.0])
    """
    asked = settings_of(Asked, read_logs, settings)
    frame, table = _wide_table(logs, mixtures, asked, progress)
    with _naming(logs):
        return read_sweep(
            frame,
            run="run",
            select=asked.select,
            model_size=asked.model_size,
            metadata=_metadata(asked.metadata, table),
            endpoints_only=asked.endpoints_only,
        )


def _wide_table(
    logs: Logs, mixtures: Runs | None, asked: Asked, progress: Progress
) -> tuple[pd.DataFrame, Mixtures]:
    """Return the logs as a wide table for `read_sweep`, and the mixtures of the runs.

    Columns of other names are looked at only where the usual names are missing.
    """
    try:
        return _usual_table(logs, mixtures, asked, progress)
    except SweepError:
        found = None if mixtures is not None else _with_usual_names(logs, asked)
        if found is None:
            raise
    renamed, usual = found
    return _usual_table(renamed, None, usual, progress)


def _with_usual_names(logs: Logs, asked: Asked) -> tuple[pd.DataFrame, Asked] | None:
    """Return one wide table of runs with the usual names, and the settings without own names.

    None for logs of another kind.
    """
    logs = as_frame(logs)
    alone = [logs] if isinstance(logs, (str, Path, pd.DataFrame)) else list(logs)
    if len(alone) != 1 or asked.loss_pattern is not None or asked.form not in (None, "table"):
        return None
    (source,) = alone
    is_table = isinstance(source, pd.DataFrame) or str(source).lower().endswith(TABLES)
    table = read_table(source, (asked.run_key,)) if is_table else pd.DataFrame()
    reading = recognised(table, (asked.mixture_prefix, None))
    if reading is None:
        return None
    usual = {column: MIXTURE_PREFIX + name for column, name in reading.domains.items()}
    usual |= {column: LOSS_PREFIX + name for column, name in reading.targets.items()}
    key = asked.tokens_key
    table, notes = with_tokens(table.rename(columns=usual), key)
    add_notes(table, [reading.note, *notes])
    # Tokens in billions have the usual name after they were multiplied.
    return table, dataclasses.replace(asked, mixture_prefix=None, tokens_key=None if notes else key)


def _usual_table(
    logs: Logs, mixtures: Runs | None, asked: Asked, progress: Progress
) -> tuple[pd.DataFrame, Mixtures]:
    found = _found(logs, mixtures, asked.form)
    runs = _run_table(mixtures, found[0], asked.run_key)
    prefix = (asked.mixture_prefix or MIXTURE_PREFIX) if runs is None else None
    read = _rows_of(found, runs, Reading(asked, "", prefix=prefix), progress)
    rows, unit, notes = _with_budgets(read, asked)
    if runs is None:
        runs, asked = _own_mixtures(rows, prefix), dataclasses.replace(asked, mixture_prefix=None)
    logged = Logged(list(pd.unique(rows[RUN])), list(read.targets.values()))
    table = mixtures_of(runs, logged, asked)
    points, merged = _points_of(rows, logged, table)
    # Runs without a mixture must not decide the common budgets, so they are dropped first.
    points, unmatched = _matched(points, table, asked.drop_unmatched, read.alike)
    points, moved = on_common_budgets(points, asked)
    frame = _joined(points, table, unit)
    unit_of_losses = metadata_of(asked.metadata).loss_unit
    doubts = about_perplexities(read.targets, names_of(table.shares), unit_of_losses)
    said = [*doubts, *notes, *merged, *table.notes, *unmatched, *moved]
    frame.attrs[ATTRIBUTES] = {"unit": unit, "notes": said}
    return frame, table


@contextlib.contextmanager
def _naming(logs: Logs) -> Iterator[None]:
    """Name the logs instead of the DataFrame that was made of them in errors."""
    try:
        yield
    except SweepError as error:
        where = f"The logs {logs}" if isinstance(logs, (str, Path)) else "The logs"
        raise SweepError(str(error).replace("The DataFrame", where, 1)) from error


def _found(logs: Logs, mixtures: Runs | None, form: str | None) -> list[Found]:
    """Return the logs by their forms, the likeliest first."""
    files = as_files(logs)
    if files is not None:
        return found_objects(files, form)
    # The table of mixtures may lie in the folder of the logs, and has the form of one.
    besides = [as_path(mixtures)] if isinstance(mixtures, (str, Path)) else []
    paths = [logs] if isinstance(logs, (str, Path)) else list(logs)
    return find_files(paths, form, besides)


def _metadata(given: Metadata | Mapping[str, Any] | None, table: Mixtures) -> Metadata:
    """Return the stated metadata, with the table's unit of shares if none is stated."""
    stated = metadata_of(given)
    if stated.share_unit is None and table.unit is not None:
        return dataclasses.replace(stated, share_unit=table.unit)
    return stated


def _with_budgets(read: Rows, asked: Asked) -> tuple[pd.DataFrame, str, list[str]]:
    """Return points with numbers, at budgets above 0."""
    losses, names = list(read.targets), set(read.targets.values())
    rows, infinite = finite_losses(read.table, losses)
    rows, known, placed = with_budgets(rows, losses, asked, read.text)
    rows, untrained = without_untrained(rows)
    said = [*read.notes, *placed, *infinite, *untrained]
    if rows.empty:
        raise SweepError(
            f"logs: the losses of {listed(read.targets.values())} are empty, left out or not "
            f"finite in every row past step 0. {' '.join(said)}".rstrip()
        )
    # A target may share its name with another column, such as tokens.
    points = rows.drop(columns=[c for c in names_of(rows) if c in names and c not in losses])
    points = points.rename(columns=read.targets)
    return points, known, said


def _run_table(mixtures: Runs | None, found: Found, run: str | None) -> RunTable | None:
    """Return the table of runs, unless the logs themselves hold the mixtures."""
    if mixtures is None and found.form == "olmix":
        mixtures = found.files[0].path.parent / RATIOS
    return None if mixtures is None else read_runs(mixtures, run)


def _rows_of(
    found: Sequence[Found], runs: RunTable | None, reading: Reading, progress: Progress
) -> Rows:
    """Return the rows of the first form that holds losses."""
    first = None
    ways = (True, False) if len(found) > 1 else (False,)
    elsewhere = runs is not None and reading.asked.run_key in runs.table
    # All forms are tried with the exact separators before any is tried without.
    for exact, one in product(ways, found):
        form = LOG_FORMS[one.form]
        files, labels = _as_listed(one.files, [] if runs is None else run_lists(runs))
        here = dataclasses.replace(
            reading,
            pattern=reading.asked.loss_pattern or form.pattern,
            exact=exact,
            labels=labels,
            run_elsewhere=elsewhere,
        )
        try:
            read = read_rows(form.read, files, here, progress)
        except NoLosses as error:
            first = first or error
        else:
            return read._replace(notes=[*one.notes, *read.notes])
    raise first or SweepError("logs: there are none.")


def _as_listed(
    files: list[LogFile], lists: Sequence[frozenset[str]]
) -> tuple[list[LogFile], frozenset[str]]:
    """Name files by the runs of the table that match their places; tables in memory have no
    place."""
    if files[0].columns is not None:
        return files, frozenset().union(*lists)
    return as_listed(files, lists)


def _own_mixtures(rows: pd.DataFrame, prefix: str | None) -> RunTable:
    """Return mixtures from the logs themselves: for each run, the last row with one.

    Raises:
        SweepError: if they hold none, or a run has several.
    """
    domains = prefixed(rows, prefix or MIXTURE_PREFIX)
    if not domains:
        raise SweepError(
            f"mixtures: no columns of the logs begin with {prefix!r}; expected columns of "
            "proportions or a table of runs. Give the table (--mixtures), or the prefix of the "
            "columns (--mixture-prefix)."
        )
    groups = rows.groupby(RUN, sort=False)[list(domains)]
    # Shares are logged in single precision, and mixtures that are scheduled differ by more.
    changed = ((groups.max() - groups.min()) > CHANGED * groups.max()).to_numpy()
    table = groups.last().rename(columns=domains)
    if changed.any():
        run, domain = np.argwhere(changed)[0]
        raise SweepError(
            f"mixtures: run {table.index[run]} logs several proportions of "
            f"{table.columns[domain]}. {TWO_MIXTURES}"
        )
    return RunTable("The logs", table.rename_axis("run").reset_index(), sparse=True)


def _points_of(
    rows: pd.DataFrame, logged: Logged, table: Mixtures
) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per run and budget with the targets that are not averages; and notes."""
    # An average has no mixture of its own, and would count the losses it averages twice.
    targets, averages = without_averages(rows, logged.targets, names_of(table.shares))
    points, doubled = one_row_a_budget(
        rows[[RUN, BUDGET, *targets]].dropna(subset=targets, how="all")
    )
    return points, [*averages, *doubled]


def _matched(
    points: pd.DataFrame, table: Mixtures, drop: bool, alike: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the points of runs whose mixture is known."""
    logged, mixed = list(pd.unique(points[RUN])), list(table.shares.index)
    without_mixture = [run for run in logged if run not in table.shares.index]
    without_run = [run for run in mixed if run not in set(logged)]
    said = [
        f"{_counted(len(runs), kind)}: {listed(runs)}"
        for kind, runs in (
            ("run without a mixture", without_mixture),
            ("mixture without a run", without_run),
        )
        if runs
    ]
    if said and (not drop or len(without_mixture) == len(logged)):
        raise SweepError(
            f"mixtures: {'; '.join(said)} ({table.name}). Give each run one name in the logs and "
            "in the table of mixtures, or leave them out with drop_unmatched=True "
            "(--drop-unmatched)."
            f"{hint_of_dates(without_run, logged)}{''.join(f' {said}' for said in alike)}"
        )
    known = points[~points[RUN].isin(without_mixture)].reset_index(drop=True)
    return known, [f"Left out: {'; '.join(said)}."] if said else []


def _counted(count: int, kind: str) -> str:
    """Return a count with its noun: the first word of `kind`, in the plural if needed."""
    thing, rest = kind.split(" ", 1)
    return f"{count} {thing}{'' if count == 1 else 's'} {rest}"


def _joined(points: pd.DataFrame, table: Mixtures, unit: str) -> pd.DataFrame:
    """Return a wide table for `read_sweep`, with runs in the order of the table of mixtures."""
    place = table.shares.index.get_indexer(pd.Index(points[RUN]))
    # The table's order, because a user reads runs in the order in which they were written down.
    order = np.argsort(place, kind="stable")
    points, place = points.iloc[order], place[order]
    targets = [c for c in names_of(points) if c not in (RUN, BUDGET)]
    domains, named = match_names({d: d for d in table.shares.columns}, {t: t for t in targets})
    shares, rest = table.shares.iloc[place], table.rest.loc[table.shares.index].iloc[place]
    columns: dict[str, Any] = {"run": points[RUN].to_numpy(object)}
    columns |= {} if unit == "run" else {unit: points[BUDGET].to_numpy(float)}
    columns |= {MIXTURE_PREFIX + domains[d]: shares[d].to_numpy(float) for d in names_of(shares)}
    columns |= {LOSS_PREFIX + named[t]: points[t].to_numpy(float) for t in named}
    # Other columns of the table must not be read as measurements of the wide table.
    free = [
        c
        for c in names_of(rest)
        if c not in columns and not c.startswith((MIXTURE_PREFIX, LOSS_PREFIX))
    ]
    return pd.DataFrame(columns | {c: rest[c].to_numpy() for c in free})


def log_bytes(sources: Sequence[str | Path], form: str | None) -> int:
    """Return the size of all files that would be read, for the length of a progress bar."""
    if len(sources) == 1 and is_document(as_path(sources[0])):
        return as_path(sources[0]).stat().st_size
    return sum(file.bytes for file in find_files(sources, form)[0].files)
