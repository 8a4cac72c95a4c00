"""Data-mixing laws: the contract (`law.py`) and one file a law."""

from bimix_jax.laws.bimix import BiMix
from bimix_jax.laws.law import Law

__all__ = ["BiMix", "Law"]
