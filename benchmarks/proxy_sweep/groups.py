"""Runs that are trained together, and what their numbers follow from."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.proxy_sweep.model import ModelConfig
from benchmarks.proxy_sweep.runs import Run
from benchmarks.proxy_sweep.tokens import Tokens
from benchmarks.proxy_sweep.training import TrainingConfig, checkpoint_steps


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings that all runs of a sweep share."""

    tokens: Tokens
    model: ModelConfig
    held_out: int = 64
    """sequences a target that losses are measured on, the same at every checkpoint of every run"""
    together: int = 1
    """runs trained at a time, in one compiled step"""


class Group(NamedTuple):
    """Runs trained together, of one training configuration."""

    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """Name of its file."""
        first, *others = (run.name for run in self.runs)
        return f"{first}-and-{len(others)}-more" if others else first

    @property
    def training(self) -> TrainingConfig:
        """Settings of the training of all its runs."""
        return self.runs[0].training

    @property
    def seeds(self) -> list[int]:
        """One a run."""
        return [run.seed for run in self.runs]

    @property
    def checkpoints(self) -> list[int]:
        """Steps at which losses are measured."""
        return checkpoint_steps(self.training)

    def tokens(self, steps: int, sequence: int) -> int:
        """Tokens of all its runs in so many steps of sequences so long."""
        return steps * self.training.batch * sequence * len(self.runs)

    def made_by(self, setting: Setting, corpus: str) -> dict[str, Any]:
        """All that its numbers follow from, but for the machine; `corpus` is the tokens' digest.

        What is not set is left out, so that folders outlive settings that came after them.
        """
        training = dataclasses.asdict(self.training)
        return {
            "runs": [[run.name, list(run.mixture), run.seed] for run in self.runs],
            "training": _set(training),
            "model": _set(dataclasses.asdict(setting.model)),
            "held out sequences": setting.held_out,
            "corpus": corpus,
        }


def _set(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def grouped(runs: Sequence[Run], together: int) -> list[Group]:
    """Runs of one configuration, up to `together` in a row.

    Raises:
        ValueError: if two runs share a name, or `together` is below 1.
    """
    if together < 1:
        raise ValueError(f"together is {together}; expected 1 or more runs at a time.")
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
