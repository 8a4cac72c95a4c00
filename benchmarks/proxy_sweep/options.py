"""Options of the training command, and the settings they result in."""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.proxy_sweep.groups import Setting
from benchmarks.proxy_sweep.mixtures import entropy_mixtures
from benchmarks.proxy_sweep.model import PRODUCTS, ModelConfig
from benchmarks.proxy_sweep.smoke import SMOKE, build_smoke_corpus
from benchmarks.proxy_sweep.tokenizer import train_tokenizer
from benchmarks.proxy_sweep.tokens import read_tokens
from benchmarks.proxy_sweep.training import TrainingConfig
from benchmarks.report import RESULTS
from bimix_jax.entropy._domain_files import Tokenizer, load_tokenizer

SHAPE = ("width", "layers", "heads", "sequence")
MODEL = (*SHAPE, "products")
TRAINING = ("steps", "batch", "learning_rate", "warm_up", "weight_decay", "clip", "checkpoints")


def add_training_options(parser: argparse.ArgumentParser, output: str) -> None:
    """Options of corpus, entropies, model and training; `output` is the folder's default."""
    add = parser.add_argument
    add("corpus", type=Path, nargs="?", help="folder with train/ and held_out/")
    add("-o", "--output", type=Path, default=Path(output), help=f"folder to work in ({output})")
    add("--smoke", action="store_true", help="tiny models; without a corpus, of Python's own files")
    add("--tokenizer", help="tokenizer.json, or 'bytes' (CORPUS/tokenizer.json, made if need be)")
    add("--entropies", help="what .entropies wrote of this corpus, or 'none' (that of results/)")
    add("--held-out", type=int, default=64, help="sequences a target to measure on (64)")
    add("--together", type=int, default=1, help="runs trained in one step (1)")
    add("--products", choices=PRODUCTS, help="type of the models' matrix products (float32)")
    add("--save-every", type=float, default=0.0, help="seconds between checkpoints on disk, where "
        "writing a large model takes long (0: write every one)")  # fmt: skip
    for config, names in ((ModelConfig(), SHAPE), (TrainingConfig(), TRAINING)):
        for name in names:
            default = getattr(config, name)
            add(f"--{name.replace('_', '-')}", type=type(default), help=f"({default})")


def setting_of(arguments: argparse.Namespace) -> tuple[Setting, TrainingConfig]:
    """Build the common setting of all runs and the training of one; make the working folder.

    Raises:
        ValueError: if there is no corpus, or a setting is out of range.
    """
    arguments.output.mkdir(parents=True, exist_ok=True)
    corpus = _corpus(arguments)
    tokens = read_tokens(corpus, _tokenizer(arguments, corpus), arguments.output / "tokens")
    model, training = _configs(arguments, tokens.vocabulary)
    return Setting(tokens, model, arguments.held_out, arguments.together), training


def entropies_of(arguments: argparse.Namespace, domains: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Name → (domains,) proportions of the entropy mixtures, none unless they are of this corpus.

    Raises:
        ValueError: if they are of other domains.
    """
    file = arguments.entropies or ("none" if arguments.smoke else RESULTS / "proxy_entropies.json")
    return {} if file == "none" else entropy_mixtures(Path(file), domains)


def _corpus(arguments: argparse.Namespace) -> Path:
    if arguments.corpus is not None:
        return arguments.corpus
    if not arguments.smoke:
        raise ValueError(
            "no corpus. Name the folder that benchmarks.proxy_sweep.corpus made, or try --smoke, "
            "which needs none; --help says more."
        )
    return build_smoke_corpus(arguments.output / "corpus")


def _tokenizer(arguments: argparse.Namespace, corpus: Path) -> Tokenizer:
    if arguments.tokenizer or arguments.smoke:
        return load_tokenizer(arguments.tokenizer or "bytes")
    path = corpus / "tokenizer.json"
    return load_tokenizer(path if path.exists() else train_tokenizer(corpus))


def _configs(arguments: argparse.Namespace, vocabulary: int) -> tuple[ModelConfig, TrainingConfig]:
    """Given values, else the smoke setting's, else the defaults."""
    given = SMOKE if arguments.smoke else {}
    given = given | {name: value for name, value in vars(arguments).items() if value is not None}
    model = {name: given[name] for name in MODEL if name in given}
    training = {name: given[name] for name in TRAINING if name in given}
    return ModelConfig(vocabulary=vocabulary, **model), TrainingConfig(**training)
