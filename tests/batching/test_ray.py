"""Batches by Ray: the parts are those of one process, whatever happens to a worker."""

import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bimix_jax import BiMix
from bimix_jax.batching.batch import Share, _FitShare, run_batch, run_batch_on
from bimix_jax.cli.app import app
from bimix_jax.cluster import ATTEMPTS, Cluster
from tests.batching.tables import table_of_sweeps

LAW, ROWS = BiMix(), 64


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of three files of eight sweeps."""
    folder = tmp_path_factory.mktemp("sweeps")
    for name in "abc":
        table_of_sweeps(8).to_parquet(folder / f"{name}.parquet")
    return folder


def written(output):
    return {part.name: pd.read_parquet(part) for part in sorted(output.glob("[!.]*.parquet"))}


def assert_same(one, other):
    assert list(one) == list(other)
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name], check_exact=True)


@pytest.mark.slow
def test_two_workers_write_the_parts_of_one_process(cluster, source, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    expected = run_batch(source, alone, LAW, share=Share(rows=ROWS))
    found = run_batch_on(cluster, source, shared, LAW, rows=ROWS)
    assert (found.written, found.fits, found.failed) == (expected.written, expected.fits, [])
    assert_same(written(shared), written(alone))
    # One file is shared among both workers; and what is there is not done again.
    one = run_batch_on(cluster, source / "a.parquet", tmp_path / "one", LAW, rows=ROWS)
    assert one.parts == {name for name in expected.parts if name.startswith("a.")}
    again = run_batch_on(cluster, source, shared, LAW, rows=ROWS)
    assert (again.written, again.there) == (0, expected.written)


@pytest.mark.slow
def test_a_killed_worker_changes_nothing_but_time(cluster, source, tmp_path):
    alone, shared, killed = tmp_path / "alone", tmp_path / "shared", []
    run_batch(source, alone, LAW, share=Share(rows=ROWS))

    def kill():
        while not killed and not threads[0].is_set():
            marks = list(shared.glob("*.pid"))
            killed.extend(int(mark.read_text()) for mark in marks[:1] if mark.read_text())
            time.sleep(0.01)
        for process in killed:
            os.kill(process, signal.SIGKILL)

    shared.mkdir()
    threads = [threading.Event(), threading.Thread(target=kill)]
    threads[1].start()
    results = sorted(cluster.map(_Marked(str(shared)), [str(p) for p in source.iterdir()]))
    threads[0].set()
    threads[1].join()
    assert len(killed) == 1
    assert [each.error for each in results] == [None] * 3
    for mark in shared.glob("*.pid"):
        mark.unlink()
    assert_same(written(shared), written(alone))


class _Marked:
    """Work of an actor that names its process, and gives the first one time to be killed."""

    def __init__(self, output):
        self.output = output

    def __call__(self, path):
        mark = Path(self.output) / f"{Path(path).name}.pid"
        first = not mark.exists()
        mark.write_text(str(os.getpid()))
        if first:
            time.sleep(1)
        return run_batch(path, Path(self.output), LAW, share=Share(rows=ROWS)).written


@pytest.mark.slow
def test_an_item_that_always_kills_its_worker_is_named_and_the_rest_is_done(
    cluster, source, tmp_path, monkeypatch
):
    import bimix_jax.batching.batch

    output, command = tmp_path / "out", ["batch", str(source), "--engine", "ray", "--workers", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(bimix_jax.batching.batch, "_FitShare", _Deadly)
        result = CliRunner().invoke(app, [*command, "-o", str(output)])
    assert result.exit_code == 1, result.output
    said = " ".join(result.output.split())
    assert f"{source / 'b.parquet'} was left out: it lost its worker {ATTEMPTS} times" in said
    assert len((output / "deaths").read_text()) == ATTEMPTS
    assert list(written(output)) == ["a.parquet-00000.parquet", "c.parquet-00000.parquet"]
    again = CliRunner().invoke(app, [*command, "-o", str(output)])
    assert again.exit_code == 0, again.output
    assert "1 part written, 2 already there" in again.output


class _Deadly(_FitShare):
    """The work of an actor, whose process one of the files ends, as if memory did not suffice."""

    def __call__(self, item):
        if item[0].endswith("b.parquet"):
            with (Path(self.output) / "deaths").open("a") as deaths:
                deaths.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(item)


@pytest.mark.slow
def test_an_error_of_the_function_itself_is_raised_with_its_traceback(cluster):
    with pytest.raises(RuntimeError, match=r"(?s)^5: Traceback.*object of type 'int' has no len"):
        list(cluster.map(len, [5]))


@pytest.mark.slow
def test_what_cannot_be_read_is_named_and_done_by_a_rerun(cluster, source, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "b.parquet").write_bytes(b"PAR1 cut off")
    command = ["batch", str(folder), "-o", str(output), "--engine", "ray", "--workers", "2"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1, result.output
    assert "b.parquet cannot be read" in " ".join(result.output.split())
    assert list(written(output)) == ["a.parquet-00000.parquet", "c.parquet-00000.parquet"]
    (folder / "b.parquet").write_bytes((source / "b.parquet").read_bytes())
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0
    assert "1 part written, 2 already there" in again.output


@pytest.mark.slow
def test_a_worker_with_other_packages_is_named(cluster, monkeypatch):
    import bimix_jax.cluster

    other = bimix_jax.cluster._versions() | {"jax": "0.0.1"}
    monkeypatch.setattr(bimix_jax.cluster, "_versions", lambda: other)
    with pytest.raises(ValueError, match=r"has jax .* \(here 0\.0\.1\); install the same"):
        list(cluster.map(len, ["item"]))


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(*given, **options):
        raise ConnectionError("ray client connection timeout")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConnectionError, match=r"answers at ray://far:1: ray client connection"):
        list(Cluster("ray://far:1").map(len, ["item"]))


def test_what_a_cluster_of_other_releases_says_is_passed_on(monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(*given, **options):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.41.0")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConnectionError, match=r"cannot be used: Version mismatch: .*Ray: 2\.41\.0"):
        list(Cluster("ray://far:1").map(len, ["item"]))


def test_what_ray_says_of_lost_workers_is_not_among_results(monkeypatch, capsys):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *given, **options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: print("(raylet) A worker died"))
    with Cluster().session():
        print("(raylet) It is retried")
    print("{}")
    assert capsys.readouterr() == ("{}\n", "(raylet) It is retried\n(raylet) A worker died\n")


@pytest.mark.slow
def test_a_package_that_workers_lack_is_named(cluster):
    with pytest.raises(
        ValueError, match=r"workers of the cluster cannot import of_nobody; install"
    ):
        list(cluster.map(_Unknown(), ["item"]))


class _Unknown:
    """Work that is of a module which no worker has."""

    def __reduce__(self):
        return importlib.import_module, ("of_nobody",)


@pytest.mark.parametrize("release", ["2.9.3", "2.64.0"])
def test_a_release_that_does_not_fit_is_named(monkeypatch, release):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "__version__", release)
    with pytest.raises(ValueError, match=rf"ray {release} is installed; expected 2\.40 or later"):
        list(Cluster().map(len, ["item"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "dask"], "--engine is 'dask'; expected ray"),
        (["--address", "auto"], "--engine is missing; expected ray"),
        (["--engine", "ray", "--rank", "1", "--processes", "2"], "leave out --rank and"),
    ],
)
def test_options_that_do_not_go_together_are_refused(source, tmp_path, options, message):
    result = CliRunner().invoke(app, ["batch", str(source), "-o", str(tmp_path / "o"), *options])
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"python -m pip install 'bimix_jax\[ray\]'"):
        list(Cluster().map(len, ["item"]))


@pytest.mark.parametrize(
    ("given", "message"), [({"workers": 0}, "workers is 0"), ({"gpus": -1}, "gpus is -1")]
)
def test_numbers_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Cluster(**given)
