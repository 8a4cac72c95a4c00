"""Entropies of a corpus on disk, with a file or a folder per domain."""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np

from bimix_jax.cluster import Cluster
from bimix_jax.entropy._columns import TEXT_FIELD
from bimix_jax.entropy._counts import Given
from bimix_jax.entropy._documents import Reader
from bimix_jax.entropy._domain_files import (
    BYTES,
    Domain,
    Source,
    Tokenizer,
    domain_name,
    find_domain,
    load_tokenizer,
    noted,
    read_domain,
)
from bimix_jax.entropy._files import PLAIN, form_of
from bimix_jax.entropy._streams import Stream
from bimix_jax.entropy.domains import Entropies, Progress, token_entropies
from bimix_jax.files import absolute_path, as_path, temporary_folder
from bimix_jax.reading.errors import EntropyWarning
from bimix_jax.reading.names import spelling
from bimix_jax.reading.settings import settings_of

if TYPE_CHECKING:
    import pandas as pd

Paths = Mapping[str, str | Path] | Iterable[str | Path]


class _Given(TypedDict, total=False):
    """The fields of `_Asked` that have a default, as keyword arguments."""

    tokenizer: str | Path | None
    dtype: str | None
    text_field: str | Mapping[str, str]
    end_of_document: int | None
    embeddings: Mapping[str, str | Path | np.ndarray] | None
    word_vectors: str | Path | None
    curve: bool
    cache: str | Path | None
    workers: int | None
    cluster: Cluster | None


@dataclasses.dataclass(frozen=True)
class _Asked:
    """Settings of the entropies of a corpus; `corpus_entropies` explains them.

    Raises:
        ValueError: on settings that do not go together, or a vocabulary below 1.
    """

    vocabulary: int | None = None
    sequence_length: int = 1024
    tokenizer: str | Path | None = None
    dtype: str | None = None
    text_field: str | Mapping[str, str] = TEXT_FIELD
    end_of_document: int | None = None
    embeddings: Mapping[str, str | Path | np.ndarray] | None = None
    word_vectors: str | Path | None = None
    curve: bool = True
    cache: str | Path | None = None
    workers: int | None = None
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        if self.vocabulary is not None and self.vocabulary < 1:
            raise ValueError(f"vocabulary is {self.vocabulary}; expected a whole number above 0.")
        if self.embeddings is not None and self.word_vectors is not None:
            raise ValueError("embeddings and word_vectors are both given; expected one of them.")
        if self.cluster is not None and self.cluster.is_elsewhere and self.cache is None:
            raise ValueError(
                "cache is missing; expected a folder that all machines of the cluster share "
                "(cache= or --cache)."
            )

    @property
    def of_count(self) -> Given:
        """The settings that `token_entropies` takes."""
        return Given(
            end_of_document=self.end_of_document,
            curve=self.curve,
            workers=self.workers,
        )


def corpus_entropies(
    domains: Paths,
    vocabulary: int | None = None,
    sequence_length: int = 1024,
    *,
    progress: Progress = lambda domain, size: None,
    **settings: Unpack[_Given],
) -> Entropies:
    """Compute SE, CE, JE and, given embeddings, VNE of the domains of a corpus on disk.

    Args:
        domains: files or folders, one per domain, by name; without names, the files give them.
            Text (.txt, .jsonl, .json, each also .gz, .zst, .bz2 or .xz, .parquet,
            .arrow) or token ids (.npy, .bin, .ds, or lists of them in records and tables).
        vocabulary: number of token types, for token ids; of the tokenizer if None.
        sequence_length: tokens per training sequence.
        progress: called with a domain and bytes done; each byte is done twice, read and counted.
        settings: how files are read and tokens counted.

            - tokenizer: a tokenizer.json, or "bytes", for text; default None.
            - dtype: "uint16" or "uint32", for files of ids without a header; by default the range
              of the ids decides.
            - text_field: key or column that holds the text or the token ids; of all domains, or by
              domain ("text" for those that are not named); default "text".
            - end_of_document: token after which a document ends, if token ids mark it so; default
              None.
            - embeddings: (samples, dimensions) arrays or .npy files by domain, for VNE; default
              None.
            - word_vectors: a .vec file; VNE is then of the mean word vectors of documents (of
              paragraphs in .txt files); default None.
            - curve: as in `token_entropies`, but by default True.
            - cache: folder that keeps tokenised text, so that a second call, or one after a crash,
              continues with the next domain; default a temporary folder.
            - workers: number of threads that count; default one per core.
            - cluster: a `bimix_jax.cluster.Cluster`, whose workers count every file apart: then
              sequences begin anew with every file, there is no curve, and files that cannot be
              read are in `failed`; default None.

    Raises:
        ValueError: if a domain is missing, empty or cannot be read; the message names it. Also on a
            value that a setting cannot have.
        TypeError: on a setting that does not exist.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> _ = (folder / "rich.txt").write_text("the quick brown fox jumps over a lazy dog " * 50)
    >>> _ = (folder / "poor.txt").write_text("ab" * 1000)
    >>> found = corpus_entropies(sorted(folder.glob("*.txt")), tokenizer="bytes")
    >>> found.mixtures()["CE"].round(2).to_dict()
    {'poor': 0.32, 'rich': 0.68}
    """
    given = {"vocabulary": vocabulary, "sequence_length": sequence_length, **settings}
    asked = settings_of(_Asked, corpus_entropies, given)
    loaded = None if asked.tokenizer is None else load_tokenizer(asked.tokenizer)
    notes = list[str]()
    with _folder(asked.cache) as folder, noted(notes):
        found = _found(domains, asked.text_field)
        _warn_of(found)
        source = Source(folder, loaded, vocabulary, asked.dtype)
        count = _count_here if asked.cluster is None else _count_on_cluster
        entropies, said = count(found, source, asked, progress)
        notes += [*said, *_unused(found, source)]
        spectra = _von_neumann(found, asked)
    return dataclasses.replace(
        entropies, von_neumann=spectra, notes=(*entropies.notes, *dict.fromkeys(notes))
    )


