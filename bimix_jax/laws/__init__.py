"""Data-mixing laws: the contract (`law.py`) and one file a law."""

import difflib

from bimix_jax.laws.additive import AdditiveLaw
from bimix_jax.laws.bimix import BiMix
from bimix_jax.laws.cross import CrossBiMix
from bimix_jax.laws.data_mixing import DataMixingLaw, DataMixingLawPlus
from bimix_jax.laws.law import Law
from bimix_jax.laws.log_linear import LogLinear
from bimix_jax.laws.model_size import WithModelSize
from bimix_jax.laws.repetition import WithRepetition
from bimix_jax.laws.split_transfer import SplitTransferBiMix
from bimix_jax.laws.substitution import SplitSubstitutionBiMix, SubstitutionBiMix
from bimix_jax.laws.transfer import TransferBiMix

LAWS: dict[str, type[Law]] = {
    law.name: law
    for law in (
        BiMix, TransferBiMix, SplitTransferBiMix, SubstitutionBiMix, SplitSubstitutionBiMix,
        CrossBiMix, DataMixingLaw, DataMixingLawPlus, AdditiveLaw, LogLinear,
    )
}  # fmt: skip
"""The package's laws by name."""
WRAPPERS: dict[str, type[Law]] = {law.name: law for law in (WithModelSize, WithRepetition)}
"""Laws around another law."""

__all__ = [*LAWS, *WRAPPERS, "LAWS", "WRAPPERS", "Law", "law_named"]


def law_named(name: str) -> Law:
    """A law of the package by its name, whatever the case.

    Raises:
        ValueError: if there is none, with the nearest name.

    >>> law_named("transferbimix")
    TransferBiMix()
    """
    by_lower = {known.lower(): law for known, law in LAWS.items()}
    if name.lower() in by_lower:
        return by_lower[name.lower()]()
    nearest = difflib.get_close_matches(name.lower(), by_lower, 1, 0.0)[0]
    raise ValueError(
        f"law is {name!r}; expected one of {', '.join(LAWS)}. Did you mean "
        f"{by_lower[nearest].name}?"
    )
