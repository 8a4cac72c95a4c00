"""The embedded sweeps: they read as sweeps, and give the numbers that README quotes of them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from benchmarks import transfer
from benchmarks.proxy_sweep.mixtures import FLOOR, entropy_mixtures, sweep_mixtures
from benchmarks.proxy_sweep.summary import seeds
from bimix_jax.quantities import number_text

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


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


def test_seeds_spread_as_readme_has_it():
    table = pd.read_csv(bx.datasets.debian_sweep())
    spreads = {row["what"]: row["spread"] for row in seeds(table)}
    saved = json.loads((RESULTS / "proxy_sweep.json").read_text(encoding="utf-8"))["rows"]
    for row in saved[:2]:
        assert row["spread"] == pytest.approx(spreads[row["what"]], rel=1e-9)
    assert [f"{spread:.3f}"[1:] for spread in spreads.values()] == [".011", ".015"]
    assert "spread by .011 and .015 nats" in README


def test_readme_has_what_the_demo_fits():
    sweep = bx.read_sweep(bx.datasets.debian_sweep())
    train, test = sweep.split_runs(0.3, seed=0)
    fitted = bx.fit(train)
    for target, row in fitted.table().iterrows():
        cells = [number_text(row[name]) for name in ("A", "B", "C", "alpha", "beta")]
        assert all(cell in _line(target) for cell in cells), target
    error = bx.evaluate(fitted, test).table().loc["overall", "mre"]
    assert f"off by {100 * error:.1f} % on runs it has not seen" in README
    best = bx.optimize_mixture(fitted, 2 * sweep.largest_budget)
    gain = 100 * (1 - best.objective / best.reference_objective)
    assert f"a predicted gain of {gain:.2f}".replace("0.", ".") in README


def test_readme_has_what_the_small_models_say_of_the_large():
    small, large = (bx.read_sweep(bx.datasets.debian_sweep(m)) for m in ("1.3M", "11.5M"))
    reached = transfer.at_the_end(large)
    own = transfer.judged(transfer.at_the_end(small), reached)
    fitted = bx.fit(small)
    ours = transfer.judged(transfer.predicted(fitted, small, reached.index), reached)
    assert f"correlation of {own['rank correlation']:.2f}".replace("0.", ".") in README
    assert f"ranks them with {ours['rank correlation']:.2f}".replace("0.", ".") in README
    assert f"{ours['regret']:.3f}"[1:] == ".014"


def test_readme_has_what_the_proof_measured():
    document = json.loads((RESULTS / "proof.json").read_text(encoding="utf-8"))
    sweep = bx.read_sweep(bx.datasets.debian_sweep())
    assert document["settings"]["choices"]["sweep"] == sweep.digest()
    table = pd.DataFrame(document["rows"]).set_index(["choice", "budget"])
    assert (table["seeds"] == 4).all()
    for choice, label in (("BiMix-1x", "BiMix 1×"), ("VNE", "von Neumann"), ("JE", "joint")):
        line = next(line for line in README.splitlines() if line.startswith(f"| {label}"))
        for budget in ("1x", "2x"):
            row = table.loc[choice, budget]
            cell = f"{row['− uniform']:+.3f} ± {row['− uniform ±']:.3f}".replace("0.", ".")
            assert cell in line


def test_readme_has_what_was_measured_where_two_targets_count():
    document = json.loads((RESULTS / "proof_code.json").read_text(encoding="utf-8"))
    for row, label in zip(
        document["rows"], ("BiMix", "AdditiveLaw", "best of", "uniform |"), strict=True
    ):
        cell = f"{row['loss']:.3f} ± {row['±']:.3f}".replace("± 0.", "± .")
        lines = [line for line in README.splitlines() if line.startswith(f"| {label}")]
        assert any(cell in line for line in lines), label
        assert row["seeds"] == 3
    assert f"with {100 * document['rows'][0]['M tokens needed'] / 2.94912:.0f} % of its" in README


def _line(target):
    return next(line for line in README.splitlines() if line.startswith(f"{target} "))
