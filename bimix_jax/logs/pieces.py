"""Several files of one run: pieces of its log, or logs of several runs that look like one."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from bimix_jax.logs.history import History, LogFile
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.tables import listed

MOSTLY = 0.5
"""Share of a file's steps above which repeated steps show another run; a run that resumes from a
checkpoint logs few of its steps again."""


def files_notes(
    files: Sequence[LogFile], parts: Sequence[History], targets: Collection[str]
) -> list[str]:
    """Return notes of files without losses, and of runs whose logs are in several files.

    Raises:
        SweepError: if two files of a run log the same metrics at the same steps, with other values.
    """
    of_run: dict[str, list[int]] = defaultdict(list)
    for i, (file, part) in enumerate(zip(files, parts, strict=True)):
        if len(part.run) and part.run[0] == file.run:
            of_run[file.run].append(i)
    several = {run: pieces for run, pieces in of_run.items() if len(pieces) > 1}
    for run, pieces in several.items():
        for one, other in pairwise(pieces):
            if _differ(parts[one], parts[other]):
                raise SweepError(
                    f"{files[one].path} and {files[other].path} are both taken for logs of run "
                    f"{run}, but differ at the same steps. Give files or folders names of one run "
                    "each, or name the runs in a column (--run-key)."
                )
    gone = [
        str(file.path.relative_to(file.root))
        for file, part in zip(files, parts, strict=True)
        if not any(metric in targets for metric in part.metrics)
    ]
    counted = f"{len(gone)} files" if len(gone) > 1 else "1 file"
    notes = [f"{counted} without losses left out: {listed(gone)}."] if gone else []
    if several:
        notes.append(f"The logs of {len(several)} runs are in several files: {listed(several)}.")
    return notes


def _differ(one: History, other: History) -> bool:
    """True where both log most steps of the shorter one, and mostly with different values."""
    metrics = [m for m in one.metrics if m in other.metrics]
    tables = [
        pd.DataFrame(part.values, columns=part.metrics)[metrics]
        .assign(**{"\0step": part.step})
        .dropna(subset=["\0step"])
        .drop_duplicates("\0step")
        .set_index("\0step")
        for part in (one, other)
    ]
    again = tables[0].index.intersection(tables[1].index)
    if not metrics or len(again) <= MOSTLY * min(map(len, tables)):
        return False
    values, others = (table.loc[again].to_numpy() for table in tables)
    both = np.isfinite(values) & np.isfinite(others)
    return bool(np.sum(both & (values != others)) > MOSTLY * max(np.sum(both), 1))
