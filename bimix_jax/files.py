"""Writing files whole or not at all: beside first, then renamed."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A path beside `path` with its extension; renamed to it on success, removed on failure.

    Raises:
        FileNotFoundError: if the folder does not exist.
        IsADirectoryError: if `path` is a folder itself.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as beside:
    ...     _ = beside.write_text("whole")
    >>> (folder / "a.txt").read_text(), len(list(folder.iterdir()))
    ('whole', 1)
    """
    path = Path(path)
    check_folder(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def check_folder(path: str | Path) -> None:
    """Raise OSError unless `path` is a file, there or not, in a folder that exists."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The folder {path.parent} does not exist, so {path.name} cannot be written there; "
            "create it first."
        )


def check_apart(sources: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Raise ValueError if an output would overwrite a file that it is made from."""
    there = [path for path in sources if path is not None and path.exists()]
    for output in outputs:
        if output is not None and any(output.exists() and output.samefile(p) for p in there):
            raise ValueError(f"{output} is an input itself; name another file to write.")


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to `path`, whole or not at all.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as beside:
        beside.write_bytes(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
