"""The whole loop, proven: train what the laws recommend of a sweep, and what else people do.

    python -m benchmarks.proof sweep/losses.csv corpus --output proof

SWEEP is the table that benchmarks.proxy_sweep wrote, CORPUS the folder it was trained on; settings
of model and training are the sweep's own, the same options with the same defaults.

From the table alone, every law of the package gives its best mixture at the sweep's last budget
(named BiMix-1x, for example) and at twice that (BiMix-2x). Beside them stand the uniform mixture,
the proportions of the corpus, the best mixture in the sweep and those of the four entropies. Each
is trained for twice the sweep's length with several seeds; as the learning rate is constant after
its warm-up, the checkpoint halfway is what a run of the sweep's length ends with, so that one run
measures both budgets. Mixtures that are closer than a total variation distance of .005 share runs.

Of seed 0 everything is trained first, what matters most before the rest; then seed 1, then seed 2.
Stop it at any time: the same command goes on from the last checkpoint, with the mixtures that were
chosen when it began (proof/choices.json). The same command in several processes shares the runs.

--targets says which targets count, such as those of the domains that a model is for; nothing else
of the table is looked at then. --laws and --last-budget train less.

At the end, or at any time with --report, which trains nothing and needs no corpus, it prints what
has been measured and says what is missing; numbers and picture go to benchmarks/results/proof.json
and proof.png. A first try, in some minutes:

    python -m benchmarks.proxy_sweep --smoke --output sweep
    python -m benchmarks.proof sweep/losses.csv --smoke --seeds 2 --output proof
"""

import argparse
import dataclasses
import sys
import warnings
from pathlib import Path

import pandas as pd

import bimix_jax as bx
from benchmarks.proof.choices import Choices, chosen_from
from benchmarks.proof.judged import judged_table
from benchmarks.proof.kept import kept_choices, load_choices
from benchmarks.proof.picture import plot_proof
from benchmarks.proof.recommended import TIMES
from benchmarks.proof.remarks import missing_runs, repeated_run
from benchmarks.proof.training import check_same, proof_runs
from benchmarks.proxy_sweep.groups import Setting
from benchmarks.proxy_sweep.options import add_training_options, entropies_of, setting_of
from benchmarks.proxy_sweep.sweep import prepared, train
from benchmarks.report import RESULTS, write_results
from bimix_jax.cli.show import show_notes, show_table
from bimix_jax.laws import LAWS
from bimix_jax.plots import save_figure
from bimix_jax.quantities import quantity_text
from bimix_jax.sweeps.sweep import Sweep

SEEDS = 3


def main() -> None:
    """Train and report; what a person did wrong ends in one paragraph and exit code 2."""
    warnings.showwarning = lambda message, *where, **more: _say(str(message))
    try:
        arguments = _arguments()
        sweep = _sweep(arguments)
        if not arguments.report:
            _train(arguments, sweep)
        _report(arguments, sweep)
    except (ValueError, OSError) as error:
        _say(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from the last checkpoint.")
        sys.exit(130)


def _say(text: str) -> None:
    print(f"proof: {text}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proof",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("sweep", type=Path, help="losses.csv of the sweep")
    add_training_options(parser, "proof")
    add("--seeds", type=int, default=SEEDS, help=f"runs a mixture ({SEEDS})")
    add("--targets", nargs="+", help="targets that count, alike (all)")
    add("--laws", nargs="+", default=list(LAWS), help="whose optima are trained (all)")
    add("--last-budget", action="store_true", help="the sweep's last budget alone, not twice that")
    add("--name", default="proof", help="of the files of numbers and picture (proof)")
    add("--report", action="store_true", help="report what has been measured; train nothing")
    add("--results", type=Path, help="folder of numbers and picture (benchmarks/results; with "
        "--smoke that of --output)")  # fmt: skip
    return parser.parse_args()


def _train(arguments: argparse.Namespace, sweep: Sweep) -> None:
    setting, training = setting_of(arguments)
    check_same(sweep, setting, training)
    choices = kept_choices(arguments.output, sweep, lambda: _chosen(arguments, sweep, setting))
    runs = proof_runs(choices, setting.tokens.domains, training, arguments.seeds)
    train(prepared(runs, setting, arguments.output), _say, arguments.save_every)


def _chosen(arguments: argparse.Namespace, sweep: Sweep, setting: Setting) -> Choices:
    _say("fits the laws of the package to the sweep and judges them; that takes minutes.")
    tokens = setting.tokens
    sizes = {name: len(ids) for name, ids in zip(tokens.domains, tokens.train, strict=True)}
    times = (1,) if arguments.last_budget else TIMES
    entropies = entropies_of(arguments, sweep.domains)
    return chosen_from(sweep, sizes, entropies, arguments.laws, times)


def _report(arguments: argparse.Namespace, sweep: Sweep) -> None:
    choices = load_choices(arguments.output, sweep)
    losses = _losses(arguments.output, sweep)
    table = judged_table(losses, choices)
    counted = "targets" if arguments.targets is None else ", ".join(sweep.targets)
    for name, tokens in choices.budgets().items():
        shown = table[table["budget"] == name].drop(columns="budget")
        after = f"{quantity_text(tokens)} tokens ({name})"
        show_table(shown, f"Mean loss over {counted} after {after}, nats")
    notes = [
        *missing_runs(losses, choices, arguments.seeds), *repeated_run(losses, sweep),
        *choices.notes,
    ]  # fmt: skip
    show_notes(notes)
    folder = arguments.results or (arguments.output if arguments.smoke else RESULTS)
    settings = {"seeds": arguments.seeds, "choices": dataclasses.asdict(choices), "remarks": notes}
    write_results(folder, arguments.name, table, settings)
    save_figure(plot_proof(losses, choices), folder / f"{arguments.name}.png")


def _sweep(arguments: argparse.Namespace) -> Sweep:
    """The table, of its targets those that count."""
    if arguments.targets is None:
        return bx.read_sweep(arguments.sweep)
    table = pd.read_csv(arguments.sweep)
    there = [column for column in table if column.startswith("loss_")]
    wanted = [f"loss_{target}" for target in arguments.targets]
    unknown = sorted(set(wanted) - set(there))
    if unknown:
        raise ValueError(
            f"--targets: {arguments.sweep} has no {', '.join(unknown)}; it has {', '.join(there)}."
        )
    return bx.read_sweep(table.drop(columns=sorted(set(there) - set(wanted))))


def _losses(folder: Path, sweep: Sweep) -> pd.DataFrame:
    """Losses so far, of the sweep's targets."""
    path = folder / "losses.csv"
    if not path.exists():
        raise ValueError(f"{path} is not there yet: no run has come to its first checkpoint.")
    table = pd.read_csv(path)
    kept = {f"loss_{target}" for target in sweep.targets}
    return table.drop(columns=[c for c in table if c.startswith("loss_") and c not in kept])


if __name__ == "__main__":
    main()
