"""A recipe: a mixture at a planned budget, in tokens, epochs and training weights."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax import __version__
from bimix_jax.files import as_path, check_folder, write_atomically
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.storage import fit_digest
from bimix_jax.laws.law import Law
from bimix_jax.laws.wrappers import WithRepetition
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.printable import printable
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.reading.names import as_expected
from bimix_jax.recipe.available import PER_DOCUMENT, TOKENS, Where, read_available

SEED = 0
"""Of the order of examples, stated so that two runs see the same."""
EXAMPLES = {
    "tokens": "Probabilities are shares of tokens, which is right where all examples have one "
    "length. For documents give a table with a column documents (--available FILE).",
    "documents": "Probabilities are shares of documents: shares of tokens divided by the mean "
    "tokens of a document.",
}
"""Unit of the shares of examples → the reason that is written."""


@dataclasses.dataclass(frozen=True)
class Stamp:
    """The origin that every emitted file carries."""

    fit: str
    """SHA-256 of the file of the fit"""
    constraints: str
    """SHA-256 of the constraints and weights as sorted JSON, "none" without any"""
    budget: str
    """budget with its unit"""
    command: str
    """command line that wrote the file, or the Python call"""
    version: str = __version__

    def document(self) -> dict[str, str]:
        """Return the stamp as a mapping, for JSON."""
        return dataclasses.asdict(self)

    def comment(self, mark: str = "#") -> str:
        """Return the stamp as lines of comment."""
        return "".join(
            f"{mark} bimix_jax {name}: {printable(v)}\n" for name, v in self.document().items()
        )


def _digest_of(document: Any) -> str:
    """Return the SHA-256 of a document as sorted JSON; "none" for an empty one.

    >>> _digest_of({})
    'none'
    """
    if not document:
        return "none"
    # Sorted keys, so that the same settings have one digest.
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def document_shares(token_shares: pd.Series, tokens_per_document: pd.Series) -> pd.Series:
    """Convert shares of tokens to shares of documents: r_i / n_i, renormalised.

    Args:
        token_shares: by domain, summing to 1.
        tokens_per_document: mean tokens of a document, by domain.

    Raises:
        ValueError: if a domain has no number of tokens above 0.

    >>> shares = pd.Series({"tweets": 0.5, "books": 0.5})
    >>> print(document_shares(shares, pd.Series({"tweets": 50.0, "books": 99_950.0})))
    tweets    0.9995
    books     0.0005
    dtype: float64
    """
    # r_i tokens in documents of n_i tokens are r_i / n_i documents.
    counts = token_shares / _lengths(token_shares, tokens_per_document)
    return counts / counts.sum()


def token_shares(document_shares: pd.Series, tokens_per_document: pd.Series) -> pd.Series:
    """Convert shares of documents to shares of tokens: r_i·n_i, renormalised.

    Raises:
        ValueError: if a domain has no number of tokens above 0.
    """
    tokens = document_shares * _lengths(document_shares, tokens_per_document)
    return tokens / tokens.sum()


def _lengths(shares: pd.Series, tokens_per_document: pd.Series) -> pd.Series:
    lengths = tokens_per_document.reindex(shares.index).astype(float)
    wrong = [str(d) for d in shares.index if not 0 < lengths[d] < np.inf]
    if wrong:
        raise ValueError(
            f"tokens_per_document: no number above 0 for {', '.join(wrong)}; add the mean tokens "
            "of a document of each domain."
        )
    return lengths


def _rounded(shares: pd.Series, digits: int) -> pd.Series:
    """Round shares to `digits` decimals so that they sum to 1 (method of largest remainders).

    >>> _rounded(pd.Series({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}), 2).to_dict()
    {'a': 0.34, 'b': 0.33, 'c': 0.33}
    """
    units = shares.to_numpy(float) * 10.0**digits
    whole = np.floor(units)
    # Rounding down leaves fewer units than there are domains, so each gets one more at most.
    left = round(10.0**digits - whole.sum())
    largest = np.argsort(-(units - whole), kind="stable")[:left]
    whole[largest] += 1
    return pd.Series(whole / 10.0**digits, index=shares.index, name="rounded")


DIGITS = 8
"""Decimals of emitted weights: the error of a source is below 1e-8 of all tokens."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A mixture to train on: shares of tokens, their number, and epochs per domain."""

    shares: pd.Series
    """exact share of the tokens by domain"""
    weights: pd.Series
    """the shares rounded to the emitted decimals, summing to 1"""
    tokens: float | None
    """planned tokens of the whole training; None where unknown"""
    available: pd.DataFrame | None
    """tokens and tokens_per_document by domain, see `read_available`"""
    stamp: Stamp
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        of = "" if self.tokens is None else f" of {quantity_text(self.tokens)} tokens"
        return f"Recipe({counted(len(self.shares), 'domain')}{of})"

    def table(self) -> pd.DataFrame:
        """Return one row per domain, exact and rounded.

        Columns: share; tokens if the planned number is known; available and epochs
        (tokens/available) if the table of tokens is there; and rounded, rounded_tokens,
        rounded_epochs of the emitted weights.
        """
        intended = self._columns(self.shares, "")
        table = pd.DataFrame({"share": self.shares, **intended, "rounded": self.weights})
        for name, column in self._columns(self.weights, "rounded_").items():
            table[name] = column
        return table.drop(columns="rounded_available", errors="ignore").rename_axis("domain")

    def _columns(self, shares: pd.Series, prefix: str) -> dict[str, pd.Series]:
        if self.tokens is None:
            return {}
        parts = shares.to_numpy(float) * self.tokens
        # Shares sum to 1 except for rounding, which is added to the largest part.
        parts[parts.argmax()] += self.tokens - parts.sum()
        used = pd.Series(parts, shares.index)
        if self.available is None:
            return {f"{prefix}tokens": used}
        there = self.available[TOKENS]
        return {
            f"{prefix}tokens": used,
            f"{prefix}available": there,
            f"{prefix}epochs": used / there,
        }

    def sources(self) -> dict[str, float]:
        """Return the emitted weights above 0 by domain; other domains need not be loaded."""
        return {str(d): float(w) for d, w in self.weights.items() if w > 0}

    @property
    def epochs(self) -> pd.Series | None:
        """Epochs of each domain with the emitted weights; None where unknown."""
        if self.tokens is None or self.available is None:
            return None
        return self.weights * self.tokens / self.available[TOKENS]

    @property
    def tokens_per_document(self) -> pd.Series | None:
        """Mean tokens per document by domain; None unless known for every domain."""
        if self.available is None or self.available[PER_DOCUMENT].isna().any():
            return None
        return self.available[PER_DOCUMENT]

    def stamped(self, fit: str, command: str) -> "Recipe":
        """Return the recipe with another hash of the fit's file and command in its stamp."""
        stamp = dataclasses.replace(self.stamp, fit=fit, command=command)
        return dataclasses.replace(self, stamp=stamp)

    def emit(self, form: str, paths: dict[str, Where] | None = None) -> str:
        """Return the text of a file for a training stack.

        Args:
            form: json, megatron, hf, streaming, olmix or text.
            paths: by domain, from `read_paths`; megatron, hf and streaming need them.

        Raises:
            ValueError: on an unknown form, or paths that are missing or of another kind.
        """
        from bimix_jax.recipe.forms import form_named

        return form_named(form).render(self, paths)

    def save(
        self, path: str | Path, form: str, paths: dict[str, Where] | None = None
    ) -> list[Path]:
        """Write `emit` to a file; the stamp of a form without comments goes to <file>.stamp.json.

        Returns:
            The files that were written.

        Raises:
            ValueError: as `emit`.
            OSError: if the folder does not exist.
        """
        from bimix_jax.recipe.forms import form_named, stamp_text

        text = self.emit(form, paths)
        check_folder(path)
        written = [as_path(path)]
        if not form_named(form).carries_stamp:
            # The stamp is written first, so that no file is ever without its origin.
            sidecar = as_path(f"{path}.stamp.json")
            write_atomically(sidecar, stamp_text(self, form))
            written.append(sidecar)
        write_atomically(path, text)
        return written


