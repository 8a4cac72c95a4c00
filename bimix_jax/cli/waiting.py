"""A line on the terminal while a command has nothing to show yet; a pipe gets none."""

import sys

ERASED = "\r\x1b[2K"
"""Code for a terminal: back to the first column, and the line is empty."""
_shown: list[str] = []
"""The text on the screen, if there is one."""


def show(text: str) -> None:
    """Show a text until `clear` is called, in place of the one before."""
    if sys.stderr.isatty():
        _shown[:] = [text]
        _write(f"{ERASED}{text} …")


def clear() -> None:
    """Take the text away; called before anything else is printed."""
    if _shown:
        _shown.clear()
        _write(ERASED)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
