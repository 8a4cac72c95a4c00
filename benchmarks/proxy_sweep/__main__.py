"""Train the sweep of small language models, one a mixture, and write the table of their losses.

A first run, in about two minutes and with nothing but Python's own files:

    python -m benchmarks.proxy_sweep --smoke

The sweep itself, of a corpus built from Debian packages:

    python -m benchmarks.proxy_sweep.corpus corpus
    python -m benchmarks.proxy_sweep.entropies corpus
    python -m benchmarks.proxy_sweep corpus --output sweep

CORPUS holds train/ and held_out/, each with one text file or folder a domain. Losses are in nats
per token, of held-out text, at checkpoints that are even in log budget. sweep/losses.csv reads
with `bimix_jax.read_sweep`; sweep/decay.csv has the runs whose learning rate decays. Stop it at any
time; the same command goes on from the last checkpoint and ends with the same numbers.
"""

import argparse
import dataclasses
import json
import sys
import warnings
from pathlib import Path

import numpy as np

from benchmarks.proxy_sweep.batches import check_mixture
from benchmarks.proxy_sweep.groups import Setting
from benchmarks.proxy_sweep.mixtures import entropy_mixtures, sweep_mixtures
from benchmarks.proxy_sweep.model import ModelConfig
from benchmarks.proxy_sweep.runs import Run, sweep_runs
from benchmarks.proxy_sweep.smoke import SMOKE, build_smoke_corpus
from benchmarks.proxy_sweep.sweep import train_runs
from benchmarks.proxy_sweep.tokenizer import train_tokenizer
from benchmarks.proxy_sweep.tokens import Tokens, read_tokens
from benchmarks.proxy_sweep.training import TrainingConfig
from benchmarks.report import RESULTS, machine
from bimix_jax.cli.show import plain
from bimix_jax.entropy.tokenize import load_tokenizer
from bimix_jax.files import write_atomically

MODEL = ("width", "layers", "heads", "sequence")
TRAINING = ("steps", "batch", "learning_rate", "warm_up", "weight_decay", "clip", "checkpoints")


def main() -> None:
    """Train; what a person did wrong ends in one paragraph and exit code 2."""
    warnings.showwarning = lambda message, *where, **more: _say(str(message))
    try:
        _train(_arguments())
    except (ValueError, OSError) as error:
        _say(str(error))
        sys.exit(2)


def _say(text: str) -> None:
    print(f"proxy_sweep: {text}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proxy_sweep", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("corpus", type=Path, nargs="?", help="folder with train/ and held_out/")
    add("-o", "--output", type=Path, default=Path("sweep"), help="folder to work in (sweep)")
    add("--smoke", action="store_true", help="tiny models; without a corpus, on Python's own files")
    add("--tokenizer", help="tokenizer.json, or 'bytes'; CORPUS/tokenizer.json, made if need be")
    add("--entropies", type=Path, default=RESULTS / "proxy_entropies.json",
        help="what benchmarks.proxy_sweep.entropies wrote; 'none' leaves them out")  # fmt: skip
    add("--mixtures", type=int, help="how many (24)")
    add("--held-out", type=int, default=64, help="sequences a target to measure on (64)")
    add("--together", type=int, default=1, help="runs trained at a time (1; more for a GPU)")
    for config, names in ((ModelConfig(), MODEL), (TrainingConfig(), TRAINING)):
        for name in names:
            default = getattr(config, name)
            add(f"--{name.replace('_', '-')}", type=type(default), help=f"({default})")
    return parser.parse_args()


def _train(arguments: argparse.Namespace) -> None:
    corpus, output = arguments.corpus, arguments.output
    if corpus is None and not arguments.smoke:
        raise ValueError(
            "no corpus. Name the folder that benchmarks.proxy_sweep.corpus made, or try --smoke, "
            "which needs none; --help says more."
        )
    output.mkdir(parents=True, exist_ok=True)
    if corpus is None:
        corpus = build_smoke_corpus(output / "corpus")
    tokens = read_tokens(corpus, _tokenizer(arguments, corpus), output / "tokens")
    model, training = _configs(arguments, tokens.vocabulary)
    runs = _runs(arguments, tokens, training)
    write_atomically(output / "settings.json", _settings(tokens, model, runs, arguments))
    setting = Setting(tokens, model, arguments.held_out, arguments.together)
    train_runs(runs, setting, output, _say)
    _say(f"Done: {output / 'losses.csv'}.")


def _tokenizer(arguments: argparse.Namespace, corpus: Path):
    if arguments.tokenizer or arguments.smoke:
        return load_tokenizer(arguments.tokenizer or "bytes")
    path = corpus / "tokenizer.json"
    return load_tokenizer(path if path.exists() else train_tokenizer(corpus))


def _configs(arguments: argparse.Namespace, vocabulary: int) -> tuple[ModelConfig, TrainingConfig]:
    """Defaults, those of the smoke setting, and what was given, the last that is there."""
    given = SMOKE if arguments.smoke else {}
    given = given | {k: v for k, v in vars(arguments).items() if v is not None}
    model = {name: given[name] for name in MODEL if name in given}
    training = {name: given[name] for name in TRAINING if name in given}
    return ModelConfig(vocabulary=vocabulary, **model), TrainingConfig(**training)


def _runs(arguments: argparse.Namespace, tokens: Tokens, training: TrainingConfig) -> list[Run]:
    entropies = {}
    if not arguments.smoke and str(arguments.entropies) != "none":
        entropies = entropy_mixtures(arguments.entropies, tokens.domains)
    count = arguments.mixtures or (SMOKE["mixtures"] if arguments.smoke else 24)
    mixtures = sweep_mixtures(tokens.domains, count, entropies)
    for mixture in mixtures.values():
        check_mixture(np.asarray(mixture), tokens.domains)
    return sweep_runs(mixtures, training)


def _settings(
    tokens: Tokens, model: ModelConfig, runs: list[Run], arguments: argparse.Namespace
) -> str:
    """How the tables were made, for people."""
    document = {
        "model": dataclasses.asdict(model),
        "runs": [dataclasses.asdict(run) for run in runs],
        "domains": tokens.domains,
        "tokens to train on": [len(ids) for ids in tokens.train],
        "tokens held out": [len(ids) for ids in tokens.held_out],
        "sha256 of the tokens": tokens.digest(),
        "held out sequences": arguments.held_out,
        "machine": machine(),
    }
    return json.dumps(plain(document), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
