"""Stated and true regret of recommended mixtures, on sweeps of a law that is known.

    python -m benchmarks.stated_regret

TransferBiMix is true: 5 domains, 4 budgets, noise of 0.3 % per loss. It is fitted itself and by
BiMix, which does not see the other domains, to 4, 6 and 12 runs. Bridges map a BiMix of 24 runs
of a small model, whose losses are 30 % higher and fall 20 % faster with the share, to so few large
runs. Stated is the expected regret of `propose_runs` at the largest budget, from the uncertainty of
the coefficients, and what errors of the law add; true is the mean loss of the recommended mixture
above the least that the true law has within the range of the runs. Nats, means over seeds with
their standard errors.
"""

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks import sizes_worlds
from benchmarks.report import report

DOMAINS, BUDGETS, SMALL, RESAMPLES = 5, 4, 24, 100
RUNS = (4, 6, 12)
HIGHER, STEEPER = 1.3, 1.2


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    for runs in RUNS:
        found = pd.DataFrame([one for seed in range(arguments.seeds) for one in of(runs, seed)])
        for law, each in found.groupby("law", sort=False):
            stated = each["coefficients"] + each["errors of the law"].fillna(0.0)
            each = each.assign(stated=stated).drop(columns="law")
            count = each["true"].count() ** 0.5
            text = {
                name: f"{each[name].mean():.4f} ± {each[name].std() / count:.4f}" for name in each
            }
            rows.append({"runs": runs, "law": law, **text})
        table = pd.DataFrame(rows).set_index("runs")
        report("stated_regret", table, "Stated and true regret, nats", seeds=arguments.seeds)


def of(runs: int, seed: int) -> Iterator[dict[str, object]]:
    """The regrets of each law on one sweep."""
    law, fits = bx.TransferBiMix(), {}
    sweep = sizes_worlds.sweep(DOMAINS, runs, BUDGETS, seed=seed)
    fits = {each.label: bx.fit(sweep, each) for each in (law, bx.BiMix())}
    known = sizes_worlds.coefficients(law, DOMAINS, seed)
    steeper = np.array(known.exponents)
    steeper[:, 0] *= STEEPER
    known = known._replace(exponents=steeper, amplitudes=HIGHER * np.array(known.amplitudes))
    small = sizes_worlds.sweep(DOMAINS, SMALL, BUDGETS, seed=seed, known=known)
    bridged = bx.bridge(bx.fit(small, bx.BiMix()), sweep)
    true = sizes_worlds.fitted(law, DOMAINS, runs, seed)
    least = true.predict(bx.optimize_mixture(true).mixture).mean()
    for label, fitted in (fits | {bridged.label: bridged}).items():
        drawn = bx.bootstrap(sweep, fitted, RESAMPLES)
        proposal = bx.propose_runs(fitted, sweep, 1, bootstrap=drawn)
        chosen = bx.optimize_mixture(fitted).mixture
        yield {
            "law": label,
            "coefficients": proposal.regret_now,
            "errors of the law": proposal.law_regret,
            "true": true.predict(chosen).mean() - least,
        }


if __name__ == "__main__":
    main()
