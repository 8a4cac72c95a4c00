"""Paths with a scheme: what is read and written there is what local files give."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.batching.batch import run_batch
from bimix_jax.cli.app import app
from bimix_jax.files import as_path, atomic_path, check_readable, drop_copy, write_atomically
from tests.batching.tables import table_of_sweeps
from tests.fits import frame

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    """An empty object store in memory, at memory://."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


def put(memory, local, place):
    """Copy a local file, or the files of a folder, to a place of the store."""
    for path in sorted(local.rglob("*")) if local.is_dir() else [local]:
        if path.is_file():
            memory.pipe_file(f"/{place}/{path.relative_to(local.parent)}", path.read_bytes())
    return f"memory://{place}/{local.name}"


def run(*command):
    result = CliRunner().invoke(app, [*map(str, command)])
    assert result.exit_code == 0, result.output or result.exception
    return result


def test_a_path_keeps_its_url_and_a_local_one_stays_what_it_was(memory, tmp_path, monkeypatch):
    path = as_path("memory://a/b/runs.csv")
    assert str(path) == f"{path}" == "memory://a/b/runs.csv"
    assert (path.name, path.suffix, str(path.parent)) == ("runs.csv", ".csv", "memory://a/b")
    # Commands get paths whose two slashes are joined.
    assert as_path(Path("memory://a/b/runs.csv")) == path
    assert as_path(f"file://{tmp_path}/a.csv") == as_path(Path(f"file://{tmp_path}/a.csv"))
    assert as_path(f"file://{tmp_path}/a.csv") == tmp_path / "a.csv"
    for local in (tmp_path, Path("a:/b"), Path("C:/b"), Path("a//b")):
        assert type(as_path(local)) is type(local)
        assert as_path(local) == local
    (tmp_path / "s3:").mkdir()
    monkeypatch.chdir(tmp_path)
    assert type(as_path(Path("s3:/runs.csv"))) is type(tmp_path)


def test_an_object_is_fetched_again_once_it_has_changed(memory):
    path = as_path("memory://a/runs.csv")
    with pytest.raises(FileNotFoundError, match=r"memory://a/runs\.csv does not exist; expected a"):
        check_readable(path, "a table")
    memory.pipe_file("/a/runs.csv", b"one")
    assert check_readable(path, "a table").read_bytes() == b"one"
    copy = os.fspath(path)
    assert os.fspath(path) == copy
    memory.pipe_file("/a/runs.csv", b"other")
    assert path.read_bytes() == b"other"
    drop_copy(path)
    assert not os.path.exists(copy)
    assert path.read_bytes() == b"other"
    with pytest.raises(IsADirectoryError, match=r"memory://a is a folder; expected a file with a"):
        check_readable("memory://a", "a table")


def test_a_file_is_uploaded_whole_or_not_at_all(memory, monkeypatch):
    write_atomically("memory://a/b.txt", "old")
    write_atomically("memory://a/b.txt", "new")
    assert memory.cat("/a/b.txt") == b"new"

    def fail_half_way():
        with atomic_path("memory://a/b.txt") as beside:
            beside.write_text("ne")
            raise RuntimeError("no more power")

    with pytest.raises(RuntimeError, match="no more power"):
        fail_half_way()

    def refuse(*given, **options):
        raise RuntimeError("403: no right to write.")  # as clouds do, with errors of their own

    monkeypatch.setattr(type(memory), "put_file", refuse)
    with pytest.raises(OSError, match=r"b\.txt cannot be written: 403: no right to write\. Nothin"):
        write_atomically("memory://a/b.txt", "newer")
    assert memory.cat("/a/b.txt") == b"new"
    assert memory.find("/") == ["/a/b.txt"]


def test_what_fails_on_the_way_names_the_url_and_the_reason(memory, monkeypatch):
    def refuse(*given, **options):
        raise RuntimeError("Unable to locate credentials")

    memory.pipe_file("/a/runs.csv", b"r_a,r_b,loss_a\n")
    monkeypatch.setattr(type(memory), "info", refuse)
    with pytest.raises(bx.SweepError, match=r"memory://a/runs\.csv cannot be read: Unable to loc"):
        bx.read_sweep("memory://a/runs.csv")


def test_missing_packages_and_unknown_schemes_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"xyz://a/b\.csv: fsspec knows no scheme 'xyz'"):
        bx.read_sweep("xyz://a/b.csv")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"s3://a/b\.csv needs a package .* Install s3fs"):
        bx.load_fit("s3://a/b.csv")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.registry", None)
    with pytest.raises(ValueError, match=r"python -m pip install 'bimix_jax\[remote\]'"):
        bx.read_sweep("s3://a/b.csv")


