"""TensorBoard event files; needs the tensorboard package (`bimix_jax[tensorboard]`)."""

from collections.abc import Iterator

from bimix_jax.logs._history import Cells, History, LogFile, history_of_cells
from bimix_jax.logs._settings import Reading
from bimix_jax.reading.errors import SweepError

PATTERN = "eval/{target}/loss"
MARK = "tfevents"
"""Part of the name of every event file."""


def read(file: LogFile, reading: Reading) -> History:
    """Read the scalars of a file, in single precision, one row per step.

    Raises:
        SweepError: if the tensorboard package is not installed.
    """
    scalars = list(_scalars(file))
    seen = list(dict.fromkeys(name for _, name, _ in scalars))
    place = {name: i for i, name in enumerate(reading.keep(seen))}
    wanted = [scalar for scalar in scalars if scalar[1] in place]
    cells = Cells(
        steps=[step for step, _, _ in wanted],
        columns=[place[name] for _, name, _ in wanted],
        values=[value for _, _, value in wanted],
    )
    return history_of_cells(file.run, cells, list(place), seen)


def _scalars(file: LogFile) -> Iterator[tuple[int, str, float]]:
    """Yield step, name and value, in the order of the file."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise SweepError(
            f"{file.path} is read with the tensorboard package, which is not installed; "
            "python -m pip install 'bimix_jax[tensorboard]'."
        ) from error
    for event in EventFileLoader(str(file.path)).Load():
        for value in event.summary.value:
            # The loader turns the scalars of older writers into tensors, too.
            if value.HasField("tensor"):
                number = make_ndarray(value.tensor)
                # Histograms and images have more entries.
                if number.size == 1:
                    yield event.step, value.tag, number.item()
