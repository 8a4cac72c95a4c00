"""Reference problems of nonlinear regression as laws, with certified values.

Data and values: NIST, Statistical Reference Datasets, Nonlinear Regression
(https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml), a work of the United States government
and in the public domain. `nist.json` holds, of each problem, the points (x, y), both starts and the
certified parameters b1, b2, …, and the certified residual sum of squares, as they were published.

A law is linear in its amplitudes, so that each model is stated as a basis; what is left of the
parameters, its exponents, comes from b1, b2, …: `exponents_from`. Of the 27 problems, Nelson has
two predictors, and Roszman1 a term without an amplitude.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bimix_jax import Law


class Reference(NamedTuple):
    """What was published about a problem."""

    x: np.ndarray
    y: np.ndarray
    starts: tuple[np.ndarray, np.ndarray]
    certified: np.ndarray
    sum_of_squares: float


@functools.cache
def read() -> dict[str, Reference]:
    """Every problem by name."""
    text = (Path(__file__).parent / "nist.json").read_text(encoding="utf-8")
    return {
        name: Reference(
            np.array(each["x"]), np.array(each["y"]),
            (np.array(each["start 1"]), np.array(each["start 2"])),
            np.array(each["certified"]), each["residual sum of squares"],
        ) for name, each in json.loads(text).items()
    }  # fmt: skip


class Model(NamedTuple):
    """A model as a basis."""

    basis: Callable[[Any, Any], tuple[Any, ...]]
    """exponents and x → one number per amplitude"""
    exponents_from: Callable[..., tuple[Any, ...]]
    """b1, b2, … → exponents"""
    signed: tuple[int, ...] = ()
    """Which amplitudes may be negative."""
    least: float = -np.inf
    """A lower bound of all exponents."""
    sign: int = 1
    """−1 where y is negative: then −y is fitted, as losses are above 0."""


def _at(*places: int) -> Callable[..., tuple[Any, ...]]:
    """The exponents are these of b1, b2, …"""
    return lambda *b: tuple(b[place - 1] for place in places)


def _rational(top: int, bottom: int) -> Callable[[Any, Any], tuple[Any, ...]]:
    """x⁰, …, x^top over 1 + θ₁x + … + θ_bottom·x^bottom."""

    def basis(e: Any, x: Any) -> tuple[Any, ...]:
        below = 1 + sum(e[k] * x ** (k + 1) for k in range(bottom))
        return tuple(x**k / below for k in range(top + 1))

    return basis


def _waves(e: Any, x: Any) -> tuple[Any, ...]:
    angles = [2 * jnp.pi * x / period for period in (12, e[0], e[1])]
    return (1.0, *(wave(angle) for angle in angles for wave in (jnp.cos, jnp.sin)))


def _decays(e: Any, x: Any) -> tuple[Any, ...]:
    return tuple(jnp.exp(-rate * x) for rate in e)


def _decay_and_bells(e: Any, x: Any) -> tuple[Any, ...]:
    bells = (jnp.exp(-(((x - e[k]) / e[k + 1]) ** 2)) for k in (1, 3))
    return (jnp.exp(-e[0] * x), *bells)


_CHWIRUT = Model(
    lambda e, x: (jnp.exp(-e[0] * x) / (1 + e[1] * x),), lambda b1, b2, b3: (b1, b3 / b2)
)
_GAUSS = Model(_decay_and_bells, _at(2, 4, 5, 7, 8))
_LANCZOS = Model(_decays, _at(2, 4, 6))
_CUBIC = Model(_rational(3, 3), _at(5, 6, 7), signed=(0, 1, 2, 3))

MODELS = {
    "Bennett5": Model(lambda e, x: ((e[0] + x) ** (-1 / e[1]),), _at(2, 3), sign=-1),
    "BoxBOD": Model(lambda e, x: (-jnp.expm1(-e[0] * x),), _at(2)),
    "Chwirut1": _CHWIRUT,
    "Chwirut2": _CHWIRUT,
    "DanWood": Model(lambda e, x: (x ** e[0],), _at(2)),
    "ENSO": Model(_waves, _at(4, 7), signed=(1, 2, 3, 4, 5, 6)),
    "Eckerle4": Model(lambda e, x: (jnp.exp(-(((x - e[1]) / e[0]) ** 2) / 2),), _at(2, 3)),
    "Gauss1": _GAUSS,
    "Gauss2": _GAUSS,
    "Gauss3": _GAUSS,
    "Hahn1": _CUBIC,
    "Kirby2": Model(_rational(2, 2), _at(4, 5), signed=(0, 1, 2)),
    "Lanczos1": _LANCZOS,
    "Lanczos2": _LANCZOS,
    "Lanczos3": _LANCZOS,
    "MGH09": Model(
        lambda e, x: (x**2 / (x**2 + x * e[0] + e[1]), x / (x**2 + x * e[0] + e[1])), _at(3, 4)
    ),
    "MGH10": Model(lambda e, x: (jnp.exp(e[0] / (x + e[1])),), _at(2, 3), least=0.0),
    "MGH17": Model(lambda e, x: (1.0, *_decays(e, x)), _at(4, 5), signed=(1, 2)),
    "Misra1a": Model(lambda e, x: (-jnp.expm1(-e[0] * x),), _at(2)),
    "Misra1b": Model(lambda e, x: (1 - (1 + e[0] * x / 2) ** -2,), _at(2)),
    "Misra1c": Model(lambda e, x: (1 - (1 + 2 * e[0] * x) ** -0.5,), _at(2)),
    "Misra1d": Model(lambda e, x: (e[0] * x / (1 + e[0] * x),), _at(2)),
    "Rat42": Model(lambda e, x: (1 / (1 + jnp.exp(e[0] - e[1] * x)),), _at(2, 3)),
    "Rat43": Model(lambda e, x: ((1 + jnp.exp(e[0] - e[1] * x)) ** (-1 / e[2]),), _at(2, 3, 4)),
    "Thurber": _CUBIC,
}


@dataclasses.dataclass(frozen=True)
class Curve(Law):
    """A model as a law, whose only share is x, as shares may be any number to the core."""

    model: Model
    exponents: int

    name = "Curve"

    @classmethod
    def of(cls, problem: str) -> "Curve":
        """The law of a problem; problems of one model have equal laws."""
        return cls(MODELS[problem], len(starts_of(problem)[0]))

    @property
    def exponent_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Numbered."""
        return tuple(f"e{k}" for k in range(self.exponents))

    @property
    def amplitude_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Numbered."""
        return tuple(f"a{k}" for k in range(len(self.basis(np.ones(self.exponents), 1.0))))

    @property
    def signed(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the model says."""
        return tuple(f"a{k}" for k in self.model.signed)

    def bounds(self, domains: int) -> Any:
        """None but those of the model."""
        return [(self.model.least, np.inf)] * self.exponents

    def starts(self, domains: int) -> Any:
        """Not used, as problems come with theirs."""
        return [[1.0] * self.exponents]

    def features(self, mixture: Any, own: Any, budget: Any) -> Any:
        """() x."""
        return mixture[0]

    def basis(self, exponents: Any, features: Any) -> tuple[Any, ...]:
        """As the model says."""
        return self.model.basis(exponents, features)


def starts_of(problem: str) -> list[tuple[float, ...]]:
    """The exponents of both starts."""
    return [MODELS[problem].exponents_from(*start) for start in read()[problem].starts]
