"""The race of laws: those that are clearly worse are dropped from the splits that remain."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from bimix_jax.fitting.coefficients import Code
from bimix_jax.fitting.options import FitOptions
from bimix_jax.judging._searches import HeldOut, predict_splits
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.noise import NoiseFloor, noise_floor
from bimix_jax.laws import Law
from bimix_jax.sweeps.splits import Split
from bimix_jax.sweeps.sweep import Sweep

AT_ONCE = 2
"""Number of laws at a time: compilation uses one core, and more than two wait for Python's lock."""
ROUNDS = 3
"""Rounds of a race: the first split of every kind, the second ones, and the rest together, because
a round waits for its slowest law."""
UNKNOWN = NoiseFloor(np.nan, np.nan)


class Trial(NamedTuple):
    """What is judged on what."""

    sweep: Sweep
    laws: Sequence[Law]
    parts: Sequence[Split]
    targets: tuple[str, ...]
    options: FitOptions

    @property
    def kinds(self) -> tuple[str, ...]:
        """(splits,) kind of each split."""
        return tuple(part.kind for part in self.parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the laws; laws of one label are numbered."""
        labels = [law.label for law in self.laws]
        before = [labels[:i].count(label) for i, label in enumerate(labels)]
        return tuple(f"{n} #{k + 1}" if k else n for n, k in zip(labels, before, strict=True))

    def fitted(self, law: Law, splits: np.ndarray) -> HeldOut:
        """Fit a law to the train parts of these splits (count,) int."""
        parts = [self.parts[split] for split in splits]
        held_out = predict_splits(self.sweep, law, parts, self.targets, self.options)
        return held_out._replace(splits=splits)

    def comparison(
        self, found: Sequence[HeldOut], splits: np.ndarray, noise: NoiseFloor
    ) -> Comparison:
        """Collect the predictions of the laws for these splits (count,) int, in rising order."""
        parts, sweep = [self.parts[split] for split in splits], self.sweep

        def spread(name: str, blank: float | str) -> np.ndarray:
            """(laws, splits, …) one entry of all laws, with blanks where a law was not fitted."""
            values = [np.array(getattr(held_out, name)) for held_out in found]
            every = np.full(
                (len(found), len(splits), *values[0].shape[1:]),
                blank,
                object if isinstance(blank, str) else values[0].dtype,
            )
            for row, held_out, value in zip(every, found, values, strict=True):
                row[np.searchsorted(splits, held_out.splits)] = value
            return every

        return Comparison(
            laws=self.labels,
            targets=self.targets,
            kinds=tuple(part.kind for part in parts),
            test=np.stack([part.test for part in parts]),
            measured=sweep.loss[:, [sweep.targets.index(name) for name in self.targets]],
            predicted=spread("predicted", np.nan),
            unidentified=spread("code", -1) == Code.UNIDENTIFIED,
            usable=np.stack([held_out.usable for held_out in found]),
            called=tuple(map(tuple, spread("called", ""))),
            budget=sweep.budget,
            group=sweep.mixture_group,
            noise=noise,
            coefficients=tuple(map(self._count, self.laws)),
            size=sweep.size,
            fitted=np.stack([np.isin(splits, held_out.splits) for held_out in found]),
        )

    def _count(self, law: Law) -> int:
        """Number of coefficients per target."""
        return len(law.names(self.sweep.domains)) + len(law.amplitude_names)


def run(trial: Trial, race: bool) -> tuple[Comparison, list[HeldOut]]:
    """Fit the laws to the splits, round by round, and estimate the noise beside them.

    After a round, laws that are clearly worse on a kind of split (`Comparison.behind`) are dropped
    from the further splits of that kind.

    Args:
        trial: what is judged.
        race: False to fit every law to every split.

    Returns:
        The comparison, and the fits of every law.
    """
    kinds = np.array(trial.kinds)
    wanted = np.ones((len(trial.laws), len(kinds)), bool)
    done = np.zeros(len(kinds), bool)
    found: list[HeldOut] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        first, *later = rounds(trial.kinds, race)
        begun = _largest_first(pool, trial, first, wanted)
        noise = pool.submit(noise_floor, trial.sweep, trial.targets)
        found = [begun[law].result() for law in range(len(trial.laws))]
        done[first] = True
        for splits in later:
            so_far = trial.comparison(found, np.flatnonzero(done), UNKNOWN)
            for kind in dict.fromkeys(trial.kinds):
                wanted[np.ix_(so_far.behind(kind), kinds == kind)] = False
            begun = _largest_first(pool, trial, splits, wanted)
            for law, fits in begun.items():
                found[law] = found[law].joined(fits.result())
            done[splits] = True
        return trial.comparison(found, np.arange(len(kinds)), noise.result()), found


def _largest_first(
    pool: ThreadPoolExecutor, trial: Trial, splits: np.ndarray, wanted: np.ndarray
) -> dict[int, Future[HeldOut]]:
    """Start one task per law that is wanted on some of the splits, in order of exponents.

    The longest task then does not run alone at the end.
    """
    sizes = [len(law.names(trial.sweep.domains)) for law in trial.laws]
    each = {law: splits[wanted[law, splits]] for law in np.argsort(sizes, kind="stable")[::-1]}
    return {
        int(law): pool.submit(trial.fitted, trial.laws[law], those)
        for law, those in each.items()
        if len(those)
    }


def rounds(kinds: Sequence[str], race: bool) -> list[np.ndarray]:
    """Split numbers of each round, of splits of these kinds; without a race one round of all.

    >>> [list(map(int, splits)) for splits in rounds(["a", "a", "a", "b", "b", "b", "b"], True)]
    [[0, 3], [1, 4], [2, 5, 6]]
    """
    before = np.array([kinds[:i].count(kind) for i, kind in enumerate(kinds)])
    number = np.minimum(before, ROUNDS - 1) if race else np.zeros(len(kinds), int)
    return [np.flatnonzero(number == each) for each in np.unique(number)]
