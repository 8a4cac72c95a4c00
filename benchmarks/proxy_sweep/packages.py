"""Debian packages as a source of text: downloaded by apt, unpacked, read and stripped of markup."""

import dataclasses
import gzip
import re
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

DICTIONARY_BLOCK = 32 << 10
"""characters of a document of the dictionary, which is one file"""


def fetch(pattern: str, folder: Path) -> Path:
    """Download the newest package whose whole name matches, unless it is there, and unpack it.

    Returns:
        The folder it was unpacked into, named as the package with its version.

    Raises:
        RuntimeError: if apt or dpkg are missing or fail, or know no such package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _newest(pattern)
    if not _files(folder, name):
        _run(["apt-get", "download", name], folder)
    package = _files(folder, name)[-1]
    target = folder / package.stem
    if not target.exists():
        beside = target.with_name(f".{target.name}")
        _run(["dpkg-deb", "-x", str(package), str(beside)], folder)
        beside.rename(target)
    return target


def _files(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"{name}_*.deb"), key=_numbers)


def _newest(pattern: str) -> str:
    lines = _run(["apt-cache", "search", "--names-only", f"^{pattern}$"], Path()).splitlines()
    names = sorted((line.split()[0] for line in lines), key=_numbers)
    if not names:
        raise RuntimeError(f"apt knows no package {pattern}; this corpus is of Debian 12.")
    return names[-1]


def _numbers(name: str | Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(name))]


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise RuntimeError(f"{command[0]} is missing; run this on Debian 12.") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{' '.join(command)}: {error.stderr.strip()}") from error
    return done.stdout


@dataclasses.dataclass(frozen=True)
class Source:
    """Files and packages of a domain, and their conversion to text."""

    packages: tuple[str, ...]
    """names, as regular expressions"""
    files: str
    """ending of the files"""
    clean: Callable[[str], Iterator[str]] = lambda text: iter([text])
    """documents in a file, without markup"""

    def documents(self, folders: list[Path]) -> Iterator[str]:
        """All documents of unpacked packages, in which bytes that are not UTF-8 are left out."""
        for folder in folders:
            for path in sorted(folder.rglob(f"*{self.files}")):
                if not path.is_symlink() and path.is_file():
                    yield from self._read(path)

    def _read(self, path: Path) -> Iterator[str]:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix in (".gz", ".dz") else data
        yield from self.clean(data.decode(errors="ignore"))


def without_roff_comments(text: str) -> Iterator[str]:
    """A manual page without comments and definitions of macros."""
    lines = [line for line in text.splitlines() if not re.match(r"[.'](\\\"|ie|el|ds)|'\\\"", line)]
    yield "\n".join(lines) + "\n"


def entries(text: str) -> Iterator[str]:
    """Blocks of whole entries of a dictionary in dict format, an empty line between two."""
    block, size = list[str](), 0
    for entry in text.split("\n\n"):
        block.append(entry)
        size += len(entry) + 2
        if size >= DICTIONARY_BLOCK:
            yield "\n\n".join(block) + "\n"
            block, size = [], 0
    if block:
        yield "\n\n".join(block)


def text_of_html(text: str) -> Iterator[str]:
    """Visible text of a page; empty lines in a row become one."""
    page = _Page()
    page.feed(text)
    page.close()
    yield re.sub(r"\s*\n\s*\n\s*", "\n\n", "".join(page.seen)).strip() + "\n"


class _Page(HTMLParser):
    HIDDEN = ("head", "script", "style")

    def __init__(self) -> None:
        super().__init__()
        self.seen = list[str]()
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in self.HIDDEN

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in self.HIDDEN

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.seen.append(data)


DOMAINS = {
    "c": Source((r"linux-headers-[0-9.-]+-common",), ".h"),
    "database": Source(("postgresql-doc-15", "sqlite3-doc"), ".html", text_of_html),
    "dictionary": Source(("dict-gcide",), ".dict.dz", entries),
    "essay": Source(("anarchism",), ".md.gz"),
    "german": Source(("manpages-de",), ".gz", without_roff_comments),
    "perl": Source(("perl-doc",), ".pod"),
    "python": Source(
        (r"libpython3\.11-stdlib", "python3-django", "python3-twisted"), ".py"
    ),
}  # fmt: skip
