"""The smoke setting: tiny models on a tiny corpus out of Python's own files, for a first try."""

import pydoc_data.topics
import sys
import sysconfig
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from benchmarks.proxy_sweep.corpus import split_documents, write_domain

SMOKE_MIXTURES = 4
SMOKE = {
    "width": 32, "layers": 2, "heads": 2, "sequence": 64,
    "batch": 8, "steps": 240, "warm_up": 20, "learning_rate": 4e-3, "checkpoints": 10,
}  # fmt: skip
TRAIN_BYTES, HELD_OUT_BYTES = 200_000, 20_000


def build_smoke_corpus(folder: Path) -> Path:
    """Write FOLDER/train and FOLDER/held_out of three domains; gives the folder."""
    domains = {"documentation": _documentation, "library": _library, "names": _names}
    for name, documents in domains.items():
        split = split_documents(name, documents(), TRAIN_BYTES, HELD_OUT_BYTES, TRAIN_BYTES // 2)
        write_domain(folder, name, split)
    return folder


def _documentation() -> Iterator[str]:
    """Paragraphs of the language reference that `help` shows."""
    for text in pydoc_data.topics.topics.values():
        yield from (part for part in text.split("\n\n") if len(part) > 80)


def _library() -> Iterator[str]:
    """Modules of the standard library, in parts, so that none is too long to hold out."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        yield from (part for part in _parts(path.read_text(errors="ignore")) if part.strip())


def _parts(text: str, size: int = 2000) -> Iterator[str]:
    for begin in range(0, len(text), size):
        yield text[begin : begin + size]


def _names() -> Iterator[str]:
    """Names of characters, some at a time."""
    names = (unicodedata.name(chr(i), "") for i in range(min(sys.maxunicode, 0x3000)))
    known = [name for name in names if name]
    for begin in range(0, len(known), 40):
        yield "\n".join(known[begin : begin + 40]) + "\n"
