"""Private: commands that parse, call the package and print, without logic of their own.

`main` is the one boundary between the commands and a person: every error of a command ends there as
one paragraph and an exit code.
"""

import os
import signal
import sys
import warnings
from types import FrameType

DEBUG = "--debug"
RENAMED = {"--meaning": "--metadata"}
"""Options that scripts know by an older name."""
FAILED = 2
"""Exit code of all failures."""
NEW_LINE = "\n"
"""Separator of the findings in an error with several."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Stopped(BaseException):
    """A signal that ends the command; libraries do not mistake it for a KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        self.number = number


def main() -> None:
    """Run `bimix`; an error ends in one paragraph and exit code 2, a signal in 128 + its number."""
    # The option may stand anywhere, also behind the command, where typer would refuse it.
    arguments = [RENAMED.get(each, each) for each in sys.argv[1:] if each != DEBUG]
    debug = len(arguments) < len(sys.argv) - 1
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        _run(arguments)
    except _Stopped as stopped:
        _say(f"stopped by {signal.Signals(stopped.number).name}; nothing half-written was left.")
        _leave(128 + stopped.number)
    except Exception as error:
        if debug:
            raise
        _say(_paragraph(error))
        sys.exit(FAILED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(arguments: list[str]) -> None:
    from bimix_jax import SweepWarning
    from bimix_jax.cli.app import app

    with warnings.catch_warnings():
        # The commands print the notes of a sweep themselves, its warnings included.
        warnings.simplefilter("ignore", SweepWarning)
        warnings.showwarning = _say
        app(arguments)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise _Stopped(number)


def _leave(code: int) -> None:
    """End the process now; a usual exit would wait for the threads of a fit or a compilation."""
    # `os._exit` does not flush buffers.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _paragraph(error: Exception) -> str:
    """Return an error in words; an unexpected one also names the way to its traceback."""
    said = str(error).strip()
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

    print(f"bimix: {printable(message, but=NEW_LINE)}", file=sys.stderr)
