"""The field of records or of a table that holds a domain: its text, or its token ids."""

from typing import Any, NamedTuple

import numpy as np

TEXT_FIELD = "text"
"""Default field."""
ID_FIELDS = ("input_ids", "token_ids", "tokens")
"""Usual fields of token ids, tried if there is no field of text."""
MASK = "attention_mask"
"""Field beside token ids that is 0 where they are padding."""


class Field(NamedTuple):
    """The field with the content of a domain."""

    name: str
    ids: bool
    """True where it holds token ids rather than text"""


def checked_ids(row: Any, where: str, vocabulary: int) -> np.ndarray:
    """Return the token ids of a document as integers.

    Args:
        row: a list of whole numbers, or an array of integers.
        where: file and row, for messages.
        vocabulary: number of token types.

    Raises:
        ValueError: if they are not whole numbers, or not below the vocabulary.

    >>> checked_ids([3, -100], "a.jsonl: line 7", 50)
    Traceback (most recent call last):
    ValueError: a.jsonl: line 7 holds the token id -100; expected ids from 0 to 49 ...
    """
    if isinstance(row, list) and not set(map(type, row)) <= {int}:
        wrong = next(value for value in row if type(value) is not int)
        raise ValueError(
            f"{where} holds {wrong!r:.60} among its token ids; expected whole numbers, one list "
            "per document."
        )
    ids = np.asarray(row, None if len(row) else np.int64)
    wrong = (ids < 0) | (ids >= vocabulary)
    if wrong.any():
        padding = " Negative ids mark padding: leave it out." if (ids < 0).any() else ""
        raise ValueError(
            f"{where} holds the token id {ids[np.argmax(wrong)]}; expected ids from 0 to "
            f"{vocabulary - 1} for a vocabulary of {vocabulary} (vocabulary= or --vocabulary)."
            f"{padding}"
        )
    return ids
