"""Notes beside the numbers: missing runs, and differences of the training."""

import pandas as pd

from benchmarks.proof.choices import Choices
from benchmarks.proof.judged import REFERENCE, losses_at, mean_curves
from bimix_jax.sweeps.sweep import Sweep

ALIKE = 2e-2
"""nats, on the mean over checkpoints and targets, that rounding may come to: it grows over
training, and moves a target's last loss by .013 between a CPU and a GPU, where seeds differ by .026
and more (results/proxy_sweep.json)"""


def missing_runs(losses: pd.DataFrame, choices: Choices, seeds: int) -> list[str]:
    """A sentence a seed with the runs that have not come to their end."""
    last = losses_at(mean_curves(losses), max(choices.budgets().values()))
    done = set(last.stack().dropna().index)
    notes = []
    for seed in range(seeds):
        names = [c.name for c in choices.trained() if (c.name, seed) not in done]
        if names:
            notes.append(f"Still to be trained to the end with seed {seed}: {', '.join(names)}.")
    return notes


def repeated_run(losses: pd.DataFrame, sweep: Sweep) -> list[str]:
    """Distance of the uniform run of seed 0 from the sweep's, which has the same settings."""
    columns = [f"loss_{target}" for target in sweep.targets]
    known, again = (
        table[table["run"] == REFERENCE].set_index("tokens")[columns]
        for table in (sweep.to_frame(), losses)
    )
    both = known.index.intersection(again.index)
    if not len(both):
        return []
    difference = (known.loc[both] - again.loc[both]).abs().to_numpy()
    told = (
        f"differs from the sweep's by {difference.mean():.2g} nats on the mean over {len(both)} "
        f"checkpoints and {len(columns)} targets, {difference.max():.2g} at most"
    )
    if difference.mean() < ALIKE:
        return [f"The uniform run of seed 0 {told}: trained alike."]
    return [f"The uniform run of seed 0 {told}: not trained alike, so no prediction is of it."]