def test_sweeps_fits_and_mixtures_are_the_bytes_of_local_files(memory, tmp_path):
    local = tmp_path / "runs.csv"
    frame().to_csv(local, index=False)
    url = put(memory, local, "in")
    sweep = bx.read_sweep(url)
    assert sweep.digest() == bx.read_sweep(local).digest()
    sweep.save(tmp_path / "sweep.parquet")
    sweep.save("memory://out/sweep.parquet")
    run("fit", url, "-o", "memory://out/fit.json")
    run("fit", local, "-o", tmp_path / "fit.json")
    for name in ("fit.json", "sweep.parquet"):
        assert memory.cat(f"/out/{name}") == (tmp_path / name).read_bytes()
    shown = run("optimize", "memory://out/fit.json", "--budget", "1e10", "--json").stdout
    again = run("optimize", tmp_path / "fit.json", "--budget", "1e10", "--json").stdout
    assert json.loads(shown)["mixture"] == json.loads(again)["mixture"]
    # An output that is an input is refused there, too.
    refused = CliRunner().invoke(app, ["fit", url, "-o", url])
    assert "is an input itself" in str(refused.exception)


def test_a_batch_reads_and_writes_objects_and_goes_on_there(memory, tmp_path):
    source = tmp_path / "sweeps"
    source.mkdir()
    table_of_sweeps(8).to_parquet(source / "a.parquet")
    table_of_sweeps(8).to_csv(source / "b.csv", index=False)
    url = put(memory, source, "in")
    run_batch(source, tmp_path / "out", bx.BiMix())
    first = run_batch(url, "memory://out/fits", bx.BiMix())
    assert (first.written, first.failed) == (2, [])
    for part in (tmp_path / "out").iterdir():
        found = pd.read_parquet(io.BytesIO(memory.cat(f"/out/fits/{part.name}")))
        pd.testing.assert_frame_equal(found, pd.read_parquet(part), check_exact=True)
    memory.pipe_file("/in/sweeps/c.parquet", b"PAR1 cut off")
    again = run_batch(url, "memory://out/fits", bx.BiMix())
    assert (again.written, again.there, again.summary().sweeps) == (0, 2, 16)
    assert "memory://in/sweeps/c.parquet cannot be read" in again.failed[0]


def test_domains_tokenizers_and_counts_are_read_where_they_lie(memory, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("web", "code"):
        (tmp_path / name / "more").mkdir(parents=True)
        for place in ("0.npy", "more/1.npy"):
            np.save(tmp_path / name / place, rng.zipf(1.3, 3000).astype(np.uint16) % 300)
    urls = {name: put(memory, tmp_path / name, "in") for name in ("web", "code")}
    local = {name: tmp_path / name for name in urls}
    expected = bx.corpus_entropies(local, 300, curve=False)
    found = bx.corpus_entropies(urls, 300, curve=False, cache="memory://kept")
    pd.testing.assert_frame_equal(found.estimates, expected.estimates, check_exact=True)
    memory.pipe_file("/text/a.jsonl", b'{"text": "one two"}\n{"text": "two one"}\n')
    command = ("memory://text/a.jsonl", "--tokenizer", "bytes", "--json", "--no-curve")
    mixed = run("entropy", *command, "-o", "memory://out/mixture.json", "--cache", "memory://kept")
    assert json.loads(mixed.stdout)["mixture"] == {"a": 1}
    assert json.loads(memory.cat("/out/mixture.json"))["mixture"] == {"a": 1}
    assert memory.exists("/kept/a.starts.npy")
    counts = bx.count_tokens(np.arange(100), 300)
    counts.save("memory://kept/counts.parquet")
    again = bx.TokenCounts.load("memory://kept/counts.parquet").entropies().estimates
    pd.testing.assert_frame_equal(again, counts.entropies().estimates, check_exact=True)


def test_logs_are_found_below_a_url(memory, tmp_path):
    logs = tmp_path / "logs"
    shares = {"a": (0.3, 0.7), "b": (0.6, 0.4)}
    for run_name in shares:
        (logs / run_name).mkdir(parents=True)
        lines = [
            json.dumps({"tokens": 1e9 * k, "eval/web/loss": 3 / k, "eval/code/loss": 2 / k})
            for k in (1, 2)
        ]
        (logs / run_name / "history.jsonl").write_text("\n".join(lines))
    table = "run,r_web,r_code\n" + "".join(f"{r},{w},{c}\n" for r, (w, c) in shares.items())
    (tmp_path / "runs.csv").write_text(table)
    expected = bx.read_logs(logs, tmp_path / "runs.csv")
    url = put(memory, logs, "in")
    found = bx.read_logs(url, put(memory, tmp_path / "runs.csv", "in"))
    assert found.digest() == expected.digest()


def test_a_decision_is_written_to_a_url_and_its_plan_names_urls(memory, tmp_path):
    local = tmp_path / "runs.csv"
    frame().to_csv(local, index=False)
    url = put(memory, local, "in")
    command = ("decide", url, "--law", "BiMix", "--propose", "0", "--budget", "1e10")
    run(*command, "-o", "memory://out/decision")
    run("decide", local, *command[2:], "-o", tmp_path / "decision")
    written = {path.name for path in (tmp_path / "decision").iterdir() if path.is_file()}
    assert written == {
        name.rpartition("/")[2] for name in memory.ls("/out/decision", False) if "." in name
    }
    mixture = (tmp_path / "decision" / "mixture.csv").read_bytes()
    assert memory.cat("/out/decision/mixture.csv") == mixture
    plan = bx.Plan.load("memory://out/decision/plan.toml")
    assert plan.sweep == (url,)
    run("decide", "--plan", "memory://out/decision/plan.toml", "-o", "memory://out/again")
    assert memory.cat("/out/again/mixture.csv") == mixture
