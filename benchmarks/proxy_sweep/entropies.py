"""The four entropy mixtures of the corpus of the proxy sweep, for the sweep to train.

python -m benchmarks.proxy_sweep.entropies FOLDER

takes the folder that benchmarks.proxy_sweep.corpus wrote, trains a tokenizer and word vectors on
its training part, and writes results/proxy_entropies.json and the picture beside it.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.proxy_sweep.tokenizer import VOCABULARY, train_tokenizer
from benchmarks.proxy_sweep.word_vectors import DIMENSIONS, WINDOW, WORDS, write_word_vectors
from benchmarks.report import RESULTS, report
from bimix_jax import corpus_entropies
from bimix_jax.cli.show import show_notes, show_table
from bimix_jax.entropy._documents import Reader
from bimix_jax.entropy.domains import Entropies
from bimix_jax.entropy.von_neumann import embed, read_word_vectors
from bimix_jax.plots import plot_entropies, save_figure

SEQUENCE = 128
SAMPLE_WORDS = 200
"""words of a sample whose vectors are averaged for VNE: samples of one size in every domain"""


def main() -> None:
    """Compute and report."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    found = entropies_of(Path(sys.argv[1]))
    mixtures = found.mixtures()
    show_table(mixtures, "Mixtures")
    show_notes(found.notes)
    save_figure(plot_entropies(found), RESULTS / "proxy_entropies.png")
    table = found.table().join(found.estimates["chao-shen"].add_suffix(" Chao-Shen"))
    report(
        "proxy_entropies", table, "Entropies of the training parts, in nats",
        mixtures=mixtures.to_dict(), vocabulary=VOCABULARY, sequence_length=SEQUENCE,
        word_vectors={"words": WORDS, "window": WINDOW, "dimensions": DIMENSIONS},
        sample_words=SAMPLE_WORDS, notes=list(found.notes),
    )  # fmt: skip


def entropies_of(folder: Path) -> Entropies:
    """Entropies of the training part of every domain, by the corpus's own tokenizer and vectors."""
    tokenizer = train_tokenizer(folder)
    files = sorted((folder / "train").glob("*.jsonl"))
    texts = {file.stem: [part.text for part in Reader().parts(file)] for file in files}
    write_word_vectors((text for each in texts.values() for text in each), folder / "words.vec")
    vectors = read_word_vectors(folder / "words.vec")
    embeddings = {name: embed(samples(each), vectors) for name, each in texts.items()}
    found = corpus_entropies(
        files, None, SEQUENCE, tokenizer=tokenizer, embeddings=embeddings, cache=folder / "tokens"
    )
    return dataclasses.replace(found, notes=(*found.notes, _samples_note(embeddings)))


def samples(documents: list[str]) -> Iterator[str]:
    """Runs of `SAMPLE_WORDS` words; what is left at the end of a document is dropped."""
    for document in documents:
        words = document.split()
        for begin in range(0, len(words) - SAMPLE_WORDS + 1, SAMPLE_WORDS):
            yield " ".join(words[begin : begin + SAMPLE_WORDS])


def _samples_note(embeddings: dict[str, np.ndarray]) -> str:
    counts = ", ".join(f"{name} {len(array)}" for name, array in embeddings.items())
    return f"VNE is of mean word vectors of samples of {SAMPLE_WORDS} words: {counts}."


if __name__ == "__main__":
    main()
