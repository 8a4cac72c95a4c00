"""The folder of a sweep: a file of checkpoints for every group of runs, and the tables of losses.

The tables are always made anew of the checkpoints, so that they never hold what training cannot go
on from, and neither gaps nor duplicates. Locks go with the process that holds them: several
processes may train in one folder, each the next group that no other is training.
"""

import fcntl
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from benchmarks.proxy_sweep.checkpoints import (
    Checkpoint,
    CorruptedCheckpoint,
    load_checkpoint,
    previous,
    save_checkpoint,
)
from benchmarks.proxy_sweep.groups import Group, Setting
from benchmarks.proxy_sweep.loss_tables import TABLES, loss_table
from benchmarks.proxy_sweep.training import TrainingState, initial_state
from bimix_jax.files import write_atomically


class CheckpointWarning(UserWarning):
    """A checkpoint that was of no use, and from where training goes on."""


class Store:
    """Checkpoints and tables of a sweep.

    Args:
        folder: made if it is not there.
        groups: of the sweep, in the order of the tables.
        setting: of the sweep.
    """

    def __init__(self, folder: Path, groups: Sequence[Group], setting: Setting) -> None:
        self.folder, self.groups, self.setting = folder, groups, setting
        self.corpus = setting.tokens.digest()
        for name in ("runs", "locks"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def resume(self, group: Group) -> Checkpoint:
        """The last checkpoint that can be read, or the start; for whoever has claimed the group.

        Files that cannot be read are renamed, with a warning.

        Raises:
            OtherSettings: if it was trained with other settings.
        """
        for path in self._candidates(group):
            try:
                return load_checkpoint(path, self._shapes(group), self._made_by(group))
            except CorruptedCheckpoint as error:
                self._set_aside(path, group, error)
        state = initial_state(group.seeds, self.setting.model, group.training)
        return self._start(group)._replace(state=state)

    def standing(self, group: Group) -> Checkpoint:
        """Checkpoint that `resume` would return, without the state and any change of files."""
        for path in self._candidates(group):
            try:
                return load_checkpoint(path, None, self._made_by(group))
            except (CorruptedCheckpoint, FileNotFoundError):
                continue
        return self._start(group)

    def save(self, group: Group, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then the tables."""
        save_checkpoint(self._path(group), checkpoint, self._made_by(group))
        self.write_tables()

    def write_tables(self) -> None:
        """Write the table of each schedule that has losses, whole."""
        with locked(self.folder / "locks" / "tables", wait=True):
            for schedule, name in TABLES.items():
                table = self.table(schedule)
                if len(table):
                    text = table.to_csv(index=False, lineterminator="\n")
                    write_atomically(self.folder / name, text)

    def table(self, schedule: str) -> pd.DataFrame:
        """Losses so far of the runs of a schedule (`loss_table`)."""
        groups = [group for group in self.groups if group.training.schedule == schedule]
        found = {group: self.standing(group).losses for group in groups}
        return loss_table(found, self.setting, schedule)

    def done(self) -> int:
        """Tokens that all groups have been trained on."""
        sequence = self.setting.model.sequence
        return sum(group.tokens(self.standing(group).step, sequence) for group in self.groups)

    def total(self) -> int:
        """Tokens of all groups at their end."""
        sequence = self.setting.model.sequence
        return sum(group.tokens(group.checkpoints[-1], sequence) for group in self.groups)

    @contextmanager
    def claimed(self, group: Group) -> Iterator[bool]:
        """If this process alone may train the group."""
        with locked(self.folder / "locks" / group.name, wait=False) as mine:
            yield mine

    def _path(self, group: Group) -> Path:
        return self.folder / "runs" / f"{group.name}.npz"

    def _candidates(self, group: Group) -> list[Path]:
        path = self._path(group)
        return [candidate for candidate in (path, previous(path)) if candidate.exists()]

    def _shapes(self, group: Group) -> TrainingState:
        model = self.setting.model
        return jax.eval_shape(lambda: initial_state(group.seeds, model, group.training))

    def _made_by(self, group: Group) -> dict[str, Any]:
        return group.made_by(self.setting, self.corpus)

    def _start(self, group: Group) -> Checkpoint:
        return Checkpoint(0, np.zeros((0, len(group.runs), len(self.setting.tokens.domains))), None)

    def _set_aside(self, path: Path, group: Group, error: CorruptedCheckpoint) -> None:
        aside = path.with_suffix(".corrupted")
        path.replace(aside)
        since = "the checkpoint before" if self._candidates(group) else "its start"
        warnings.warn(
            f"{error} It was renamed to {aside.name}; the run goes on from {since} and ends with "
            "the same losses. Other runs are not touched.",
            CheckpointWarning,
            stacklevel=3,
        )


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock `path`.lock; says if it was had, which it always is after waiting."""
    with open(path.with_name(f"{path.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
