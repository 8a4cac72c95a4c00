"""JavaScript of a JAX function: its jaxpr, unrolled to statements on single float64 numbers.

The page of a report predicts losses in the browser by the formula that Python predicts with. It is
not written a second time, so laws of one's own are covered as well.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.extend.core import Literal

from bimix_jax.report._expressions import BINARY, REDUCED, TRUTH, UNARY, Operation

LARGEST = 20_000
"""Most statements of a function; browsers compile more too slowly."""
CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters that hold the function that a call calls."""
LOOPS = ("while",)
SINGLE = UNARY | BINARY | TRUTH


class NotCoveredError(ValueError):
    """A function that cannot be written in JavaScript; the message says why."""


def javascript(function: Callable[..., Array], **shapes: tuple[int, ...]) -> str:
    """Write a pure function of float64 arrays in JavaScript.

    Args:
        function: that JAX can trace; its result is one number.
        shapes: of its arguments, in their order; () is a number, (n,) an array.

    Returns:
        An arrow function, which agrees with `function` up to rounding.

    Raises:
        NotCoveredError: if it has a primitive without an expression, or too many statements.

    >>> import jax.numpy as jnp
    >>> print(javascript(lambda x, power: jnp.sum(x**power), x=(2,), power=()))
    (x, power) => {
      const t0 = Math.pow(x[0], power);
      const t1 = Math.pow(x[1], power);
      const t2 = t0 + t1;
      return t2;
    }
    """
    with jax.enable_x64(True):
        specimens = [jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes.values()]
        traced = jax.make_jaxpr(function)(*specimens)
        program = _Program()
        given = [_elements(name, shape) for name, shape in shapes.items()]
        (found,) = program.run(traced.jaxpr, traced.consts, given)
    return program.text(shapes, found.item())


