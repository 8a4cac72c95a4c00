"""The runs of a sweep as a fit keeps them: a reference may be one of them."""

from typing import NamedTuple

import numpy as np

from bimix_jax.fitting.task import FitTask
from bimix_jax.reading.settings import did_you_mean


class ObservedRuns(NamedTuple):
    """Names, mixtures and last losses of the runs of a sweep."""

    names: tuple[str, ...]
    mixtures: np.ndarray
    """(runs, domains)"""
    losses: np.ndarray
    """(runs, targets) at the last common budget, nan where not measured"""

    @classmethod
    def of(cls, task: FitTask) -> "ObservedRuns":
        """Return the runs of the sweep of a task, with the losses of its targets.

        Of several model sizes only the largest has losses here: a size is no merit of a mixture.
        """
        sweep = task.sweep
        losses = np.full((len(sweep.runs), len(task.targets)), np.nan)
        there = (
            np.full(len(sweep.budget), True)
            if sweep.size is None
            else sweep.size == (sweep.size.max())
        )
        common = sweep.take(there).last_common_budget()
        last = there & np.isclose(sweep.budget, common, rtol=1e-9)
        losses[sweep.run_number[last]] = task.loss[last]
        return cls(sweep.runs, sweep.mixtures.to_numpy(float), losses)

    def named(self, name: str) -> np.ndarray:
        """Return the mixture of a run, (domains,).

        Raises:
            ValueError: if there is no such run; the message names the nearest one.
        """
        if name not in self.names:
            raise ValueError(
                f"reference is 'run:{name}'; expected one of the {len(self.names)} runs that were "
                f"fitted.{did_you_mean(name, self.names)}"
            )
        return self.mixtures[self.names.index(name)]

    def best(self, weights: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the run with the least weighted mean measured loss, and its mixture.

        Args:
            weights: of the targets, (targets,); those of weight 0 need no loss.

        Raises:
            ValueError: if no run has every such loss at the last common budget.
        """
        counted = weights > 0
        means = self.losses[:, counted] @ weights[counted]
        if not np.isfinite(means).any():
            raise ValueError(
                "reference is 'best-run', but no run has every weighted loss measured at the last "
                "common budget; name one as 'run:NAME'."
            )
        place = int(np.nanargmin(means))
        return self.names[place], self.mixtures[place]
