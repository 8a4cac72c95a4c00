"""Gains and probabilities that are stated for the decisions that `benchmarks.proof` trained.

    python -m benchmarks.stated

BiMix is fitted to the larger embedded sweep and to 300 resamples of it, and `bx.certainty` states
the gain of its mixture over the uniform one at the sweep's last budget: where C and Python count,
and where all seven domains do. What training measured stands beside it, from the results of the
proofs.
"""

import json
import warnings

import pandas as pd

import bimix_jax as bx
from benchmarks.report import RESULTS, report

RESAMPLES = 300
DECISIONS: dict[str, tuple[str, dict[str, float] | None]] = {
    "C and Python": ("proof_code", {"c": 1.0, "python": 1.0}),
    "all seven": ("proof", None),
}
"""What counts → the proof that trained the mixture, and the weights."""


def main() -> None:
    """Fit, state and report."""
    warnings.simplefilter("ignore")
    drawn = bx.bootstrap(bx.read_sweep(bx.datasets.debian_sweep()), bx.BiMix(), RESAMPLES)
    rows = [
        {"counts": counts, **stated(drawn, weights), "trained": trained(proof)}
        for counts, (proof, weights) in DECISIONS.items()
    ]
    title = "Stated gain over uniform and what training measured, fractions"
    report("stated", pd.DataFrame(rows).set_index("counts"), title, resamples=RESAMPLES)


def stated(drawn: bx.Bootstrap, weights: dict[str, float] | None) -> dict[str, object]:
    """The gain at the last budget, its 90 % interval and the probability to beat uniform."""
    sure = bx.certainty(drawn, drawn.fitted.observed_budgets[1], weights)
    low, high = sure.gain_interval()
    return {
        "expected": sure.corrected_gain,
        "low": low,
        "high": high,
        "probability": sure.probability,
    }


def trained(proof: str) -> float:
    """Gain of BiMix's mixture over the uniform one at the last budget, as it was trained."""
    rows = json.loads((RESULTS / f"{proof}.json").read_text("utf-8"))["rows"]
    loss = {row["choice"]: row for row in rows if row["budget"] == "1x"}
    return float(-loss["BiMix-1x"]["− uniform"] / loss["uniform"]["loss"])


if __name__ == "__main__":
    main()
