"""Mappings as YAML, of which every scalar is one of JSON."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bimix_jax.printable import json_text

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# Those of YAML 1.1, which PyYAML follows.
WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
"""Names that some readers take for truth values or null."""


def yaml_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a mapping of mappings, lists of mappings and scalars; scalars as in JSON.

    >>> document = {"data": {"sources": [{"name": "a", "paths": ["x"]}]}, "mix": {"on": 0.5}}
    >>> print("".join(yaml_lines(document)), end="")
    data:
      sources:
        - name: "a"
          paths: ["x"]
    mix:
      "on": 0.5
    """
    for key, value in document.items():
        name = str(key)
        # Every JSON scalar is a YAML scalar, so no library of YAML is needed to write one.
        plain = PLAIN.fullmatch(name) and name.lower() not in WORDS
        label = name if plain else json_text(name)
        if isinstance(value, Mapping):
            yield f"{label}:\n"
            yield from ("  " + line for line in yaml_lines(value))
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            yield f"{label}:\n"
            for item in value:
                first, *others = yaml_lines(item)
                yield f"  - {first}"
                yield from ("    " + line for line in others)
        else:
            yield f"{label}: {json_text(value)}\n"
