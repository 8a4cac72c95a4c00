"""Entropies by the workers of Ray: the counts are those of one process, and are kept."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from bimix_jax.cluster import Cluster


@pytest.fixture
def corpus(tmp_path):
    """Two domains of token ids in ten files, and in one."""
    rng = np.random.default_rng(0)
    for name, files in {"web": 10, "code": 1}.items():
        (tmp_path / name).mkdir()
        for number in range(files):
            tokens = rng.zipf(1.3, 3000) % 300
            tokens.astype(np.uint16).tofile(tmp_path / name / f"{number}.bin")
    return {name: tmp_path / name for name in ("web", "code")}


def domain_arguments(corpus):
    return [f"{name}={path}" for name, path in corpus.items()]


@pytest.mark.slow
def test_two_workers_count_what_one_process_does_and_keep_it(cluster, corpus, tmp_path):
    alone = bx.corpus_entropies(corpus, 300, 64, curve=False)
    asked = {"cache": tmp_path / "counts", "cluster": cluster}
    found = bx.corpus_entropies(corpus, 300, 64, **asked)
    pd.testing.assert_frame_equal(found.estimates, alone.estimates, check_exact=True)
    pd.testing.assert_frame_equal(found.sizes, alone.sizes, check_exact=True)
    assert found.failed == ()
    assert "no curve" in found.notes[-1]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "counts").glob("counts-*")}
    assert len(kept) == 2 * 11
    # A file that changes is counted again, the others are not; other settings are other counts.
    (corpus["web"] / "0.bin").write_bytes(np.arange(300, dtype=np.uint16).tobytes())
    again = bx.corpus_entropies(corpus, 300, 64, **asked)
    assert again.sizes.loc["web", "tokens"] == 9 * 3000 + 300
    now = {path: path.stat().st_mtime_ns for path in (tmp_path / "counts").glob("counts-*")}
    assert len(now) == len(kept) + 2
    assert all(now[path] == time for path, time in kept.items())


@pytest.mark.slow
def test_what_cannot_be_read_is_named_and_done_by_a_rerun(cluster, corpus, tmp_path):
    broken = corpus["web"] / "3.bin"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-1])
    mixture = tmp_path / "mixture.json"
    command = ["entropy", *domain_arguments(corpus), "--vocabulary", "300", "-o", str(mixture)]
    command += ["--engine", "ray", "--workers", "2", "--cache", str(tmp_path / "counts")]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 1, result.output or result.exception
    found = json.loads(result.stdout)
    (failed,) = found["failed"]
    assert str(broken) in failed
    assert found["entropies"]["plug-in"]["web"]["tokens"] == 9 * 3000
    broken.write_bytes(whole)
    again = CliRunner().invoke(app, [*command, "--json"])
    assert again.exit_code == 0, again.output
    expected = bx.corpus_entropies(corpus, 300, curve=False)
    assert json.loads(again.stdout)["mixture"] == pytest.approx(
        expected.mixtures()["CE"].to_dict(), rel=1e-15
    )


@pytest.mark.slow
def test_text_is_tokenised_file_by_file_with_notes(cluster, tmp_path):
    (tmp_path / "web").mkdir()
    lines = ['{"text": "one two"}', '{"text": "two one"}', '{"other": 1}']
    for name in "ab":
        (tmp_path / "web" / f"{name}.jsonl").write_text("\n".join(lines))
    found = bx.corpus_entropies({"web": tmp_path / "web"}, tokenizer="bytes", cluster=cluster)
    alone = bx.corpus_entropies({"web": tmp_path / "web"}, tokenizer="bytes", curve=False)
    # Documents are shorter than a sequence here, so that none is cut elsewhere.
    pd.testing.assert_frame_equal(found.estimates, alone.estimates, check_exact=True)
    assert any("without the key 'text'" in note for note in found.notes)


def test_a_cluster_elsewhere_needs_a_shared_folder(corpus, monkeypatch):
    with pytest.raises(ValueError, match="cache is missing; expected a folder that all machines"):
        bx.corpus_entropies(corpus, 300, cluster=Cluster("ray://head:10001"))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(ValueError, match="cache is missing"):
        bx.corpus_entropies(corpus, 300, cluster=Cluster())
