"""The verb for many sweeps: every one is fitted, a bad one harms no other."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from bimix_jax.batching.compiled import Method
from bimix_jax.batching.fits_table import SWEEP, joined, table_of_failed, table_of_fits
from bimix_jax.batching.memory import end_to_end
from bimix_jax.batching.rows import Rows
from bimix_jax.batching.run import Progress, fit_rows
from bimix_jax.checks import SweepWarning
from bimix_jax.fitted import Fit
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.emphasis import about_emphasis
from bimix_jax.fitting.fit import (
    choose_targets,
    is_restrained,
    law_for_sweep,
    named_fit,
    restraint_arguments,
)
from bimix_jax.fitting.residual import RESIDUALS, Residual
from bimix_jax.formats import read_sweep
from bimix_jax.laws import BiMix
from bimix_jax.laws.law import Law
from bimix_jax.sweep import Sweep

Sweeps = Iterable[Sweep] | Mapping[Any, Sweep] | pd.DataFrame


@dataclasses.dataclass(frozen=True)
class ManyFits(Mapping[Any, Fit]):
    """Fits of many sweeps, in their order; a mapping of label → `Fit`, made when it is asked for.

    Labels are the numbers of the sweeps in a list, the keys of a mapping, or the values of the
    column `sweep`.
    """

    labels: tuple[Any, ...]
    """of all sweeps, those that failed too"""
    failed: dict[Any, str]
    """label → why no law could be fitted to it"""
    _sweeps: dict[Any, Sweep]
    _found: dict[Any, tuple[Method, tuple[str, ...], tuple[str, ...], ArrayFit, np.ndarray]]

    def __getitem__(self, label: Any) -> Fit:
        """The fit of one sweep; KeyError, with the reason, of one that failed."""
        if label in self.failed:
            raise KeyError(f"{label} could not be fitted: {self.failed[label]}")
        method, chosen, notes, found, error = self._found[label]
        fitted = named_fit(
            self._sweeps[label], method.law, list(chosen), found,
            (*self._sweeps[label].notes, *notes, *method.law.assumptions(),
             *about_emphasis(self._sweeps[label], method.emphasis)),
            method.loss, method.huber, method.tied, method.emphasis,
        )  # fmt: skip
        return fitted.with_error(error)

    def __iter__(self) -> Iterator[Any]:
        """Labels of the sweeps that were fitted, in order."""
        return (label for label in self.labels if label not in self.failed)

    def __len__(self) -> int:
        """How many sweeps were fitted."""
        return len(self.labels) - len(self.failed)

    def table(self) -> pd.DataFrame:
        """One row a sweep and target, as `Fit.table`, with `sweep` and `target` as columns.

        A sweep that failed has one row, its target empty, code bad_data and the reason.
        """
        parts = []
        for (law, targets), labels in self._alike().items():
            found = [self._found[label] for label in labels]
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(fit for *_, fit, _ in found))
            errors = np.stack([error for *_, error in found])
            parts.append(table_of_fits(labels, law, targets, stacked, errors))
        return joined([*parts, table_of_failed(self.failed)], self.labels)

    def _alike(self) -> dict[tuple[Law, tuple[str, ...]], list[Any]]:
        """Labels by law and targets."""
        groups: dict[tuple[Law, tuple[str, ...]], list[Any]] = {}
        for label in self:
            method, targets, *_ = self._found[label]
            groups.setdefault((method.law, targets), []).append(label)
        return groups


def fit_many(
    sweeps: Sweeps,
    law: Law | None = None,
    *,
    loss: Residual = "relative",
    huber: float | None = None,
    tied: Sequence[str] = (),
    targets: Sequence[str] | None = None,
    emphasis: float = 0.0,
    max_steps: int | None = None,
    dtype: str = "float64",
    devices: Sequence[jax.Device] | None = None,
    progress: Progress | None = None,
) -> ManyFits:
    """Fit a law to every target of many sweeps, on all devices of this machine.

    Sweeps may differ in runs, budgets, targets and domains. Those of similar size share a
    compilation: points are padded to 8, 12, 16, 24, 32, …, targets to a power of two, so that a
    second call with sweeps of known sizes compiles nothing.

    Args:
        sweeps: a list or iterator of `Sweep`, a mapping of label → `Sweep`, or a long or wide table
            (DataFrame) with a column `sweep`, each part of which `read_sweep` can read.
        law: default `BiMix()`.
        loss: the residual, as in `fit`.
        huber: residuals beyond this size count linearly, as in `fit`.
        tied: exponents that are one number for all targets of a sweep.
        targets: which targets of each sweep; default all that the law can express.
        emphasis: power of the budget by which points count, as in `fit`.
        max_steps: most evaluations from a start.
        dtype: "float64", or "float32" for screening.
        devices: default all local ones; the sweeps are shared out among them.
        progress: called with the number of sweeps of every chunk that is done.

    Returns:
        `ManyFits`: a table of all coefficients and codes, and a `Fit` for each label on demand.
        A sweep that cannot be read or fitted is in `failed` with the reason.

    Raises:
        ValueError: on an option that does not exist, or a table without the column `sweep`.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> fits = bx.fit_many({"all": sweep, "early": sweep.split_budgets(0.5)[0]})
    >>> fits.table().groupby("sweep")["beta"].mean().round(2).to_dict()
    {'all': 0.75, 'early': 0.87}
    >>> fits["all"].predict(sweep.mixtures.iloc[0]).round(2)["python"].item()
    5.46
    """
    _check_options(law, loss, huber, dtype)
    base = Method(
        law or BiMix(), loss, huber, (tied,) if isinstance(tied, str) else tuple(tied), max_steps,
        dtype, emphasis=emphasis,
    )  # fmt: skip
    labels, read, failed = _read(sweeps)
    prepared: dict[Any, _Prepared] = {}
    for label, sweep in read.items():
        try:
            prepared[label] = _prepare(sweep, base, targets)
        except ValueError as error:
            failed[label] = str(error)
    chosen = tuple(jax.local_devices() if devices is None else devices)
    found: dict[Any, Any] = {}
    for group in _alike(prepared):
        first = prepared[group[0]]
        fits, errors = fit_rows(_rows(prepared, group), first.method, chosen, progress)
        for i, label in enumerate(group):
            part = jax.tree.map(lambda leaf, i=i: leaf[i], fits)
            found[label] = (first.method, first.targets, prepared[label].notes, part, errors[i])
    return ManyFits(tuple(labels), failed, read, found)


def _check_options(law: Law | None, loss: str, huber: float | None, dtype: str) -> None:
    if law is not None and not isinstance(law, Law):
        raise ValueError(f"law is {law!r}; expected an instance of a law, BiMix() for example.")
    if loss not in RESIDUALS:
        raise ValueError(f"loss is {loss!r}; expected one of {', '.join(RESIDUALS)}.")
    if huber is not None and not huber > 0:
        raise ValueError(f"huber is {huber}; expected a size of residual above 0, or None.")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; expected 'float64' or 'float32'.")


def _read(sweeps: Sweeps) -> tuple[list[Any], dict[Any, Sweep], dict[Any, str]]:
    """Labels in order, the sweeps, and why a part of a table is none."""
    if not isinstance(sweeps, pd.DataFrame):
        pairs = sweeps.items() if isinstance(sweeps, Mapping) else enumerate(sweeps)
        read = dict(pairs)
        return list(read), read, {}
    if SWEEP not in sweeps:
        raise ValueError(
            f"sweeps has the columns {', '.join(map(str, sweeps.columns))}; expected a column "
            f"{SWEEP} that says which sweep a row belongs to."
        )
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


@dataclasses.dataclass(frozen=True)
class _Prepared:
    sweep: Sweep
    method: Method
    targets: tuple[str, ...]
    notes: tuple[str, ...]
    fold: np.ndarray | None


def _prepare(sweep: Sweep, base: Method, targets: Sequence[str] | None) -> _Prepared:
    """What is particular to a sweep: the law that knows it, its targets, the folds of its runs."""
    law = base.law
    chosen, notes = choose_targets(sweep, law, targets)
    law = law_for_sweep(law, sweep, sweep.largest_budget)
    everything = np.ones(len(sweep.budget), bool)
    _, fold, folds = restraint_arguments(sweep, law, "mixtures", everything)
    restrained = is_restrained(law, len(sweep.domains))
    method = dataclasses.replace(base, law=law, folds=folds, restrained=restrained)
    return _Prepared(sweep, method, tuple(chosen), notes, fold)


def _alike(prepared: dict[Any, _Prepared]) -> list[list[Any]]:
    """Labels whose sweeps have the same names and method."""
    groups: dict[Any, list[Any]] = {}
    for label, part in prepared.items():
        key = (part.sweep.domains, part.targets, part.method, part.sweep.size is None)
        groups.setdefault(key, []).append(label)
    return list(groups.values())


def _rows(prepared: dict[Any, _Prepared], labels: list[Any]) -> Rows:
    parts = [prepared[label] for label in labels]
    first, sweeps = parts[0], [part.sweep for part in parts]
    sizes = [s.size for s in sweeps if s.size is not None]
    columns = [first.sweep.targets.index(t) for t in first.targets]
    same = all(s.targets == first.sweep.targets for s in sweeps)
    losses = [
        s.loss[:, columns if same else [s.targets.index(t) for t in first.targets]] for s in sweeps
    ]
    return Rows(
        first.sweep.domains,
        first.targets,
        np.array([len(s.budget) for s in sweeps]),
        end_to_end([s.mixture for s in sweeps]),
        end_to_end([s.budget for s in sweeps]),
        end_to_end(losses),
        end_to_end(sizes) if sizes else None,
        None if first.fold is None else np.concatenate([part.fold for part in parts]),
    )
