"""A sweep as every logger would have exported it, and the table of its runs."""

import json

import numpy as np
import pandas as pd

import bimix_jax as bx

PER_STEP = 4096


def single_precision(sweep):
    """Losses as trainers log them, `.item()` of single-precision tensors."""
    import dataclasses

    loss = np.where(np.isnan(sweep.loss), np.nan, sweep.loss.astype(np.float32).astype(float))
    return dataclasses.replace(sweep, loss=loss)


def steps(sweep):
    return np.round(sweep.budget / PER_STEP).astype(int)


def mixtures(sweep):
    """One row a run, a column a domain."""
    return sweep.mixtures.reset_index()


def histories(sweep, pattern, step="_step"):
    """Run → its log, a row a step, a column a metric."""
    table = pd.DataFrame({step: steps(sweep)})
    for i, target in enumerate(sweep.targets):
        table[pattern.format(target=target)] = sweep.loss[:, i]
    return {run: table[sweep.run == run].reset_index(drop=True) for run in sweep.runs}


def wandb_csv(sweep, folder):
    for run, log in histories(sweep, "eval/{target}/loss").items():
        log.assign(_runtime=1.5, _timestamp=2e9).to_csv(folder / f"{run}.csv", index=False)


def wandb_json_lines(sweep, folder):
    """Every metric a line of its own beside lines of the training loss, gaps as W&B writes them."""
    for run, log in histories(sweep, "eval/{target}/loss").items():
        lines = []
        for row in log.to_dict("records"):
            step = row.pop("_step")
            lines += [{"_step": step, "train/loss": 3.0}]
            lines += [{"_step": step, name: value} for name, value in row.items()]
        (folder / run).mkdir()
        text = "\n".join(json.dumps(line) for line in lines)
        (folder / run / "history.jsonl").write_text(text)


def wandb_chart(sweep, folder):
    """One file a metric, one column a run and its spread."""
    for target in sweep.targets:
        metric = f"eval/{target}/loss"
        columns = {}
        for run, log in histories(sweep, "eval/{target}/loss").items():
            curve = log.set_index("_step")[metric]
            columns |= {f"{run} - {metric}": curve, f"{run} - {metric}__MIN": curve - 1}
            columns |= {f"{run} - {metric}__MAX": curve + 1}
        chart = pd.DataFrame(columns).rename_axis("Step").reset_index()
        chart.to_csv(folder / f"chart_{target}.csv", index=False)


def trainer(sweep, folder):
    """Two checkpoints a run, the later with the whole history; an entry an evaluation."""
    for run, log in histories(sweep, "eval_{target}_loss", "step").items():
        history = [{"step": int(s), "loss": 3.0, "learning_rate": 1e-4} for s in log["step"]]
        for row in log.to_dict("records"):
            step = int(row.pop("step"))
            history += [{"epoch": 0.5, name: v, "step": step} for name, v in row.items()]
        for checkpoint, part in ((100, history[: len(history) // 2]), (700, history)):
            place = folder / run / f"checkpoint-{checkpoint}"
            place.mkdir(parents=True)
            state = {"global_step": checkpoint, "log_history": part}
            (place / "trainer_state.json").write_text(json.dumps(state))


def tensorboard(sweep, folder):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run, log in histories(sweep, "eval/{target}/loss").items():
        writer = EventFileWriter(str(folder / run))
        for row in log.to_dict("records"):
            step = int(row.pop("_step"))
            values = [Summary.Value(tag=tag, simple_value=v) for tag, v in row.items()]
            writer.add_event(Event(step=step, summary=Summary(value=values)))
        writer.close()


def table(sweep, folder):
    """One Parquet file of all runs."""
    parts = [
        log.assign(experiment=run) for run, log in histories(sweep, "{target} nll", "at").items()
    ]
    pd.concat(parts).to_parquet(folder / "all.parquet", index=False)


def olmix(sweep, folder):
    """The ends of the runs."""
    ends = sweep.endpoints()
    shares = ends.mixtures.reset_index(names="run_id")
    names = {"name": [f"swarm-{run}" for run in ends.runs]}
    shares.assign(**names).to_csv(folder / "ratios.csv", index=False)
    losses = pd.DataFrame(ends.loss, columns=list(ends.targets)).assign(run_id=ends.run, **names)
    losses.to_csv(folder / "metrics.csv", index=False)


FORMS = {
    "wandb csv": (wandb_csv, {}),
    "wandb json lines": (wandb_json_lines, {}),
    "wandb chart": (wandb_chart, {}),
    "trainer": (trainer, {}),
    "tensorboard": (tensorboard, {}),
    "table": (
        table,
        {
            "form": "table",
            "loss_pattern": "{target} nll",
            "run_key": "experiment",
            "step_key": "at",
        },
    ),
}
"""How each form is written, and the options that reading it takes."""


def measured():
    """The embedded sweep in single precision, as every export should come back."""
    return single_precision(bx.read_sweep(bx.datasets.proxy_sweep()))
