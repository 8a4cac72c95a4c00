"""Predictions from small models for larger ones: ranks, choice and losses, on real runs.

    python -m benchmarks.transfer

The two sweeps of `bx.datasets.debian_sweep` hold the same 32 mixtures at 1.3 and 11.5 million
parameters. First: every law is fitted to the small models alone; its predicted mean losses are held
against those that the large models reached (Spearman's rank correlation), and the mixture that it
would take of the 32 against the best one (regret, nats). Beside the laws: what the small models
themselves measured, the same law fitted to the large models, and a mixture drawn by chance. Then:
errors of the large models' losses beyond a quarter of their budget, of laws fitted to what the
large ones had measured until then, without and with all of the small ones (`WithModelSize`).
"""

import warnings
from collections.abc import Iterator

import pandas as pd
from scipy.stats import spearmanr

import bimix_jax as bx
from benchmarks.report import report
from bimix_jax.laws import LAWS
from bimix_jax.sweeps.sweep import Sweep

SMALL, LARGE = "1.3M", "11.5M"
EARLY = 0.25
"""Share of the large models' budget that is known."""


def main() -> None:
    """Measure and report."""
    warnings.simplefilter("ignore")
    small, large = (bx.read_sweep(bx.datasets.debian_sweep(name)) for name in (SMALL, LARGE))
    table = pd.DataFrame([*chosen(small, large), *extrapolated(small, large)]).set_index("by")
    title = f"{LARGE} parameters from {SMALL}: ranks and regret (nats), then error of later losses"
    report("transfer", table, title, small=SMALL, large=LARGE, early=EARLY)


def chosen(small: Sweep, large: Sweep) -> Iterator[dict[str, object]]:
    """One row per way to rank the 32 mixtures: correlation with the large models, and regret."""
    reached, of_small = at_the_end(large), at_the_end(small)
    yield {"by": "small models' own losses", **judged(of_small, reached)}
    for name, law in LAWS.items():
        for sweep, size in ((small, SMALL), (large, LARGE)):
            scores = predicted(bx.fit(sweep, law()), sweep, reached.index)
            yield {"by": f"{name}, fitted to {size}", **judged(scores, reached)}
    yield {"by": "by chance", "rank correlation": 0.0,
           "regret": float(reached.mean() - reached.min())}  # fmt: skip


def at_the_end(sweep: Sweep) -> pd.Series:
    """Mean loss over targets at the last budget, by mixture: of the first seed, as of most."""
    table = sweep.to_frame()
    last = table[(table["tokens"] == table["tokens"].max()) & ~table["run"].str.contains("seed")]
    return last.set_index("run").filter(regex="^loss_").mean(axis=1)


def predicted(fitted: bx.Fit, sweep: Sweep, runs: pd.Index) -> pd.Series:
    """Mean loss over targets that a law predicts of runs at the sweep's last budget."""
    return fitted.predict(sweep.mixtures.loc[runs], sweep.largest_budget).mean(axis=1)


def judged(scores: pd.Series, reached: pd.Series) -> dict[str, float]:
    """Rank correlation and regret of scores, less being better, against the measured losses."""
    scores = scores.loc[reached.index]
    return {
        "rank correlation": float(spearmanr(scores, reached).statistic),
        "regret": float(reached.loc[scores.idxmin()] - reached.min()),
    }


def extrapolated(small: Sweep, large: Sweep) -> Iterator[dict[str, object]]:
    """One row per law: error of the large models' later losses, without and with the small ones."""
    early = large.take(large.budget <= EARLY * large.largest_budget)
    later = large.take(large.budget > EARLY * large.largest_budget)
    both = bx.stack_sizes({SMALL: small, LARGE: early})
    for law in (bx.BiMix(), bx.TransferBiMix()):
        alone = bx.evaluate(bx.fit(early, law), later)
        fitted = bx.fit(both, bx.WithModelSize(law)).at_model_size(11_500_000)
        for name, found in (("", alone), (" with sizes", bx.evaluate(fitted, later))):
            error = 100 * found.table().loc["overall", "mre"]
            yield {"by": f"{law.name}{name}, until {EARLY:g} of the budget", "error %": error}


if __name__ == "__main__":
    main()
