"""The examples of the guide for Dask, Spark and datatrove give what one process does."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from tests.batching.tables import table_of_sweeps

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "bimix_jax" / "guide" / "clusters.md"


def example(words):
    """The one example of the page with these words."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (found,) = [block for block in blocks if words in block]
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with four files of five sweeps, and the package for new processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "sweeps").mkdir()
    table = table_of_sweeps(20)
    for number, labels in enumerate(np.split(table["sweep"].unique(), 4)):
        part = table[table["sweep"].isin(labels)]
        part.to_parquet(tmp_path / "sweeps" / f"{number}.parquet", index=False)
    return tmp_path


@pytest.fixture
def expected():
    return bx.fit_table(table_of_sweeps(20))


@pytest.fixture
def dask_workers(folder):
    """Two processes of Dask."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.slow
def test_two_workers_of_dask_give_the_rows_of_one_process(dask_workers, folder, expected):
    exec(example("map_partitions"), {})
    found = pd.concat(map(pd.read_parquet, sorted((folder / "fits").glob("*.parquet"))))
    assert_same(found, expected)


def assert_same(found, expected):
    """The same rows to the bit; Dask has a type of its own for text."""
    plain = found.reset_index(drop=True).astype(expected.dtypes)
    pd.testing.assert_frame_equal(plain, expected, check_exact=True)


@pytest.mark.slow
def test_a_killed_worker_of_dask_changes_nothing_but_time(dask_workers, folder, expected):
    import dask.dataframe as dd

    runs = dd.read_parquet("sweeps/*.parquet")
    fits = dask_workers.compute(runs.map_partitions(fit_slowly, meta=expected[:0]))
    os.kill(next(iter(dask_workers.run(os.getpid).values())), signal.SIGKILL)
    assert_same(fits.result(), expected)


def fit_slowly(table):
    """Fit a part so slowly that its worker can be killed before it ends."""
    import time

    time.sleep(2)
    return bx.fit_table(table)


@pytest.mark.slow
def test_counts_of_shards_are_merged_with_dask(dask_workers, folder):
    (folder / "web").mkdir()
    shards = [np.random.default_rng(k).zipf(1.3, 5000) % 50_000 for k in range(3)]
    for number, shard in enumerate(shards):
        np.save(folder / "web" / f"{number}.npy", shard)
    scope = {}
    exec(example("dask.delayed"), scope)
    merged = functools.reduce(
        bx.TokenCounts.merge, (bx.count_tokens(shard, 50_304) for shard in shards)
    )
    pd.testing.assert_frame_equal(
        scope["web"].entropies().estimates, merged.entropies().estimates, check_exact=True
    )


@pytest.mark.slow
def test_spark_gives_the_rows_of_one_process(folder, expected):
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    scope = {}
    exec(example("applyInArrow"), scope)
    scope["spark"].stop()
    found = pd.concat(map(pd.read_parquet, (folder / "fits").glob("*.parquet")))
    order = ["sweep", "target"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True),
        expected.sort_values(order, ignore_index=True),
        rtol=1e-9,
    )


@pytest.mark.slow
def test_a_step_of_datatrove_counts_the_documents_of_all_tasks(folder):
    pytest.importorskip("datatrove")
    tokenizers = pytest.importorskip("tokenizers")
    words = {"one": 0, "two": 1, "three": 2, "[UNK]": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save("tokenizer.json")
    (folder / "web").mkdir()
    rng, documents = np.random.default_rng(0), []
    for number in range(5):
        texts = [" ".join(rng.choice(list(words)[:3], 9)) for _ in range(300)]
        documents += [[words[word] for word in text.split()] for text in texts]
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / "web" / f"{number}.jsonl").write_text("\n".join(lines))
    (folder / "count.py").write_text(example("PipelineStep"))
    done = subprocess.run([sys.executable, "count.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = bx.count_tokens(documents, 4).entropies("web").table()
    assert found["tokens"] == {"web": 5 * 300 * 9}
    # Sequences begin anew with every task, so that other pairs lie across their borders.
    assert found["CE"]["web"] == pytest.approx(expected["CE"].item(), rel=1e-2)
