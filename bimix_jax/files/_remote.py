"""Paths such as s3://bucket/runs.csv: read by a local copy, written by one upload."""

import atexit
import contextlib
import errno
import fnmatch
import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
"""Scheme of a URL; drives of Windows have one letter."""
AS_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")
"""The same where `pathlib` has joined the two slashes."""
LOCAL = ("file", "local")
_LOCK = threading.Lock()
_FOLDERS = dict[int, Path]()
"""Folder of the copies, by process: a forked one makes its own."""


class RemotePath(type(Path())):  # type: ignore[misc]
    """A path of fsspec, whose text is the URL, and whose file for `open` and readers is a copy.

    The copy is fetched when `os.fspath` asks for it, and again once the object has changed. It is
    read-only, as only `upload` writes. Folders are listed, not fetched.
    """

    __slots__ = ()

    def __str__(self) -> str:
        # Paths relative to another one have no scheme.
        scheme, *rest = self.parts or ("",)
        return f"{scheme}//{'/'.join(rest)}" if scheme.endswith(":") else super().__str__()

    def __fspath__(self) -> str:
        return os.fspath(_copy_of(self)) if SCHEME.match(str(self)) else str(self)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Kind, size and time of an object; its inode is a hash of the URL."""
        with _errors(self):
            system, name = _system(self)
            info = system.info(name)
            time = _time(system, name)
        kind = stat.S_IFDIR if info["type"] == "directory" else stat.S_IFREG
        inode, seconds = _number(str(self)), time / 1e9
        first = (kind | 0o444, inode, 0, 1, 0, 0, info.get("size") or 0, *[time // 10**9] * 3)
        return os.stat_result((*first, *[seconds] * 3, *[time] * 3))

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """True where there is an object, or one below it."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """True where it is an object."""
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """True where objects are below it."""
        return self.exists() and stat.S_ISDIR(self.stat().st_mode)

    def samefile(self, other_path: Any) -> bool:
        """True where the other is the same URL."""
        return self == other_path

    def absolute(self) -> "RemotePath":
        """Return the path, as a URL depends on no working folder."""
        return self

    def resolve(self, strict: bool = False) -> "RemotePath":
        """Return the path, as a URL depends on no working folder."""
        return self

    def iterdir(self) -> Iterator["RemotePath"]:
        """Iterate over the objects and folders of a folder."""
        with _errors(self):
            system, name = _system(self)
            below = [str(each).rstrip("/") for each in system.ls(name, detail=False)]
        for each in below:
            if each != name.rstrip("/"):  # an empty object may stand for the folder itself
                yield self / each.rpartition("/")[2]

    def glob(self, pattern: str, **options: Any) -> Iterator["RemotePath"]:
        """Iterate over the entries of a folder whose names fit."""
        there = self.iterdir() if self.is_dir() else iter(())
        return (each for each in there if fnmatch.fnmatchcase(each.name, pattern))

    def rglob(self, pattern: str, **options: Any) -> Iterator["RemotePath"]:
        """Iterate over the objects of a folder and of those in it whose names fit."""
        with _errors(self):
            system, name = _system(self)
            below = [each[len(name) :].strip("/") for each in system.find(name)]
        return (self / each for each in below if fnmatch.fnmatchcase(Path(each).name, pattern))

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing, as an object makes its folder."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object."""
        if missing_ok and not self.exists():
            return
        with _errors(self):
            system, name = _system(self)
            system.rm_file(name)

    def upload(self, file: Path) -> None:
        """Make the object of a local file, in one upload.

        Object stores show an upload whole or not at all, and keep what was there if it fails.
        """
        with _errors(self):
            system, name = _system(self)
            system.put_file(os.fspath(file), name)


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a path; one with a scheme, such as s3://bucket/runs.csv, is a `RemotePath`.

    Raises:
        ValueError: if the package for the scheme is missing, or no package knows it.

    >>> as_path("runs.csv").name, str(as_path("memory://sweeps/runs.csv"))
    ('runs.csv', 'memory://sweeps/runs.csv')
    """
    if isinstance(path, RemotePath):
        return path
    text = path if isinstance(path, str) else os.fspath(path)
    found = SCHEME.match(text)
    if found is None and not isinstance(path, str):
        joined = AS_PATH.match(text)
        found = joined if joined and not os.path.exists(f"{joined[1]}:") else None
    if found is None:
        return Path(path)
    scheme, rest = found[1].lower(), text[found.end() :].lstrip("/")
    if scheme in LOCAL:
        return Path("/" + rest)
    url = f"{scheme}://{rest}"
    _check_scheme(scheme, url)
    remote = RemotePath(url)
    with _errors(remote):
        _system(remote)[0].invalidate_cache()  # others may have written since it was listed
    return remote


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that does not depend on the working folder, without .. in it; links stay."""
    given = as_path(path)
    return given if isinstance(given, RemotePath) else Path(os.path.abspath(given))


