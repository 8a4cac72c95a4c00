"""Private: commands that parse, call the package and print, without logic of their own.

`main` is the one boundary between the commands and a person: every error of a command ends there as
one paragraph and an exit code.
"""

import atexit
import gc
import os
import sys
import warnings

from bimix_jax.cli import waiting
from bimix_jax.cli._signals import ended_by_signals
from bimix_jax.cli.wording import error_in_options, in_options, use_options

DEBUG, NO_CACHE = "--debug", "--no-cache"
"""Options that may stand anywhere, also behind the command, where typer would refuse them."""
FILES = {
    "decide": "decide",
    "import": "import_logs",
    "check": "check",
    "fit": "fit",
    "predict": "fit",
    "evaluate": "fit",
    "compare": "fit",
    "optimize": "optimize",
    "certainty": "decisions",
    "path": "decisions",
    "tradeoff": "decisions",
    "sensitivity": "decisions",
    "propose": "decisions",
    "batch": "batch",
    "bench": "batch",
    "entropy": "entropy",
    "demo": "demo",
    "guide": "guide",
}
"""Command → its file, where the function has the command's name, or else that of the file."""
RENAMED = {"--meaning": "--metadata"}
"""Options that scripts know by an older name."""
FAILED = 2
"""Exit code of all failures."""
NEW_LINE = "\n"
"""Separator of the findings in an error with several."""
RARELY = 100_000, 50, 100
"""Thresholds of the garbage collector: tracing makes many objects, nearly all of which stay."""


def main() -> None:
    """Run `bimix`; an error ends in one paragraph and exit code 2, a signal in 128 + its number."""
    given = [RENAMED.get(each, each) for each in sys.argv[1:]]
    debug, uncached = DEBUG in given, NO_CACHE in given
    arguments = [each for each in given if each not in (DEBUG, NO_CACHE)]
    if arguments and arguments[0] in FILES:
        waiting.show(f"bimix {arguments[0]}: loading")
    use_options({})
    thresholds = gc.get_threshold()
    gc.set_threshold(*RARELY)
    # A last search for garbage among all that JAX made takes a quarter of a short command's time.
    atexit.register(gc.freeze)
    with ended_by_signals():
        try:
            _run([NO_CACHE, *arguments] if uncached else arguments)
        except Exception as error:
            if debug:
                raise
            _say(_paragraph(error))
            sys.exit(FAILED)
        finally:
            waiting.clear()
            gc.set_threshold(*thresholds)


def _run(arguments: list[str]) -> None:
    from bimix_jax import SweepWarning
    from bimix_jax.cli.app import app

    with warnings.catch_warnings():
        # The commands print the notes of a sweep themselves, its warnings included.
        warnings.simplefilter("ignore", SweepWarning)
        warnings.showwarning = _say
        app(arguments)


def _paragraph(error: Exception) -> str:
    """Return an error in words; an unexpected one also names the way to its traceback."""
    said = error_in_options(str(error).strip())
    if isinstance(error, MemoryError):
        return f"the memory is not enough ({said or 'no number is known'}); use a smaller input."
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'the output'}: {error.strerror}."
    if isinstance(error, (ValueError, OSError)) and said:
        return said
    if isinstance(error, RuntimeError) and "backend" in said and "JAX_PLATFORMS" in os.environ:
        return (
            f"JAX_PLATFORMS is {os.environ['JAX_PLATFORMS']!r}, which names no platform that JAX "
            "finds here; unset it, or set it to cpu."
        )
    line = (said or "no message").splitlines()[0]
    return f"{type(error).__name__}: {line}. {DEBUG} shows where it happened; please report it."


def _say(message: object, *where: object, **more: object) -> None:
    from bimix_jax.printable import printable

    waiting.clear()
    print(f"bimix: {in_options(printable(message, but=NEW_LINE))}", file=sys.stderr)
