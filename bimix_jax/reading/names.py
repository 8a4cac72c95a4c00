"""Mixtures and weights that people give by name, put in the order of a fit."""

import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.quantities import number_of, numbers_of
from bimix_jax.reading.frames import as_frame
from bimix_jax.reading.settings import refuse_unknown

# Shares of four domains rounded to whole per cents are off by up to 4 · 0.005.
SUM_TOLERANCE = 0.02
"""Largest distance from 1 of a mixture's sum; closer sums are normalised."""
SHOWN = 5
"""Number of labels that a note lists before it counts the rest."""
# Twenty shares of six decimals are off by up to 20 · 5e-7.
SILENT_TOLERANCE = 1e-5
"""Largest distance from 1 that is rounding in the last digit and needs no warning."""


def spelling(name: object) -> str:
    """Return the form of a name by which names are compared: equal for names that mean the same.

    Case, blanks at the ends, the kind and number of blanks inside, invisible characters and the
    Unicode form (composed or decomposed) do not count.

    >>> spelling(" Wiki\N{NO-BREAK SPACE}FR") == spelling("wiki fr")
    True
    """
    # Folding a composed letter may leave one that composes anew, hence both forms (Unicode 3.13).
    return _written(unicodedata.normalize("NFD", _written(name)).casefold())


def _written(name: object) -> str:
    """Return a name as it looks in print: one Unicode form, plain blanks, no invisible
    characters."""
    text = str(name)
    if text.isascii():  # fast: none of its characters is invisible
        return " ".join(text.split())
    seen = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", " ".join(seen.split()))


def respelled(argument: str, found: Iterable[object], expected: Iterable[str]) -> dict[str, str]:
    """Map names found to the expected names from which they differ in `spelling` alone.

    A name that is expected as it stands is never respelled, nor is another taken for it.

    Raises:
        ValueError: if two names found, or two expected, may be the one.

    >>> respelled("weights", ["Code", "text", "prose"], ["code", "text"])
    {'Code': 'code'}
    """
    names, wanted = list(dict.fromkeys(map(str, found))), list(dict.fromkeys(expected))
    renamed: dict[str, str] = {}
    for form in (_written, spelling):  # in this order: "C " is C where there is c, too
        free = [n for n in wanted if n not in names and n not in renamed.values()]
        there = _by_form(form, [n for n in names if n not in wanted and n not in renamed])
        for key, targets in _by_form(form, free).items():
            if key in there:
                _check_one(argument, there[key], targets)
                renamed[there[key][0]] = targets[0]
    return renamed


