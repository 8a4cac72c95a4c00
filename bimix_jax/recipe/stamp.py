"""Origin of an emitted file: enough to reproduce it, and to detect changes."""

import dataclasses
import hashlib
import json
from typing import Any

from bimix_jax import __version__
from bimix_jax.printable import printable


@dataclasses.dataclass(frozen=True)
class Stamp:
    """The origin that every emitted file carries."""

    fit: str
    """SHA-256 of the file of the fit"""
    constraints: str
    """SHA-256 of the constraints and weights as sorted JSON, "none" without any"""
    budget: str
    """budget with its unit"""
    command: str
    """command line that wrote the file, or the Python call"""
    version: str = __version__

    def document(self) -> dict[str, str]:
        """Return the stamp as a mapping, for JSON."""
        return dataclasses.asdict(self)

    def comment(self, mark: str = "#") -> str:
        """Return the stamp as lines of comment."""
        return "".join(
            f"{mark} bimix_jax {name}: {printable(v)}\n" for name, v in self.document().items()
        )


def digest_of(document: Any) -> str:
    """Return the SHA-256 of a document as sorted JSON; "none" for an empty one.

    >>> digest_of({})
    'none'
    """
    if not document:
        return "none"
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
