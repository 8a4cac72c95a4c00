"""Settings of verbs, and the nearest known name where one is misspelt; imports no tables."""

import dataclasses
import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

Carrier = TypeVar("Carrier")
"""A dataclass of settings."""


def did_you_mean(name: object, expected: Iterable[str]) -> str:
    """Return a sentence that asks for the nearest of the expected names; empty if none is near.

    >>> did_you_mean("cod", ["web", "code"])
    ' Did you mean code?'
    """
    near = difflib.get_close_matches(str(name), list(expected), 1)
    return f" Did you mean {near[0]}?" if near else ""


WAYS = {
    "Sweep": "bimix_jax.read_sweep({})",
    "Fit": "bimix_jax.load_fit({})",
    "Bootstrap": "bimix_jax.bootstrap(sweep, fitted)",
}
"""Class of the package → the call that makes one of a file or a table."""


def check_made(given: object, kind: type, argument: str) -> None:
    """Refuse a path, a table or any other object in place of one that the package makes.

    Raises:
        ValueError: the message says how the object is made.

    >>> check_made("two.csv", type("Sweep", (), {}), "sweep")
    Traceback (most recent call last):
    ValueError: sweep is 'two.csv', a str; expected a Sweep: bimix_jax.read_sweep('two.csv').
    """
    if isinstance(given, kind):
        return
    is_path, name = isinstance(given, (str, os.PathLike)), f"a {type(given).__name__}"
    found = f"{str(given)!r}, {name}" if is_path else name
    how = WAYS[kind.__name__].format(repr(str(given)) if is_path else "table or path")
    raise ValueError(f"{argument} is {found}; expected a {kind.__name__}: {how}.")


def settings_of(
    kind: Callable[..., Carrier], verb: Callable[..., Any], given: Mapping[str, Any]
) -> Carrier:
    """Build a dataclass of settings from the further keyword arguments of a verb.

    Raises:
        TypeError: on a keyword that is not one of its fields; the message names the nearest field
            or parameter of the verb.

    >>> from bimix_jax.fitting.fit import fit
    >>> from bimix_jax.fitting.options import FitOptions
    >>> settings_of(FitOptions, fit, {"hubre": 1})
    Traceback (most recent call last):
    TypeError: fit() got an unexpected keyword argument 'hubre'; ... Did you mean huber?
    """
    fields = [field.name for field in dataclasses.fields(cast(Any, kind))]
    unknown = next((name for name in given if name not in fields), None)
    if unknown is not None:
        known = list(dict.fromkeys([*_named_parameters(verb), *fields]))
        raise TypeError(
            f"{verb.__name__}() got an unexpected keyword argument {unknown!r}; expected some of "
            f"{', '.join(known)}.{did_you_mean(unknown, known)}"
        )
    return kind(**given)


def _named_parameters(verb: Callable[..., Any]) -> list[str]:
    every = inspect.signature(verb).parameters.values()
    return [each.name for each in every if each.kind is not each.VAR_KEYWORD]


def refuse_unknown(argument: str, unknown: set[str], expected: Sequence[str]) -> None:
    """Raise ValueError if any name is unknown; the message lists what is expected."""
    if unknown:
        # The first in order of the alphabet, so that a message does not depend on hashes.
        raise ValueError(
            f"{argument}: {', '.join(sorted(unknown))} is unknown; expected only "
            f"{', '.join(expected)}.{did_you_mean(min(unknown), expected)} Remove it or correct "
            "the spelling."
        )