def _by_form(form: Callable[[object], str], names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(form(name), []).append(name)
    return groups


def _check_one(argument: str, found: list[str], expected: list[str]) -> None:
    if len(found) > 1 or len(expected) > 1:
        raise ValueError(
            f"{argument}: {_quoted(found)} may be {_quoted(expected)}, as names that differ only "
            "in case, blanks or Unicode form are taken for one. Spell each exactly as it is "
            "expected."
        )


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(map(_shown, names))


def _shown(name: str) -> str:
    """Return a name in quotes, with its Unicode form, which print does not show."""
    composed = unicodedata.normalize("NFC", name)
    letters = [c for c in dict.fromkeys(composed) if unicodedata.normalize("NFD", c) != c]
    if not letters:
        return repr(name)
    form = "composed" if name == composed else "decomposed"
    return f"{name!r} (with a {form} {', '.join(letters)})"


def note_of_spelling(renamed: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence that lists the respelled names, or nothing where all names were exact.

    >>> note_of_spelling({"Code": "code"})
    ("Names that differ only in case, blanks or Unicode form are taken for one: 'Code' is 'code'.",)
    """
    if not renamed:
        return ()
    pairs = ", ".join(_as_told_apart(found, name) for found, name in renamed.items())
    return (f"Names that differ only in case, blanks or Unicode form are taken for one: {pairs}.",)


def _as_told_apart(found: str, name: str) -> str:
    show = _shown if _written(found) == _written(name) else repr  # print shows them alike
    return f"{show(found)} is {show(name)}"


def without_blanks(labels: Iterable[object]) -> tuple[dict[object, str], list[str]]:
    """Map run labels to the same labels without blanks at their ends; also return a note of them.

    >>> without_blanks(["a", "a "])
    ({'a ': 'a'}, ["Blanks at the ends of the labels of runs were left out: 'a ' is 'a'."])
    """
    texts = [label for label in labels if isinstance(label, str)]
    renamed: dict[object, str] = {t: t.strip() for t in texts if t.strip() not in ("", t)}
    pairs = [f"{found!r} is {name!r}" for found, name in renamed.items()]
    more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    note = f"Blanks at the ends of the labels of runs were left out: {', '.join(pairs[:SHOWN])}"
    return renamed, [f"{note}{more}."] * bool(pairs)


def unified(names: Sequence[str], place: Sequence[Any]) -> dict[str, str]:
    """Map names that differ in `spelling` alone, and never share a place, to the first of them.

    Args:
        names: labels, many times each.
        place: place of each label, such as its point; two spellings at one place are two names.

    >>> unified(["Code", "text", "code"], ["run a", "run a", "run b"])
    {'code': 'Code'}
    >>> unified(["C", "c"], ["run a", "run a"])
    {}
    """
    there: dict[str, set[Any]] = {}
    for name, where in zip(names, place, strict=True):
        there.setdefault(name, set()).add(where)
    renamed: dict[str, str] = {}
    for group in _by_form(spelling, there).values():
        # The places of all spellings are disjoint if their numbers add up to that of their union.
        if len(group) > 1 and sum(len(there[n]) for n in group) == len(
            set.union(*(there[n] for n in group))
        ):
            renamed |= dict.fromkeys(group[1:], group[0])
    return renamed


def as_expected(argument: str, values: Any, expected: Sequence[str]) -> dict[str, Any]:
    """Return a mapping with its names spelled as expected; expected names may be absent.

    Raises:
        ValueError: if a name is unknown, or there twice.

    >>> as_expected("lower", {"code": 0.2}, ["text", "code"])
    {'code': 0.2}
    """
    names = _spelled(argument, values.keys(), expected)
    refuse_unknown(argument, set(names) - set(expected), expected)
    return dict(zip(names, values.values(), strict=True))


def _spelled(argument: str, found: Iterable[object], expected: Sequence[str]) -> list[str]:
    """Return the names, respelled as expected with a warning where only the spelling differs."""
    names = list(map(str, found))
    renamed = respelled(argument, names, expected)
    for note in note_of_spelling(renamed):
        warnings.warn(f"{argument}: {note}", stacklevel=1)  # one place, so that it is said once
    return [renamed.get(name, name) for name in names]


def align_mixtures(mixtures: Any, domains: Sequence[str]) -> tuple[np.ndarray, pd.Index | None]:
    """Return mixtures as an array (mixtures, domains) in the order of `domains`, and their labels.

    Args:
        mixtures: a DataFrame with a column for every domain, a Series or mapping that names
            every domain (one mixture), or an array ordered as `domains`, (domains,) or
            (mixtures, domains).
        domains: names, in the order wanted.

    Returns:
        The array, and the row labels; None as labels for a single mixture.

    Raises:
        ValueError: if names are missing or unknown (both sets are shown), if a proportion is
            negative or not a number, or if a mixture is further than 0.02 from summing to 1.

    >>> values, labels = align_mixtures({"code": 0.25, "text": 0.75}, ["text", "code"])
    >>> print(values, labels)
    [[0.75 0.25]] None
    """
    mixtures = as_frame(mixtures)
    if isinstance(mixtures, pd.DataFrame):
        by_name = mixtures.set_axis(check_names("mixtures", mixtures.columns, domains), axis=1)
        values, labels = _shares(by_name[list(domains)].to_numpy()), mixtures.index
    elif isinstance(mixtures, (pd.Series, Mapping)):
        names = check_names("mixtures", mixtures.keys(), domains)
        named = dict(zip(names, dict(mixtures).values(), strict=True))
        values, labels = np.array([[_share(d, named[d]) for d in domains]]), None
    else:
        values, labels = _ordered(mixtures, len(domains))
    shown = labels if isinstance(mixtures, pd.DataFrame) else None
    return _on_simplex(values, shown), labels


def align_weights(weights: Any, targets: Sequence[str]) -> np.ndarray:
    """Return weights (targets,) in the order of `targets`. None means 1 each; absent names count 0.

    Raises:
        ValueError: on an unknown name, a negative weight, or no weight above 0.

    >>> print(align_weights({"code": 2.0}, ["text", "code"]))
    [0. 2.]
    """
    if weights is None:
        return np.ones(len(targets))
    if isinstance(weights, (pd.Series, Mapping)):
        named = as_expected("weights", dict(weights.items()), targets)
        values = np.array(
            [number_of(named.get(t, 0.0), f"weights: {t}", "a number ≥ 0") for t in targets]
        )
    else:
        values = numbers_of(weights, "weights", "numbers ≥ 0")
    if (
        values.shape != (len(targets),)
        or not np.all(values >= 0)
        or not 0 < np.sum(values) < np.inf
    ):
        raise ValueError(
            f"weights are {values.tolist()}; expected {len(targets)} numbers ≥ 0 with one above 0, "
            f"for the targets {', '.join(targets)}."
        )
    return values


def check_names(argument: str, found: Iterable[object], expected: Sequence[str]) -> list[str]:
    """Return the names found, in their order, spelled as expected.

    Raises:
        ValueError: unless both hold the same names; the message lists what differs.

    >>> check_names("domains", ["code", "text"], ["text", "code"])
    ['code', 'text']
    """
    names = _spelled(argument, found, expected)
    missing = [name for name in expected if name not in names]
    if missing:
        raise ValueError(
            f"{argument}: no value for {', '.join(missing)}. It names {', '.join(names)}; expected "
            f"every one of {', '.join(expected)}. Add the missing ones (0 is a value)."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{argument}: {', '.join(twice)} is there twice; expected every name once."
        )
    refuse_unknown(argument, set(names) - set(expected), expected)
    return names


def _shares(values: Any) -> np.ndarray:
    return numbers_of(values, "mixtures", "proportions, as numbers", percent=True)


def _share(domain: str, value: Any) -> float:
    return number_of(value, f"mixtures: {domain}", "a proportion", percent=True)


def _ordered(mixtures: Any, count: int) -> tuple[np.ndarray, pd.Index | None]:
    values = _shares(mixtures)
    single = values.ndim == 1
    values = np.atleast_2d(values)
    if values.ndim != 2 or values.shape[1] != count:
        raise ValueError(
            f"mixtures: an array of shape {np.shape(mixtures)}; expected ({count},) or "
            f"(mixtures, {count}), ordered as the fit's domains. Name the columns to be safe."
        )
    return values, None if single else pd.RangeIndex(len(values))


def _on_simplex(values: np.ndarray, labels: pd.Index | None) -> np.ndarray:
    total = values.sum(axis=1)
    wrong = ~(np.all(values >= 0, axis=1) & (np.abs(total - 1) <= SUM_TOLERANCE))
    if np.any(wrong):
        row = int(np.argmax(wrong))
        which = f"mixtures: row {row}" if labels is None else f"mixture {labels[row]}"
        raise ValueError(
            f"{which} is {np.round(values[row], 4).tolist()} and sums to "
            f"{total[row]:.6g}; expected proportions ≥ 0 that sum to 1. Divide the row by its sum."
        )
    # Normalised all the same, but only sums that somebody could see deserve a warning.
    rounded = int(np.sum(np.abs(total - 1) > SILENT_TOLERANCE))
    if rounded:
        message = f"mixtures: {rounded} of {len(total)} did not sum to 1 and were normalised."
        warnings.warn(message, stacklevel=4)
    return values / total[:, None]
