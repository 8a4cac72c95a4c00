"""Trains runs one after another, or several at a time, so that it can be killed at any moment.

After every checkpoint the state of training and all its losses so far are written as one file, and
then the tables are made anew of all such files. So a table never holds what cannot be gone on from,
and a start after a kill trains at most what came after the last checkpoint.
"""

import dataclasses
import fcntl
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from benchmarks.proxy_sweep.batches import held_out_sequences, plan
from benchmarks.proxy_sweep.checkpoints import (
    Checkpoint,
    CorruptedCheckpoint,
    load_checkpoint,
    previous,
    save_checkpoint,
)
from benchmarks.proxy_sweep.model import ModelConfig
from benchmarks.proxy_sweep.progress import Meter, shown_progress
from benchmarks.proxy_sweep.runs import Run
from benchmarks.proxy_sweep.speed import matrix_rate
from benchmarks.proxy_sweep.tokens import Tokens
from benchmarks.proxy_sweep.training import (
    TrainingState,
    checkpoint_steps,
    initial_state,
    mean_losses,
    train_step,
)
from bimix_jax.files import write_atomically

TABLES = {"constant": "losses.csv", "decay": "decay.csv"}
"""schedule → table of its runs"""


class CheckpointWarning(UserWarning):
    """A checkpoint that was of no use, and from where training goes on."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all runs of a sweep have in common."""

    tokens: Tokens
    model: ModelConfig
    held_out: int = 64
    """sequences a target that losses are measured on, the same at every checkpoint of every run"""
    together: int = 1
    """runs trained at a time"""


class Group(NamedTuple):
    """Runs trained together, of one training configuration."""

    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """Of its file."""
        return "+".join(run.name for run in self.runs)

    @property
    def steps(self) -> list[int]:
        """At which losses are measured."""
        return checkpoint_steps(self.runs[0].training)

    def tokens(self, steps: int, setting: Setting) -> int:
        """Tokens of all its runs in so many steps."""
        sequences = steps * self.runs[0].training.batch * len(self.runs)
        return sequences * setting.model.sequence

    def made_by(self, setting: Setting, corpus: str) -> dict[str, Any]:
        """All that its numbers follow from."""
        return {
            "runs": [[run.name, list(run.mixture), run.seed] for run in self.runs],
            "training": dataclasses.asdict(self.runs[0].training),
            "model": dataclasses.asdict(setting.model),
            "held out sequences": setting.held_out,
            "corpus": corpus,
        }


