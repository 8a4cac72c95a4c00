"""The embedded sweeps: they read as sweeps, and give the numbers that are claimed of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from benchmarks import transfer
from benchmarks.proxy_sweep.mixtures import FLOOR, entropy_mixtures, sweep_mixtures
from benchmarks.proxy_sweep.summary import seeds

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
README = " ".join((BENCHMARKS.parent / "README.md").read_text(encoding="utf-8").split())
CLAIMS = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
PROSE = " ".join(CLAIMS.split())
"""The same in one line."""
RESULTS = BENCHMARKS / "results"


@pytest.fixture(scope="module", params=["1.3M", "11.5M"])
def sweep(request):
    return bx.read_sweep(bx.datasets.debian_sweep(request.param))


def test_unknown_sizes_are_named():
    with pytest.raises(ValueError, match=r"model is '7B'; expected one of 1\.3M, 11\.5M"):
        bx.datasets.debian_sweep("7B")


def test_every_run_has_every_loss_at_every_checkpoint(sweep):
    assert len(sweep.runs) == 36
    assert sweep.loss.shape == (36 * 12, 7)
    assert np.isfinite(sweep.loss).all()
    assert sweep.domains == sweep.targets
    assert np.all(np.diff(sweep.loss.reshape(36, 12, 7).mean(axis=2), axis=1) < 0)


def test_mixtures_are_those_that_the_trainer_makes(sweep):
    entropies = entropy_mixtures(RESULTS / "proxy_entropies.json", sweep.domains)
    made = sweep_mixtures(sweep.domains, 32, entropies)
    for name, mixture in made.items():
        assert np.allclose(sweep.mixtures.loc[name], mixture, atol=1e-8), name
    assert sweep.mixture.min() >= FLOOR - 1e-9


def test_seeds_spread_as_claimed():
    table = pd.read_csv(bx.datasets.debian_sweep())
    spreads = {row["what"]: row["spread"] for row in seeds(table)}
    saved = json.loads((RESULTS / "proxy_sweep.json").read_text(encoding="utf-8"))["rows"]
    for row in saved[:2]:
        assert row["spread"] == pytest.approx(spreads[row["what"]], rel=1e-9)
    assert [f"{spread:.3f}" for spread in spreads.values()] == ["0.011", "0.015"]
    assert "spread by 0.011 and 0.015 nats" in PROSE


def test_the_error_and_the_gain_of_the_demo_are_those_claimed():
    sweep = bx.read_sweep(bx.datasets.debian_sweep())
    train, test = sweep.split_runs(0.3, seed=0)
    fitted = bx.fit(train, bx.BiMix())
    error = bx.evaluate(fitted, test).table().loc["overall", "mre"]
    assert f"off by {100 * error:.1f} % on runs that it has not seen" in PROSE
    assert f"is off by {100 * error:.1f} % on the other 12" in README
    best = bx.optimize_mixture(fitted, 2 * sweep.largest_budget)
    gain = 100 * (1 - best.objective / best.reference_objective)
    assert f"predicted gain over the reference is {gain:.2f} %" in README


def test_small_models_rank_the_mixtures_of_the_large_as_claimed():
    small, large = (bx.read_sweep(bx.datasets.debian_sweep(m)) for m in ("1.3M", "11.5M"))
    reached = transfer.at_the_end(large)
    own = transfer.judged(transfer.at_the_end(small), reached)
    fitted = bx.fit(small, bx.BiMix())
    ours = transfer.judged(transfer.predicted(fitted, small, reached.index), reached)
    assert f"| the small models' own losses | {own['rank correlation']:.2f} |" in CLAIMS
    assert f"| BiMix fitted to the small models | {ours['rank correlation']:.2f} |" in CLAIMS
    assert f"costs {ours['regret']:.3f} nats" in PROSE


def test_what_the_proof_measured_is_claimed():
    document = json.loads((RESULTS / "proof.json").read_text(encoding="utf-8"))
    sweep = bx.read_sweep(bx.datasets.debian_sweep())
    assert document["settings"]["choices"]["sweep"] == sweep.digest()
    table = pd.DataFrame(document["rows"]).set_index(["choice", "budget"])
    assert (table["seeds"] == 4).all()
    for choice, label in (("BiMix-1x", "BiMix 1×"), ("VNE", "von Neumann"), ("JE", "joint")):
        line = next(line for line in CLAIMS.splitlines() if line.startswith(f"| {label}"))
        for budget in ("1x", "2x"):
            row = table.loc[choice, budget]
            cell = f"{row['− uniform']:+.3f} ± {row['− uniform ±']:.3f}"
            assert cell in line


def test_what_was_measured_where_two_targets_count_is_claimed():
    document = json.loads((RESULTS / "proof_code.json").read_text(encoding="utf-8"))
    for row, label in zip(
        document["rows"], ("BiMix", "AdditiveLaw", "best of", "uniform |"), strict=True
    ):
        cell = f"{row['loss']:.3f} ± {row['±']:.3f}"
        lines = [line for line in CLAIMS.splitlines() if line.startswith(f"| {label}")]
        assert any(cell in line for line in lines), label
        assert row["seeds"] == 3
    share = f"with {100 * document['rows'][0]['M tokens needed'] / 2.94912:.0f} % of"
    assert f"{share} its tokens" in PROSE
    assert f"{share} the tokens" in README
