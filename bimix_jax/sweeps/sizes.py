"""Sweeps of several model sizes."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from bimix_jax.reading.names import check_names
from bimix_jax.reading.written_numbers import number_of_parameters
from bimix_jax.sweeps.sweep import Sweep


def stack_sizes(sweeps: Mapping[float | str, Sweep]) -> Sweep:
    """Stack sweeps of several model sizes into one, for laws with a size (`WithModelSize`).

    Args:
        sweeps: parameters of the model, a number or text like "122M" → its sweep; the same
            domains, targets in common, the same unit.

    Returns:
        A `Sweep` with `size`; runs are called "<run> (<size>)" where sizes have some of one name.

    Raises:
        ValueError: on fewer than two sizes, or sweeps that do not go together.

    >>> from bimix_jax import datasets, read_sweep
    >>> sweep = read_sweep(datasets.proxy_sweep())
    >>> both = stack_sizes({"1.3M": sweep, "5M": sweep})
    >>> len(both.runs), np.unique(both.size).tolist()
    (32, [1300000.0, 5000000.0])
    """
    parts = {number_of_parameters(size): sweep for size, sweep in sweeps.items()}
    if len(parts) < 2:
        raise ValueError(f"sweeps holds {len(parts)} model sizes; expected two or more.")
    first = next(iter(parts.values()))
    # The same domain may be spelled differently in the files of two sizes.
    parts = {n: s.spelled_as(first.domains, first.targets) for n, s in parts.items()}
    targets = [t for t in first.targets if all(t in s.targets for s in parts.values())]
    if not targets:
        raise ValueError("sweeps: no target is measured at every model size.")
    for size, sweep in parts.items():
        _check_like(sweep, first, f"size {size:g}")
    labels = [label for sweep in parts.values() for label in sweep.runs]
    # Runs are told apart by their labels, and those of two sizes must not become one.
    shared = len(set(labels)) < len(labels)
    lost = [t for s in parts.values() for t in s.targets if t not in targets]
    note = f"Targets not measured at every model size, left out: {', '.join(dict.fromkeys(lost))}."
    ordered = [(size, _in_order(sweep, first.domains, targets)) for size, sweep in parts.items()]
    return dataclasses.replace(
        first,
        targets=tuple(targets),
        mixture=np.concatenate([s.mixture for _, s in ordered]),
        budget=np.concatenate([s.budget for _, s in ordered]),
        loss=np.concatenate([s.loss for _, s in ordered]),
        run=np.concatenate([[f"{r} ({n:g})" if shared else r for r in s.run] for n, s in ordered]),
        extra=pd.concat([s.extra for _, s in ordered], ignore_index=True),
        metadata=dataclasses.replace(first.metadata, model_size=None),
        size=np.concatenate([np.full(len(s.budget), n) for n, s in ordered]),
        notes=(
            *dict.fromkeys(n for s in parts.values() for n in s.notes),
            *([note] if lost else []),
        ),
    )


def _check_like(sweep: Sweep, first: Sweep, name: str) -> None:
    """Raise ValueError unless a sweep has the domains, the unit and the metadata of the first."""
    check_names(f"domains of {name}", sweep.domains, first.domains)
    if sweep.unit != first.unit:
        raise ValueError(
            f"sweeps: budgets of {name} are in {sweep.unit}, those of the first in {first.unit}; "
            "expected one unit."
        )
    sweep.metadata.check_like(first.metadata, name, "the first", but=("model_size",))


def _in_order(sweep: Sweep, domains: tuple[str, ...], targets: list[str]) -> Sweep:
    mixture = sweep.mixture[:, [sweep.domains.index(d) for d in domains]]
    loss = sweep.loss[:, [sweep.targets.index(t) for t in targets]]
    return dataclasses.replace(sweep, mixture=mixture, loss=loss)
