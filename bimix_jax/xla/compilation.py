"""Compilation options of XLA, as far as the installed version has them."""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

from bimix_jax.xla.cache import kept_programs
from bimix_jax.xla.traced import kept_program

Function = TypeVar("Function", bound=Callable[..., Any])

Options = Mapping[str, bool | int | str]

QUICKLY_COMPILED: Options = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 1,
    "xla_cpu_experimental_ynn_fusion_type": "",
}
"""Options for programs that compile for longer than they compute: the searches of laws compile
faster, and run equally fast. Without the last one, XLA gives sums and small products to threads,
for which a step of a search then waits."""
REASSOCIATED: Options = {"xla_cpu_enable_fast_math": True, "xla_cpu_prefer_vector_width": 512}
"""Options for the kernel over batches: sums are reassociated, which vectorises them. Neither option
helps without the other."""
ONE_THREAD: Options = {
    "xla_cpu_multi_thread_eigen": False,
    "xla_disable_hlo_passes": "cpu-parallel-task-assigner,while-loop-invariant-code-motion",
}
"""Options for batches whose threads have a chunk each, which is faster than several threads per
chunk. Nothing is moved out of loops either: recomputing takes less time than reading."""


def cpu_options(*wanted: Options, platform: str | None = None) -> dict[str, Any]:
    """Options for `jax.jit`: none on devices other than CPUs, and only those that XLA has.

    Args:
        wanted: options, by name.
        platform: of the device; default that of JAX's default backend.

    >>> cpu_options(QUICKLY_COMPILED, platform="gpu")
    {}
    """
    if (platform or jax.default_backend()) != "cpu":
        return {}
    every = {name: value for options in wanted for name, value in options.items()}
    if _are_known(tuple(every.items())):
        return every
    return {name: value for name, value in every.items() if _are_known(((name, value),))}


@functools.cache
def _are_known(options: tuple[tuple[str, bool | int | str], ...]) -> bool:
    """Check whether the installed XLA has these options; they come and go with its releases."""
    # Only a compilation tells: `jax.jit` itself takes any name.
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def full_precision(function: Function) -> Function:
    """Compute products within a function with all digits of float32, which GPUs and TPUs round.

    By default the former keep ten bits of a factor and the latter seven, far less than a fit needs
    of a proportion.

    >>> product = full_precision(lambda x: x @ x)
    >>> "HIGHEST" in str(jax.make_jaxpr(product)(jax.numpy.ones(2)))
    True
    """

    @functools.wraps(function)
    def precise(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return precise  # type: ignore[return-value]


class OnceCompiled:
    """A jitted function that is compiled once, even if threads first call it at the same time.

    Otherwise each thread would compile it, at a multiple of the time and memory.

    Args:
        jitted: the function.
        kept: returns a program for given arguments that another process has traced, or None.

    >>> double = OnceCompiled(jax.jit(lambda x: 2 * x))
    >>> print(double(3.0), double.compilations())
    6.0 1
    """

    def __init__(self, jitted: Any, kept: Callable[[Any], Any] = lambda args: None) -> None:
        self.jitted, self.kept = jitted, kept
        self.lock, self.known = threading.Lock(), dict[Any, Any]()

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        # What tells programs apart; a lock for every call would make threads wait for each other.
        shapes = tuple(jax.typeof(leaf) for leaf in jax.tree.leaves(args))
        if shapes in self.known:
            return self.known[shapes](*args)
        with self.lock:
            program = self.known.get(shapes) or self.kept(args) or self.jitted
            found = program(*args)
            self.known[shapes] = program
        return found

    def compilations(self) -> int:
        """Number of shapes it has been compiled for."""
        return len(self.known)


class jit:
    """`jax.jit` with `QUICKLY_COMPILED`, whose options are looked up at the first call.

    They are not looked up at import, so that a device can still be chosen after that. Where
    programs are kept (`use_compilation_cache`), its traced forms are kept, too.

    Args:
        function: pure, not called within another `jit`.
        static_argnums: as for `jax.jit`, the first ones.
        x64: True to compute in double precision, whatever JAX is configured to.
        made_of: what a function within another one is made of, beside its arguments; without it,
            traced forms of such a function are not kept.

    >>> double = jit(lambda x: 2 * x, x64=True)
    >>> print(double(3.0), double(3.0).dtype)
    6.0 float64
    """

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnums: Any = (),
        *,
        x64: bool = False,
        made_of: tuple[Any, ...] = (),
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.static_argnums, self.x64 = function, static_argnums, x64
        self.made_of, self.known = made_of, dict[Any, Any]()

    @functools.cached_property
    def jitted(self) -> Any:
        """Function that `jax.jit` returns."""
        return jax.jit(
            self.function,
            static_argnums=self.static_argnums,
            compiler_options=cpu_options(QUICKLY_COMPILED),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        with jax.enable_x64(True) if self.x64 else contextlib.nullcontext():
            if kept_programs() is None or not self._is_named:
                return self.jitted(*args, **kwargs)
            static, program = self._program(args, kwargs)
            return program(*args[static:], **kwargs)

    @functools.cached_property
    def _is_named(self) -> bool:
        """True where its module and its name tell the function from all others."""
        if self.made_of:
            return True
        found: Any = sys.modules.get(self.function.__module__)
        # A partial function has no name.
        for name in getattr(self.function, "__qualname__", "").split("."):
            found = getattr(found, name, None)
        return getattr(found, "function", found) is self.function

    def _program(self, args: Any, kwargs: Any) -> tuple[int, Callable[..., Any]]:
        """The program for these arguments, and the number of arguments that it does not take."""
        count = len(self.static_argnums) if isinstance(self.static_argnums, tuple) else 1
        static, arrays = args[:count], (args[count:], kwargs)
        leaves, structure = jax.tree.flatten(arrays)
        key = static, structure, tuple(map(jax.typeof, leaves))
        if key not in self.known:
            bound = functools.partial(self.function, *static)
            functools.update_wrapper(bound, self.function)
            parts = (*self.made_of, *static)
            found = kept_program(bound, parts, arrays, cpu_options(QUICKLY_COMPILED))
            self.known[key] = (0, self.jitted) if found is None else (count, found)
        return self.known[key]

    def compilations(self) -> int:
        """Number of shapes it has been compiled for."""
        return self.jitted._cache_size() + len(self.known)
