"""The runs of the sweep, in the order they are trained in."""

import dataclasses

import numpy as np

from benchmarks.proxy_sweep.training import TrainingConfig, checkpoint_steps

SEEDS = (1, 2)
"""of the runs that are there again; every other run has seed 0, so that runs differ by mixture"""


@dataclasses.dataclass(frozen=True)
class Run:
    """One model to train."""

    name: str
    mixture_name: str
    mixture: tuple[float, ...]
    seed: int
    training: TrainingConfig


def sweep_runs(mixtures: dict[str, np.ndarray], config: TrainingConfig) -> list[Run]:
    """A run a mixture, then decayed ones; in the middle two mixtures again with two more seeds.

    A sweep that is cut off still has the uniform and entropy mixtures, which come first, and the
    noise between seeds.
    """
    runs = [run_of(name, mixture, 0, config) for name, mixture in mixtures.items()]
    again = [
        run_of(name, mixtures[name], seed, config) for name in compared(mixtures) for seed in SEEDS
    ]
    middle = len(runs) // 2
    return [*runs[:middle], *again, *runs[middle:], *decayed_runs(mixtures, config)]


def run_of(name: str, mixture: np.ndarray, seed: int, config: TrainingConfig) -> Run:
    """A run, named by its mixture and, where it is not 0, its seed."""
    label = f"{name}-seed-{seed}" if seed else name
    return Run(label, name, tuple(float(share) for share in mixture), seed, config)


def decayed_runs(mixtures: dict[str, np.ndarray], config: TrainingConfig) -> list[Run]:
    """Runs whose rate decays, as long as the others, and to the checkpoint nearest to half.

    Their ends are what the checkpoints of a constant rate stand in for.
    """
    steps = checkpoint_steps(config)
    half = min(steps, key=lambda step: abs(step - config.steps / 2))
    found = []
    for length, word in ((config.steps, "full"), (half, "half")):
        decaying = dataclasses.replace(config, steps=length, schedule="decay", checkpoints=4)
        for name in compared(mixtures):
            run = run_of(name, mixtures[name], 0, decaying)
            found.append(dataclasses.replace(run, name=f"{name}-decayed-{word}"))
    return found


def compared(mixtures: dict[str, np.ndarray]) -> list[str]:
    """The uniform mixture and the first scattered one: trained in other ways, too."""
    scattered = [name for name in mixtures if name.startswith("scattered")]
    return ["uniform", *scattered[:1]]
