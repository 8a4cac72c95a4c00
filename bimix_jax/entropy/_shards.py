"""Counts of the files of a corpus by the workers of a cluster; a file's counts are kept, merged."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bimix_jax.cluster import Cluster
from bimix_jax.entropy._domain_files import (
    READING,
    Domain,
    Source,
    load_tokenizer,
    noted,
    read_domain,
)
from bimix_jax.entropy.token_counts import TokenCounts, count_tokens
from bimix_jax.files import absolute_path, as_path, drop_copy, temporary_folder, write_atomically

MERGED = 8
"""Counts that are merged at once, and at most by the calling process."""
Read = tuple[dict[str, TokenCounts], list[str], list[str]]
"""Counts by domain, sentences on skipped parts, and on files that could not be read."""


@dataclasses.dataclass(frozen=True)
class CountFile:
    """The work of an actor: counts the tokens of a file, and keeps them in a folder.

    The counts of an unchanged file with the same settings are used again.
    """

    folder: str
    tokenizer: str | None
    vocabulary: int
    stated: int | None
    """vocabulary that was given, for token ids"""
    sequence_length: int
    end_of_document: int | None
    dtype: str | None

    def __call__(self, item: Sequence[Any]) -> dict[str, Any]:
        """Count the file of a domain: name, path, whether it is text, and its field."""
        name, path, text, field = item
        domain = Domain(name, (as_path(path),), text, field)
        counts = as_path(self.folder) / f"counts-{self._digest(domain)}.parquet"
        record = counts.with_suffix(".json")
        done = _record(record, counts)
        if done is None:
            record.unlink(missing_ok=True)
            try:
                found, notes = self._count(domain)
            finally:
                drop_copy(domain.files[0])
            found.save(counts)
            # Last, so that counts without a record are not whole or not of this file.
            done = {"notes": notes, "size": counts.stat().st_size}
            write_atomically(record, json.dumps(done))
        return {"counts": str(counts), "notes": done["notes"]}

    def _count(self, domain: Domain) -> tuple[TokenCounts, list[str]]:
        loaded, notes = None if self.tokenizer is None else _tokenizer(self.tokenizer), list[str]()
        with temporary_folder("bimix_entropy_") as ids, noted(notes):
            streams, said = read_domain(domain, Source(ids, loaded, self.stated, self.dtype))
            length, end = self.sequence_length, self.end_of_document
            counts = count_tokens(streams, self.vocabulary, length, end_of_document=end)
        return counts, [*said, *notes]

    def _digest(self, domain: Domain) -> str:
        """Hash of all that decides the counts."""
        (path,) = domain.files
        found, settings = path.stat(), dataclasses.asdict(self)
        if self.tokenizer is not None:
            settings["tokenizer"] = _tokenizer(self.tokenizer).digest
        settings |= {"folder": "", "reading": READING, "field": domain.field, "text": domain.text}
        settings["file"] = [str(path), found.st_size, found.st_mtime_ns]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class _Merge:
    """The work of an actor: merges saved counts, and keeps the sum."""

    folder: str

    def __call__(self, paths: list[str]) -> str:
        digest = hashlib.sha256("\0".join(paths).encode()).hexdigest()[:32]
        target = as_path(self.folder) / f"merged-{digest}.parquet"
        _merged(paths).save(target)
        return str(target)


_tokenizer = functools.cache(load_tokenizer)
"""A process loads a tokenizer once."""


def count_on(cluster: Cluster, domains: Mapping[str, Domain], work: CountFile) -> Read:
    """Count all files of the domains on a cluster, and merge the counts of each domain.

    Raises:
        ValueError: if no file of any domain can be read; the first one is named.
    """
    items = [
        (name, str(absolute_path(path)), domain.text, domain.field)
        for name, domain in domains.items()
        for path in domain.files
    ]
    with cluster.session():
        results = sorted(cluster.map(work, items, lambda item: item[1]))
        failed = [each.error for each in results if each.error is not None]
        if len(failed) == len(results):
            raise ValueError(failed[0])
        read = [(items[each.place][0], each.value) for each in results if each.error is None]
        parts: dict[str, list[str]] = {}
        for name, value in read:
            parts.setdefault(name, []).append(value["counts"])
        while any(len(paths) > MERGED for paths in parts.values()):
            parts = _in_groups(cluster, parts, _Merge(work.folder))
    notes = dict.fromkeys(note for _, value in read for note in value["notes"])
    return {name: _merged(paths) for name, paths in parts.items()}, [*notes], failed


def _in_groups(
    cluster: Cluster, parts: Mapping[str, list[str]], work: _Merge
) -> dict[str, list[str]]:
    """Merge neighbouring counts of every domain on the cluster."""
    groups = [
        (name, paths[first : first + MERGED])
        for name, paths in parts.items()
        for first in range(0, len(paths), MERGED)
    ]
    merged: dict[str, list[str]] = {}
    for each in sorted(cluster.map(work, [paths for _, paths in groups])):
        if each.error is not None:
            raise ValueError(each.error)
        merged.setdefault(groups[each.place][0], []).append(each.value)
    return merged


def _merged(paths: Sequence[str]) -> TokenCounts:
    """Load and add counts, in their order."""
    return functools.reduce(
        lambda one, path: one.merge(_loaded(path)), paths[1:], _loaded(paths[0])
    )


def _loaded(path: str) -> TokenCounts:
    """Load counts; those that are damaged lose their record, so that a rerun counts again."""
    try:
        return TokenCounts.load(path)
    except ValueError:
        as_path(path).with_suffix(".json").unlink(missing_ok=True)
        raise


def _record(record: Path, counts: Path) -> dict[str, Any] | None:
    """Return the record of whole counts; None if there are none."""
    try:
        found = json.loads(record.read_text())
        return found if found["size"] == counts.stat().st_size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
