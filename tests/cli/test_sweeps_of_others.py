"""Sweeps in the shapes that others publish go from their files to a mixture without any option."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bimix_jax.cli.app import app

RED_PAJAMA = ("common_crawl", "c4", "github", "arxiv", "wikipedia")
PILE = ("the_pile_pubmed_central", "the_pile_freelaw", "the_pile_stackexchange")
OLMIX = ("dclm:software_development", "dclm:science", "wikipedia", "arxiv")
BENCHMARKS = ("arc_challenge:rc::olmes", "codex_humaneval:3shot::none", "minerva_math::olmes")


def written(folder, domains, targets, key, prefix="", suffix=""):
    """A pair of files: shares of one, losses of the other, of 16 runs at one budget."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(len(domains), 2.0), 16)
    tilt = rng.normal(0, 0.2, (len(domains), len(targets)))
    losses = 1.2 * np.exp(shares @ tilt + 0.002 * rng.standard_normal((16, len(targets))))
    runs = pd.DataFrame({key: [f"run_{i:03}" for i in range(16)]})
    named = [f"{prefix}{domain}" for domain in domains]
    folder.mkdir()
    runs.join(pd.DataFrame(shares.round(4), columns=named)).to_csv(
        folder / "ratios.csv", index=False
    )
    measured = pd.DataFrame(losses, columns=[f"{t}{suffix}" for t in targets])
    runs.join(measured).to_csv(folder / "metrics.csv", index=False)


@pytest.mark.parametrize(
    ("domains", "targets", "key", "prefix", "suffix"),
    [
        (OLMIX, BENCHMARKS, "run_id", "", ""),
        (RED_PAJAMA, PILE, "run", "train_", "_val_loss"),
    ],
    ids=["olmix", "RedPajama to the Pile"],
)
def test_a_pair_without_common_names_ends_in_a_mixture(
    tmp_path, monkeypatch, domains, targets, key, prefix, suffix
):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "swarm", domains, targets, key, prefix, suffix)
    steps = [
        ["import", "swarm", "-o", "sweep.parquet"],
        ["check", "sweep.parquet"],
        ["fit", "sweep.parquet", "--law", "LogLinear", "-o", "fit.json"],
        ["optimize", "fit.json"],
    ]
    shown = {}
    for step in steps:
        found = CliRunner().invoke(app, step)
        # `check` ends with 1 where it warns, here of the single budget.
        assert found.exit_code == (step[0] == "check"), found.output
        shown[step[0]] = found.output
    said = f"16 runs of 16 mixtures at 1 budget up to 1 run: 16 points, {len(domains)} domains"
    assert said in " ".join(shown["import"].split())
    assert "No target is a domain" in shown["check"]
    # Of a single budget no other one is proposed, for which there is no prediction.
    assert "Next: bimix optimize fit.json" in shown["fit"]
    assert "--budget" not in shown["fit"].partition("Next:")[2]
    assert "Recommended mixture" in shown["optimize"]
    assert all(domain in shown["optimize"] for domain in domains)
