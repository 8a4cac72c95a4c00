"""Data-mixing laws: the contract (`law.py`) and one file per family of laws."""

import difflib

from bimix_jax.laws.bimix import BiMix, CrossBiMix
from bimix_jax.laws.law import Law, check_law
from bimix_jax.laws.model_size import WithModelSize
from bimix_jax.laws.published import AdditiveLaw, DataMixingLaw, DataMixingLawPlus, LogLinear
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

__all__ = [*LAWS, *WRAPPERS, "LAWS", "WRAPPERS", "Law", "as_law", "check_law", "law_named"]


def as_law(law: Law | str) -> Law:
    """Return a law, given itself or its name; ValueError if it is neither."""
    return law_named(law) if isinstance(law, str) else check_law(law)


def law_named(name: str) -> Law:
    """Find a law of the package by its name, in any case; a wrapped law stands in parentheses.

    The form of a `WithModelSize` follows after a comma, as in its label.

    Raises:
        ValueError: if there is none, with the nearest name.

    >>> law_named("transferbimix")
    TransferBiMix()
    >>> law_named("WithWarmUp(BiMix)")
    WithWarmUp(base=BiMix())
    >>> law_named("WithModelSize(BiMix, floor)").form
    'floor'
    """
    outer, opened, rest = name.strip().partition("(")
    around = opened and rest.endswith(")")
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
        f"around it, as in WithModelSize(BiMix). Did you mean {by_lower[nearest]}{inner}?"
    )


def _wrapped(kind: type[WrappedLaw], inside: str) -> Law:
    """Wrap the law that stands in parentheses, in the form that follows it after a comma."""
    base, comma, form = inside.rpartition(",")
    if kind is WithModelSize and comma and ")" not in form:
        return WithModelSize(law_named(base), form.strip().lower())
    return kind(law_named(inside))
