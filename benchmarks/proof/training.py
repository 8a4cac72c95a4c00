"""The runs of the proof: twice as long as the sweep's, and measured where those end."""

import dataclasses

import numpy as np

from benchmarks.proof.choices import Choices
from benchmarks.proxy_sweep.groups import Setting
from benchmarks.proxy_sweep.runs import Run, run_of
from benchmarks.proxy_sweep.training import TrainingConfig
from bimix_jax.sweeps.sweep import Sweep


def proof_runs(
    choices: Choices, domains: tuple[str, ...], training: TrainingConfig, seeds: int
) -> list[Run]:
    """Every mixture with seed 0, then every one with seed 1, and so on.

    The rate is constant after the warm-up, so that a run's checkpoint where the sweep's end is what
    a run of that length ends with: one run measures two budgets.

    Args:
        choices: what is trained.
        domains: of the corpus, in its order.
        training: of the sweep.
        seeds: runs a mixture.

    Raises:
        ValueError: if `seeds` is below 1.
    """
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}; expected 1 or more runs a mixture.")
    most = max(choices.times)
    if most > 1:
        training = dataclasses.replace(
            training, steps=most * training.steps, exactly_at=training.steps
        )
    order = [choices.domains.index(domain) for domain in domains]
    return [
        run_of(choice.name, np.array(choice.mixture)[order], seed, training)
        for seed in range(seeds)
        for choice in choices.trained()
    ]


def check_same(sweep: Sweep, setting: Setting, training: TrainingConfig) -> None:
    """Raise ValueError unless runs with these settings are such as the sweep holds."""
    if set(sweep.domains) != set(setting.tokens.domains):
        raise ValueError(
            f"The sweep mixes {', '.join(sorted(sweep.domains))}, the corpus holds "
            f"{', '.join(sorted(setting.tokens.domains))}; expected the sweep's own corpus."
        )
    length = training.steps * training.batch * setting.model.sequence
    last = sweep.last_common_budget()
    if sweep.unit != "tokens" or not np.isclose(last, length):
        raise ValueError(
            f"The sweep ends at {last:,.0f} {sweep.unit}, a run with these settings at "
            f"{length:,} tokens; expected the same. Give the sweep's own --steps, --batch and "
            "--sequence."
        )
