"""Fits as JSON files: readable by people, never executed, refused when from a newer format."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bimix_jax import __version__
from bimix_jax.files import write_atomically
from bimix_jax.fitted import Fit
from bimix_jax.fitting.codes import Code
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws import LAWS, WRAPPERS
from bimix_jax.laws.law import Law
from bimix_jax.meaning import meaning_of

FORMAT = 3
"""Version of the file's layout; raised when an older reader would misread a new file."""
EVEN = 2
"""That of fits whose points all count alike, which is all that its readers know."""
KIND = "bimix_jax fit"


class UnknownLawError(ValueError):
    """A fit of a law whose class is not known."""


def save_fit(fitted: Fit, path: str | Path) -> None:
    """Write a fit to `path` as JSON, beside it first and then renamed.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    write_atomically(path, _text(fitted))


def fit_digest(fitted: Fit) -> str:
    """SHA-256 of the file that `save_fit` writes of a fit."""
    return hashlib.sha256(_text(fitted).encode()).hexdigest()


def _text(fitted: Fit) -> str:
    return json.dumps(_to_document(fitted), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def load_fit(path: str | Path, laws: Sequence[type[Law]] = ()) -> Fit:
    """Read a fit that `Fit.save` wrote.

    Args:
        path: the JSON file.
        laws: classes of your own laws that it may hold, beside the package's.

    Raises:
        ValueError: if the file is no fit, is damaged, is from a newer format (both versions are
            named), or holds a law that is not known.
        FileNotFoundError: if there is no such file.
    """
    document = _read_document(Path(path))
    known = LAWS | WRAPPERS | {law.name: law for law in laws}
    try:
        law = _law(document["law"], known)
        return _from_document(document, law)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a fit: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, UnknownLawError):
        return str(error)
    what = f"entry {error} is missing" if isinstance(error, KeyError) else str(error)
    return f"{what}. It is damaged; fit again and save."


def _read_document(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a fit written by `bimix fit`.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a complete JSON file ({error}); expected a fit written by `bimix fit`."
        ) from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise ValueError(f"{path} is JSON but no fit; expected a file written by `bimix fit`.")
    if not isinstance(document.get("format"), int):
        raise ValueError(f"{path} names no format of its own; it is damaged, fit again and save.")
    if document["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {document['format']}, written by bimix_jax "
            f"{document.get('version', '?')}; this is bimix_jax {__version__}, which reads up to "
            f"format {FORMAT}. Upgrade bimix_jax."
        )
    return document


def _to_document(fitted: Fit) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format": FORMAT if fitted.emphasis else EVEN,
        "version": __version__,
        "law": _law_document(fitted.law),
        "domains": fitted.domains,
        "targets": fitted.targets,
        "unit": fitted.unit,
        "loss": fitted.loss,
        "huber": fitted.huber,
        "tied": fitted.tied,
        **({"emphasis": fitted.emphasis} if fitted.emphasis else {}),
        "observed_proportions": _numbers(fitted.observed_proportions),
        "observed_budgets": _numbers(fitted.observed_budgets),
        "observed_mixtures": _optional(fitted.observed_mixtures),
        "fits": [_target_document(fitted, i) for i in range(len(fitted.targets))],
        "notes": fitted.notes,
        "sweep_digest": fitted.sweep_digest,
        "meaning": fitted.meaning.stated(),
    }


def _law_document(law: Law) -> dict[str, Any]:
    fields: Any = dataclasses.fields(law) if dataclasses.is_dataclass(law) else ()
    values: dict[str, Any] = {field.name: getattr(law, field.name) for field in fields}
    inner = {n: _law_document(v) if isinstance(v, Law) else _plain(v) for n, v in values.items()}
    return {"name": law.name, **inner}


def _plain(value: Any) -> Any:
    """Tuples of numbers as JSON takes them, infinity by its name."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _numbers(value) if isinstance(value, float) else value


