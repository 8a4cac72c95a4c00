"""Choices are made once for a folder and kept there, so that a proof goes on with the same ones."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.proof.choices import Choice, Choices
from benchmarks.proxy_sweep.store import locked
from bimix_jax.files import write_atomically
from bimix_jax.sweeps.sweep import Sweep

FILE = "choices.json"


def kept_choices(folder: Path, sweep: Sweep, make: Callable[[], Choices]) -> Choices:
    """The folder's choices, made if it has none; by one process, for which others wait.

    Raises:
        ValueError: if they were made of another sweep.
    """
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    with locked(folder / "locks" / "choices", wait=True):
        if not (folder / FILE).exists():
            text = json.dumps(dataclasses.asdict(make()), indent=1, ensure_ascii=False)
            write_atomically(folder / FILE, text + "\n")
    return load_choices(folder, sweep)


def load_choices(folder: Path, sweep: Sweep) -> Choices:
    """The choices of a folder.

    Raises:
        ValueError: if there are none, or they were made of another sweep.
    """
    path = folder / FILE
    if not path.exists():
        raise ValueError(f"{path} is not there; train first: the same command without --report.")
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["sweep"] != sweep.digest():
        raise ValueError(
            f"{path} was made of a sweep with digest {document['sweep'][:12]}, not of this one "
            f"with {sweep.digest()[:12]}. Name the sweep it was made of, or another folder."
        )
    choices = tuple(
        Choice(**(row | {key: tuple(row[key]) for key in ("mixture", "predicted")}))
        for row in document["choices"]
    )
    tuples = {key: tuple(document[key]) for key in ("domains", "notes", "times")}
    return Choices(**(document | tuples | {"choices": choices}))
