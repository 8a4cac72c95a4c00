"""What ends a command at once: an interrupt, or a request to terminate."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from bimix_jax.cli import waiting
from bimix_jax.files import remove_unfinished

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = "\x1b[?25h"
"""Code for a terminal whose cursor a progress bar hides."""
PATIENCE = 0.5
"""Seconds for the main thread to end the process itself."""


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the process where a signal comes within the block, see `_stop`.

    Python calls a handler between two steps of the main thread. One that has just begun to wait, or
    that computes within compiled code, would go on, so a thread of its own looks after it.
    """
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    # Sockets, as no pipe of Windows can do this.
    listener, speaker = socket.socketpair()
    speaker.setblocking(False)
    heard = signal.set_wakeup_fd(speaker.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(listener,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(heard)
        speaker.close()  # the end of what the thread reads
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(listener: socket.socket) -> None:
    """Stop the process some time after each signal, whose number Python sends."""
    with listener:
        for number in iter(lambda: listener.recv(1), b""):
            if number[0] in SIGNALS:
                time.sleep(PATIENCE)
                _end(number[0])


def _stop(number: int, frame: FrameType | None) -> None:
    """End the process now, with nothing half-written left, and 128 + the signal as its code.

    An exception would not do: where a callback is running, of the garbage collector for example,
    it is dropped and the command goes on, and in the start of a compiled module it aborts. A usual
    exit would wait for the threads of a fit or a compilation.
    """
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    _end(number)


def _end(number: int) -> None:
    remove_unfinished()
    name = signal.Signals(number).name
    with contextlib.suppress(Exception):  # the signal may have come in the middle of a write
        sys.stdout.flush()
        sys.stderr.flush()
    shown = f"{waiting.ERASED}{SHOW_CURSOR}" if sys.stderr.isatty() else ""
    os.write(2, f"{shown}bimix: stopped by {name}; nothing half-written was left.\n".encode())
    os._exit(128 + number)
