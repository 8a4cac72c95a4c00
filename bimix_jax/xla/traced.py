"""Traced programs that are kept for the next process, beside the compiled ones.

A compiled program is found in the cache by its traced form, so that a process that compiles nothing
still traces everything, which takes about half a second for the search of a law. Here the traced
form is kept as well, by `jax.export`, under a name made of all that decides it: the package's own
source, the static arguments, the shapes, and JAX's configuration.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

import bimix_jax
from bimix_jax.xla.cache import kept_programs

PACKAGE = bimix_jax.__name__ + "."
"""Beginning of the names of the package's modules."""


def kept_program(
    function: Callable[..., Any], static: tuple[Any, ...], args: Any, options: Mapping[str, Any]
) -> Callable[..., Any] | None:
    """A compiled program of a function for arguments like these, traced once for all processes.

    Args:
        function: pure, of arrays alone, which its module and its name tell from all others.
        static: what it is made of beside its arguments.
        args: a tuple of arguments and a dict of them by name, of arrays in any structure.
        options: of the compilation.

    Returns:
        The program; None where no programs are kept (`use_compilation_cache`), where what is static
        has no lasting name, such as a law that is not the package's, or where JAX cannot keep it.
    """
    programs, lasting = kept_programs(), _lasting_name(static)
    if programs is None or lasting is None or not function.__module__.startswith(PACKAGE):
        return None
    leaves, structure = jax.tree.flatten(args)
    name = _name_of(function, lasting, structure, leaves)
    exported = None
    # Whatever goes wrong with a file, it is made anew; with JAX, the caller traces as without one.
    with contextlib.suppress(Exception):
        exported = _kept(programs.get(name))
    with contextlib.suppress(Exception):
        if exported is None:
            exported = _traced(function, structure, leaves)
            programs.put(name, _content(exported))
    if exported is None:
        return None
    program = jax.jit(exported.call, compiler_options=dict(options))
    return lambda *args, **named: program(*jax.tree.leaves((args, named)))


def _traced(function: Callable[..., Any], structure: Any, leaves: list[Any]) -> Any:
    from jax import export  # brings modules that most processes do not need

    def of_leaves(*leaves: Any) -> Any:
        positional, named = jax.tree.unflatten(structure, leaves)
        return function(*positional, **named)

    return export.export(jax.jit(of_leaves))(*leaves)


def _content(exported: Any) -> bytes:
    """A line with the names of the classes of results, and the program."""
    kinds = set(_kinds(exported.out_tree))
    names = sorted(f"{kind.__module__}:{kind.__qualname__}" for kind in kinds)
    _register(names)
    return json.dumps(names).encode() + b"\n" + bytes(exported.serialize())


def _kept(content: bytes | None) -> Any:
    """A program from its content; None without any."""
    if content is None:
        return None
    from jax import export

    names, _, program = content.partition(b"\n")
    _register(json.loads(names))
    return export.deserialize(bytearray(program))


def _kinds(structure: Any) -> Iterator[type]:
    """Classes of the named tuples in a structure."""
    node = structure.node_data()
    if node is not None:
        if hasattr(node[0], "_fields"):
            yield node[0]
        for child in structure.children():
            yield from _kinds(child)


@functools.cache
def _registered(name: str) -> None:
    from jax import export

    module, _, kind = name.partition(":")
    if not module.startswith(PACKAGE):
        raise ValueError(f"{name} is no class of the package.")
    named = getattr(importlib.import_module(module), kind)
    export.register_namedtuple_serialization(named, serialized_name=name)


def _register(names: list[str]) -> None:
    """Tell JAX the names of classes, so that it can write and read them."""
    for name in names:
        _registered(name)


def _name_of(function: Any, static: str, structure: Any, leaves: list[Any]) -> str:
    types = [jax.typeof(leaf) for leaf in leaves]
    shapes = [f"{kind} {kind.weak_type}" for kind in types]
    settings = sorted((name, str(value)) for name, value in jax.config.values.items())
    parts = [_source(), function.__module__, function.__qualname__, static, structure, shapes]
    text = repr([*map(str, parts), jax.default_backend(), settings])
    return f"traced-{hashlib.sha256(text.encode()).hexdigest()}"


@functools.cache
def _source() -> str:
    """Digest of all modules of the package: a change of any of them may change a program."""
    digest, root = hashlib.sha256(), Path(bimix_jax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _lasting_name(value: Any) -> str | None:
    """A text that is the same in all processes for equal values, and for no others; None where
    there is none, because a value is of a class of the caller's."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple):
        parts = [_lasting_name(part) for part in value]
        return None if None in parts else f"({', '.join(map(str, parts))},)"
    kind = type(value)
    if not dataclasses.is_dataclass(kind) or not kind.__module__.startswith(PACKAGE):
        return None
    fields = _lasting_name(tuple(getattr(value, f.name) for f in dataclasses.fields(kind)))
    return None if fields is None else f"{kind.__module__}.{kind.__qualname__}{fields}"
