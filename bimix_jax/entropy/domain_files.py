"""Domains as people have them on disk: a file or a folder each, of tokens or of text."""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

from bimix_jax.entropy import documents, token_files
from bimix_jax.entropy.streams import EntropyWarning, FileStream
from bimix_jax.entropy.token_files import read_token_file
from bimix_jax.entropy.tokenize import Tokenizer, tokenize_files


@dataclasses.dataclass(frozen=True)
class Domain:
    """The files of a domain, all of text or all of tokens."""

    name: str
    files: tuple[Path, ...]
    text: bool

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(path.stat().st_size for path in self.files)


def find_domain(path: str | Path, name: str | None = None) -> Domain:
    """The domain in a file or folder; its name is the file's without extension, or the folder's.

    Files of a folder are taken in order of their names, folders in it too; those of other kinds
    are left out with a warning.

    Raises:
        ValueError: if there is no file of a kind that can be read, or tokens and text are mixed.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected a file or a folder of a domain.")
    found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = tuple(p for p in found if _suffix(p))
    other = [p for p in found if not _suffix(p) and p.suffix != ".idx"]
    known = ", ".join([*token_files.SUFFIXES, *documents.SUFFIXES])
    if not files:
        raise ValueError(f"{path} holds no file that can be read; expected {known}.")
    if other:
        message = f"{path}: {len(other)} files of other kinds left out, such as {other[0].name}."
        warnings.warn(message, EntropyWarning, stacklevel=2)
    kinds = {_suffix(p) in token_files.SUFFIXES for p in files}
    if len(kinds) == 2:
        raise ValueError(f"{path} holds both tokens and text; keep one kind a domain.")
    stem = path.resolve().name if path.is_dir() else path.name.removesuffix(_suffix(path))
    return Domain(name or stem, files, not kinds.pop())


def _suffix(path: Path) -> str:
    known = (*token_files.SUFFIXES, *documents.SUFFIXES)
    return max((s for s in known if path.name.endswith(s)), key=len, default="")


def read_domain(
    domain: Domain,
    vocabulary: int | None,
    tokenizer: Tokenizer | None,
    folder: Path,
    *,
    dtype: str | None = None,
    text_field: str = "text",
    progress: Callable[[int], object] = lambda size: None,
) -> tuple[list[FileStream], list[str]]:
    """The streams of a domain, text tokenised into `folder`, and sentences on what was skipped.

    Raises:
        ValueError: if text has no tokenizer, tokens no vocabulary, or a file cannot be read.
    """
    if not domain.text:
        size = vocabulary or (tokenizer.vocabulary if tokenizer else None)
        if size is None:
            raise ValueError(
                f"{domain.name} holds token ids; give the size of their vocabulary (--vocabulary)."
            )
        streams = [read_token_file(path, size, dtype) for path in domain.files]
        progress(domain.bytes)
        return streams, []
    if tokenizer is None:
        raise ValueError(
            f"{domain.name} holds text; give a tokenizer.json to tokenise it with, or 'bytes' "
            "(--tokenizer)."
        )
    target = folder / f"{domain.name}.bin"
    stream, notes = tokenize_files(domain.files, tokenizer, target, text_field, progress)
    return [stream], notes
