"""A corpus of seven domains of about 9 MB each, from Debian 12 packages alone.

python -m benchmarks.proxy_sweep.corpus FOLDER

writes FOLDER/train/<domain>.jsonl and FOLDER/held_out/<domain>.jsonl, one document a line, and
results/proxy_corpus.json with sizes and hashes. Texts are not committed. Documents come in the
order of their hash; the first are held out, the next trained on, so that the same packages give the
same files, and no document, in full or in a copy, lies on both sides.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.proxy_sweep.packages import DOMAINS, fetch
from benchmarks.report import report
from bimix_jax.files import write_atomically

TRAIN_BYTES = 9_000_000
LEAST_TRAIN_BYTES = 8_000_000
HELD_OUT_BYTES = 500_000


@dataclasses.dataclass(frozen=True)
class Split:
    """Documents of one domain."""

    held_out: list[str]
    train: list[str]


def main() -> None:
    """Build and report."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    rows, hashes, packages = [], {}, {}
    for name, source in DOMAINS.items():
        unpacked = [fetch(package, folder / "packages") for package in source.packages]
        split = split_documents(name, source.documents(unpacked))
        hashes[name] = write_domain(folder, name, split)
        packages[name] = [package.name for package in unpacked]
        rows.append({"domain": name} | sizes(split))
    report(
        "proxy_corpus", pd.DataFrame(rows).set_index("domain"), "Corpus, in bytes of text",
        packages=packages, sha256=hashes,
    )  # fmt: skip


def split_documents(
    domain: str,
    documents: Iterable[str],
    train: int = TRAIN_BYTES,
    held_out: int = HELD_OUT_BYTES,
    least: int = LEAST_TRAIN_BYTES,
) -> Split:
    """Different documents of a domain, held out or trained on, in the order of their hash.

    Args:
        domain: what errors call it.
        documents: texts; empty ones and copies are left out.
        train: bytes to train on, as far as there are so many.
        held_out: bytes to hold out, of documents of a fifth of that at most, so that none decides.
        least: bytes to train on, at least.

    Raises:
        ValueError: if there are fewer than `least` bytes to train on, or `held_out` to hold out.
    """
    by_hash = {_digest(text): text for text in sorted(documents) if text.strip()}
    split, kept, trained = Split([], []), 0, 0
    for _, text in sorted(by_hash.items()):
        size = len(text.encode())
        if kept < held_out and size <= held_out / 5:
            split.held_out.append(text)
            kept += size
        elif trained < train:
            split.train.append(text)
            trained += size
    if trained < least or kept < held_out:
        raise ValueError(
            f"{domain}: {trained} bytes to train on and {kept} to hold out; expected {least} and "
            f"{held_out}. Packages of another Debian "
            "release may be smaller: add one to its source."
        )
    return split


def _digest(text: str) -> str:
    """Hash the words alone, so that copies with other white space count as copies."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def write_domain(folder: Path, domain: str, split: Split) -> dict[str, str]:
    """Write both parts of a domain as JSON lines; gives the SHA-256 of the files."""
    hashes = {}
    for part, documents in dataclasses.asdict(split).items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in documents]
        data = "".join(lines).encode()
        write_atomically(folder / part / f"{domain}.jsonl", data)
        hashes[part] = hashlib.sha256(data).hexdigest()
    return hashes


def sizes(split: Split) -> dict[str, int]:
    """Documents and bytes of both parts."""
    found = {}
    for part, documents in dataclasses.asdict(split).items():
        found[f"{part} documents"] = len(documents)
        found[part] = sum(len(text.encode()) for text in documents)
    return found


if __name__ == "__main__":
    main()
