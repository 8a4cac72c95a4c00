"""`bimix entropy`."""

import contextlib
import dataclasses
import json as json_format
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.app import MAY_NAME_FILES, WRITTEN
from bimix_jax.cli.options import OnCluster, Output
from bimix_jax.cli.show import (
    byte_bar,
    percent,
    plain,
    quantity,
    share,
    show_json,
    show_line,
    show_notes,
    show_table,
)
from bimix_jax.entropy.corpus import corpus_bytes, corpus_entropies, named_paths
from bimix_jax.entropy.domains import Entropies
from bimix_jax.files import write_atomically

COLUMNS = {
    "tokens": ("tokens", quantity),
    "types": ("distinct tokens", quantity),
    "coverage": ("pairs covered, %", percent),
}
EXPLAINED = (
    "SE, CE, JE: Shannon, conditional and joint entropy, plug-in where no estimator is named; VNE: "
    "von Neumann entropy."
)


@dataclasses.dataclass(frozen=True)
class Reading:
    """Options for reading documents, tokens and embeddings from the files."""

    panel: ClassVar[str] = "How the corpus is read"

    tokenizer: Annotated[
        str | None, typer.Option(help="tokenizer.json for text, or 'bytes'."), MAY_NAME_FILES
    ] = None
    vocabulary: Annotated[
        int | None, typer.Option(help="Size of the vocabulary, for token ids.")
    ] = None
    sequence_length: Annotated[int, typer.Option(help="Tokens per sequence.")] = 1024
    dtype: Annotated[
        str | None,
        typer.Option(help="uint16 or uint32, for raw ids; found by their range if not given."),
    ] = None
    text_field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD|NAME=FIELD",
            help="Key or column of the text or token ids, for all domains (default text) or for "
            "one.",
        ),
    ] = None
    end_of_document: Annotated[int | None, typer.Option(help="Token id that ends a document.")] = (
        None
    )
    embeddings: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE.npy", help="Embeddings of samples, for VNE."),
        MAY_NAME_FILES,
    ] = None
    word_vectors: Annotated[
        Path | None, typer.Option(help=".vec file, for VNE of mean word vectors.")
    ] = None

    def fields(self, names: Iterable[str]) -> dict[str, str]:
        """Return the fields of domains by name; NAME=FIELD counts if NAME is a domain."""
        given = self.text_field or []
        own = {
            name: item.removeprefix(f"{name}=")
            for name in names
            for item in given
            if item.startswith(f"{name}=")
        }
        all_of_them = [item for item in given if not any(item.startswith(f"{n}=") for n in own)]
        if len(all_of_them) > 1:
            raise ValueError(
                f"--text-field is {' and '.join(all_of_them)} for all domains; expected one of "
                f"them, or NAME=FIELD with a domain ({', '.join(names)})."
            )
        return {name: field for field in all_of_them for name in names} | own

    def arguments(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the arguments of `corpus_entropies` for domains of these names."""
        files = named.values("--embeddings", self.embeddings, names, lambda _, file: file)
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**given, "text_field": self.fields(names), "embeddings": files or None}

    @property
    def embedded(self) -> bool:
        """True where embeddings or word vectors are given."""
        return bool(self.embeddings) or self.word_vectors is not None


@dataclasses.dataclass(frozen=True)
class Mixing:
    """The entropy that makes the mixture, and its estimator."""

    panel: ClassVar[str] = "How the mixture is made"

    proxy: Annotated[str, typer.Option(help="ce, se, je or vne.")] = "ce"
    estimator: Annotated[
        str, typer.Option(help="plug-in, miller-madow, chao-shen, or equal for equal tokens.")
    ] = "plug-in"
    temperature: Annotated[
        float, typer.Option(help="Above 1, the mixture is nearer to uniform.")
    ] = 1.0


@dataclasses.dataclass(frozen=True)
class Work:
    """Options for the use of the machine."""

    panel: ClassVar[str] = "What is computed, and where"

    curve: Annotated[bool, typer.Option(help="Entropy against tokens, by subsampling.")] = True
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps tokenised text for the next time.")
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(help="Threads; default all cores. With --engine: its workers."),
    ] = None


def entropy(
    domains: Annotated[
        list[str],
        typer.Argument(
            help="A file or folder per domain, PATH or NAME=PATH: text (.txt, .jsonl, .json, also "
            ".gz, .zst, .bz2 or .xz, .parquet, .arrow) or token ids (.npy, .bin, .ds, or a column "
            "of lists).",
            show_default=False,
        ),
        MAY_NAME_FILES,
    ],
    reading: Reading,
    mixing: Mixing,
    work: Work,
    engine: OnCluster,
    output: Output,
    written: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the mixture."), WRITTEN
    ] = None,
) -> None:
    """Turn the entropies of domains into a mixture, without training.

    Example: `bimix entropy corpus/* --tokenizer tokenizer.json -o mixture.json --plot entropy.png`
    """
    paths = named_paths(domains)
    chosen = _proxy(mixing.proxy, reading.embedded)
    asked = reading.arguments(paths) | dataclasses.asdict(work)
    asked["curve"] = work.curve or mixing.estimator == "equal"
    asked["cluster"] = engine.cluster(work.workers)
    with _bar(paths, asked) as advance, warnings.catch_warnings():
        warnings.simplefilter("ignore", bx.EntropyWarning)  # they are among the notes
        found = corpus_entropies(paths, **asked, progress=advance)
    mixtures = found.mixtures(mixing.estimator, mixing.temperature)
    document = _document(found, mixtures[chosen], chosen, mixing)
    if written:
        text = json_format.dumps(plain(document), indent=1, ensure_ascii=False)
        write_atomically(written, text + "\n")
    output.draw(lambda plots: plots.plot_entropies(found, mixing.temperature))
    if output.json:
        show_json(document | {"mixtures": mixtures, "failed": list(found.failed)})
    else:
        _show(found, mixtures, chosen, mixing.estimator)
    if found.failed:
        raise typer.Exit(1)


def _bar(paths: dict[str, str], asked: dict[str, Any]) -> Any:
    """Return a progress bar of bytes; none beside that of an engine."""
    if asked["cluster"] is not None:
        return contextlib.nullcontext(lambda name, done: None)
    return byte_bar("entropy", lambda: 2 * corpus_bytes(paths, asked["text_field"]))


def _proxy(given: str, embedded: bool) -> str:
    known = ("ce", "se", "je", "vne")
    if given.lower() not in known:
        raise ValueError(f"--proxy is {given!r}; expected one of {', '.join(known)}.")
    if given.lower() == "vne" and not embedded:
        raise ValueError("--proxy vne needs --embeddings NAME=FILE.npy or --word-vectors FILE.vec.")
    return given.upper()


def _document(found: Entropies, mixture: pd.Series, proxy: str, mixing: Mixing) -> dict[str, Any]:
    return {
        "mixture": mixture,
        "proxy": proxy,
        "estimator": mixing.estimator,
        "temperature": mixing.temperature,
        "unit": "nats",
        "entropies": {label: found.table(label) for label in ("plug-in", "chao-shen")},
        "notes": list(found.notes),
    }


def _show(found: Entropies, mixtures: pd.DataFrame, proxy: str, estimator: str) -> None:
    corrected = found.estimates.xs("CE", axis=1, level=1)
    table = found.table().assign(
        **{
            "CE Miller-Madow": corrected["miller-madow"],
            "CE Chao-Shen": corrected["chao-shen"],
        }
    )
    if not found.equal.empty:
        table["CE at equal tokens"] = found.equal["CE"]
    shown = table.drop(columns=["pairs", "pair_types"])
    show_table(shown, "Entropies, nats, and what they were counted from", COLUMNS, below=EXPLAINED)
    show_table(mixtures, f"Mixture by proxy ({estimator}); chosen: {proxy}", form=share)
    show_notes(found.notes)
    show_notes(found.failed, "Failed")
    best = mixtures[proxy].idxmax()
    show_line(f"By {proxy}, most of the mixture is {best}: {mixtures[proxy].max():.4f}.")
