"""Messages of the package in the words of a command: options instead of arguments of Python.

The package writes `key= (--key)`, or `key= or --key` inside parentheses, where both ways are
possible; a command shows `--key`.
"""

import re
from collections.abc import Mapping

RENAMED = {
    "budget": "budget_column",
    "fixed": "fix",
    "goals": "goal",
    "groups": "group",
    "laws": "law",
    "n": "resamples",
    "run": "run_column",
    "size": "model_size",
    "splits": "split",
    "targets": "target",
    "tracker": "log",
    "weights": "weight",
}
"""Argument of Python → the parameter of a command that stands for it, where they differ."""
VALUE = r"""(?:'[^']*'|"[^"]*"|\{[^}]*\}|[^\s(),;]*)"""
BOTH = re.compile(rf"\b[a-z_]+={VALUE} \((--[a-z-]+(?: (?:[^()]|\([^()]*\))*)?)\)")
"""An argument with the option behind it in parentheses."""
EITHER = re.compile(rf"\b[a-z_]+={VALUE} or (--[a-z-]+)")
"""An argument or its option, as in a remark in parentheses."""
ALONE = re.compile(r"\b([a-z_]+)=(?=[\s,.;:)]|$)")
"""An argument without a value."""
FIRST = re.compile(r"^((?:[^:\n]+: )?)([a-z_]+)(?=: | is | are | names )")
"""An argument at the beginning of an error, perhaps behind the name of a file."""
_options: dict[str, str] = {}
"""Parameter of the command that runs → its option."""


def use_options(options: Mapping[str, str]) -> None:
    """Take the options of the command that runs, by the names of their parameters."""
    _options.clear()
    _options.update(options)


def in_options(text: str) -> str:
    """Return a message with options in place of arguments of Python.

    >>> in_options("Name it with key= (--key), or choose by select={'size': 7} (--select size=7).")
    'Name it with --key, or choose by --select size=7.'
    >>> in_options("Two forms are there (form= or --form chooses).")
    'Two forms are there (--form chooses).'
    """
    shorter = EITHER.sub(r"\1", BOTH.sub(r"\1", text))
    return ALONE.sub(lambda found: _option(found[1], found[0]), shorter)


def error_in_options(text: str) -> str:
    """Return the message of an error with options, also where it begins with an argument."""
    return FIRST.sub(lambda found: found[1] + _option(found[2], found[2]), in_options(text))


def _option(argument: str, otherwise: str) -> str:
    """Return the option that stands for an argument, or else the text that was there."""
    there = _options.get(argument) or _options.get(RENAMED.get(argument, ""))
    return there or otherwise