def _check_scheme(scheme: str, url: str) -> None:
    """Raise ValueError unless the packages for a scheme are installed."""
    try:
        from fsspec.registry import get_filesystem_class, known_implementations
    except ImportError as error:
        raise ValueError(
            f"{url} needs the package fsspec: python -m pip install 'bimix_jax[remote]'."
        ) from error
    try:
        get_filesystem_class(scheme)
    except ImportError as error:
        raise ValueError(
            f"{url} needs a package that is missing. {known_implementations[scheme]['err']} "
            "(python -m pip install PACKAGE)."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{url}: fsspec knows no scheme {scheme!r}; expected one such as s3, gs, hf, az or "
            "https, or a path without a scheme."
        ) from error


def _system(path: RemotePath) -> tuple[Any, str]:
    """File system of a path, and its name there."""
    import fsspec

    system, name = fsspec.core.url_to_fs(str(path))
    return system, name


def _time(system: Any, name: str) -> int:
    """Nanoseconds since 1970 of the last change; where unknown, a number that changes with it."""
    try:
        return int(system.modified(name).timestamp() * 1e6) * 1000
    except Exception:  # each file system raises its own where it knows no time
        return _number(system.ukey(name)) >> 2


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


def _copy_of(path: RemotePath) -> Path:
    """Return the local copy of an object as it is now."""
    with _errors(path):
        system, name = _system(path)
        if system.isdir(name):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        version = _number(system.ukey(name))
    copy = _folder() / f"{_number(str(path)):x}" / f"{version:x}" / path.name
    if copy.exists():
        return copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=copy.parent)
    os.close(handle)
    with _errors(path):
        system.get_file(name, beside)
    os.chmod(beside, 0o444)
    os.replace(beside, copy)
    return copy


def _folder() -> Path:
    """Folder of the copies of this process, removed when it ends."""
    with _LOCK:
        process = os.getpid()
        if process not in _FOLDERS:
            _FOLDERS[process] = Path(tempfile.mkdtemp(prefix="bimix_remote_"))
            atexit.register(remove_copies)
        return _FOLDERS[process]


def remove_copies() -> None:
    """Remove all copies of this process."""
    shutil.rmtree(_FOLDERS.pop(os.getpid(), ""), ignore_errors=True)


def drop_copy(path: Path) -> None:
    """Remove the copies of an object that need not be read again; a local file stays."""
    folder = _FOLDERS.get(os.getpid())
    if isinstance(path, RemotePath) and folder is not None:
        shutil.rmtree(folder / f"{_number(str(path)):x}", ignore_errors=True)


@contextlib.contextmanager
def _errors(path: RemotePath) -> Iterator[None]:
    """Turn the errors of all file systems into those of local files, with the URL."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except IsADirectoryError:
        raise
    except Exception as error:  # each has its own: of the network, of credentials
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise OSError(errno.EIO, reason, str(path)) from error
