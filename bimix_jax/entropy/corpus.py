"""From a corpus on disk to its entropies: every domain a file or a folder."""

import contextlib
import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bimix_jax.entropy.documents import Reader
from bimix_jax.entropy.domain_files import Domain, find_domain, read_domain
from bimix_jax.entropy.domains import Entropies, token_entropies
from bimix_jax.entropy.embeddings import embed, read_embeddings, read_word_vectors
from bimix_jax.entropy.streams import EntropyWarning, Stream
from bimix_jax.entropy.tokenize import Tokenizer, load_tokenizer
from bimix_jax.entropy.von_neumann import von_neumann_entropy

if TYPE_CHECKING:
    import pandas as pd

Paths = Mapping[str, str | Path] | Iterable[str | Path]


def corpus_entropies(
    domains: Paths,
    vocabulary: int | None = None,
    sequence_length: int = 1024,
    *,
    tokenizer: str | Path | None = None,
    dtype: str | None = None,
    text_field: str = "text",
    end_of_document: int | None = None,
    embeddings: Mapping[str, str | Path | np.ndarray] | None = None,
    word_vectors: str | Path | None = None,
    curve: bool = True,
    cache: str | Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    progress: Callable[[str, float], object] = lambda domain, size: None,
) -> Entropies:
    """SE, CE, JE and, given embeddings, VNE of the domains of a corpus on disk.

    Args:
        domains: files or folders, one a domain, by name; or without names, which are then those of
            the files. Text (.txt, .jsonl, each also .gz or .zst, .parquet, .arrow) or token ids
            (.npy, .bin).
        vocabulary: number of token types, for token ids; of the tokenizer if None.
        sequence_length: tokens a training sequence.
        tokenizer: a tokenizer.json, or "bytes", for text.
        dtype: "uint16" or "uint32", for .bin files; found by the range of ids if None.
        text_field: key or column that holds the text.
        end_of_document: token after which a document ends, if token ids mark it so.
        embeddings: (samples, dimensions) arrays or .npy files by domain, for VNE.
        word_vectors: a .vec file; VNE is then of the mean word vectors of documents (of
            paragraphs in .txt files).
        curve: see `token_entropies`.
        cache: folder that keeps tokenised text, so that a second call, or one after a crash, goes
            on with the next domain; a temporary folder if None.
        workers: threads that count; all cores if None.
        device: see `token_entropies`.
        progress: called with a domain and bytes done; each byte is done twice, read and counted.

    Raises:
        ValueError: if a domain is missing, empty or cannot be read; the message names it.

    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "rich.txt").write_text("the quick brown fox jumps over a lazy dog " * 50)
    >>> _ = (folder / "poor.txt").write_text("ab" * 1000)
    >>> found = corpus_entropies(sorted(folder.glob("*.txt")), tokenizer="bytes")
    >>> found.mixtures()["CE"].round(2).to_dict()
    {'poor': 0.32, 'rich': 0.68}
    """
    loaded = None if tokenizer is None else load_tokenizer(tokenizer)
    notes = list[str]()
    with _folder(cache) as folder, _noted(notes):
        found = _found(domains)
        streams = dict[str, list[Stream]]()
        for name, domain in found.items():
            read, said = read_domain(
                domain, vocabulary, loaded, folder, dtype=dtype, text_field=text_field,
                progress=lambda size, name=name: progress(name, size),  # type: ignore[misc]
            )  # fmt: skip
            streams[name] = list(read)
            notes += said
        entropies = token_entropies(
            streams, _vocabulary(found, vocabulary, loaded), sequence_length,
            end_of_document=end_of_document, curve=curve, workers=workers, device=device,
            progress=lambda name, share: progress(name, share * found[name].bytes),
        )  # fmt: skip
        spectra = _von_neumann(found, embeddings, word_vectors, text_field)
    return dataclasses.replace(
        entropies, von_neumann=spectra, notes=(*entropies.notes, *dict.fromkeys(notes))
    )


def corpus_bytes(domains: Paths) -> int:
    """Size of all files of a corpus, for the length of a progress bar."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EntropyWarning)
        return sum(domain.bytes for domain in _found(domains).values())


def _found(domains: Paths) -> dict[str, Domain]:
    if isinstance(domains, Mapping):
        every = [find_domain(path, str(name)) for name, path in domains.items()]
    else:
        every = [find_domain(path) for path in domains]
    names = [domain.name for domain in every]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        found = f"two domains are called {', '.join(twice)}" if twice else "no domain"
        raise ValueError(f"domains: {found}; expected different names. Give them as NAME=PATH.")
    wrong = [name for name in names if not name or Path(name).name != name]
    if wrong:
        raise ValueError(f"domains: {wrong[0]!r} cannot be a name; expected one without slashes.")
    return dict(zip(names, every, strict=True))


def _vocabulary(found: dict[str, Domain], given: int | None, tokenizer: Tokenizer | None) -> int:
    """Of the tokenizer for text, whatever was given for token ids; the larger of both if mixed."""
    text = tokenizer.vocabulary if tokenizer else 0
    if given and given < text and any(domain.text for domain in found.values()):
        raise ValueError(
            f"vocabulary is {given}, but the tokenizer has {text} types; leave it out for text."
        )
    return max(given or 0, text)


@contextlib.contextmanager
def _folder(cache: str | Path | None) -> Iterator[Path]:
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="bimix_entropy_") as temporary:
            yield Path(temporary)
    else:
        Path(cache).mkdir(parents=True, exist_ok=True)
        yield Path(cache)


@contextlib.contextmanager
def _noted(notes: list[str]) -> Iterator[None]:
    """Keep what is warned of, and warn of it all the same."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EntropyWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, EntropyWarning):
            notes.append(str(warning.message))
        warnings.warn(warning.message, warning.category, stacklevel=4)


def _von_neumann(
    found: dict[str, Domain],
    embeddings: Mapping[str, str | Path | np.ndarray] | None,
    word_vectors: str | Path | None,
    text_field: str,
) -> "pd.Series | None":
    import pandas as pd

    if embeddings is None and word_vectors is None:
        return None
    if embeddings is not None and word_vectors is not None:
        raise ValueError("embeddings and word_vectors are both given; expected one of them.")
    if embeddings is None:
        vectors = read_word_vectors(str(word_vectors))
        embeddings = {name: embed(_samples(d, text_field), vectors) for name, d in found.items()}
    missing = sorted(set(found) - set(embeddings))
    if missing:
        raise ValueError(
            f"embeddings: none for {', '.join(missing)}; found {', '.join(embeddings)}. VNE needs "
            "those of every domain."
        )
    arrays = {name: _array(embeddings[name]) for name in found}
    return pd.Series({name: von_neumann_entropy(a, name=name) for name, a in arrays.items()})


def _array(given: str | Path | np.ndarray) -> np.ndarray:
    return read_embeddings(given) if isinstance(given, str | Path) else given


def _samples(domain: Domain, text_field: str) -> Iterator[str]:
    """Documents; of plain text, which is one document a file, paragraphs."""
    if not domain.text:
        raise ValueError(f"{domain.name} holds token ids; word vectors need text.")
    reader = Reader(text_field)
    for path in domain.files:
        plain = ".txt" in path.suffixes
        for part in reader.parts(path):
            yield from (p for p in part.text.split("\n\n") if p.strip()) if plain else [part.text]
