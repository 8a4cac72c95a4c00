"""Shares of tokens and of documents, and rounded shares."""

import numpy as np
import pandas as pd


def document_shares(token_shares: pd.Series, tokens_per_document: pd.Series) -> pd.Series:
    """Convert shares of tokens to shares of documents: r_i/n_i, renormalised.

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


def rounded(shares: pd.Series, digits: int) -> pd.Series:
    """Round shares to so many decimals that sum to 1, each less than one unit off (largest
    remainders).

    >>> rounded(pd.Series({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}), 2).to_dict()
    {'a': 0.34, 'b': 0.33, 'c': 0.33}
    """
    units = shares.to_numpy(float) * 10.0**digits
    whole = np.floor(units)
    left = round(10.0**digits - whole.sum())
    largest = np.argsort(-(units - whole), kind="stable")[:left]
    whole[largest] += 1
    return pd.Series(whole / 10.0**digits, index=shares.index, name="rounded")
