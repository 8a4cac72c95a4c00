"""Fits as JSON files: readable by people, never executed, refused when from a newer format."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bimix_jax import __version__
from bimix_jax.files import FIT_KIND, TABLE_ENDINGS, as_path, write_atomically
from bimix_jax.fitting._runs import ObservedRuns
from bimix_jax.fitting._storage_checks import check_fit
from bimix_jax.fitting.coefficients import Code, Coefficients
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.options import FitOptions
from bimix_jax.laws import LAWS, WRAPPERS, Bridged, Stacked, ThroughLosses
from bimix_jax.laws.law import Law
from bimix_jax.reading.metadata import metadata_of
from bimix_jax.reading.nested import read_json

FORMAT = 6
"""Version of the file's layout; raised when an older reader would misread a new file."""
LOSSES, WEIGHTED, EVEN = 5, 3, 2
"""Versions of files without descriptions of targets, of those with a budget power but neither runs
nor further options, and of those without any of these; their readers know no more."""
DIGEST = "digest"
"""Entry with the hash of the others, which detects changes."""
ENTRIES = {
    "kind",
    "format",
    "version",
    "law",
    "domains",
    "targets",
    "unit",
    "loss",
    "huber",
    "tied",
    "emphasis",
    "options",
    "observed_proportions",
    "observed_budgets",
    "observed_mixtures",
    "runs",
    "fits",
    "notes",
    "sweep_digest",
    "meaning",
}
TARGET_ENTRIES = {
    "target",
    "exponents",
    "identified",
    "amplitudes",
    "budget_scale",
    "code",
    "points",
    "sum_of_squares",
    "error",
    "restraint",
    "agreement",
}
FURTHER = {"shrinkage", "max_steps", "dtype"}
"""Options in files since format 4, written where they are not the defaults."""
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""Numbers that JSON lacks; files hold their names."""
CALLED = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    list: "a list",
    dict: "names with values",
}
"""Names of the JSON types in messages."""


class _UnknownLawError(ValueError):
    """The law of a fit has an unknown class."""


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
    document = _to_document(fitted)
    # Over everything else, so it must be the last entry.
    document[DIGEST] = _digest(document)
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _digest(document: dict[str, Any]) -> str:
    """SHA-256 of the content of a file, independent of its layout."""
    said = json.dumps(document, sort_keys=True, allow_nan=False)
    return hashlib.sha256(said.encode()).hexdigest()


def load_fit(path: str | Path, laws: Sequence[type[Law]] = ()) -> Fit:
    """Read a fit that `Fit.save` wrote.

    Args:
        path: the JSON file.
        laws: classes of your own laws that it may hold, beside the package's.

    Raises:
        ValueError: if the file is not a fit, is damaged or changed (the entry is named), is from
            a newer format (both versions are named), or holds a law that is not known.
        OSError: if there is no such file.
    """
    document = _read_document(as_path(path))
    digest = document.pop(DIGEST, None)  # files of before 2026-12 have none
    of_fits: dict[str, type[Law]] = {law.name: law for law in (Stacked, Bridged, ThroughLosses)}
    known = LAWS | WRAPPERS | of_fits | {law.name: law for law in laws}
    try:
        fitted = _from_document(document, _law(document["law"], known))
        check_fit(fitted)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} cannot be read as a fit: {_why(error)}") from error
    if digest is not None and digest != _digest(document):
        raise ValueError(
            f"{path} was changed after it was saved: its content does not match its digest. It is "
            f"damaged; fit again and save. (To change it on purpose, remove the entry {DIGEST}.)"
        )
    return fitted


def _why(error: Exception) -> str:
    if isinstance(error, _UnknownLawError):
        return str(error)
    what = f"entry {error} is missing" if isinstance(error, KeyError) else str(error)
    return f"{what.rstrip('.')}. It is damaged; fit again and save."


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path, "a fit written by `bimix fit`")
    except ValueError as error:
        if not path.name.lower().endswith(TABLE_ENDINGS):
            raise
        raise ValueError(
            f"{path} is a table, not a fit; fit the sweep first (bimix fit {path} -o fit.json), "
            "and give the file of the fit."
        ) from error
    if not isinstance(document, dict) or document.get("kind") != FIT_KIND:
        raise ValueError(f"{path} is JSON but not a fit; expected a file written by `bimix fit`.")
    if type(document.get("format")) is not int or document["format"] < 1:
        raise ValueError(
            f"{path}: the entry format is {document.get('format')!r}; expected a number from 1 to "
            f"{FORMAT}. It is damaged; fit again and save."
        )
    if document["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {document['format']}, written by bimix_jax "
            f"{document.get('version', '?')}; this is bimix_jax {__version__}, which reads up to "
            f"format {FORMAT}. Upgrade bimix_jax."
        )
    return document


def _to_document(fitted: Fit) -> dict[str, Any]:
    return {
        "kind": FIT_KIND,
        "format": _format(fitted),
        "version": __version__,
        "law": _law_document(fitted.law),
        "domains": fitted.domains,
        "targets": fitted.targets,
        "unit": fitted.unit,
        **_options_document(fitted.options),
        "observed_proportions": _numbers(fitted.observed_proportions),
        "observed_budgets": _numbers(fitted.observed_budgets),
        "observed_mixtures": _optional(fitted.observed_mixtures),
        **({} if fitted.runs is None else {"runs": _runs_document(fitted.runs)}),
        "fits": [_target_document(fitted, i) for i in range(len(fitted.targets))],
        "notes": fitted.notes,
        "sweep_digest": fitted.sweep_digest,
        "meaning": fitted.metadata.stated(),
    }


def _format(fitted: Fit) -> int:
    """Oldest format version whose readers know all entries."""
    if fitted.metadata.targets:
        return FORMAT
    if fitted.runs is not None or _further(fitted.options):
        return LOSSES
    return WEIGHTED if fitted.options.budget_power else EVEN


def _runs_document(runs: ObservedRuns) -> dict[str, Any]:
    return {
        "names": runs.names,
        "mixtures": _numbers(runs.mixtures),
        "losses": _numbers(runs.losses),
    }


def _runs(document: Any, domains: int, targets: int) -> ObservedRuns | None:
    if document is None:
        return None
    entries = _known(document, {"names", "mixtures", "losses"}, "runs")
    names = _texts("runs", entries["names"])
    return ObservedRuns(
        names,
        _floats("runs", entries["mixtures"], (len(names), domains)),
        _floats("runs", entries["losses"], (len(names), targets)),
    )


def _options_document(options: FitOptions) -> dict[str, Any]:
    """Options under the names of the first file format."""
    further = _further(options)
    return {
        "loss": options.residual,
        "huber": options.huber,
        "tied": options.tied,
        **({"emphasis": options.budget_power} if options.budget_power else {}),
        **({"options": further} if further else {}),
    }


def _further(options: FitOptions) -> dict[str, Any]:
    """Options of later formats that are not the defaults."""
    usual = FitOptions()
    asked = {name: getattr(options, name) for name in FURTHER}
    return {name: _plain(value) for name, value in asked.items() if value != getattr(usual, name)}


def _options(document: dict[str, Any]) -> FitOptions:
    huber = document["huber"]
    further = _known(document.get("options", {}), FURTHER, "options")
    return FitOptions(
        residual=document["loss"],
        huber=None if huber is None else float(_is("huber", huber, int, float)),
        tied=_texts("tied", document["tied"]),
        budget_power=float(_is("emphasis", document.get("emphasis", 0.0), int, float)),
        **{name: _hashable(value) for name, value in further.items()},
    )


def _law_document(law: Law) -> dict[str, Any]:
    fields: Any = dataclasses.fields(law) if dataclasses.is_dataclass(law) else ()
    values: dict[str, Any] = {field.name: getattr(law, field.name) for field in fields}
    return {"name": law.name, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    """Convert tuples to JSON lists, laws to their fields, and infinity to its name."""
    if isinstance(value, Law):
        return _law_document(value)
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
        "restraint": _numbers(fitted.shrinkage[target]),
        "agreement": _numbers(fitted.agreement[target]),
    }


def _numbers(values: Any) -> Any:
    """Nested lists of floats; nan and infinity, which JSON lacks, become their names."""
    array = np.asarray(values, float)
    if array.ndim:
        return [_numbers(v) for v in array]
    return float(array) if np.isfinite(array) else str(array)


def _optional(values: Any) -> Any:
    return None if values is None else _numbers(values)


def _mixtures(values: Any, domains: int) -> np.ndarray | None:
    return None if values is None else _floats("observed_mixtures", values, (len(values), domains))


def _floats(entry: str, values: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Nested lists of numbers as an array; text, truth values and null are refused."""
    found = np.array(_nested(entry, values), float)
    if shape is not None and found.shape != shape:
        raise ValueError(f"entry {entry} has numbers of shape {found.shape} where {shape} belong")
    return found


