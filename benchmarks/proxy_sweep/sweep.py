"""Trains the runs of a sweep so that it can be killed at any moment and gone on with."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from benchmarks.proxy_sweep.batches import (
    Plan,
    check_enough,
    check_mixture,
    held_out_sequences,
    plan,
)
from benchmarks.proxy_sweep.checkpoints import Checkpoint
from benchmarks.proxy_sweep.groups import Group, Setting, grouped
from benchmarks.proxy_sweep.progress import Meter, shown_progress
from benchmarks.proxy_sweep.runs import Run
from benchmarks.proxy_sweep.speed import matrix_rate
from benchmarks.proxy_sweep.store import Store
from benchmarks.proxy_sweep.training import TrainingState, learning_rates, mean_losses, train_step


def prepared(runs: Sequence[Run], setting: Setting, folder: Path) -> Store:
    """The sweep as it stands in a folder, checked; nothing is trained.

    Args:
        runs: in the order in which they are to be trained.
        setting: corpus, model and validation.
        folder: of checkpoints and tables; made if it is not there.

    Raises:
        ValueError: if runs share a name, a mixture does not sum to 1, a domain is too short, or
            the folder holds such runs of other settings.
    """
    for run in runs:
        check_mixture(np.array(run.mixture), setting.tokens.domains)
        check_enough(setting.tokens, run.training.batch, setting.model.sequence)
    held_out_sequences(setting.tokens, setting.held_out, setting.model.sequence)
    store = Store(folder, grouped(runs, setting.together), setting)
    store.write_tables()
    return store


def train(
    store: Store, say: Callable[[str], object] = lambda text: None, save_every: float = 0.0
) -> pd.DataFrame:
    """Train what is not trained yet, and is not being trained by another process.

    Args:
        store: see `prepared`.
        say: called with sentences for a person.
        save_every: seconds that have to pass before a checkpoint is written; the last always is.

    Returns:
        What losses.csv holds: one row a run and checkpoint, in the form that `read_sweep` reads.
    """
    setting, done, total = store.setting, store.done(), store.total()
    validation = held_out_sequences(setting.tokens, setting.held_out, setting.model.sequence)
    runs = sum(len(group.runs) for group in store.groups)
    say(f"{runs} runs, {total:,} tokens, of which {done:,} are done.")
    with shown_progress() as bar:
        meter = Meter(total, done, setting.model, matrix_rate(setting.model.products), bar)
        # From the first again, since another process may have left one behind.
        while any(
            _train_group(group, store, validation, meter, save_every) for group in store.groups
        ):
            pass
    if store.done() < total:
        say("What is left is being trained by other processes.")
    return store.table("constant")


def _train_group(
    group: Group, store: Store, validation: np.ndarray, meter: Meter, save_every: float
) -> bool:
    """Train a group to its end, if it is not there and no other process is at it; if so, True."""
    if store.standing(group).step == group.checkpoints[-1]:
        return False
    with store.claimed(group) as mine:
        if not mine:
            return False
        start = store.resume(group)
        what = f"run {store.groups.index(group) + 1} of {len(store.groups)}, {group.name}"
        meter.begins(what)
        saved = time.monotonic()
        for checkpoint in trained(group, start, validation, store.setting, meter):
            if checkpoint.state is None or time.monotonic() - saved >= save_every:
                store.save(group, checkpoint)
                meter.saved(store.done())
                saved = time.monotonic()
            meter.measured(checkpoint.losses[-1].mean())
    return True


def trained(
    group: Group, start: Checkpoint, validation: np.ndarray, setting: Setting, meter: Meter
) -> Iterator[Checkpoint]:
    """The checkpoints of a group that come after `start`, one by one."""
    plans = [_plan(run, setting) for run in group.runs]
    rates = learning_rates(group.training)
    step, losses, state = start
    for target in (s for s in group.checkpoints if s > start.step):
        for now in range(step, target):
            tokens = np.stack([plan.batch(setting.tokens, now) for plan in plans])
            # Only now, so that a device works while the next batch is put together.
            jax.block_until_ready(state)
            state = train_step(state, tokens, rates[now], setting.model, group.training)
            meter.trained(group.tokens(1, setting.model.sequence))
        step = target
        losses = np.concatenate([losses, measured(state, validation, setting)[None]])
        # Nothing goes on from the end.
        yield Checkpoint(step, losses, None if step == group.checkpoints[-1] else state)


def measured(state: TrainingState, validation: np.ndarray, setting: Setting) -> np.ndarray:
    """(models, targets) mean losses on (targets, sequences, sequence + 1) ids."""
    each = [mean_losses(state.parameters, target, setting.model) for target in validation]
    return np.stack([np.asarray(losses, np.float64) for losses in each], axis=1)


def _plan(run: Run, setting: Setting) -> Plan:
    config = run.training
    mixture = np.array(run.mixture)
    return plan(
        setting.tokens, mixture, config.steps, config.batch, setting.model.sequence, run.seed
    )
