"""Checks of files to read, and atomic writing: a file is written whole or not at all."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from bimix_jax.files._remote import RemotePath, as_path, remove_copies

try:
    import fcntl
except ImportError:  # Windows has none; leftovers of killed runs then stay
    fcntl = None  # type: ignore[assignment]

FIT_KIND = "bimix_jax fit"
"""Entry kind of a saved fit."""
TABLE_ENDINGS = (".csv", ".csv.gz", ".parquet", ".jsonl", ".ndjson", ".tsv", ".tsv.gz")
PARTIAL = ".partial"
"""Part of the name of a file that is being written."""
_UNFINISHED = set[Path]()
"""Files and folders of this process that are not to stay."""


def check_readable(path: str | Path, expected: str) -> Path:
    """Return the path if it is a readable file, else raise an error that says what is there.

    Args:
        path: path of the file.
        expected: the expected content, for the message: "a table of runs".

    Raises:
        FileNotFoundError: if the path does not exist.
        IsADirectoryError: if it is a folder.
        OSError: if it is a named pipe, a socket or a device, which could block for ever.
        ValueError: if the package for the scheme of a URL is missing.

    >>> check_readable(tempfile.gettempdir(), "a table of runs")
    Traceback (most recent call last):
    IsADirectoryError: ... is a folder; expected a file with a table of runs.
    """
    path = as_path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; expected {expected} there.") from None
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError:  # a NUL byte in the name
        raise FileNotFoundError(f"{str(path)!r} is not a path; expected {expected}.") from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder; expected a file with {expected}.")
    if not stat.S_ISREG(mode):
        raise OSError(f"{path} is {_kind(mode)}; expected a file with {expected}.")
    return path


def _kind(mode: int) -> str:
    kinds = {
        "a named pipe": stat.S_ISFIFO(mode),
        "a socket": stat.S_ISSOCK(mode),
        "a device": stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    }
    return next((kind for kind, is_it in kinds.items() if is_it), "not a file")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`; rename it to `path` on success, remove it on failure.

    The new file has the mode of the one that it replaces. For a symbolic link, its
    target is written. Leftovers of a killed process beside `path` are removed. Object stores
    cannot rename: for a path with a scheme, the file is written here and uploaded whole.

    Raises:
        FileNotFoundError: if the folder does not exist.
        IsADirectoryError: if `path` is a folder itself.
        OSError: if it cannot be written; the message names `path` and the reason.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as beside:
    ...     _ = beside.write_text("whole")
    >>> (folder / "a.txt").read_text(), len(list(folder.iterdir()))
    ('whole', 1)
    """
    path = as_path(path)
    check_folder(path)
    if isinstance(path, RemotePath):
        with _uploaded(path) as beside:
            yield beside
        return
    final = Path(os.path.realpath(path))
    handle, beside = _begin(final, path)
    _UNFINISHED.add(beside)
    try:
        yield beside
        beside.chmod(_mode_of(final))
        beside.replace(final)
    except OSError as error:
        if _is_about(error, beside):
            raise _unwritable(error, path) from error
        raise
    finally:
        beside.unlink(missing_ok=True)
        _UNFINISHED.discard(beside)
        if fcntl is not None:
            os.close(handle)


@contextlib.contextmanager
def _uploaded(path: RemotePath) -> Iterator[Path]:
    """Yield a path in a temporary folder, and upload its file to `path` on success."""
    with temporary_folder("bimix_upload_") as folder:
        yield folder / path.name
        try:
            path.upload(folder / path.name)
        except OSError as error:
            raise _unwritable(error, path) from error


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder among the system's temporary ones, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        _UNFINISHED.add(Path(name))
        try:
            yield Path(name)
        finally:
            _UNFINISHED.discard(Path(name))


def remove_unfinished() -> None:
    """Remove what a process that ends at once has open: files beside others, folders, copies.

    >>> with atomic_path(Path(tempfile.mkdtemp()) / "a.txt") as beside:
    ...     remove_unfinished()
    ...     print(beside.exists())
    ...     _ = beside.write_text("whole")
    False
    """
    for path in list(_UNFINISHED):
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
    remove_copies()


def _begin(final: Path, path: Path) -> tuple[int, Path]:
    """Return the name of a new hidden file and its open handle, locked while the process lives."""
    # File systems limit names to 255 bytes; a random part and the suffix are added.
    name = f".{final.name}"[:100]
    try:
        _remove_leftovers(final.parent, name)
        while True:
            handle, beside = tempfile.mkstemp(
                prefix=f"{name}.", suffix=f"{PARTIAL}{final.suffix}", dir=final.parent
            )
            if fcntl is None:
                os.close(handle)  # Windows renames no file that is open
                return handle, Path(beside)
            if _is_held(handle, beside):
                return handle, Path(beside)
            os.close(handle)
    except OSError as error:
        raise _unwritable(error, path) from error


def _is_held(handle: int, beside: str) -> bool:
    """Lock a new file; False where another process took it for a leftover before it was locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False  # the other process removes it next
    except OSError:
        return True  # some network file systems have no locks
    return os.path.exists(beside)


def _remove_leftovers(folder: Path, name: str) -> None:
    """Remove unfinished files of this name whose process has ended, so that their lock is free."""
    if fcntl is None:
        return
    for entry in os.scandir(folder):
        if not (entry.name.startswith(f"{name}.") and PARTIAL in entry.name):
            continue
        with contextlib.suppress(OSError):
            # A lock held by a running process raises OSError, and the file is kept.
            handle = os.open(entry.path, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
            finally:
                os.close(handle)


def _mode_of(path: Path) -> int:
    """Return the mode for a new file at `path`: that of the file there, else the usual one."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _is_about(error: OSError, beside: Path) -> bool:
    """True where the error comes from writing the file, not from the code that made its content."""
    return error.filename is None or str(error.filename) == str(beside)


def _unwritable(error: OSError, path: Path) -> OSError:
    if error.errno is None:
        return error  # its message names the cause
    reason = error.strerror or str(error)
    return type(error)(f"{path} cannot be written: {reason}. Nothing was changed.")


def check_folder(path: str | Path) -> None:
    """Raise OSError unless `path` is a file, there or not, in a folder that exists."""
    path = as_path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it.")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is {_kind(path.stat().st_mode)}; name a file to write.")
    if isinstance(path, RemotePath):
        return  # an object makes its folder
    folder = Path(os.path.realpath(path)).parent
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, so {path.name} cannot be written in it.")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The folder {path.parent} does not exist, so {path.name} cannot be written there; "
            "create it first."
        )


def check_apart(sources: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Raise ValueError if an output would overwrite one of its own sources."""
    there = [path for path in sources if path is not None and path.exists()]
    for output in outputs:
        if output is not None and any(output.exists() and output.samefile(p) for p in there):
            raise ValueError(f"{output} is an input itself; name another file to write.")


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to `path`, whole or not at all.

    Raises:
        OSError: if it cannot be written; the message names `path` and the reason.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as beside:
        beside.write_bytes(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
