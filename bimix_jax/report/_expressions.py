"""Operations of JAX on single numbers: NumPy's function for constants, JavaScript for variables."""

from collections.abc import Callable
from typing import Any

import numpy as np

Operation = tuple[Callable[..., Any], str]
"""NumPy's function, for constants, and the expression for variables."""
UNARY: dict[str, Operation] = {
    "neg": (np.negative, "-{}"),
    "exp": (np.exp, "Math.exp({})"),
    "exp2": (np.exp2, "2 ** {}"),
    "log": (np.log, "Math.log({})"),
    "log1p": (np.log1p, "Math.log1p({})"),
    "expm1": (np.expm1, "Math.expm1({})"),
    "sqrt": (np.sqrt, "Math.sqrt({})"),
    "rsqrt": (lambda x: 1 / np.sqrt(x), "1 / Math.sqrt({})"),
    "cbrt": (np.cbrt, "Math.cbrt({})"),
    "abs": (np.abs, "Math.abs({})"),
    "sign": (np.sign, "Math.sign({})"),
    "floor": (np.floor, "Math.floor({})"),
    "ceil": (np.ceil, "Math.ceil({})"),
    "sin": (np.sin, "Math.sin({})"),
    "cos": (np.cos, "Math.cos({})"),
    "tanh": (np.tanh, "Math.tanh({})"),
    "logistic": (lambda x: 1 / (1 + np.exp(-x)), "1 / (1 + Math.exp(-{}))"),
    "square": (np.square, "{0} * {0}"),
    "is_finite": (np.isfinite, "Number.isFinite({})"),
}
BINARY: dict[str, Operation] = {
    "add": (np.add, "{} + {}"),
    "add_any": (np.add, "{} + {}"),
    "sub": (np.subtract, "{} - {}"),
    "mul": (np.multiply, "{} * {}"),
    "div": (np.divide, "{} / {}"),
    "pow": (np.power, "Math.pow({}, {})"),
    "atan2": (np.arctan2, "Math.atan2({}, {})"),
    "max": (np.maximum, "Math.max({}, {})"),
    "min": (np.minimum, "Math.min({}, {})"),
    "gt": (np.greater, "{} > {}"),
    "ge": (np.greater_equal, "{} >= {}"),
    "lt": (np.less, "{} < {}"),
    "le": (np.less_equal, "{} <= {}"),
    "eq": (np.equal, "{} === {}"),
    "ne": (np.not_equal, "{} !== {}"),
}
TRUTH: dict[str, Operation] = {
    "not": (np.logical_not, "!{}"),
    "and": (np.logical_and, "{} && {}"),
    "or": (np.logical_or, "{} || {}"),
}
"""Primitives that are covered for truth values, not for the bits of integers."""
REDUCED: dict[str, Operation] = {
    "reduce_sum": BINARY["add"],
    "reduce_prod": BINARY["mul"],
    "reduce_max": BINARY["max"],
    "reduce_min": BINARY["min"],
    "reduce_and": TRUTH["and"],
    "reduce_or": TRUTH["or"],
}
