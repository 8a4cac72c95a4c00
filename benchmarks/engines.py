"""Rates of Ray's workers beside those of one process: `python -m benchmarks.engines`.

Sweeps of 64 points in eight Parquet files are fitted by `run_batch` and by two workers of Ray;
twenty shards of tokens of Zipf's law are counted by `token_entropies` and by two workers. Processor
time is that of all threads that read, compute and write, so that other users of the machine do not
count; wall time is that of the whole call, with Ray's start. The results have to be equal. What an
engine moves is measured too: the bytes of saved counts, and the time to load and merge them.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bimix_jax as bx
from benchmarks.batch import write_sweeps
from benchmarks.report import report
from bimix_jax.batching.batch import ROWS, Share, run_batch
from bimix_jax.cluster import Cluster
from bimix_jax.xla.cache import use_compilation_cache

FILES, SHARDS, TYPES, GRAIN, TURNS = 8, 20, 4096, 1 << 24, 2


@dataclasses.dataclass(frozen=True)
class Timed:
    """Work of an actor that returns its processor seconds, and when it began and ended."""

    work: Callable[[Any], Any]

    def __call__(self, item: Any) -> tuple[float, float, float]:
        """Do the work on an item."""
        began = time.time()
        return processor(lambda: self.work(item))[0], began, time.time()


@dataclasses.dataclass(frozen=True)
class FitFile:
    """The fits of a file, as `bimix batch --engine ray` makes them."""

    output: str

    def __call__(self, path: str) -> None:
        """Fit the sweeps of a file."""
        use_compilation_cache()
        report = run_batch(path, Path(self.output), bx.BiMix(), share=Share(rows=ROWS))
        assert not report.failed, report.failed


@dataclasses.dataclass(frozen=True)
class CountFile:
    """The counts of a shard, kept as Parquet."""

    output: str

    def __call__(self, path: str) -> None:
        """Count the tokens of a shard."""
        counts = bx.count_tokens(np.fromfile(path, np.uint16), TYPES)
        counts.save(Path(self.output) / f"{Path(path).stem}.parquet")


def processor(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a call, and its result."""
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


def on_ray(work: Callable[[Any], Any], paths: list[Path]) -> tuple[float, float, float]:
    """Processor seconds of all items on two workers, wall seconds with their start, and without."""
    began = time.perf_counter()
    found = list(Cluster(workers=2).map(Timed(work), [str(path) for path in paths]))
    wall = time.perf_counter() - began
    assert all(each.error is None for each in found)
    seconds, begins, ends = zip(*(each.value for each in found), strict=True)
    return sum(seconds), wall, max(ends) - min(begins)


def batches(folder: Path, sweeps: int) -> list[dict[str, Any]]:
    """Fit in both ways, in turns, and compare all rows; every turn makes all parts anew."""
    source = folder / "sweeps"
    source.mkdir()
    files = [source / f"{number}.parquet" for number in range(FILES)]
    for path in files:
        write_sweeps(path, sweeps // FILES)
    rows = []
    for turn in range(TURNS):
        one, other = (folder / f"{name}-{turn}" for name in ("one", "other"))
        other.mkdir()
        rows.append(row("sweeps, one process", sweeps, *in_new_process(source, one)))
        rows.append(row("sweeps, two workers of Ray", sweeps, *on_ray(FitFile(str(other)), files)))
        for part in one.glob("*.parquet"):
            pd.testing.assert_frame_equal(
                pd.read_parquet(part), pd.read_parquet(other / part.name), check_exact=True
            )
    return rows


def in_new_process(source: Path, output: Path) -> tuple[float, float, float]:
    """Seconds as those of `on_ray` of `run_batch` in a process that has just begun."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.engines", "--batch", str(source), str(output)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    seconds, after = json.loads(done.stdout)
    return seconds, time.perf_counter() - began, after


def one_batch(source: Path, output: Path) -> None:
    """Fit, and print processor seconds and wall seconds, without those of the imports."""
    use_compilation_cache()
    began = time.perf_counter()
    seconds, found = processor(lambda: run_batch(source, output, bx.BiMix()))
    assert not found.failed, found.failed
    print(json.dumps([seconds, time.perf_counter() - began]))


def entropies(folder: Path, tokens: int) -> list[dict[str, Any]]:
    """Count in both ways, compare the entropies, and time the parts of the work."""
    source, counts = folder / "web", folder / "counts"
    for path in (source, counts):
        path.mkdir()
    frequency = np.cumsum(1 / np.arange(1, TYPES + 1) ** 1.05)
    drawn = np.searchsorted(frequency / frequency[-1], (np.arange(GRAIN) + 0.5) / GRAIN)
    for number in range(SHARDS):
        places = np.random.default_rng(number).integers(0, GRAIN, tokens // SHARDS, np.uint32)
        drawn.astype(np.uint16)[places].tofile(source / f"{number:02}.bin")
    files = sorted(source.glob("*.bin"))
    began = time.perf_counter()
    alone, expected = processor(lambda: bx.corpus_entropies({"web": source}, TYPES, curve=False))
    wall = time.perf_counter() - began
    shared = on_ray(CountFile(str(counts)), files)
    loading, each = processor(lambda: [bx.TokenCounts.load(p) for p in sorted(counts.iterdir())])
    total, merging, merged = each[0], 0.0, 0
    for other in each[1:]:
        merged += len(total.pairs.keys) + len(other.pairs.keys)
        seconds, total = processor(lambda one=total, two=other: one.merge(two))
        merging += seconds
    pd.testing.assert_frame_equal(
        total.entropies("web").estimates, expected.estimates, check_exact=True
    )
    pairs = sum(len(one.pairs.keys) for one in each)
    return [
        row("tokens, one process", tokens, alone, wall),
        row("tokens, two workers of Ray", tokens, *shared),
        row("pairs of the shards, loaded", pairs, loading),
        row("pairs of sums and shards, merged", merged, merging),
        {
            "what": "bytes of all saved counts",
            "size": size_of(counts),
        },
        {"what": "bytes of all tokens", "size": size_of(source)},
        {"what": "different pairs of all", "size": len(total.pairs.keys)},
    ]


def size_of(folder: Path) -> int:
    """Bytes of the files of a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def row(
    what: str, size: int, seconds: float, wall: float = np.nan, after: float = np.nan
) -> dict[str, Any]:
    """A line of the table."""
    return {
        "what": what,
        "size": size,
        "processor s": seconds,
        "per processor s": size / seconds,
        "wall s": wall,
        "after the start": after,
    }


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=1_000_000_000)
    parser.add_argument("--batch", nargs=2, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.batch:
        return one_batch(*asked.batch)
    del asked.batch
    with tempfile.TemporaryDirectory() as name:
        rows = [*entropies(Path(name), asked.tokens), *batches(Path(name), asked.sweeps)]
    table = pd.DataFrame(rows).set_index("what")
    return report(
        "engines", table, "Workers beside one process", load=os.getloadavg()[0], **vars(asked)
    )


if __name__ == "__main__":
    main()
