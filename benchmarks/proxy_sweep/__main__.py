"""Train the sweep of small language models, one a mixture, and write the table of their losses.

A first run, in about two minutes and of nothing but Python's own files:

    python -m benchmarks.proxy_sweep --smoke

The sweep itself, of a corpus built from Debian packages:

    python -m benchmarks.proxy_sweep.corpus corpus
    python -m benchmarks.proxy_sweep.entropies corpus
    python -m benchmarks.proxy_sweep corpus --output sweep

CORPUS holds train/ and held_out/, each with one text file or folder a domain. Losses are in nats
per token, of held-out text, at checkpoints that are even in log budget. sweep/losses.csv reads
with bimix_jax.read_sweep; sweep/decay.csv has the runs whose learning rate decays.

Stop it at any time: the same command goes on from the last checkpoint and ends with the same
numbers. Files of finished runs are small, and can be taken along to another machine: what is put
into sweep/runs is not trained again. The same command in several processes shares the runs among
them. On a CPU, a process a core, each with XLA_FLAGS=--xla_cpu_multi_thread_eigen=false, is a
quarter faster than one with all cores. Where Linux gives large pages to those who ask
(transparent_hugepage/enabled says madvise), GLIBC_TUNABLES=glibc.malloc.hugetlb=1 before the
command saves most of the time that the kernel takes to hand out memory. On a GPU, --together
trains several small models in one step, whose sums then come in another order, and --products
bfloat16 is for larger ones. The table that comes with the package was trained with --together 36.
"""

import argparse
import dataclasses
import json
import sys
import warnings

import pandas as pd

from benchmarks.proxy_sweep.groups import Setting
from benchmarks.proxy_sweep.mixtures import sweep_mixtures
from benchmarks.proxy_sweep.options import add_training_options, entropies_of, setting_of
from benchmarks.proxy_sweep.runs import Run, sweep_runs
from benchmarks.proxy_sweep.smoke import SMOKE_MIXTURES
from benchmarks.proxy_sweep.sweep import prepared, train
from benchmarks.proxy_sweep.tokens import Tokens
from benchmarks.proxy_sweep.training import TrainingConfig
from benchmarks.proxy_sweep.unigram import unigram_losses
from benchmarks.report import machine
from bimix_jax.cli.show import plain, show_table
from bimix_jax.files import write_atomically

MIXTURES = 32


def main() -> None:
    """Train; what a person did wrong ends in one paragraph and exit code 2."""
    warnings.showwarning = lambda message, *where, **more: _say(str(message))
    try:
        _train(_arguments())
    except (ValueError, OSError) as error:
        _say(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from the last checkpoint.")
        sys.exit(130)


def _say(text: str) -> None:
    print(f"proxy_sweep: {text}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proxy_sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_training_options(parser, "sweep")
    parser.add_argument("--mixtures", type=int, help=f"how many ({MIXTURES})")
    parser.add_argument("--no-decay", action="store_true", help="without runs of a decaying rate")
    return parser.parse_args()


def _train(arguments: argparse.Namespace) -> None:
    setting, training = setting_of(arguments)
    runs, output = _runs(arguments, setting.tokens, training), arguments.output
    store = prepared(runs, setting, output)
    write_atomically(output / "settings.json", _description(setting, runs))
    losses = train(store, _say, arguments.save_every)
    show_table(_against_unigrams(losses, setting), "Uniform mixture's last loss, nats")
    _say(f"All losses are in {output / 'losses.csv'}.")


def _runs(arguments: argparse.Namespace, tokens: Tokens, training: TrainingConfig) -> list[Run]:
    entropies = entropies_of(arguments, tokens.domains)
    count = arguments.mixtures or (SMOKE_MIXTURES if arguments.smoke else MIXTURES)
    runs = sweep_runs(sweep_mixtures(tokens.domains, count, entropies), training)
    return [run for run in runs if not (arguments.no_decay and run.training.schedule == "decay")]


def _description(setting: Setting, runs: list[Run]) -> str:
    """Describe for a reader how the tables were made."""
    tokens = setting.tokens
    document = {
        "model": dataclasses.asdict(setting.model),
        "runs": [dataclasses.asdict(run) for run in runs],
        "domains": tokens.domains,
        "tokens to train on": [len(ids) for ids in tokens.train],
        "tokens held out": [len(ids) for ids in tokens.held_out],
        "sha256 of the tokens": tokens.digest(),
        "held out sequences": setting.held_out,
        "machine": machine(),
    }
    return json.dumps(plain(document), indent=1, ensure_ascii=False) + "\n"


def _against_unigrams(losses: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """Compare the losses of the uniform run with those of token frequencies alone."""
    domains = list(setting.tokens.domains)
    reached = losses[losses["run"] == "uniform"].iloc[-1]
    unigram = unigram_losses(setting.tokens, setting.held_out, setting.model.sequence)
    columns = {"uniform": [reached[f"loss_{d}"] for d in domains], "unigram model": unigram}
    return pd.DataFrame(columns, index=pd.Index(domains, name="target"))


if __name__ == "__main__":
    main()