def make_recipe(
    best: Optimum,
    fitted: Fit,
    available: Any = None,
    *,
    tokens: float | None = None,
    digits: int = DIGITS,
) -> Recipe:
    """Turn an optimum into a recipe at its budget.

    Args:
        best: from `optimize_mixture`.
        fitted: the fit that it comes from.
        available: table of the tokens that exist, see `read_available`, or domain → tokens of
            those that are known; default those of the optimum's constraints.
        tokens: planned tokens of the training; default those of its constraints, or its budget if
            that is in tokens.
        digits: decimals of the emitted weights.

    Raises:
        ValueError: on names that do not match, numbers that are not above 0, or shares of
            documents without the tokens of a document.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.BiMix())
    >>> recipe = make_recipe(bx.optimize_mixture(fitted, budget=5e6), fitted, digits=3)
    >>> recipe.weights["latex"].item(), round(float(recipe.table()["tokens"].sum()))
    (0.201, 5000000)
    """
    if tokens is not None and not 0 < tokens < float("inf"):
        raise ValueError(f"tokens is {tokens}; expected the number planned, above 0.")
    if not 1 <= digits <= 15:
        raise ValueError(f"digits is {digits}; expected 1 to 15 decimals.")
    table = _available(best, available, fitted.domains)
    planned = _planned(best) if tokens is None else tokens
    shares, notes = _shares_of_tokens(best.mixture, fitted.metadata.share_unit, table)
    unknown = (
        "Planned tokens are not known, as budgets are in "
        f"{best.unit}: state them with tokens= (--tokens)."
    )
    weights = _rounded(shares, digits)
    return Recipe(
        shares=shares.rename("share"),
        weights=weights,
        tokens=planned,
        available=table,
        stamp=Stamp(
            fit=fit_digest(fitted),
            constraints=_digest_of(_asked(best)),
            budget=f"{best.budget:g} {best.unit}",
            command="bimix_jax.make_recipe",
        ),
        notes=(
            *notes,
            *([unknown] if planned is None else []),
            *_repeated(best, fitted, weights, planned, table),
            *fitted.metadata.note_of_absent(("model_size",) if fitted.law.needs_size else ()),
        ),
    )


