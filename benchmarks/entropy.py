"""Speed and memory of the entropy proxies, beside plain NumPy on the same data.

python -m benchmarks.entropy [--large]

--large adds 1e9 tokens of vocabulary 50 277 from a file (2 GB of disk) in a process of its own.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import report
from bimix_jax import token_entropies, von_neumann_entropy
from bimix_jax.entropy._token_files import read_token_file

VOCABULARY = 50_277
TOKENS = 1 << 24
LARGE = 1_000_000_000
SEQUENCE = 1024
REPEATS = 3
EMBEDDINGS = (1_000_000, 300)


def main() -> None:
    """Measure and report."""
    if "--one" in sys.argv:
        return one(Path(sys.argv[-1]))
    with tempfile.TemporaryDirectory() as folder:
        rows = [*rates(), separately(Path(folder) / "embeddings.npy", *EMBEDDINGS)]
        if "--large" in sys.argv:
            rows.append(separately(Path(folder) / "tokens.bin", LARGE, 1))
    table = pd.DataFrame(rows).set_index("what")
    return report(
        "entropy", table, "Entropy proxies", vocabulary=VOCABULARY, repeats=REPEATS,
        embeddings=EMBEDDINGS,
    )  # fmt: skip


def rates() -> list[dict[str, Any]]:
    """Rates of the package and of NumPy on the same tokens, alternating; and the difference."""
    tokens = zipf(np.random.default_rng(0), TOKENS)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "SE+JE+CE, all cores": lambda: ours(tokens),
        "SE+JE+CE, one thread": lambda: ours(tokens, workers=1),
        "SE+JE+CE, sorted by JAX": lambda: ours(tokens, device="jax"),
        "numpy.unique over pairs": lambda: plain(tokens),
    }
    seconds: dict[str, list[tuple[float, float]]] = {what: [] for what in ways}
    found = {}
    for _ in range(REPEATS):
        for what, way in ways.items():
            started, cpu = time.perf_counter(), time.process_time()
            found[what] = way()
            spent = (time.perf_counter() - started, time.process_time() - cpu)
            seconds[what].append(spent)
    medians = {what: np.median(each, axis=0) for what, each in seconds.items()}
    slow = medians["numpy.unique over pairs"][0]
    exact = found["numpy.unique over pairs"]
    return [
        {
            "what": f"{what}, {TOKENS:.3g} tokens",
            "seconds": float(wall),
            "cpu_seconds": float(cpu),
            "millions/s": TOKENS / float(wall) / 1e6,
            "× numpy": float(slow / wall),
            "difference": float(np.abs(found[what] - exact).max()),
        }
        for what, (wall, cpu) in medians.items()
    ]


def ours(tokens: np.ndarray, **options: Any) -> np.ndarray:
    """Compute SE, CE and JE by the package."""
    options = {"device": "cpu"} | options
    found = token_entropies(tokens, VOCABULARY, SEQUENCE, **options)
    return found.table()[["SE", "CE", "JE"]].to_numpy()[0]


def plain(tokens: np.ndarray) -> np.ndarray:
    """Compute SE, CE and JE in plain NumPy."""
    rows = tokens.reshape(-1, SEQUENCE).astype(np.int64)
    pairs = np.unique(rows[:, :-1] * VOCABULARY + rows[:, 1:], return_counts=True)[1]
    joint = entropy(pairs)
    firsts = entropy(np.unique(rows[:, :-1], return_counts=True)[1])
    return np.array([entropy(np.unique(rows, return_counts=True)[1]), joint - firsts, joint])


def entropy(counts: np.ndarray) -> float:
    """Entropy of observed frequencies, in nats."""
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log(shares)))


def zipf(rng: np.random.Generator, count: int) -> np.ndarray:
    """Tokens of frequency 1/rank, half of them chosen by the one before, as text roughly is."""
    shares = 1 / np.arange(1, VOCABULARY + 1)
    table = np.repeat(
        np.arange(VOCABULARY, dtype=np.uint16),
        np.diff(np.round(np.cumsum(shares / shares.sum()) * 2**22).astype(int), prepend=0),
    )
    draws = rng.integers(0, len(table), count, dtype=np.uint32)
    tokens = table[draws]
    follow = draws % 2 == 0
    follow[0] = False
    places = np.flatnonzero(follow)
    step = draws[places] // 2 % 8
    tokens[places] = (tokens[places - 1].astype(np.uint32) * 7 + step * step) % VOCABULARY
    return tokens


def separately(path: Path, count: int, width: int) -> dict[str, Any]:
    """Write random data to a file, and measure time and largest memory in a fresh process."""
    write(path, count, width)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.entropy", "--one", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    wall, cpu, memory = map(float, done.stdout.split())
    what = f"VNE, {count} × {width}" if path.suffix == ".npy" else f"SE+JE+CE, {count:.0e} tokens"
    path.unlink()
    return {
        "what": f"{what} from a file", "seconds": wall, "cpu_seconds": cpu,
        "millions/s": count / wall / 1e6, "GB": memory,
    }  # fmt: skip


def write(path: Path, count: int, width: int) -> None:
    """Embeddings as .npy, tokens as .bin, block by block."""
    rng = np.random.default_rng(1)
    if path.suffix == ".npy":
        array = np.lib.format.open_memmap(path, "w+", np.float32, (count, width))
        for begin in range(0, count, 100_000):
            array[begin : begin + 100_000] = rng.standard_normal((100_000, width), np.float32)
        return array.flush()
    with open(path, "wb") as out:
        for begin in range(0, count, TOKENS):
            out.write(zipf(rng, min(TOKENS, count - begin)).tobytes())
    return None


def one(path: Path) -> None:
    """Print wall seconds, processor seconds and the largest memory of this process in GB."""
    started, cpu = time.perf_counter(), time.process_time()
    if path.suffix == ".npy":
        von_neumann_entropy(np.load(path, mmap_mode="r"))
    else:
        ours(read_token_file(path, VOCABULARY, "uint16"))  # type: ignore[arg-type]
    print(time.perf_counter() - started, time.process_time() - cpu, peak_memory())


def peak_memory() -> float:
    """Largest resident memory of this process in GB; ru_maxrss would count the parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024 / 1e9


if __name__ == "__main__":
    main()
