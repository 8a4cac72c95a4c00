"""A progress bar over bytes on the error stream, if that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def byte_bar(what: str, size: Callable[[], int]) -> Iterator[Callable[[str, float], None]]:
    """Yield a function to call with the name of the current item and the bytes done.

    The `size` of all that is to be read is asked for where it is shown, as finding it takes time.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=size() if console.is_terminal else None)
        yield lambda name, done: bar.update(task, description=name, advance=done)
