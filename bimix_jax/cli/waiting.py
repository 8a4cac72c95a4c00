"""A line on the terminal while a command has nothing to show yet; a pipe gets only long waits.

It names the stage, and after a second it counts the time, so that a slow command is seen to work.
"""

import sys
import threading
import time

ERASED = "\r\x1b[2K"
"""Code for a terminal: back to the first column, and the line is empty."""
TICK = 1.0
"""Seconds between two counts of the time."""
_shown: list[str] = []
"""The text on the screen, if there is one."""
_lock = threading.RLock()
"""Held while the screen changes, so that no count is written after the line is cleared."""
_clock: list[threading.Thread] = []
"""The thread that counts, while there is a text."""
_begun: list[float] = []
"""Time at which the first text was shown; one clock for all stages of a command."""


def show(text: str) -> None:
    """Show a text until `clear` is called, in place of the one before."""
    if not sys.stderr.isatty():
        return
    with _lock:
        if not _begun:
            _begun[:] = [time.monotonic()]
        _shown[:] = [text]
        _write(f"{ERASED}{text} …")
        if not _clock:
            _clock[:] = [threading.Thread(target=_count, daemon=True)]
            _clock[0].start()


def announce(text: str) -> None:
    """Show a text, in a pipe as a line: for what takes so long that whoever waits should know."""
    if sys.stderr.isatty():
        show(text)
    else:
        _write(f"{text}\n")


def clear() -> None:
    """Take the text away; called before anything else is printed."""
    with _lock:
        if _shown:
            _shown.clear()
            _write(ERASED)


def _count() -> None:
    """Write the time behind the text until there is none."""
    while True:
        time.sleep(TICK)
        with _lock:
            if not _shown:
                _clock.clear()
                return
            _write(f"{ERASED}{_shown[0]} … {time.monotonic() - _begun[0]:.0f} s")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