def _target_document(fitted: Fit, target: int) -> dict[str, Any]:
    c = fitted.coefficients
    exponent_names, amplitude_names = fitted.law.names(fitted.domains), fitted.law.amplitude_names
    return {
        "target": fitted.targets[target],
        "exponents": dict(zip(exponent_names, _numbers(c.exponents[target]), strict=True)),
        "identified": dict(zip(exponent_names, fitted.identified[target].tolist(), strict=True)),
        "amplitudes": dict(zip(amplitude_names, _numbers(c.amplitudes[target]), strict=True)),
        "budget_scale": float(c.budget_scale[target]),
        "code": Code(int(fitted.code[target])).label,
        "points": int(fitted.points[target]),
        "sum_of_squares": _numbers(fitted.sum_of_squares[target]),
        "error": _numbers(fitted.error[target]),
        "restraint": _numbers(fitted.restraint[target]),
        "agreement": _numbers(fitted.agreement[target]),
    }


def _numbers(values: Any) -> Any:
    """Nested lists of floats; JSON has no nan or infinity, so those become their names."""
    array = np.asarray(values, float)
    if array.ndim:
        return [_numbers(v) for v in array]
    return float(array) if np.isfinite(array) else str(array)


def _optional(values: Any) -> Any:
    return None if values is None else _numbers(values)


def _mixtures(values: Any, domains: int) -> np.ndarray | None:
    return None if values is None else _floats(values, (len(values), domains))


def _floats(values: Any, shape: tuple[int, ...] | None = None) -> Any:
    found = np.array(values, dtype=object).astype(float)
    if shape is not None and found.shape != shape:
        raise ValueError(f"numbers of shape {found.shape} where {shape} belong")
    return found


def _law(document: dict[str, Any], known: dict[str, type[Law]]) -> Law:
    fields = dict(document)
    name = fields.pop("name")
    if name not in known:
        raise UnknownLawError(
            f"it holds the law {name!r}; known are {', '.join(sorted(known))}. Pass the class of "
            "your own law as load_fit(path, laws=[…])."
        )
    return known[name](
        **{
            field: _law(value, known) if isinstance(value, dict) else _hashable(value)
            for field, value in fields.items()
        }
    )


def _hashable(value: Any) -> Any:
    """JSON has no tuples and no infinity, and a law must be hashable."""
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return float(value) if value in ("inf", "-inf", "nan") else value


def _from_document(document: dict[str, Any], law: Law) -> Fit:
    fits = {f["target"]: f for f in document["fits"]}
    rows = [fits[target] for target in document["targets"]]
    domains = tuple(document["domains"])
    return Fit(
        coefficients=_coefficients(law, rows, domains),
        code=np.array([Code[r["code"].upper()] for r in rows], int),
        identified=np.array([[r["identified"][n] for n in law.names(domains)] for r in rows], bool),
        points=np.array([r["points"] for r in rows], int),
        sum_of_squares=_floats([r["sum_of_squares"] for r in rows]),
        error=_floats([r["error"] for r in rows]),
        observed_proportions=_floats(document["observed_proportions"], (2, len(domains))),
        observed_budgets=_floats(document["observed_budgets"], (2,)),
        observed_mixtures=_mixtures(document.get("observed_mixtures"), len(domains)),
        restraint=_floats([r.get("restraint", 0.0) for r in rows]),
        agreement=_floats([r.get("agreement", 1.0) for r in rows]),
        law=law,
        domains=domains,
        targets=tuple(document["targets"]),
        unit=document["unit"],
        loss=document["loss"],
        huber=document["huber"],
        tied=tuple(document["tied"]),
        emphasis=float(document.get("emphasis", 0.0)),
        notes=tuple(document["notes"]),
        sweep_digest=document["sweep_digest"],
        meaning=meaning_of(document.get("meaning")),  # format 1 has none
    )


def _coefficients(law: Law, rows: list[dict[str, Any]], domains: tuple[str, ...]) -> Coefficients:
    return Coefficients(
        exponents=_floats([[r["exponents"][n] for n in law.names(domains)] for r in rows]),
        amplitudes=_floats([[r["amplitudes"][n] for n in law.amplitude_names] for r in rows]),
        own=_floats([[float(d == r["target"]) for d in domains] for r in rows]),
        budget_scale=_floats([r["budget_scale"] for r in rows]),
    )
