"""Speed and memory of the entropy proxies, beside plain NumPy on the same data.

python -m benchmarks.entropy [--large]

The tokens are those of Python's standard library and of this package, by bytes and by words, and of
a random stream. --large adds 1e9 random tokens of vocabulary 50 277 from a file (2 GB of disk) in a
process of its own.
"""

import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bimix_jax
from benchmarks.report import report
from bimix_jax import token_entropies, von_neumann_entropy
from bimix_jax.entropy._token_files import read_token_file

VOCABULARY = 50_277
TOKENS = 1 << 24
LARGE = 1_000_000_000
SEQUENCE = 1024
REPEATS = 5
EMBEDDINGS = (1_000_000, 300)
WORDS = re.compile(rb"[A-Za-z]+|[0-9]|\n[ ]*|[ ]+|.", re.DOTALL)
MOST_FREQUENT = 50_000
"""Words that have a token of their own; all others share one."""


def main() -> None:
    """Measure and report."""
    if "--one" in sys.argv:
        return one(Path(sys.argv[-1]))
    rows = [row for what, given in streams() for row in rates(what, *given)]
    with tempfile.TemporaryDirectory() as folder:
        rows.append(separately(Path(folder) / "embeddings.npy", *EMBEDDINGS))
        if "--large" in sys.argv:
            rows.append(separately(Path(folder) / "tokens.bin", LARGE, 1))
    table = pd.DataFrame(rows).set_index(["what", "way"])
    return report(
        "entropy", table, "Entropy proxies", sequence=SEQUENCE, repeats=REPEATS,
        embeddings=EMBEDDINGS,
    )  # fmt: skip


def streams() -> Iterator[tuple[str, tuple[np.ndarray, int]]]:
    """Yield name, whole sequences of tokens, and vocabulary: of real text and of random draws."""
    text = source_text()
    yield "bytes of source text", (whole(np.frombuffer(text, np.uint8).astype(np.uint16)), 256)
    words = WORDS.findall(text)
    ids = {word: i for i, (word, _) in enumerate(Counter(words).most_common(MOST_FREQUENT))}
    tokens = np.fromiter((ids.get(word, len(ids)) for word in words), np.uint16, len(words))
    yield "words of source text", (whole(tokens), len(ids) + 1)
    yield "Zipf, half by the one before", (zipf(np.random.default_rng(0), TOKENS), VOCABULARY)


def source_text() -> bytes:
    """Python's standard library, and this package's code and guide."""
    library, package = Path(sysconfig.get_paths()["stdlib"]), Path(bimix_jax.__file__).parent
    files = [path for path in library.rglob("*.py") if "site-packages" not in path.parts]
    files += [path for end in ("*.py", "*.md") for path in package.rglob(end)]
    return b"\n".join(path.read_bytes() for path in sorted(files))


def whole(tokens: np.ndarray) -> np.ndarray:
    """Return the whole sequences of tokens."""
    return tokens[: len(tokens) // SEQUENCE * SEQUENCE]


def rates(what: str, tokens: np.ndarray, vocabulary: int) -> list[dict[str, Any]]:
    """Rates of the package and of NumPy on the same tokens, in turns; and the difference of JE.

    The package computes SE, CE and JE with all their estimators; NumPy counts the pairs alone.
    """
    ways: dict[str, Callable[[], float]] = {
        "SE+JE+CE, all cores": lambda: ours(tokens, vocabulary),
        "SE+JE+CE, one thread": lambda: ours(tokens, vocabulary, workers=1),
        "numpy.unique over pairs": lambda: plain(tokens, vocabulary),
    }
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    found = {}
    for _ in range(REPEATS):
        for way, compute in ways.items():
            started, cpu = time.perf_counter(), time.process_time()
            found[way] = compute()
            spent = (time.perf_counter() - started, time.process_time() - cpu)
            seconds[way].append(spent)
    slow = np.array(seconds["numpy.unique over pairs"])
    exact = found["numpy.unique over pairs"]
    table = []
    for way, spent in seconds.items():
        (wall, cpu), (ratio, work) = (np.median(each, 0) for each in (spent, slow / spent))
        table.append({
            "what": f"{what}, {len(tokens):.3g} tokens", "way": way, "seconds": float(wall),
            "first": spent[0][0], "cpu_seconds": float(cpu), "millions/s": len(tokens) / wall / 1e6,
            "× numpy": float(ratio), "× numpy, cpu": float(work),
            "difference": abs(found[way] - exact),
        })  # fmt: skip
    return table


def ours(tokens: np.ndarray, vocabulary: int, **options: Any) -> float:
    """Compute SE, CE and JE by the package, and return JE."""
    found = token_entropies(tokens, vocabulary, SEQUENCE, **options)
    return float(found.table()["JE"].iloc[0])


def plain(tokens: np.ndarray, vocabulary: int) -> float:
    """Compute JE in plain NumPy, which sorts the keys of pairs."""
    rows = tokens.reshape(-1, SEQUENCE).astype(np.uint32)
    keys = rows[:, :-1] * np.uint32(vocabulary) + rows[:, 1:]
    return entropy(np.unique(keys, return_counts=True)[1])


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
    vectors = path.suffix == ".npy"
    what = f"embeddings, {count} × {width}" if vectors else f"Zipf, {count:.0e} tokens"
    path.unlink()
    return {
        "what": f"{what} from a file", "way": "VNE" if vectors else "SE+JE+CE",
        "seconds": wall, "cpu_seconds": cpu, "millions/s": count / wall / 1e6, "GB": memory,
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
        ours(read_token_file(path, VOCABULARY, "uint16"), VOCABULARY)  # type: ignore[arg-type]
    print(time.perf_counter() - started, time.process_time() - cpu, peak_memory())


def peak_memory() -> float:
    """Largest resident memory of this process in GB; ru_maxrss would count the parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024 / 1e9


if __name__ == "__main__":
    main()
