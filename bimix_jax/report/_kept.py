"""Results that are kept in the folder of a decision, by all that they depend on.

A file of a stage holds one result as JSON; its name ends in a hash of the sweep, the settings and
the version, so that a changed one is another file. It is written beside and renamed. A file that
cannot be read is made anew.
"""

import base64
import contextlib
import dataclasses
import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import pandas as pd

from bimix_jax import __version__
from bimix_jax.design.propose import Proposal
from bimix_jax.diagnosis._measurements import Observation, Severity
from bimix_jax.diagnosis.diagnose import Diagnosis
from bimix_jax.files import write_atomically
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.storage import load_fit
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.noise import NoiseFloor
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty._held_out import HeldOut
from bimix_jax.uncertainty.bootstrap import Bootstrap
from bimix_jax.uncertainty.intervals import Freedom
from bimix_jax.uncertainty.path import OptimalPath

T = TypeVar("T")
ARRAY, TABLE, SERIES = "array", "table", "series"
"""Marks of values that JSON does not have."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """The folder of the results of one sweep; without a folder, nothing is kept."""

    folder: Path | None
    sweep: Sweep

    def get(
        self,
        stage: str,
        settings: Any,
        make: Callable[[], T],
        pack: Callable[[T], Any],
        unpack: Callable[[Any], T],
    ) -> T:
        """Return the result of a stage: from its file, or made and written to it.

        Args:
            stage: name of the stage.
            settings: everything beside the sweep that the result depends on, of types that
                `_packed` knows.
            make: makes it.
            pack: turns it into values that `_packed` knows.
            unpack: turns these back.
        """

        def read(path: Path) -> T:
            return unpack(_unpacked(json.loads(path.read_text("utf-8"))))

        def write(found: T, path: Path) -> None:
            write_atomically(path, json.dumps(_packed(pack(found)), allow_nan=False))

        return self.file(stage, settings, make, read, write)

    def file(
        self,
        stage: str,
        settings: Any,
        make: Callable[[], T],
        read: Callable[[Path], T],
        write: Callable[[T, Path], None],
    ) -> T:
        """Return the result of a stage whose file is read and written by functions."""
        if self.folder is None:
            return make()
        path = self.folder / f"{stage}-{self._hash(stage, settings)}.json"
        # Whatever is wrong with a file, its result can be made again.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, zlib.error):
            return read(path)
        found = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        write(found, path)
        self._remove_oldest(stage)
        return found

    def _hash(self, stage: str, settings: Any) -> str:
        # Notes are in results, too, and the order of rows and columns decides that of the results.
        of_sweep = [self.sweep.digest(), self.sweep.notes, self.sweep.domains, self.sweep.targets]
        rows = hashlib.sha256(repr(self.sweep.run.tolist()).encode()).hexdigest()
        asked = [__version__, stage, of_sweep, rows, self.sweep.metadata.stated(), settings]
        return hashlib.sha256(json.dumps(_packed(asked), sort_keys=True).encode()).hexdigest()[:16]

    def _remove_oldest(self, stage: str) -> None:
        """Remove the results of a stage beyond the last few."""
        with contextlib.suppress(OSError):
            files = self.folder.glob(f"{stage}-*.json") if self.folder else ()
            for old in sorted(files, key=lambda file: -file.stat().st_mtime)[MOST:]:
                old.unlink()


MOST = 8
"""Number of results of one stage that are kept."""


def _packed(value: Any) -> Any:
    """Return JSON types; arrays are their bytes, so that they come back bit by bit.

    >>> _unpacked(_packed({"a": np.array([0.1, np.nan]), "b": float("inf")}))
    {'a': array([0.1, nan]), 'b': inf}
    """
    if isinstance(value, np.ndarray) and value.dtype != object:
        data = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 1)).decode()
        return {ARRAY: [value.dtype.str, list(value.shape), data]}
    if isinstance(value, float) and not np.isfinite(value):
        return _packed(np.asarray(value))
    if isinstance(value, pd.DataFrame):
        rows, columns = ([list(i), i.name] for i in (value.index, value.columns))
        cells = [value.iloc[:, i].to_numpy() for i in range(value.shape[1])]
        return {TABLE: _packed([rows, columns, cells])}
    if isinstance(value, pd.Series):
        return {
            SERIES: _packed([list(value.index), value.index.name, value.name, value.to_numpy()])
        }
    if isinstance(value, dict):
        return {str(name): _packed(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_packed(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any) -> Any:
    """Return what was packed; lists come back as tuples."""
    if isinstance(value, list):
        return tuple(_unpacked(each) for each in value)
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), None) if len(value) == 1 else None
    if mark == ARRAY:
        kind, shape, data = value[ARRAY]
        found = np.frombuffer(zlib.decompress(base64.b64decode(data)), np.dtype(kind))
        return found.reshape(shape).copy() if shape else found.item()
    if mark == TABLE:
        (rows, row_name), (columns, column_name), data = _unpacked(value[TABLE])
        index = pd.Index(rows, name=row_name)
        table = pd.DataFrame({i: _column(each) for i, each in enumerate(data)}, index)
        return table.set_axis(pd.Index(columns, name=column_name), axis=1)
    if mark == SERIES:
        rows, row_name, name, data = _unpacked(value[SERIES])
        return pd.Series(_column(data), pd.Index(rows, name=row_name), name=name)
    return {name: _unpacked(each) for name, each in value.items()}


def _column(data: Any) -> Any:
    return data if isinstance(data, np.ndarray) else list(data)


def fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def kept_diagnosis(kept: Kept, make: Callable[[], Diagnosis]) -> Diagnosis:
    """Return the diagnosis of a sweep."""

    def pack(found: Diagnosis) -> Any:
        seen = [[int(o.severity), o.what, o.advice] for o in found.observations]
        return {**fields_of(found), "observations": seen}

    def unpack(parts: Any) -> Diagnosis:
        seen = (Observation(Severity(s), what, advice) for s, what, advice in parts["observations"])
        return Diagnosis(**{**parts, "observations": tuple(seen)})

    return kept.get("check", None, make, pack, unpack)


def kept_comparison(kept: Kept, settings: Any, make: Callable[[], Comparison]) -> Comparison:
    """Return a comparison of laws."""

    def pack(found: Comparison) -> Any:
        return {**fields_of(found), "noise": fields_of(found.noise)}

    def unpack(parts: Any) -> Comparison:
        return Comparison(**{**parts, "noise": NoiseFloor(**parts["noise"])})

    return kept.get("compare", settings, make, pack, unpack)


def kept_bootstrap(
    kept: Kept, fitted: Fit, settings: Any, make: Callable[[], Bootstrap]
) -> Bootstrap:
    """Return the resamples of a fit; their arrays have the structure of those of the fit."""

    def pack(made: Bootstrap) -> Any:
        return {
            "resampled": jax.tree.leaves(made.resampled),
            "left_out": jax.tree.leaves(made.left_out),
            "freedom": fields_of(made.freedom),
            "held_out": None if made.held_out is None else list(made.held_out),
            "rest": [made.resampling, made.seed, made.runs, made.notes, made.absent],
        }

    def unpack(parts: Any) -> Bootstrap:
        # A resample has the structure of its fit, but for the mixtures, which it leaves out.
        structure = jax.tree.structure(dataclasses.replace(fitted, observed_mixtures=None))
        resampling, seed, runs, notes, absent = parts["rest"]
        fits = (jax.tree.unflatten(structure, parts[name]) for name in ("resampled", "left_out"))
        resampled, left_out = (
            dataclasses.replace(each, sweep_digest=fitted.sweep_digest) for each in fits
        )
        held_out = None if parts["held_out"] is None else HeldOut(*parts["held_out"])
        return Bootstrap(
            fitted,
            resampled,
            left_out,
            Freedom(**parts["freedom"]),
            resampling,
            seed,
            held_out,
            kept.sweep,
            runs,
            notes,
            absent,
        )

    return kept.get("resample", settings, make, pack, unpack)


def key_of(fitted: Fit) -> dict[str, Any]:
    """Return what tells the fits of one sweep apart, as JSON types."""
    return {"law": repr(fitted.law), "options": dataclasses.asdict(fitted.options)}


def kept_fit(kept: Kept, settings: Any, make: Callable[[], Fit]) -> Fit:
    """Return a fit, in the form of `Fit.save`."""
    return kept.file("fit", settings, make, load_fit, Fit.save)


def kept_path(kept: Kept, settings: Any, make: Callable[[], OptimalPath]) -> OptimalPath:
    """Return the best mixtures along the budget."""
    return kept.get("path", settings, make, fields_of, lambda parts: OptimalPath(**parts))


def kept_proposal(kept: Kept, settings: Any, make: Callable[[], Proposal]) -> Proposal:
    """Return the runs to do next."""
    return kept.get("propose", settings, make, fields_of, lambda parts: Proposal(**parts))
