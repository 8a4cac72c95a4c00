"""The map of paths: where the data of every domain lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimix_jax.names import check_names
from bimix_jax.reading.nested import read_toml

KEYS = {"remote", "local"}
Where = tuple[str, ...] | dict[str, str]
"""Paths of a domain, or remote and local of a stream."""


def read_paths(path: str | Path, domains: Sequence[str]) -> dict[str, Where]:
    """A TOML file of domain = "path", domain = ["path", …] or [domain] with remote and local.

    Raises:
        ValueError: if it cannot be read, misses a domain, names another, or an entry is none of
            these.
    """
    document = read_toml(path, "a map of paths, domain = path")
    names = check_names(f"paths ({path})", document, domains)
    document = dict(zip(names, document.values(), strict=True))
    return {domain: _where(document[domain], domain, path) for domain in domains}


def _where(entry: Any, domain: str, path: str | Path) -> Where:
    if isinstance(entry, str) and entry:
        return (entry,)
    if isinstance(entry, list) and entry and all(isinstance(p, str) and p for p in entry):
        return tuple(entry)
    texts = isinstance(entry, dict) and all(isinstance(p, str) and p for p in entry.values())
    if texts and entry and entry.keys() <= KEYS:
        return dict(entry)
    raise ValueError(
        f"paths ({path}): {domain} is {entry!r}; expected a path, a list of paths, or remote and "
        "local."
    )


def listed_paths(paths: dict[str, Where], domain: str, form: str) -> tuple[str, ...]:
    """The paths of a domain, for forms that know nothing of streams; ValueError for a stream."""
    where = paths[domain]
    if isinstance(where, dict):
        raise ValueError(f"paths: {domain} has remote or local, but {form} takes paths.")
    return where


def check_paths(paths: dict[str, Where] | None, form: str) -> dict[str, Where]:
    """The paths, or ValueError where the form cannot do without."""
    if paths is None:
        raise ValueError(f"paths: {form} names the data of every domain; give them (--paths).")
    return paths