def train_runs(
    runs: Sequence[Run],
    setting: Setting,
    folder: Path,
    say: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Train what is not trained yet; gives the table of losses.

    Args:
        runs: in the order in which they are trained.
        setting: corpus, model and validation.
        folder: of checkpoints (under runs/) and tables (`TABLES`); made if it is not there.
        say: called with a sentence before training starts.

    Returns:
        What losses.csv holds: one row a run and checkpoint, in the form that `read_sweep` reads.

    Raises:
        ValueError: if runs share a name, a mixture does not sum to 1, a domain is too short, or
            the folder holds runs of other settings.
        BlockingIOError: if another process is training in the folder.
    """
    groups = grouped(runs, setting.together)
    plans = {group.name: _plans(group, setting) for group in groups}
    validation = held_out_sequences(setting.tokens, setting.held_out, setting.model.sequence)
    corpus = setting.tokens.digest()
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    with _alone(folder), shown_progress() as bar:
        standing = {
            group: _resumed(group, setting, folder, corpus)._replace(state=None) for group in groups
        }
        found = {group: checkpoint.losses for group, checkpoint in standing.items()}
        write_tables(found, setting, folder)
        done = sum(group.tokens(c.step, setting) for group, c in standing.items())
        total = sum(group.tokens(group.steps[-1], setting) for group in groups)
        unfinished = [group for group in groups if standing[group].step < group.steps[-1]]
        say(f"{len(runs)} runs, {total:,} tokens, of which {done:,} are done.")
        meter = Meter(total, done, setting.model, matrix_rate() if unfinished else 1.0, bar)
        for group in unfinished:
            number = runs.index(group.runs[0]) + 1
            what = f"run {number} of {len(runs)}, {group.name}"
            start = _resumed(group, setting, folder, corpus)
            training = trained(group, plans[group.name], validation, start, setting, meter, what)
            for checkpoint in training:
                path = _path(folder, group)
                save_checkpoint(path, checkpoint, group.made_by(setting, corpus))
                found[group] = checkpoint.losses
                write_tables(found, setting, folder)
                budget = group.tokens(checkpoint.step, setting) // len(group.runs)
                mean = checkpoint.losses[-1].mean()
                meter.report(f"{what} · {budget:,} tokens · mean loss {mean:.4f}")
    return _table(found, setting, "constant")


def grouped(runs: Sequence[Run], together: int) -> list[Group]:
    """Runs of one configuration, up to `together` in a row.

    Raises:
        ValueError: if two runs share a name.
    """
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} names several runs; expected a name for each.")
    groups = list[Group]()
    for run in runs:
        last = groups[-1].runs if groups else ()
        if last and len(last) < together and last[0].training == run.training:
            groups[-1] = Group((*last, run))
        else:
            groups.append(Group((run,)))
    return groups


def trained(
    group: Group,
    plans: list[Any],
    validation: np.ndarray,
    start: Checkpoint,
    setting: Setting,
    meter: Meter,
    what: str,
) -> Iterator[Checkpoint]:
    """The checkpoints of a group that come after `start`, one by one."""
    config, model = group.runs[0].training, setting.model
    state = start.state
    step, losses = start.step, start.losses
    compiled = False
    for target in (s for s in group.steps if s > step):
        while step < target:
            batches = np.stack([plan.batch(setting.tokens, step) for plan in plans])
            state = jax.block_until_ready(train_step(state, batches, model, config))
            step += 1
            count = group.tokens(1, setting)
            if compiled:
                meter.trained(what, count)
            else:
                meter.skipped(count)
            compiled = True
        found = measured(state, validation, model)
        losses = np.concatenate([losses, found[None]])
        done = target == group.steps[-1]
        yield Checkpoint(step, losses, None if done else state)
        meter.waited()


def measured(state: TrainingState, validation: np.ndarray, model: ModelConfig) -> np.ndarray:
    """(models, targets) mean losses on (targets, sequences, sequence + 1) ids."""
    each = [mean_losses(state.parameters, target, model) for target in validation]
    return np.stack([np.asarray(losses, np.float64) for losses in each], axis=1)


def _plans(group: Group, setting: Setting) -> list[Any]:
    return [
        plan(
            setting.tokens, np.array(run.mixture), run.training.steps, run.training.batch,
            setting.model.sequence, run.seed,
        )
        for run in group.runs
    ]  # fmt: skip


def _resumed(group: Group, setting: Setting, folder: Path, corpus: str) -> Checkpoint:
    """The last checkpoint that can be read, or the start."""
    config = group.runs[0].training
    seeds = [run.seed for run in group.runs]
    fresh = jax.eval_shape(lambda: initial_state(seeds, setting.model, config))
    path = _path(folder, group)
    for candidate in (path, previous(path)):
        if candidate.exists():
            try:
                return load_checkpoint(candidate, fresh, group.made_by(setting, corpus))
            except CorruptedCheckpoint as error:
                _set_aside(candidate, error, previous(path))
    nothing = np.zeros((0, len(seeds), len(setting.tokens.domains)))
    return Checkpoint(0, nothing, initial_state(seeds, setting.model, config))


def _path(folder: Path, group: Group) -> Path:
    return folder / "runs" / f"{group.name}.npz"


def _set_aside(path: Path, error: CorruptedCheckpoint, before: Path) -> None:
    aside = path.with_suffix(".corrupted")
    path.replace(aside)
    there = path != before and before.exists()
    since = "the checkpoint before" if there else "its start"
    warnings.warn(
        f"{error} It was renamed to {aside.name}; the run goes on from {since}, and ends with the "
        "same losses. Other runs are not touched.",
        CheckpointWarning,
        stacklevel=4,
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The only process that trains in a folder; the lock goes with the process."""
    with open(folder / "runs" / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"Another process is training in {folder}; wait for it, or name another folder."
            ) from error
        yield


def write_tables(found: dict[Group, np.ndarray], setting: Setting, folder: Path) -> None:
    """Write the table of each schedule that has runs, whole."""
    for schedule, name in TABLES.items():
        table = _table(found, setting, schedule)
        if len(table):
            write_atomically(folder / name, table.to_csv(index=False, lineterminator="\n"))


def _table(found: dict[Group, np.ndarray], setting: Setting, schedule: str) -> pd.DataFrame:
    rows = [
        row
        for group, losses in found.items()
        if group.runs[0].training.schedule == schedule
        for i, run in enumerate(group.runs)
        for row in _rows(run, losses[:, i], group.steps, setting)
    ]
    return pd.DataFrame(rows)


def _rows(
    run: Run, losses: np.ndarray, steps: list[int], setting: Setting
) -> Iterator[dict[str, Any]]:
    """One a checkpoint; losses to a millionth of a nat, far below what seeds differ by."""
    domains = setting.tokens.domains
    a_step = run.training.batch * setting.model.sequence
    for step, values in zip(steps, losses, strict=False):
        row = {"run": run.name, "mixture": run.mixture_name, "seed": run.seed}
        if run.training.schedule == "decay":
            row |= {"length": run.training.steps * a_step}
        row |= {"step": step, "tokens": step * a_step}
        row |= {f"r_{d}": round(r, 9) for d, r in zip(domains, run.mixture, strict=True)}
        yield row | {f"loss_{d}": round(x, 6) for d, x in zip(domains, values, strict=True)}
