"""What a comparison judges on what, and how fits become a comparison."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bimix_jax.fitting.coefficients import Code
from bimix_jax.fitting.options import FitOptions
from bimix_jax.judging._searches import HeldOut, predict_splits, stacked
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.noise import NoiseFloor
from bimix_jax.laws import Law
from bimix_jax.reading.targets import are_scores
from bimix_jax.sweeps.splits import Split
from bimix_jax.sweeps.sweep import Sweep


class Trial(NamedTuple):
    """The laws of a comparison, and the splits and targets that they are judged on."""

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

    @property
    def stacks(self) -> dict[int, list[int]]:
        """Place of every law whose members are judged themselves → places of the members.

        Members that can express no target have no part in it.
        """
        laws = list(self.laws)
        each = {place: self._able(law.members) for place, law in enumerate(laws)}
        return {
            place: [laws.index(member) for member in members]
            for place, members in each.items()
            if members and all(member in laws for member in members)
        }

    def _able(self, members: Sequence[Law]) -> list[Law]:
        """Members that can express some target."""
        domains = self.sweep.domains
        return [law for law in members if any(law.expresses(t, domains) for t in self.targets)]

    def with_stacks(self, found: dict[int, HeldOut]) -> list[HeldOut]:
        """Fits of all laws, those of stacks from those of their members."""
        every = found | {
            place: stacked(self.laws[place], [found[member] for member in members])
            for place, members in self.stacks.items()
        }
        return [every[place] for place in range(len(self.laws))]

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
            stacks=tuple(bool(law.members) for law in self.laws),
            of_scores=tuple(are_scores(sweep.metadata.described(self.targets)).tolist()),
        )

    def _count(self, law: Law) -> int:
        """Number of coefficients per target."""
        return len(law.names(self.sweep.domains)) + len(law.amplitude_names)
