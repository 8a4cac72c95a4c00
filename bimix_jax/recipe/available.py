"""Files of the existing data: tokens and documents per domain, and their paths."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.quantities import number_of
from bimix_jax.reading.frames import as_frame
from bimix_jax.reading.metadata import notes_of
from bimix_jax.reading.names import check_names
from bimix_jax.reading.nested import read_toml
from bimix_jax.reading.tables import listed, read_table

NO_TABLES = (".yaml", ".yml", ".json", ".toml")
TOKENS, DOCUMENTS, PER_DOCUMENT = "tokens", "documents", "tokens_per_document"


def read_available(
    source: str | Path | pd.DataFrame, domains: tuple[str, ...] | None = None
) -> pd.DataFrame:
    """Read a table of the existing tokens, by domain.

    Args:
        source: columns domain, tokens and, if known, documents or tokens_per_document.
        domains: the names that it must have, all of them and no others.

    Returns:
        Columns tokens and tokens_per_document (nan where unknown), domains as the index.

    Raises:
        ValueError: if a column or a domain is missing, or a number is not above 0.

    >>> table = pd.DataFrame({"domain": ["web"], "tokens": [1e9], "documents": [1e6]})
    >>> read_available(table).loc["web", "tokens_per_document"].item()
    1000.0
    """
    source = as_frame(source)
    name = "available" if isinstance(source, pd.DataFrame) else str(source)
    if Path(name).suffix.lower() in NO_TABLES:
        raise ValueError(
            f"{name} is not a table; expected a CSV file with the columns domain and tokens. From "
            "olmix's priors.yaml, write a row per domain: its name and its token count."
        )
    table = read_table(source)
    # Only the numbers are returned, so the notes of the table are given as warnings.
    for note in notes_of(table):
        warnings.warn(f"{name}: {note}", stacklevel=2)
    if "domain" not in table or TOKENS not in table:
        raise ValueError(
            f"{name}: found the columns {listed(table.columns)}; expected domain, tokens and, if "
            "known, documents or tokens_per_document."
        )
    others = [c for c in table.columns if c not in ("domain", TOKENS, DOCUMENTS, PER_DOCUMENT)]
    if others:
        warnings.warn(
            f"{name}: columns that are not used: {listed(others)}; those that are: domain, tokens, "
            "documents, tokens_per_document.",
            stacklevel=2,
        )
    if domains is not None:
        table = table.assign(domain=check_names(name, table["domain"], domains))
    columns = [c for c in (TOKENS, DOCUMENTS, PER_DOCUMENT) if c in table]
    numbers = pd.DataFrame(
        {
            c: [_amount(name, *cell, c) for cell in zip(table["domain"], table[c], strict=True)]
            for c in columns
        },
        index=pd.Index(table["domain"].astype(str), name="domain"),
    )
    # A stated mean counts; documents are the other way to state it.
    if PER_DOCUMENT not in numbers:
        each = numbers[TOKENS] / numbers[DOCUMENTS] if DOCUMENTS in numbers else np.nan
        numbers[PER_DOCUMENT] = each
    return numbers[[TOKENS, PER_DOCUMENT]].astype(float)


def _amount(name: str, domain: object, value: object, column: str) -> float:
    """Return a number above 0; nan for an empty cell in a column where it is allowed."""
    if column != TOKENS and pd.isna(value):  # type: ignore[call-overload]
        return np.nan
    try:
        amount = number_of(value, column)
    except ValueError:
        amount = 0.0
    if amount <= 0:
        shown = value if str(value).isprintable() else repr(value)
        raise ValueError(f"{name}: {domain} has {column} = {shown}; expected a number above 0.")
    return amount


KEYS = {"remote", "local"}
Where = tuple[str, ...] | dict[str, str]
"""Paths of a domain, or the remote and local path of a stream."""


def read_paths(path: str | Path, domains: Sequence[str]) -> dict[str, Where]:
    """Read a TOML file of domain = "path", domain = ["path", …] or [domain] with remote and local.

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
    """Return the paths of a domain, for forms without streams; ValueError for a stream."""
    where = paths[domain]
    if isinstance(where, dict):
        raise ValueError(f"paths: {domain} has remote or local, but {form} takes paths.")
    return where


def check_paths(paths: dict[str, Where] | None, form: str) -> dict[str, Where]:
    """Return the paths; ValueError if there are none, for forms that need them."""
    if paths is None:
        raise ValueError(f"paths: {form} names the data of every domain; give them (--paths).")
    return paths