def _nested(entry: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_nested(entry, each) for each in value]
    if isinstance(value, str) and value in NOT_FINITE:
        return NOT_FINITE[value]
    number = float(_is(entry, value, int, float))
    if not math.isfinite(number):  # 1e999, which only its name may stand for
        raise ValueError(f"entry {entry} holds a number beyond the range of floats")
    return number


def _is(entry: str, value: Any, *kinds: type) -> Any:
    """Check that the value is of one of the kinds; a truth value is not a number."""
    if type(value) not in kinds:
        raise ValueError(f"entry {entry} is {value!r}; expected {CALLED[kinds[-1]]}")
    return value


def _texts(entry: str, values: Any) -> tuple[str, ...]:
    return tuple(_is(entry, value, str) for value in _is(entry, values, list))


def _known(document: dict[str, Any], entries: set[str], where: str) -> dict[str, Any]:
    unknown = sorted(set(_is(where, document, dict)) - entries)
    if unknown:
        raise ValueError(f"{where} has the unknown entry {unknown[0]!r}")
    return document


def _law(document: dict[str, Any], known: dict[str, type[Law]]) -> Law:
    fields = dict(document)
    name = fields.pop("name")
    if name not in known:
        raise _UnknownLawError(
            f"it holds the law {name!r}; known are {', '.join(sorted(known))}. Pass the class of "
            "your own law as load_fit(path, laws=[…])."
        )
    return known[name](**{field: _field(value, known) for field, value in fields.items()})


