"""The verb for many sweeps: all are fitted, and a bad one does not affect the others."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Unpack

import jax
import numpy as np
import pandas as pd

from bimix_jax.batching._compiled import BatchMethod, end_to_end
from bimix_jax.batching._parts import SWEEP, check_column, joined, table_of_failed, table_of_fits
from bimix_jax.batching._rows import SweepRows
from bimix_jax.batching._run import Progress, fit_rows
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.fit import named_fit
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.options import FitOptions, Given, note_of_budget_power
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws import BiMix, as_law
from bimix_jax.laws.law import Law
from bimix_jax.reading.errors import SweepWarning
from bimix_jax.reading.frames import as_frame
from bimix_jax.sweeps.read import read_sweep
from bimix_jax.sweeps.sweep import Sweep

Sweeps = Iterable[Sweep] | Mapping[Any, Sweep] | pd.DataFrame


@dataclasses.dataclass(frozen=True)
class ManyFits(Mapping[Any, Fit]):
    """Fits of many sweeps, in their order; a mapping of label → `Fit`, made on access.

    Labels are the numbers of the sweeps in a list, the keys of a mapping, or the values of the
    column `sweep`.
    """

    labels: tuple[Any, ...]
    """labels of all sweeps, also of failed ones"""
    failed: dict[Any, str]
    """label → reason that no law could be fitted to it"""
    _found: dict[Any, tuple[FitTask, ArrayFit, np.ndarray]]

    def __getitem__(self, label: Any) -> Fit:
        """Return the fit of one sweep; KeyError, with the reason, for one that failed."""
        if label in self.failed:
            raise KeyError(f"{label} could not be fitted: {self.failed[label]}")
        task, found, error = self._found[label]
        sweep, law = task.sweep, task.law
        late = note_of_budget_power(sweep, task.options.budget_power)
        notes = (*sweep.notes, *task.notes, *law.assumptions(), *late)
        return named_fit(task, found, notes).with_error(error)

    def __iter__(self) -> Iterator[Any]:
        """Labels of the sweeps that were fitted, in order."""
        return (label for label in self.labels if label not in self.failed)

    def __len__(self) -> int:
        """Number of sweeps that were fitted."""
        return len(self.labels) - len(self.failed)

    def table(self) -> pd.DataFrame:
        """Table with a row per sweep and target: `Fit.table` after columns `sweep` and `target`.

        A sweep that failed has one row, its target empty, code bad_data and the reason.
        """
        parts = []
        for (law, targets), labels in self._alike().items():
            found = [self._found[label] for label in labels]
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(fit for _, fit, _ in found))
            errors = np.stack([error for *_, error in found])
            parts.append(table_of_fits(labels, law, targets, stacked, errors))
        return joined([*parts, table_of_failed(self.failed)], self.labels)

    def _alike(self) -> dict[tuple[Law, tuple[str, ...]], list[Any]]:
        """Labels by law and targets."""
        groups: dict[tuple[Law, tuple[str, ...]], list[Any]] = {}
        for label in self:
            task = self._found[label][0]
            groups.setdefault((task.law, task.targets), []).append(label)
        return groups


def fit_many(
    sweeps: Sweeps,
    law: Law | str | None = None,
    *,
    targets: Sequence[str] | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: Progress | None = None,
    **options: Unpack[Given],
) -> ManyFits:
    """Fit a law to every target of many sweeps, on all devices of this machine.

    Sweeps may differ in runs, budgets, targets and domains. Those of similar size share a
    compilation: points are padded to 8, 12, 16, 24, 32, …, targets to a power of two, so that a
    second call with sweeps of known sizes compiles nothing.

    Args:
        sweeps: a list or iterator of `Sweep`, a mapping of label → `Sweep`, or a long or wide table
            (DataFrame) with a column `sweep`, each part of which `read_sweep` can read.
        law: default `BiMix()`.
        targets: names of the targets to fit; default all that the law can express.
        devices: default all local ones; the sweeps are shared out among them.
        progress: called with the number of sweeps of every chunk that is done.
        options: the fields of `FitOptions`, as for `fit`. Scores need absolute residuals, and count
            alike whatever their numbers of examples are.

    Returns:
        `ManyFits`: a table of all coefficients and codes, and a `Fit` for each label on demand.
        A sweep that cannot be read or fitted is in `failed` with the reason.

    Raises:
        ValueError: on an option that does not exist, or a table without the column `sweep`.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> first, second = sweep.split_runs(0.5, seed=0)
    >>> fits = bx.fit_many({"first": first, "second": second})
    >>> fits.table().groupby("sweep")["beta"].mean().round(2).to_dict()
    {'first': 0.75, 'second': 0.74}
    >>> fits["first"].predict(sweep.mixtures.iloc[0]).round(2)["python"].item()
    5.46
    """
    asked, chosen_law = FitOptions.of(fit_many, options), as_law(law or BiMix())
    if chosen_law.known_exponents(()) is not None:
        raise ValueError(
            f"law: {chosen_law.label} maps one small fit to one sweep; call bx.bridge for each."
        )
    labels, read, failed = _read(sweeps)
    tasks: dict[Any, FitTask] = {}
    for label, sweep in read.items():
        try:
            tasks[label] = _without_weights(FitTask.of(sweep, chosen_law, asked, targets))
        except ValueError as error:
            failed[label] = str(error)
    chosen = tuple(jax.local_devices() if devices is None else devices)
    found: dict[Any, tuple[FitTask, ArrayFit, np.ndarray]] = {}
    # Sweeps of other names or another method (a law may depend on its sweep) are batches apart.
    for group in _alike(tasks):
        alike = [tasks[label] for label in group]
        fits, errors = fit_rows(_rows(alike), _method(alike[0]), chosen, progress)
        for i, label in enumerate(group):
            part = jax.tree.map(lambda leaf, i=i: leaf[i], fits)
            found[label] = (tasks[label], part, errors[i])
    return ManyFits(tuple(labels), failed, found)


def _read(sweeps: Sweeps) -> tuple[list[Any], dict[Any, Sweep], dict[Any, str]]:
    """Labels in order, the sweeps, and the reasons of parts of a table that are not sweeps."""
    sweeps = as_frame(sweeps)
    if not isinstance(sweeps, pd.DataFrame):
        pairs = sweeps.items() if isinstance(sweeps, Mapping) else enumerate(sweeps)
        read = dict(pairs)
        return list(read), read, {}
    check_column("sweeps", sweeps.columns)
    labels, read, failed = [], {}, {}
    for label, part in sweeps.groupby(SWEEP, sort=False):
        labels.append(label)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SweepWarning)  # they are notes of the sweep too
                read[label] = read_sweep(part.drop(columns=SWEEP).dropna(axis=1, how="all"))
        except ValueError as error:
            failed[label] = str(error)
    return labels, read, failed


def _without_weights(task: FitTask) -> FitTask:
    """Return a task, unless its residuals need weights of single points, which batches lack."""
    scores = [t.name for t in task.sweep.metadata.described(task.targets) if t.is_score]
    if scores and task.options.residual != "absolute":
        raise ValueError(
            f"residual is {task.options.residual!r}, and {', '.join(scores)} are scores; a batch "
            "fits scores by absolute residuals only: residual='absolute' (--residual absolute)."
        )
    return task


def _method(task: FitTask) -> BatchMethod:
    """Settings of the fit of a task and of similar ones."""
    folds = 0 if task.folds is None else task.folds.parts
    return BatchMethod(task.law, task.options, folds, task.strength)


def _alike(tasks: dict[Any, FitTask]) -> list[list[Any]]:
    """Labels whose sweeps have the same names and method."""
    groups: dict[Any, list[Any]] = {}
    for label, task in tasks.items():
        key = (task.sweep.domains, task.targets, _method(task), task.sweep.size is None)
        groups.setdefault(key, []).append(label)
    return list(groups.values())


def _rows(tasks: list[FitTask]) -> SweepRows:
    first, sweeps = tasks[0], [task.sweep for task in tasks]
    sizes = [s.size for s in sweeps if s.size is not None]
    folds = [task.folds.number for task in tasks if task.folds is not None]
    return SweepRows(
        first.sweep.domains,
        first.targets,
        np.array([len(s.budget) for s in sweeps]),
        end_to_end([s.mixture for s in sweeps]),
        end_to_end([s.budget for s in sweeps]),
        end_to_end([task.loss for task in tasks]),
        end_to_end(sizes) if sizes else None,
        np.concatenate(folds) if folds else None,
    )
