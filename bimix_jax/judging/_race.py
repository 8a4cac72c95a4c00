"""The race of laws: those that are clearly worse are dropped from the splits that remain."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from bimix_jax.judging._cost import Outlook, Watch
from bimix_jax.judging._searches import HeldOut
from bimix_jax.judging._trial import Trial
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.noise import NoiseFloor, noise_floor

AT_ONCE = 2
"""Number of laws at a time: compilation uses one core, and more than two wait for Python's lock."""
ROUNDS = 3
"""Rounds of a race: the first split of every kind, the second ones, and the rest together, because
a round waits for its slowest law."""
UNKNOWN = NoiseFloor(np.nan, np.nan)


def run(
    trial: Trial, race: bool, progress: Callable[[Outlook], None] | None = None
) -> tuple[Comparison, list[HeldOut]]:
    """Fit the laws to the splits, round by round, and estimate the noise beside them.

    After a round, laws that are clearly worse on a kind of split (`Comparison.behind`) are dropped
    from the further splits of that kind; not the members of a stack that is not, which is judged
    by their predictions.

    Args:
        trial: what is judged.
        race: False to fit every law to every split.
        progress: called before every round.

    Returns:
        The comparison, and the fits of every law.
    """
    kinds = np.array(trial.kinds)
    stacks = trial.stacks
    wanted = np.ones((len(trial.laws), len(kinds)), bool)
    wanted[list(stacks)] = False
    done = np.zeros(len(kinds), bool)
    watch = Watch(trial, progress)
    watch.tell(wanted, done)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        first, *later = rounds(trial.kinds, race)
        begun = _largest_first(pool, trial, first, wanted)
        noise = pool.submit(noise_floor, trial.sweep, trial.targets)
        found = {law: fits.result() for law, fits in begun.items()}
        done[first] = True
        for splits in later:
            so_far = trial.comparison(trial.with_stacks(found), np.flatnonzero(done), UNKNOWN)
            for kind in dict.fromkeys(trial.kinds):
                behind = so_far.behind(kind)
                for stack, members in stacks.items():
                    behind[members] &= behind[stack]
                wanted[np.ix_(behind, ~done & (kinds == kind))] = False
            watch.tell(wanted, done)
            begun = _largest_first(pool, trial, splits, wanted)
            for law, fits in begun.items():
                found[law] = found[law].joined(fits.result())
            done[splits] = True
        every = trial.with_stacks(found)
        return trial.comparison(every, np.arange(len(kinds)), noise.result()), every


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
