"""NAME=VALUE options; names may contain = or +, so known names are looked up before a split."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer

from bimix_jax.quantities import number_of

NUMBER = "one number, like 0.25, 4e10, 40B or 1,200"
SHARE = "a share, like 0.25 or 25%"
WHOLE = "a whole number, like 4 or 1,200"


def number_parser(least: float | None = None, most: float | None = None) -> Callable[[Any], float]:
    """Return a parser of one number between two ends, either of which may be None."""

    def number(text: Any) -> float:
        return _within(_usable(text, NUMBER), least, most)

    return number


def whole_parser(least: float | None = None, most: float | None = None) -> Callable[[Any], int]:
    """Return a parser of one whole number between two ends, either of which may be None."""

    def integer(text: Any) -> int:
        try:
            value = int(text)  # exact, however large
        except ValueError:
            found = _usable(text, WHOLE)
            value = int(found)
            if value != found:
                raise typer.BadParameter(f"the value is {text!r}; expected {WHOLE}.") from None
        return _within(value, least, most)

    return integer


def share(text: Any) -> float:
    """Parse one share: 0.9 or 90%."""
    return _usable(text, SHARE, percent=True)


PARSERS: dict[type, Callable[..., Callable[[Any], Any]]] = {
    float: number_parser,
    int: whole_parser,
}
"""Type of an option → factory of its parser, from the least and largest value."""


def _usable(text: Any, expected: str, percent: bool = False) -> float:
    try:
        return number_of(text, "the value", expected, percent)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _within(value: Any, least: float | None, most: float | None) -> Any:
    if least is not None and value < least:
        raise typer.BadParameter(f"the value is {value}; expected {least} or more.")
    if most is not None and value > most:
        raise typer.BadParameter(f"the value is {value}; expected {most} or less.")
    return value


def split_name(option: str, item: str, names: Iterable[str]) -> tuple[str, str]:
    """Split NAME=VALUE after the longest known name, or else at the last =.

    >>> split_name("--lower", "c=1=0.3", ["c", "c=1"])
    ('c=1', '0.3')
    """
    for name in sorted(names, key=len, reverse=True):
        if item.startswith(f"{name}=") and len(item) > len(name) + 1:
            return name, item[len(name) + 1 :]
    name, equals, value = item.rpartition("=")
    if not (name and equals and value):
        raise ValueError(f"{option} is {item!r}; expected NAME=VALUE.")
    return name, value


def values(
    option: str,
    given: Sequence[str] | None,
    names: Iterable[str],
    read: Callable[[str, str], Any] | None = None,
) -> dict[str, Any]:
    """Return NAME=VALUE options as a mapping; `read` parses a value, given a label and the text.

    Raises:
        ValueError: if one is not of that form, or a name is there twice.
    """
    found: dict[str, Any] = {}
    for item in given or []:
        name, value = split_name(option, item, names)
        if re.search(r",[^,=]+=", value):
            raise ValueError(
                f"{option} is {item!r}; expected one NAME=VALUE: repeat {option} for each name."
            )
        if name in found:
            raise ValueError(f"{option} {name} is there twice; expected every name once.")
        found[name] = (read or number)(f"{option} {name}", value)
    return found


def refuse_several(option: str, given: Sequence[str]) -> None:
    """Raise ValueError where an option of one value has several."""
    if len(given) > 1:
        times = "twice" if len(given) == 2 else f"{len(given)} times"
        raise ValueError(f"{option} is given {times} ({', '.join(given)}); give it once.")


def number(where: str, text: str) -> float:
    """Parse one number."""
    return number_of(text, where, NUMBER)


def share_of(where: str, text: str) -> float:
    """Parse one number, or a percentage."""
    return number_of(text, where, SHARE, percent=True)


def percent(where: str, text: str) -> float:
    """Parse a percentage, with or without its sign, as a fraction."""
    return number_of(text.strip().removesuffix("%"), where, "a percentage, like 1 or 1%") / 100


def split_sum(text: str, names: Sequence[str]) -> tuple[list[str], str] | None:
    """Split A+B+…=BOUNDS into names, each the longest possible, and bounds; None without a match.

    >>> split_sum("c+++c#=:0.3", ["c", "c++", "c#"])
    (['c++', 'c#'], ':0.3')
    """
    for name in sorted(names, key=len, reverse=True):
        rest = text[len(name) :]
        if text.startswith(name) and rest.startswith("="):
            return [name], rest[1:]
        if text.startswith(name) and rest.startswith("+"):
            further = split_sum(rest[1:], names)
            if further is not None:
                return [name, *further[0]], further[1]
    return None
