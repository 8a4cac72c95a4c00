"""A decision as an artefact of an experiment tracker: Weights & Biases or MLflow."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bimix_jax.report.report import Report

NAME = "decision"
"""Name and kind of the artefact."""


def check_tracker(name: str) -> str:
    """Return the name of a tracker that is installed.

    Raises:
        ValueError: if there is none of that name, or its package is not installed.

    >>> check_tracker("tensorbord")
    Traceback (most recent call last):
    ValueError: tracker is 'tensorbord'; expected one of wandb, mlflow.
    """
    if name not in TRACKERS:
        raise ValueError(f"tracker is {name!r}; expected one of {', '.join(TRACKERS)}.")
    if importlib.util.find_spec(name) is None:
        raise ValueError(
            f"tracker is {name!r}, which is not installed; install it with pip install "
            f"'bimix_jax[{name}]'."
        )
    return name


def log_decision(report: Report, files: Sequence[Path], tracker: str) -> str:
    """Log the files of a decision and its numbers to a tracker, and return where they are.

    The tracker's own settings hold: project, entity, offline mode and address come from its
    environment variables (WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, …).

    Args:
        report: the decision.
        files: the files that `Report.save` wrote.
        tracker: "wandb" or "mlflow".

    Raises:
        ValueError: as `check_tracker`.
    """
    return TRACKERS[check_tracker(tracker)](report, files)


def _numbers(report: Report) -> dict[str, float]:
    """Numbers of a decision by name, for the tracker's tables; none without a mixture."""
    if report.optimum is None or report.certainty is None:
        return {}
    sure = report.certainty
    names = ("gain", "gain_low", "gain_high")
    values = zip(names, (sure.gain, *sure.gain_interval()), strict=True)
    gains = {name: sure.stated(value) for name, value in values}
    shares = {f"share/{name}": float(share) for name, share in report.optimum.mixture.items()}
    return {"budget": report.optimum.budget, **gains, **shares}


def _words(report: Report) -> dict[str, str]:
    """The recommendation, the data and the law, as text."""
    law = "" if report.fitted is None else report.fitted.label
    return {"recommendation": report.sentence(), "sweep": report.sweep.digest(), "law": law}


def _log_to_wandb(report: Report, files: Sequence[Path]) -> str:
    wandb: Any = importlib.import_module("wandb")
    run = wandb.init(job_type=NAME, config=_words(report))
    artefact = wandb.Artifact(NAME, type=NAME, description=report.sentence())
    for path in files:
        artefact.add_file(os.fspath(path), path.name)
    run.log_artifact(artefact)
    run.summary.update(_numbers(report))
    run.finish()
    return str(run.url or run.dir)


def _log_to_mlflow(report: Report, files: Sequence[Path]) -> str:
    mlflow: Any = importlib.import_module("mlflow")
    with mlflow.start_run(tags={**_words(report), "kind": NAME}) as run:
        for path in files:
            mlflow.log_artifact(os.fspath(path), NAME)
        # A slash separates groups there, and some characters of names are not allowed.
        mlflow.log_metrics({_allowed(name): value for name, value in _numbers(report).items()})
        return str(run.info.artifact_uri)


def _allowed(name: str) -> str:
    """Name with what MLflow refuses in it replaced."""
    return "".join(c if c.isalnum() or c in "_-. /:" else "_" for c in name)


TRACKERS: dict[str, Callable[[Report, Sequence[Path]], str]] = {
    "wandb": _log_to_wandb,
    "mlflow": _log_to_mlflow,
}
"""Name of a tracker, which is that of its package → how a decision is logged there."""
