"""The tokens of a corpus: what is trained on and what is held out, domain by domain."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from bimix_jax.entropy._domain_files import Source, Tokenizer, find_domain, read_domain


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Token ids of every domain, in one order."""

    domains: tuple[str, ...]
    train: tuple[np.ndarray, ...]
    """(tokens,) ids of a domain"""
    held_out: tuple[np.ndarray, ...]
    """(tokens,) ids of a domain that no model is trained on"""
    vocabulary: int

    def digest(self) -> str:
        """SHA-256 of all ids and names: the same text and tokenizer give the same."""
        found = hashlib.sha256(repr((self.domains, self.vocabulary)).encode())
        for ids in (*self.train, *self.held_out):
            found.update(len(ids).to_bytes(8, "little"))
            found.update(np.ascontiguousarray(ids, "<u4").tobytes())
        return found.hexdigest()


def read_tokens(corpus: Path, tokenizer: Tokenizer, cache: Path) -> Tokens:
    """Tokens of CORPUS/train and CORPUS/held_out, which hold one file or folder a domain.

    Args:
        corpus: the folder.
        tokenizer: how text becomes ids.
        cache: folder that a domain's ids are kept in, so that it is tokenised once.

    Raises:
        ValueError: if a part is missing or empty, or the parts hold different domains.
    """
    train = _part(corpus / "train", tokenizer, cache / "train")
    held_out = _part(corpus / "held_out", tokenizer, cache / "held_out")
    if train.keys() != held_out.keys():
        raise ValueError(
            f"{corpus}/train holds the domains {', '.join(train)}, {corpus}/held_out "
            f"{', '.join(held_out)}; expected the same in both. Hold out a part of each."
        )
    return Tokens(tuple(train), tuple(train.values()), tuple(held_out.values()),
                  tokenizer.vocabulary)  # fmt: skip


def _part(folder: Path, tokenizer: Tokenizer, cache: Path) -> dict[str, np.ndarray]:
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise ValueError(
            f"{folder} is missing or empty; expected a file or folder of text a domain. Build a "
            "corpus with benchmarks.proxy_sweep.corpus, or name another folder."
        )
    cache.mkdir(parents=True, exist_ok=True)
    found = {}
    for path in paths:
        domain = find_domain(path)
        if domain.name in found:
            raise ValueError(
                f"{folder} holds {domain.name} twice, as {path.name} and under another ending; "
                "keep one file or folder a domain."
            )
        streams, _ = read_domain(domain, Source(cache, tokenizer))
        found[domain.name] = np.concatenate([stream.read(0, len(stream)) for stream in streams])
        if not len(found[domain.name]):
            raise ValueError(f"{path} holds no text; fill it, or leave the domain out.")
    return found