def _elements(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the expressions of the numbers of an argument."""
    texts = [f"{name}[{i}]" for i in range(math.prod(shape))] if shape else [name]
    return _objects(texts, shape)


def _objects(values: Iterable[Any], shape: Sequence[int]) -> np.ndarray:
    found = np.empty(math.prod(shape), object)
    found[:] = list(values)
    return found.reshape(shape)


def _constant(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return _objects(array.ravel().tolist(), array.shape)


def _text(value: Any) -> str:
    """Return a number, a truth value or the name of a variable as JavaScript."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"({'-' * (value < 0)}Infinity)"
    return f"({value!r})" if value < 0 else repr(value)


class _Program:
    """The statements so far. A value is an array of objects, each a constant or the name of a
    variable. Moves of numbers only move these objects, so that they leave no statement."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.used: dict[str, list[str]] = {}

    def run(self, jaxpr: Any, consts: Sequence[Any], given: Sequence[np.ndarray]) -> list:
        """Write a jaxpr for some arguments; return its results."""
        values = dict(zip(jaxpr.constvars, map(_constant, consts), strict=True))
        values |= dict(zip(jaxpr.invars, given, strict=True))

        def value(atom: Any) -> np.ndarray:
            return _constant(atom.val) if isinstance(atom, Literal) else values[atom]

        for equation in jaxpr.eqns:
            found = self.results(equation, [value(atom) for atom in equation.invars])
            values |= dict(zip(equation.outvars, found, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def results(self, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
        """Write one equation; return its results."""
        name, params = equation.primitive.name, equation.params
        _check_kind(equation)
        if name in MOVES:
            return [MOVES[name](params, *given)]
        if name in SINGLE:
            return [self.each(SINGLE[name], *given)]
        if name in REDUCED:
            return [self.reduced(REDUCED[name], given[0], params["axes"])]
        if name in SPECIAL:
            return SPECIAL[name](self, equation, given)
        inner = next((params[key] for key in CALLED if key in params), None)
        if inner is None or name in LOOPS:
            raise NotCoveredError(f"it contains the operation {name}")
        return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given)

    def each(self, operation: Operation, *given: np.ndarray) -> np.ndarray:
        """Apply an operation element by element."""
        wide = np.broadcast_arrays(*given)
        rows = zip(*(part.ravel() for part in wide), strict=True)
        return _objects([self.one(operation, *row) for row in rows], wide[0].shape)

    def one(self, operation: Operation, *given: Any) -> Any:
        """Apply an operation to single numbers: compute it where all are constant."""
        function, template = operation
        if any(isinstance(each, str) for each in given):
            return self.statement(template, *given)
        with np.errstate(all="ignore"):
            return np.asarray(function(*given)).item()

    def statement(self, template: str, *given: Any) -> str:
        """Return the variable of an expression; equal expressions share it."""
        expression = template.format(*map(_text, given))
        if expression not in self.names:
            if len(self.names) >= LARGEST:
                raise NotCoveredError(f"it takes more than {LARGEST} statements")
            name = self.names[expression] = f"t{len(self.names)}"
            self.used[name] = [each for each in given if isinstance(each, str)]
        return self.names[expression]

    def reduced(self, operation: Operation, values: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """Combine numbers along axes."""
        combine = np.frompyfunc(lambda a, b: self.one(operation, a, b), 2, 1)
        for axis in sorted(axes, reverse=True):
            values = np.asarray(combine.reduce(values, axis=axis), object)
        return values

    def text(self, names: Iterable[str], result: Any) -> str:
        """Return the function's text, without statements that the result does not need."""
        needed, open_ = set(), [result]
        while open_:
            name = open_.pop()
            if name in self.used and name not in needed:
                needed.add(name)
                open_ += self.used[name]
        lines = [f"  const {n} = {text};\n" for text, n in self.names.items() if n in needed]
        return f"({', '.join(names)}) => {{\n{''.join(lines)}  return {_text(result)};\n}}"


def _check_kind(equation: Any) -> None:
    """Raise where numbers of the equation's kind behave otherwise in JavaScript."""
    name, kind = equation.primitive.name, equation.outvars[0].aval.dtype
    if kind in (np.float32, np.float16):
        raise NotCoveredError(f"it computes in {kind}, not float64")
    if kind.kind in "iu" and name in ("div", "rem", "pow", *TRUTH):
        raise NotCoveredError(f"it contains the operation {name} of integers")


def _select(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    which, *cases = np.broadcast_arrays(*given)
    rows = zip(which.ravel(), *(case.ravel() for case in cases), strict=True)
    return [_objects([_selected(program, *row) for row in rows], which.shape)]


def _selected(program: _Program, which: Any, *cases: Any) -> Any:
    if not isinstance(which, str):
        return cases[int(which)]
    # Of more than two cases the choice is a number, which truth values are not.
    first, *others = cases
    if len(others) > 1:
        raise NotCoveredError("it selects among more than two cases")
    return program.statement("{} ? {} : {}", which, others[0], first)


def _convert(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    kinds = equation.invars[0].aval.dtype.kind, equation.outvars[0].aval.dtype.kind
    if kinds[0] == "b" and kinds[1] != "b":
        return [program.each((float, "{} ? 1 : 0"), *given)]
    if kinds[0] != "b" and kinds[1] == "b":
        return [program.each((bool, "{} !== 0"), *given)]
    # Towards 0, as XLA rounds; integers are exact numbers.
    whole = kinds[0] == "f" and kinds[1] in "iu"
    return [program.each((int, "Math.trunc({})"), *given)] if whole else given


def _power(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    power = equation.params["y"]
    if power == 2:
        return [program.each(UNARY["square"], *given)]
    return [program.each((lambda x: float(x) ** power, f"Math.pow({{}}, {power})"), *given)]


def _clamp(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    least, value, most = given
    return [program.each(BINARY["min"], program.each(BINARY["max"], value, least), most)]


def _cumulated(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    axis, back = equation.params["axis"], equation.params["reverse"]
    values = np.flip(given[0], axis) if back else given[0]
    add = np.frompyfunc(lambda a, b: program.one(BINARY["add"], a, b), 2, 1)
    found = np.asarray(add.accumulate(values, axis=axis), object)
    return [np.flip(found, axis) if back else found]


def _product(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    sums, batches = equation.params["dimension_numbers"]
    one, other = (_ordered(*part) for part in zip(given, sums, batches, strict=True))
    # (batch, free, 1, summed) times (batch, 1, free, summed)
    products = program.each(BINARY["mul"], one[:, :, None], other[:, None])
    total = program.reduced(BINARY["add"], products, [3])
    return [total.reshape(equation.outvars[0].aval.shape)]


def _ordered(values: np.ndarray, summed: Sequence[int], batch: Sequence[int]) -> np.ndarray:
    """Return (batch, free, summed), each of them one axis."""
    free = [i for i in range(values.ndim) if i not in (*summed, *batch)]
    sizes = [math.prod(values.shape[i] for i in axes) for axes in (batch, free, summed)]
    return values.transpose(*batch, *free, *summed).reshape(sizes)


def _branch(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    (which, *operands), branches = given, equation.params["branches"]
    if not isinstance(which.item(), str):
        taken = branches[which.item()]
        return program.run(taken.jaxpr, taken.consts, operands)
    found = [program.run(each.jaxpr, each.consts, operands) for each in branches]
    return [_select(program, equation, [which, *cases])[0] for cases in zip(*found, strict=True)]


def _scan(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    """Write all rounds of a loop of known length, one after another."""
    params, of = equation.params, equation.params["jaxpr"]
    first = params["num_consts"]
    last = first + params["num_carry"]
    fixed, carried, along = given[:first], given[first:last], given[last:]
    rounds = range(params["length"])
    found: list[list[np.ndarray]] = []
    for i in reversed(rounds) if params["reverse"] else rounds:
        results = program.run(of.jaxpr, of.consts, [*fixed, *carried, *(x[i] for x in along)])
        carried = results[: len(carried)]
        found.append(results[len(carried) :])
    ordered = found[::-1] if params["reverse"] else found
    return [*carried, *(np.stack(each) for each in zip(*ordered, strict=True))]


def _platform(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    # The branch for any platform: those of single ones may work on bits.
    return [_constant(equation.params["platforms"].index(None))]


def _placed(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    """Move numbers to places that constant indices say, as JAX itself moves the numbers of these
    places."""
    kinds = [atom.aval.dtype.kind in "iu" for atom in equation.invars]
    moved = [values for values, index in zip(given, kinds, strict=True) if not index]
    asked = [values for values, index in zip(given, kinds, strict=True) if index]
    if any(isinstance(each, str) for values in asked for each in values.ravel()):
        raise NotCoveredError("it takes numbers from places that depend on the mixture")
    starts = iter(np.cumsum([0, *(values.size for values in moved)]))
    places = [
        values.astype(atom.aval.dtype)
        if index
        else next(starts) + np.arange(values.size).reshape(values.shape)
        for atom, values, index in zip(equation.invars, given, kinds, strict=True)
    ]
    found = np.asarray(equation.primitive.bind(*places, **equation.params))
    # A place outside of the array is a number below 0, for which there is nan.
    every = np.concatenate([*(values.ravel() for values in moved), _constant([math.nan])])
    return [every[np.where(found < 0, -1, found)]]


def _split(program: _Program, equation: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    ends = np.cumsum(equation.params["sizes"])[:-1]
    return np.split(given[0], ends, equation.params["axis"])


def _broadcast(x: np.ndarray, shape: Sequence[int], places: Sequence[int]) -> np.ndarray:
    wide = [1] * len(shape)
    for place, size in zip(places, x.shape, strict=True):
        wide[place] = size
    return np.broadcast_to(x.reshape(wide), shape)


def _sliced(
    x: np.ndarray, starts: Sequence[int], limits: Sequence[int], steps: Sequence[int] | None
) -> np.ndarray:
    return x[tuple(map(slice, starts, limits, steps or [1] * x.ndim))]


MOVES: dict[str, Callable[..., np.ndarray]] = {
    "broadcast_in_dim": lambda p, x: _broadcast(x, p["shape"], p["broadcast_dimensions"]),
    "reshape": lambda p, x: x.reshape(p["new_sizes"]),
    "squeeze": lambda p, x: np.squeeze(x, p["dimensions"]),
    "expand_dims": lambda p, x: np.expand_dims(x, p["dimensions"]),
    "transpose": lambda p, x: x.transpose(p["permutation"]),
    "rev": lambda p, x: np.flip(x, p["dimensions"]),
    "slice": lambda p, x: _sliced(x, p["start_indices"], p["limit_indices"], p["strides"]),
    "concatenate": lambda p, *parts: np.concatenate(parts, p["dimension"]),
    "stack": lambda p, *parts: np.stack(parts, p["axis"]),
    **dict.fromkeys(("copy", "copy_p", "stop_gradient"), lambda p, x: x),
    "iota": lambda p: _constant(np.indices(p["shape"])[p["dimension"]]),
}
SPECIAL = {
    "select_n": _select,
    "convert_element_type": _convert,
    "integer_pow": _power,
    "clamp": _clamp,
    "cumsum": _cumulated,
    "dot_general": _product,
    "cond": _branch,
    "scan": _scan,
    "platform_index": _platform,
    "split": _split,
    **dict.fromkeys(("gather", "scatter", "dynamic_slice", "dynamic_update_slice"), _placed),
}
"""Primitives that need more than their operands, by name."""
