"""The mixtures that the proof trains, and in which order."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

import bimix_jax as bx
from benchmarks.proof.recommended import TIMES, judged_best, recommended_by
from bimix_jax.laws import LAWS
from bimix_jax.sweeps.sweep import Sweep

SHARED = 0.005
"""Mixtures closer than this, by total variation distance, are trained once."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A mixture that a user might train."""

    name: str
    mixture: tuple[float, ...]
    """(domains,) proportions"""
    trained_as: str
    """name of the choice whose runs are its own, too"""
    predicted: tuple[float, ...] = ()
    """mean losses over targets at each of the budgets, by the law that recommends it, if any"""


@dataclasses.dataclass(frozen=True)
class Choices:
    """All choices, in the order in which they are trained."""

    domains: tuple[str, ...]
    budget: float
    """the sweep's last, in tokens"""
    sweep: str
    """digest of the sweep that they come from"""
    judged_best: str
    """law that `compare` would trust; empty if the sweep is too small to judge by"""
    choices: tuple[Choice, ...]
    notes: tuple[str, ...] = ()
    times: tuple[int, ...] = TIMES
    """budgets at which choices are compared, as multiples of the sweep's last"""

    def trained(self) -> list[Choice]:
        """Choices with runs of their own."""
        return [choice for choice in self.choices if choice.trained_as == choice.name]

    def budgets(self) -> dict[str, float]:
        """Name → tokens of the budgets at which choices are compared."""
        return {f"{multiple}x": self.budget * multiple for multiple in self.times}


def chosen_from(
    sweep: Sweep,
    sizes: Mapping[str, float],
    entropies: Mapping[str, np.ndarray],
    laws: Sequence[str] = tuple(LAWS),
    times: tuple[int, ...] = TIMES,
) -> Choices:
    """Each law's optimum at multiples of the sweep's last budget, and the alternatives.

    Args:
        sweep: what the laws are fitted to; nothing else is known to them.
        sizes: tokens of the corpus by domain.
        entropies: mixtures by name, in the order of the sweep's domains.
        laws: names of laws; those that cannot be fitted are left out, which is noted.
        times: the multiples.

    Raises:
        ValueError: if the sweep has no run with all losses at its last budget.
    """
    picked, notes = judged_best(sweep)
    best = bx.best_measured(sweep)
    mixtures = {"uniform": np.full(len(sweep.domains), 1 / len(sweep.domains))}
    mixtures["corpus-sizes"] = np.array([sizes[domain] for domain in sweep.domains], float)
    mixtures["best-in-sweep"] = sweep.mixtures.loc[best].to_numpy()
    mixtures |= entropies
    recommended, left_out = recommended_by(sweep, laws, times)
    mixtures |= {name: found.mixture for name, found in recommended.items()}
    mixtures = {name: _whole(mixture) for name, mixture in mixtures.items()}
    predicted = {name: found.predicted for name, found in recommended.items()}
    names = in_order(mixtures, picked)
    return Choices(
        domains=sweep.domains,
        budget=sweep.last_common_budget(),
        sweep=sweep.digest(),
        judged_best=picked,
        choices=_shared({name: mixtures[name] for name in names}, predicted),
        times=times,
        notes=(f"best-in-sweep is the mixture of its run {best}.", *notes, *left_out),
    )


def _whole(shares: np.ndarray) -> np.ndarray:
    """Shares as proportions; what sums to 1 but for rounding stays as the sweep has it."""
    return shares if abs(shares.sum() - 1) < 1e-12 else shares / shares.sum()


def in_order(names: Mapping[str, np.ndarray], picked: str) -> list[str]:
    """Names, first those that a proof which is cut off cannot do without."""
    first = ["uniform", "BiMix-1x", f"{picked}-1x", "best-in-sweep", "CE", "BiMix-2x",
             f"{picked}-2x", "corpus-sizes"]  # fmt: skip
    return list(dict.fromkeys([name for name in first if name in names] + list(names)))


def _shared(
    mixtures: dict[str, np.ndarray], predicted: dict[str, tuple[float, ...]]
) -> tuple[Choice, ...]:
    """Choices, each trained as the first of those before it that is as good as the same."""
    own = dict[str, np.ndarray]()
    found = []
    for name, mixture in mixtures.items():
        close = (other for other, known in own.items() if distance(known, mixture) < SHARED)
        trained_as = next(close, name)
        own.setdefault(trained_as, mixture)
        shares = tuple(float(share) for share in mixture)
        found.append(Choice(name, shares, trained_as, predicted.get(name, ())))
    return tuple(found)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Total variation distance of two mixtures."""
    return float(np.abs(first - second).sum() / 2)
