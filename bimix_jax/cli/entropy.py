"""`bimix entropy`."""

import json as json_format
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.cli.bar import byte_bar
from bimix_jax.cli.show import (
    percent,
    plain,
    quantity,
    share,
    show_json,
    show_line,
    show_notes,
    show_table,
)
from bimix_jax.entropy.corpus import corpus_bytes, corpus_entropies
from bimix_jax.entropy.domain_files import domain_name
from bimix_jax.entropy.domains import Entropies
from bimix_jax.entropy.fields import TEXT_FIELD
from bimix_jax.entropy.streams import EntropyWarning
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


def entropy(
    domains: Annotated[
        list[str],
        typer.Argument(
            help="A file or folder per domain, PATH or NAME=PATH: text (.txt, .jsonl, .json, also "
            ".gz, .zst, .bz2 or .xz, .parquet, .arrow) or token ids (.npy, .bin, .ds, or a column "
            "of lists).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the mixture.", callback=options.writable),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="tokenizer.json for text, or 'bytes'.", show_default=False)
    ] = None,
    proxy: Annotated[str, typer.Option(help="ce, se, je or vne.")] = "ce",
    estimator: Annotated[
        str, typer.Option(help="plug-in, miller-madow, chao-shen, or equal for equal tokens.")
    ] = "plug-in",
    temperature: Annotated[float, typer.Option(help="Above 1: nearer to uniform.")] = 1.0,
    vocabulary: Annotated[
        int | None, typer.Option(help="Token types, for token ids.", show_default=False)
    ] = None,
    sequence_length: Annotated[int, typer.Option(help="Tokens a sequence.")] = 1024,
    dtype: Annotated[
        str | None,
        typer.Option(help="uint16 or uint32, for raw ids; found by their range if not given."),
    ] = None,
    text_field: Annotated[
        list[str] | None,
        typer.Option(
            help="Key or column of the text or token ids: FIELD for all domains (default text), "
            "or NAME=FIELD."
        ),
    ] = None,
    end_of_document: Annotated[
        int | None, typer.Option(help="Token id that ends a document.", show_default=False)
    ] = None,
    embeddings: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE.npy of sample embeddings, for VNE.")
    ] = None,
    word_vectors: Annotated[
        Path | None, typer.Option(help=".vec file, for VNE of mean word vectors.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps tokenised text for the next time.")
    ] = None,
    curve: Annotated[bool, typer.Option(help="Entropy against tokens, by subsampling.")] = True,
    workers: Annotated[int | None, typer.Option(help="Threads; default all cores.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, tpu or jax.")] = "auto",
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Turn the entropies of domains into a mixture, without any training.

    Example: `bimix entropy corpus/* --tokenizer tokenizer.json -o mixture.json --plot entropy.png`
    """
    paths = _paths(domains)
    chosen = _proxy(proxy, embeddings is not None or word_vectors is not None)
    fields = _fields(text_field or [], paths)
    with (
        byte_bar("entropy", 2 * corpus_bytes(paths, fields)) as advance,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", EntropyWarning)  # they are among the notes
        found = corpus_entropies(
            paths, vocabulary, sequence_length, tokenizer=tokenizer, dtype=dtype,
            text_field=fields, end_of_document=end_of_document,
            embeddings=options.pairs("--embeddings", embeddings) or None,
            word_vectors=word_vectors, curve=curve or estimator == "equal", cache=cache,
            workers=workers, device=device, progress=advance,
        )  # fmt: skip
    mixtures = found.mixtures(estimator, temperature)
    document = _document(found, mixtures[chosen], chosen, estimator, temperature)
    if output:
        text = json_format.dumps(plain(document), indent=1, ensure_ascii=False)
        write_atomically(output, text + "\n")
    if plot:
        bx.plots.save_figure(bx.plots.plot_entropies(found, temperature), plot)
    if json:
        return show_json(document | {"mixtures": mixtures})
    _show(found, mixtures, chosen, estimator)
    return None


def _paths(given: list[str]) -> dict[str, str]:
    """Paths by name; NAME=PATH unless that is a file itself."""
    paths = dict[str, str]()
    for item in given:
        name, equals, path = item.partition("=")
        if not equals or Path(item).exists():
            name, path = domain_name(item), item
        if name in paths:
            raise ValueError(f"two domains are called {name}; name them as NAME=PATH.")
        paths[name] = path
    return paths


def _fields(given: list[str], names: Iterable[str]) -> dict[str, str]:
    """The field of every domain; NAME=FIELD where there is such a domain."""
    named = [item for item in given if "=" in item and item.partition("=")[0] in names]
    own = dict(item.split("=", 1) for item in named)
    all_of_them = [item for item in given if item not in named]
    if len(all_of_them) > 1:
        raise ValueError(
            f"--text-field is {' and '.join(all_of_them)} for all domains; expected one of them, "
            f"or NAME=FIELD with a domain ({', '.join(names)})."
        )
    return {name: own.get(name, (all_of_them or [TEXT_FIELD])[0]) for name in names}


def _proxy(given: str, embedded: bool) -> str:
    known = ("ce", "se", "je", "vne")
    if given.lower() not in known:
        raise ValueError(f"--proxy is {given!r}; expected one of {', '.join(known)}.")
    if given.lower() == "vne" and not embedded:
        raise ValueError("--proxy vne needs --embeddings NAME=FILE.npy or --word-vectors FILE.vec.")
    return given.upper()


def _document(
    found: Entropies, mixture: pd.Series, proxy: str, estimator: str, temperature: float
) -> dict[str, Any]:
    return {
        "mixture": mixture,
        "proxy": proxy,
        "estimator": estimator,
        "temperature": temperature,
        "unit": "nats",
        "entropies": {label: found.table(label) for label in ("plug-in", "chao-shen")},
        "notes": list(found.notes),
    }


def _show(found: Entropies, mixtures: pd.DataFrame, proxy: str, estimator: str) -> None:
    corrected = found.estimates.xs("CE", axis=1, level=1)
    table = found.table().assign(**{
        "CE Miller-Madow": corrected["miller-madow"], "CE Chao-Shen": corrected["chao-shen"],
    })  # fmt: skip
    if not found.equal.empty:
        table["CE at equal tokens"] = found.equal["CE"]
    shown = table.drop(columns=["pairs", "pair_types"])
    show_table(shown, "Entropies, nats, and what they were counted from", COLUMNS, below=EXPLAINED)
    show_table(mixtures, f"Mixture by proxy ({estimator}); chosen: {proxy}", form=share)
    show_notes(found.notes)
    best = mixtures[proxy].idxmax()
    show_line(f"By {proxy}, most of the mixture is {best}: {mixtures[proxy].max():.4f}.")
