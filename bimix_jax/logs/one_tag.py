"""CSV downloads of TensorBoard: one run's scalars of one tag per file, named by its place."""

import re

import numpy as np

from bimix_jax.logs.amounts import amounts, numbers
from bimix_jax.logs.columns import Columns
from bimix_jax.logs.history import History, Keep, LogFile, assembled
from bimix_jax.reading.errors import SweepError

COLUMNS = {"wall time", "step", "value"}
RUN_TAG = re.compile(r"run[-_](?P<run>.+?)[-_]tag[-_](?P<tag>.+)", re.I)
"""Names of TensorBoard's downloads; slashes of run and tag became underscores."""
ENDING = re.compile(r"( ?\(\d+\))?\.(csv|tsv)(\.gz)?$", re.I)


def is_download(columns: Columns) -> bool:
    """True where a table has exactly the columns of a download."""
    return {name.strip().lower() for name in columns} == COLUMNS


def history(columns: Columns, file: LogFile, keep: Keep) -> History:
    """Return the scalars of a file.

    Raises:
        SweepError: if its name and folders do not name the run and the tag.
    """
    run, tag = _run_and_tag(file, keep)
    step, value = (
        next(cells for name, cells in columns.items() if name.strip().lower() == called)
        for called in ("step", "value")
    )
    found = {tag: numbers(value)} if keep([tag]) else {}
    return assembled(np.full(len(step), run, object), amounts(step), found, [tag], "step")


def _run_and_tag(file: LogFile, keep: Keep) -> tuple[str, str]:
    stem = ENDING.sub("", file.path.name)
    named = RUN_TAG.fullmatch(stem)
    if named:
        return named["run"], named["tag"]
    parts = [*file.path.parent.relative_to(file.root).parts, stem]
    cuts = [("/".join(parts[:i]), "/".join(parts[i:])) for i in range(1, len(parts))]
    either = [*cuts, *((tag, run) for run, tag in cuts)]
    told = [(run, tag) for run, tag in either if keep([tag])]
    if len(told) == 1:
        return told[0]
    raise SweepError(
        f"{file.path} is a download of TensorBoard (Wall time, Step, Value) of one run and tag, "
        f"and its place {'fits several' if told else 'tells neither'}; expected a name like "
        "run-RUN-tag-TAG.csv, or RUN/TAG.csv with a tag that the loss pattern fits. Or give the "
        "event files (events.out.tfevents…) themselves."
    )
