"""Checkpoints of training as .npz with a checksum, the one before kept beside."""

import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bimix_jax.files import atomic_path


class Checkpoint(NamedTuple):
    """State of the training."""

    step: int
    """steps that are done"""
    losses: np.ndarray
    """(checkpoints so far, runs, targets) nats per token"""
    state: Any
    """pytree of arrays that training goes on from; None once it is done"""


class CorruptedCheckpoint(ValueError):
    """A checkpoint that is not what was written."""


class OtherSettings(ValueError):
    """A checkpoint of training with other settings."""


def save_checkpoint(path: Path, checkpoint: Checkpoint, made_by: dict[str, Any]) -> None:
    """Write `path`, whole or not at all; what it held before becomes `previous(path)`."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(checkpoint.state)]
    arrays = {f"state_{i}": leaf for i, leaf in enumerate(leaves)}
    arrays |= {"step": np.array(checkpoint.step), "losses": checkpoint.losses}
    arrays["made_by"] = np.frombuffer(json.dumps(made_by, sort_keys=True).encode(), np.uint8)
    arrays["sha256"] = np.frombuffer(_digest(arrays), np.uint8)
    with atomic_path(path) as beside:
        np.savez(beside, **arrays)  # type: ignore[arg-type]
        if path.exists():
            path.replace(previous(path))


def previous(path: Path) -> Path:
    """Path of the previous checkpoint."""
    return path.with_suffix(".previous.npz")


def load_checkpoint(path: Path, template: Any, made_by: dict[str, Any]) -> Checkpoint:
    """The checkpoint in a file.

    Args:
        path: the file.
        template: pytree of arrays or shapes that the state is put into; None leaves it out.
        made_by: settings that it must have been made with.

    Raises:
        CorruptedCheckpoint: if the file is not what was written.
        OtherSettings: if it was made with other settings, naming them.
    """
    arrays = _read(path)
    _check_settings(path, json.loads(arrays["made_by"].tobytes()), made_by)
    leaves = [arrays[f"state_{i}"] for i in range(sum(n.startswith("state_") for n in arrays))]
    wanted = template is not None and leaves
    state = jax.tree.unflatten(jax.tree.structure(template), leaves) if wanted else None
    return Checkpoint(int(arrays["step"]), arrays["losses"], state)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        right = arrays.pop("sha256").tobytes() == _digest(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptedCheckpoint(f"{path} cannot be read as a checkpoint ({error}).") from error
    if not right:
        raise CorruptedCheckpoint(f"{path} does not match its checksum.")
    return arrays


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()


def _check_settings(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    expected = json.loads(json.dumps(expected))
    other = sorted(k for k in found | expected if found.get(k) != expected.get(k))
    if other:
        parts = [f"{k} {found.get(k)!r} instead of {expected.get(k)!r}" for k in other]
        raise OtherSettings(
            f"{path} was made with {'; '.join(parts)}. Go on with the settings it was made with, "
            "or name another folder."
        )