def _repeated(
    best: Optimum,
    fitted: Fit,
    weights: pd.Series,
    planned: float | None,
    available: pd.DataFrame | None,
) -> tuple[str, ...]:
    """Return a note of domains that are repeated although no limit of repetition is set."""
    limited = best.constraints.epochs is not None or _knows_repetition(fitted.law)
    if planned is None or available is None or limited:
        return ()
    epochs = weights * planned / available[TOKENS]
    # A smaller excess would be shown as once.
    often = [f"{domain} {count:.3g} times" for domain, count in epochs.items() if count > 1.005]
    if not often:
        return ()
    return (
        f"Nothing limits repetition, and more tokens are planned than exist: {', '.join(often)}. "
        f"{fitted.law.label} counts repeated tokens as new; limit them by epochs= (--epochs), or "
        "fit WithRepetition.",
    )


def _knows_repetition(law: Law) -> bool:
    # Wrappers nest: WithRepetition may be inside another one.
    inner = getattr(law, "base", None)
    return isinstance(law, WithRepetition) or (inner is not None and _knows_repetition(inner))


def counts_tokens(best: Optimum, available: Any) -> bool:
    """Return whether the optimum's shares are of tokens, or the tokens that exist are known, so
    that a recipe can be made."""
    unit = best.decision.fitted.metadata.share_unit
    return unit in (None, TOKENS) or available is not None or bool(best.constraints.available)


def _available(best: Optimum, source: Any, domains: tuple[str, ...]) -> pd.DataFrame | None:
    """Return the table in the order of the domains; nan where a number of tokens is unknown."""
    if source is None:
        return _partly(best.constraints.available, domains) if best.constraints.available else None
    if not isinstance(source, Mapping):
        return read_available(source, domains).loc[list(domains)]
    source = as_expected("available", source, domains)
    wrong = [domain for domain, count in source.items() if not 0 < count < float("inf")]
    if wrong:
        raise ValueError(
            f"available: {wrong[0]} has tokens = {source[wrong[0]]}; expected a number above 0."
        )
    return _partly(source, domains)


def _partly(tokens: Mapping[str, float], domains: tuple[str, ...]) -> pd.DataFrame:
    there = pd.Series(dict(tokens), dtype=float).reindex(list(domains))
    return pd.DataFrame({TOKENS: there, PER_DOCUMENT: float("nan")})


def _planned(best: Optimum) -> float | None:
    asked = best.constraints
    if best.unit != TOKENS and asked.tokens is None and asked.tokens_per_step is None:
        return None
    return asked.planned_tokens(best.unit, best.budget)


def _asked(best: Optimum) -> dict[str, Any]:
    """Return the settings of the optimum that differ from the defaults; empty if none do."""
    asked: dict[str, Any] = {}
    if best.constraints != Constraints():
        asked["constraints"] = best.constraints.to_dict()
    if best.weights.nunique() > 1:
        asked["weights"] = {str(name): float(value) for name, value in best.weights.items()}
    if best.objective_name != "mean":
        asked["objective"] = best.objective_name
    return asked


def _shares_of_tokens(
    mixture: pd.Series, unit: str | None, available: pd.DataFrame | None
) -> tuple[pd.Series, tuple[str, ...]]:
    """Return the mixture as shares of tokens, for any unit of the sweep's shares."""
    # Without a stated unit, shares are those of tokens, as the laws have them.
    if unit in (None, "tokens"):
        return mixture, ()
    if available is None or available[PER_DOCUMENT].isna().any():
        raise ValueError(
            f"available: the sweep's shares are of {unit}, so the tokens of one are needed: a "
            "table with domain, tokens and tokens_per_document (--available)."
        )
    return token_shares(mixture, available[PER_DOCUMENT]), (
        f"The sweep's shares are of {unit}; they were turned into shares of tokens.",
    )
