"""TensorBoard event files; needs the tensorboard package (`bimix_jax[tensorboard]`)."""

from typing import Any

import pandas as pd

from bimix_jax.checks import SweepError
from bimix_jax.logs.history import Keep, Keys, LogFile, of_runs

PATTERN = "eval/{target}/loss"
MARK = "tfevents"
"""Part of the name of every event file."""


def read(file: LogFile, keys: Keys, keep: Keep) -> pd.DataFrame:
    """The scalars of a file, which are of single precision, one row each.

    Raises:
        SweepError: if the tensorboard package is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise SweepError(
            f"{file.path} is read with the tensorboard package, which is not installed; "
            "python -m pip install 'bimix_jax[tensorboard]'."
        ) from error
    wanted: dict[str, bool] = {}
    rows: dict[int, dict[str, Any]] = {}
    for event in EventFileLoader(str(file.path)).Load():
        for value in event.summary.value:
            if value.tag not in wanted:
                wanted[value.tag] = bool(keep([value.tag]))
            if wanted[value.tag] and value.HasField("tensor"):
                number = make_ndarray(value.tensor)
                if number.size == 1:
                    rows.setdefault(event.step, {})[value.tag] = number.item()
    return of_runs(pd.DataFrame(list(rows.values())), file.run, list(rows))