def _field(value: Any, known: dict[str, type[Law]]) -> Any:
    """Return a field of a law: a law, several, or what is hashable."""
    if isinstance(value, dict):
        return _law(value, known)
    if isinstance(value, list):
        return tuple(_field(each, known) for each in value)
    return _hashable(value)


def _hashable(value: Any) -> Any:
    """Convert lists to tuples and names to infinities, because a law must be hashable."""
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return float(value) if value in ("inf", "-inf", "nan") else value


def _from_document(document: dict[str, Any], law: Law) -> Fit:
    _known(document, ENTRIES, "the file")
    targets, domains = (_texts(each, document[each]) for each in ("targets", "domains"))
    rows = [_known(row, TARGET_ENTRIES, "fits") for row in _is("fits", document["fits"], list)]
    there = tuple(row["target"] for row in rows)
    if there != targets:
        raise ValueError(
            f"entry fits holds the targets {there}; expected {targets}, as targets says"
        )
    names = law.names(domains)
    return Fit(
        coefficients=_coefficients(law, rows, domains),
        code=np.array([_code(row["code"]) for row in rows], int),
        identified=np.array(_by_name("identified", rows, names, _flag), bool),
        points=np.array([_is("points", row["points"], int) for row in rows], int),
        sum_of_squares=_column("sum_of_squares", rows),
        error=_column("error", rows),
        observed_proportions=_floats(
            "observed_proportions", document["observed_proportions"], (2, len(domains))
        ),
        observed_budgets=_floats("observed_budgets", document["observed_budgets"], (2,)),
        observed_mixtures=_mixtures(document.get("observed_mixtures"), len(domains)),
        runs=_runs(document.get("runs"), len(domains), len(targets)),
        shrinkage=_shrinkage(rows, len(law.members)),
        agreement=_column("agreement", [{"agreement": 1.0, **row} for row in rows]),
        law=law,
        domains=domains,
        targets=targets,
        unit=_is("unit", document["unit"], str),
        options=_options(document),
        notes=_texts("notes", document["notes"]),
        sweep_digest=_is("sweep_digest", document["sweep_digest"], str),
        metadata=metadata_of(document.get("meaning")),  # format 1 has none
    )


def _code(label: Any) -> int:
    labels = {code.label: int(code) for code in Code}
    if label not in labels:
        raise ValueError(f"entry code is {label!r}; expected one of {', '.join(labels)}")
    return labels[label]


def _column(entry: str, rows: list[dict[str, Any]]) -> Any:
    return _floats(entry, [row[entry] for row in rows], (len(rows),))


def _shrinkage(rows: list[dict[str, Any]], members: int) -> Any:
    """(targets,) strengths, or (targets, members) of a law with members."""
    values = [row.get("restraint", 0.0) for row in rows]
    shape = (len(rows), members) if members else (len(rows),)
    return _floats("restraint", values, shape)


def _by_name(
    entry: str,
    rows: list[dict[str, Any]],
    names: Sequence[str],
    value_of: Callable[[str, Any], Any],
) -> list[list[Any]]:
    """(targets, names) of an entry that holds a value by name, each converted by `value_of`."""
    found = [_known(row[entry], set(names), entry) for row in rows]
    return [[value_of(f"{entry} {name}", row[name]) for name in names] for row in found]


def _flag(entry: str, value: Any) -> bool:
    return _is(entry, value, bool)


def _coefficients(law: Law, rows: list[dict[str, Any]], domains: tuple[str, ...]) -> Coefficients:
    own: Any = np.array([[float(d == row["target"]) for d in domains] for row in rows])
    exponents: Any = np.array(_by_name("exponents", rows, law.names(domains), _nested), float)
    amplitudes: Any = np.array(_by_name("amplitudes", rows, law.amplitude_names, _nested), float)
    return Coefficients(exponents, amplitudes, own, _column("budget_scale", rows))
