"""Compiled programs that are kept for the next process, in a folder of the user's.

JAX's own cache names every program by all that decides its code, and turns programs to bytes and
back; that part is used. Its files are not: they are written in place, so that a killed process or a
full disk leaves half of one, and a damaged one is never replaced. Here a file is written beside and
renamed, begins with a checksum, and is removed and compiled anew where that does not hold.
"""

import contextlib
import hashlib
import os
import platform
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jaxlib

from bimix_jax import __version__
from bimix_jax.files import RemotePath, as_path, write_atomically

VARIABLE = "BIMIX_CACHE"
"""Environment variable: "off", or the folder."""
ELSEWHERE = f"set {VARIABLE} to a folder that is yours alone, or to off."
"""End of every refusal."""
OFF = ("off", "no", "none", "false", "0")
MOST = 256 * 2**20
"""Bytes in the folder, above which the programs that were not used for longest are removed."""
CHECKSUM = hashlib.sha256().digest_size
"""Bytes before the program in every file."""
PROCESSORS = Path("/proc/cpuinfo")
OF_PROCESSOR = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU ")
"""Beginnings of the lines there that tell processors apart, on x86 and ARM."""


def use_compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs for the next process, and take those of earlier ones.

    It is a setting of the whole process, because JAX has one cache per process: programs of yours
    are kept, too. The `bimix` command calls it; a program of yours has to ask for it. A cache
    directory that JAX is already given is left as it is.

    Whoever can write to the folder decides what this process runs, so it has to belong to the user
    and be closed to the writing of others; it is made so if it does not exist.

    Args:
        folder: default the one that the environment variable BIMIX_CACHE names, or else `bimix_jax`
            in the user's folder of caches, $XDG_CACHE_HOME or ~/.cache.

    Returns:
        The folder in use, for programs of this version, of JAX's and of this processor; None where
        BIMIX_CACHE is "off" or JAX is given no directory by intent.

    Raises:
        PermissionError: if others can write to the folder; the message says which and how.
        OSError: if the folder cannot be made.
        RuntimeError: if this version of JAX has no cache that could be used so.
    """
    given: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if given is not None:
        return Path(given) if given else None
    root = _cache_folder() if folder is None else as_path(folder)
    if root is None:
        return None
    if isinstance(root, RemotePath):
        raise OSError(f"{root} is not on a disk; name a folder that is (folder= or {VARIABLE}).")
    mark = _fingerprint()
    place = _closed_folder(_closed_folder(root.expanduser().absolute()) / mark)
    _install(_Programs(place, mark))
    return place


def kept_programs() -> "_Programs | None":
    """The programs in use, None where none are kept or JAX was since given another directory."""
    directory: Any = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return _INSTALLED.get(directory)


def _cache_folder() -> Path | None:
    """Return the folder of all versions, None if BIMIX_CACHE is "off"."""
    named = os.environ.get(VARIABLE, "")
    if named.lower() in OFF:
        return None
    if named:
        return as_path(named)
    caches = os.environ.get("XDG_CACHE_HOME", "")
    # By its specification the variable counts only with an absolute path.
    return (Path(caches) if os.path.isabs(caches) else Path.home() / ".cache") / "bimix_jax"


def _fingerprint() -> str:
    """Return a name for all that makes a program of another process wrong here.

    JAX's names of programs hold the computation, the version of jaxlib, the options and the device;
    whether they hold every feature of a processor depends on the version.
    """
    machine = [platform.system(), platform.machine(), *_processor()]
    text = "\n".join([__version__, jax.__version__, jaxlib.__version__, *machine])
    return f"jax-{jax.__version__}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _processor() -> list[str]:
    """List what tells processors apart; where the system does not say, the machine's name."""
    with contextlib.suppress(OSError):
        lines = PROCESSORS.read_text(errors="replace").splitlines()
        found = sorted({line for line in lines if line.startswith(OF_PROCESSOR)})
        if found:
            return found
    return [platform.processor(), platform.node()]


def _closed_folder(folder: Path) -> Path:
    """Make the folder if it is not there, and check that nobody else can write to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not hasattr(os, "getuid"):  # Windows: the folders of a user are closed by their lists
        return folder
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(
            f"{folder} belongs to user {found.st_uid}, who could put any code into it, not to user "
            f"{os.getuid()}, who runs this; {ELSEWHERE}"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"others can write to {folder} (mode {stat.S_IMODE(found.st_mode):o}), so its programs "
            f"may be theirs. Delete it, and a new one is made; or {ELSEWHERE}"
        )
    for above in folder.resolve().parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PermissionError(
                f"everybody can write to {above} (mode {stat.S_IMODE(mode):o}), and so replace "
                f"{folder}; {ELSEWHERE}"
            )
    return folder


def _install(programs: "_Programs") -> None:
    """Let JAX's cache keep its programs in ours."""
    # JAX has no public way to choose where its cache writes other than a directory of its own form.
    from jax._src import compilation_cache

    if not hasattr(compilation_cache, "get_file_cache"):
        raise RuntimeError(f"jax {jax.__version__} has a cache that bimix_jax does not know.")
    _INSTALLED[str(programs.place)] = programs
    plain = compilation_cache.get_file_cache

    def get_file_cache(path: str) -> Any:
        return (programs, path) if Path(path) == programs.place else plain(path)

    compilation_cache.get_file_cache = get_file_cache
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", str(programs.place))
    # By default JAX keeps only programs that took a second to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # Caches of XLA's own would write in their own way beside the programs.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


_INSTALLED: dict[str, "_Programs"] = {}
"""Programs that JAX keeps in a folder, by its path."""


class _Programs:
    """Files of compiled programs, one each; whatever goes wrong with one, it is compiled anew."""

    def __init__(self, place: Path, mark: str) -> None:
        self.place, self.mark = place, mark
        self._path = place  # JAX names it in its log

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a program, None if there are none that are sound."""
        path = self.place / key
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            if content[:CHECKSUM] == self._checksum(key, content[CHECKSUM:]):
                with contextlib.suppress(OSError):
                    os.utime(path)  # used now
                return content[CHECKSUM:]
            path.unlink()
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keep the bytes of a program, and remove the oldest beyond `MOST`."""
        with contextlib.suppress(OSError):
            write_atomically(self.place / key, self._checksum(key, value) + value)
            _remove_oldest(self.place.parent, MOST)

    def _checksum(self, key: str, value: bytes) -> bytes:
        """Checksum of a program under its name, for this version and processor and no others."""
        return hashlib.sha256(f"{self.mark}\n{key}\n".encode() + value).digest()


def _remove_oldest(root: Path, most: int) -> None:
    """Remove the files that were not used for longest, until `most` bytes are left."""
    files = sorted(_files(root), reverse=True)
    total = 0
    for _, size, path in files:
        total += size
        if total > most:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _files(root: Path) -> Iterator[tuple[float, int, str]]:
    """Time of last use, size and path of every program, of all versions and processors."""
    for folder in os.scandir(root):
        if folder.is_dir(follow_symlinks=False):
            for file in os.scandir(folder):
                with contextlib.suppress(OSError):  # another process may have removed it
                    found = file.stat(follow_symlinks=False)
                    yield found.st_mtime, found.st_size, file.path
