"""Entries of JSON types as the text of a TOML file."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bimix_jax.reading.nested import BARE


def toml_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of entries, then those of tables, as TOML asks for.

    >>> print("".join(toml_lines({"lower": {"web/en": 0.1}, "laws": ["BiMix"]})), end="")
    laws = ["BiMix"]
    <BLANKLINE>
    [lower]
    "web/en" = 0.1
    """
    tables = {name: value for name, value in document.items() if isinstance(value, Mapping)}
    for name, value in document.items():
        if name not in tables:
            yield f"{toml_key(name)} = {toml_value(value)}\n"
    for name, table in tables.items():
        yield f"\n[{toml_key(name)}]\n"
        yield from (f"{toml_key(key)} = {toml_value(value)}\n" for key, value in table.items())


def toml_key(name: str) -> str:
    """Return a key, in quotes where TOML needs them."""
    # A dot would nest.
    return name if BARE.fullmatch(name) and "." not in name else _text(name)


def toml_value(value: Any) -> str:
    """Return a value of JSON types."""
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{toml_key(str(k))} = {toml_value(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    # TOML's basic strings are JSON's, but for the delete character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