def _count_here(
    found: dict[str, Domain], source: Source, asked: _Asked, progress: Progress
) -> tuple[Entropies, list[str]]:
    """Return the entropies, counted by threads, and sentences on skipped parts."""
    streams, said = _streams(found, source, progress)
    entropies = token_entropies(
        streams,
        _vocabulary(asked.vocabulary, source.tokenizer),
        asked.sequence_length,
        progress=lambda name, share: progress(name, share * found[name].bytes),
        **asked.of_count,
    )
    return entropies, said


def _count_on_cluster(
    found: dict[str, Domain], source: Source, asked: _Asked, progress: Progress
) -> tuple[Entropies, list[str]]:
    """Return the entropies, counted by a cluster, and sentences on skipped parts."""
    from bimix_jax.entropy._shards import CountFile, count_on

    assert asked.cluster is not None
    work = CountFile(
        str(source.folder.resolve()),
        _whole_path(asked.tokenizer),
        _vocabulary(asked.vocabulary, source.tokenizer),
        asked.vocabulary,
        asked.sequence_length,
        asked.end_of_document,
        asked.dtype,
    )
    counts, said, failed = count_on(asked.cluster, found, work)
    if asked.curve:
        said.append("A cluster counts each file once, so there is no curve over the tokens.")
    return dataclasses.replace(Entropies.of(counts), failed=tuple(failed)), said


def _whole_path(tokenizer: str | Path | None) -> str | None:
    """Return a tokenizer as machines with other working folders find it."""
    if tokenizer is None or str(tokenizer) == BYTES:
        return None if tokenizer is None else BYTES
    return str(absolute_path(tokenizer))


def _streams(
    found: dict[str, Domain], source: Source, progress: Progress
) -> tuple[dict[str, list[Stream]], list[str]]:
    """Return the streams of every domain, and sentences on skipped parts."""
    streams, notes = dict[str, list[Stream]](), list[str]()
    for name, domain in found.items():
        read, said = read_domain(domain, source, functools.partial(progress, name))
        streams[name] = list(read)
        notes += said
    return streams, notes


def corpus_bytes(domains: Paths, text_field: str | Mapping[str, str] = TEXT_FIELD) -> int:
    """Return the size of all files of a corpus, for the length of a progress bar."""
    return sum(domain.bytes for domain in _found(domains, text_field).values())


def named_paths(given: Iterable[str]) -> dict[str, str]:
    """Return paths by name; NAME=PATH is split unless it is a path itself.

    Raises:
        ValueError: if two domains have one name.

    >>> named_paths(["corpus/web.jsonl", "code=src/"])
    {'web': 'corpus/web.jsonl', 'code': 'src/'}
    """
    paths = dict[str, str]()
    for item in given:
        name, equals, path = item.partition("=")
        if not equals or as_path(item).exists():
            name, path = domain_name(item), item
        if name in paths:
            raise ValueError(f"two domains are called {name}; name them as NAME=PATH.")
        paths[name] = path
    return paths


