"""Data-mixing laws: the contract (`law.py`) and one file per family of laws."""

import dataclasses
import difflib
import re
from collections.abc import Callable
from typing import Any

from bimix_jax.laws.bimix import BiMix, CrossBiMix
from bimix_jax.laws.bridged import Bridged
from bimix_jax.laws.law import Law, check_law
from bimix_jax.laws.model_size import WithModelSize
from bimix_jax.laws.published import AdditiveLaw, DataMixingLaw, DataMixingLawPlus, LogLinear
from bimix_jax.laws.stacked import Stacked
from bimix_jax.laws.through_losses import ThroughLosses
from bimix_jax.laws.transfer import (
    SplitSubstitutionBiMix,
    SplitTransferBiMix,
    SubstitutionBiMix,
    TransferBiMix,
)
from bimix_jax.laws.wrappers import WithRepetition, WithWarmUp, WrappedLaw

LAWS: dict[str, type[Law]] = {
    law.name: law
    for law in (
        BiMix,
        TransferBiMix,
        SplitTransferBiMix,
        SubstitutionBiMix,
        SplitSubstitutionBiMix,
        CrossBiMix,
        DataMixingLaw,
        DataMixingLawPlus,
        AdditiveLaw,
        LogLinear,
    )
}
"""Laws of the package by name."""
WRAPPERS: dict[str, type[WrappedLaw]] = {
    law.name: law for law in (WithModelSize, WithRepetition, WithWarmUp)
}
"""Laws that wrap another law, by name."""

__all__ = [
    *LAWS,
    *WRAPPERS,
    "LAWS",
    "WRAPPERS",
    "Bridged",
    "Law",
    "Stacked",
    "ThroughLosses",
    "around",
    "as_law",
    "check_law",
    "law_named",
]


def as_law(law: Law | str) -> Law:
    """Return a law, given itself or its name; ValueError if it is neither."""
    return law_named(law) if isinstance(law, str) else check_law(law)


def law_named(name: str, fit_of: Callable[[str], Any] | None = None) -> Law:
    """Find a law of the package by its name, in any case; a wrapped law stands in parentheses.

    The form of a `WithModelSize` follows after a comma, as in its label. `Stacked` stands for its
    usual laws or has others in parentheses, then perhaps its scale or "mean"; a wrapper around it
    wraps each of its laws. `ThroughLosses` has the law of the losses in parentheses, or its usual
    one. `Bridged(small.json)` maps the fit in that file.

    Args:
        name: of the law.
        fit_of: reads the fit of a file, as `load_fit` does; needed for `Bridged`.

    Raises:
        ValueError: if there is none, with the nearest name.

    >>> law_named("transferbimix")
    TransferBiMix()
    >>> law_named("WithWarmUp(BiMix)")
    WithWarmUp(base=BiMix())
    >>> law_named("WithModelSize(BiMix, floor)").form
    'floor'
    >>> law_named("Stacked(BiMix, AdditiveLaw, mean)")
    Stacked(laws=(BiMix(), AdditiveLaw()), scale=None)
    """
    outer, opened, rest = name.strip().partition("(")
    around = opened and rest.endswith(")")
    if outer.strip().lower() == Stacked.name.lower() and (around or not opened):
        return _stacked(rest[:-1])
    if outer.strip().lower() == ThroughLosses.name.lower() and (around or not opened):
        return ThroughLosses(law_named(rest[:-1])) if around else ThroughLosses()
    if outer.strip().lower() == Bridged.name.lower():
        return _bridged(name, rest[:-1].strip() if around else "", fit_of)
    by_lower = {each.lower(): each for each in (WRAPPERS if around else LAWS)}
    found = by_lower.get(outer.strip().lower())
    if found == WithRepetition.name:
        raise ValueError(
            f"law is {name!r}; WithRepetition needs the tokens that exist, which a name does not "
            "hold, and without them is the law inside. In Python: WithRepetition(law, {'code': "
            "1e9})."
        )
    if found is not None:
        return _wrapped(WRAPPERS[found], rest[:-1]) if around else LAWS[found]()
    nearest = difflib.get_close_matches(outer.lower(), by_lower, 1, 0.0)[0]
    inner = f"({rest}" if around else ""
    raise ValueError(
        f"law is {name!r}; expected one of {', '.join(LAWS)}, or one of {', '.join(WRAPPERS)} "
        f"around it, as in WithModelSize(BiMix), {Stacked.name} or {ThroughLosses.name}. "
        f"Did you mean {by_lower[nearest]}{inner}?"
    )


def _bridged(name: str, file: str, fit_of: Callable[[str], Any] | None) -> Law:
    """Map the fit in a file."""
    if fit_of is None or not file:
        raise ValueError(
            f"law is {name!r}, which needs the file of a fit to small runs: "
            '--law "Bridged(small.json)" on the command line, bx.bridge(fitted, sweep) in Python.'
        )
    return Bridged.of(fit_of(file))


def _wrapped(kind: type[WrappedLaw], inside: str) -> Law:
    """Wrap the law that stands in parentheses, in the form that follows it after a comma."""
    base, comma, form = inside.rpartition(",")
    given: tuple[str, ...] = ()
    if kind is WithModelSize and comma and ")" not in form:
        inside, given = base, (form.strip().lower(),)
    return around(kind, law_named(inside), *given)


def around(kind: type[WrappedLaw], law: Law, *settings: Any) -> Law:
    """Wrap a law, or each law of a stack.

    >>> around(WithWarmUp, Stacked((BiMix(), LogLinear()))).label
    'Stacked(WithWarmUp(BiMix), WithWarmUp(LogLinear))'
    """
    if not law.members:
        return kind(law, *settings)
    stack: Any = law
    return dataclasses.replace(stack, laws=tuple(kind(one, *settings) for one in law.members))


def _stacked(inside: str) -> Law:
    """Stack the laws whose names stand in parentheses, before a scale or "mean"."""
    # At commas outside of further parentheses.
    names = [name.strip() for name in re.split(r",(?![^()]*\))", inside) if name.strip()]
    settings: dict[str, Any] = {}
    if names and (names[-1].lower() == "mean" or names[-1][0].isdigit()):
        last = names.pop().lower()
        settings["scale"] = None if last == "mean" else float(last)
    if names:
        settings["laws"] = tuple(map(law_named, names))
    return Stacked(**settings)