def _found(domains: Paths, text_field: str | Mapping[str, str]) -> dict[str, Domain]:
    if isinstance(domains, Mapping):
        named = [(str(name), path) for name, path in domains.items()]
    else:
        named = [(domain_name(path), path) for path in domains]
    _check_names([name for name, _ in named])
    fields = _fields([name for name, _ in named], text_field)
    return {name: find_domain(path, name, fields[name]) for name, path in named}


def _fields(names: list[str], text_field: str | Mapping[str, str]) -> dict[str, str]:
    """Return the field of every domain."""
    if isinstance(text_field, str):
        return dict.fromkeys(names, text_field)
    unknown = [name for name in text_field if name not in names]
    if unknown:
        raise ValueError(
            f"text_field: {unknown[0]!r} is not a domain; expected {', '.join(names)}."
        )
    return dict.fromkeys(names, TEXT_FIELD) | dict(text_field)


def _check_names(names: list[str]) -> None:
    """Raise ValueError unless domains have names that differ by more than case or spacing."""
    if not names:
        raise ValueError("domains: there is none; expected at least one, as PATH or NAME=PATH.")
    seen = dict[str, str]()
    for name in names:
        if not name.strip() or name in (".", "..") or Path(name).name != name or "\0" in name:
            raise ValueError(
                f"domains: {name!r} cannot be a name; expected one without slashes. Name the "
                "domain as NAME=PATH."
            )
        other = seen.setdefault(spelling(name), name)
        if other != name or names.count(name) > 1:
            called = name if other == name else f"{other!a} and {name!a}, which are one"
            raise ValueError(
                f"domains: two domains are called {called}; expected different names. Give them "
                "as NAME=PATH."
            )


def _warn_of(found: dict[str, Domain]) -> None:
    for note in dict.fromkeys(note for domain in found.values() for note in domain.notes):
        warnings.warn(note, EntropyWarning, stacklevel=4)


def _vocabulary(given: int | None, tokenizer: Tokenizer | None) -> int:
    """Return the tokenizer's vocabulary, or the given one, whichever is larger."""
    return max(given or 0, tokenizer.vocabulary if tokenizer else 0)


def _unused(found: dict[str, Domain], source: Source) -> Iterator[str]:
    """Yield sentences on settings that had no effect."""
    no_text = not any(domain.text for domain in found.values())
    # Without a stated vocabulary, ids take that of the tokenizer, so it was used.
    if source.tokenizer and source.vocabulary and no_text:
        yield f"The tokenizer {source.tokenizer.name} was not used, as no domain holds text."
    if source.dtype and all(domain.text or domain.field for domain in found.values()):
        yield f"The dtype {source.dtype} was not used, as no domain is a file of token ids."


@contextlib.contextmanager
def _folder(cache: str | Path | None) -> Iterator[Path]:
    if cache is None:
        with temporary_folder("bimix_entropy_") as temporary:
            yield temporary
        return
    folder = as_path(cache)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"{cache} is a file; expected a folder for tokenised text (cache= or --cache)."
        )
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _von_neumann(found: dict[str, Domain], asked: _Asked) -> "pd.Series | None":
    if asked.embeddings is None and asked.word_vectors is None:
        return None
    import pandas as pd

    # Only this entropy needs JAX.
    from bimix_jax.entropy.von_neumann import embed, read_word_vectors, von_neumann_entropy

    embeddings = asked.embeddings or {}
    if asked.word_vectors is not None:
        vectors = read_word_vectors(asked.word_vectors)
        embeddings = {name: embed(_samples(d), vectors) for name, d in found.items()}
    missing = sorted(set(found) - set(embeddings))
    if missing:
        raise ValueError(
            f"embeddings: none for {', '.join(missing)}; found {', '.join(embeddings)}. VNE needs "
            "those of every domain."
        )
    arrays = {name: _array(embeddings[name]) for name in found}
    return pd.Series({name: von_neumann_entropy(a, name=name) for name, a in arrays.items()})


def _array(given: str | Path | np.ndarray) -> np.ndarray:
    from bimix_jax.entropy.von_neumann import read_embeddings

    return read_embeddings(given) if isinstance(given, str | Path) else given


def _samples(domain: Domain) -> Iterator[str]:
    """Yield documents, or paragraphs of plain text, which is one document per file."""
    if not domain.text:
        raise ValueError(f"{domain.name} holds token ids; word vectors need text.")
    reader = Reader(domain.field)
    for path in domain.files:
        form = form_of(path)
        plain = form is not None and form.suffix in PLAIN
        for part in reader.parts(path):
            yield from (p for p in part.text.split("\n\n") if p.strip()) if plain else [part.text]
