"""The loss pattern, like eval/{target}/loss: it selects loss columns and names their targets."""

import difflib
import re
from collections.abc import Iterable, Sequence

from bimix_jax.reading.errors import SweepError

MARK = "{target}"
NEAREST = 10
BETWEEN = re.compile(r"/|\\\.|_")
"""Separators between the parts of a pattern's name, in escaped form."""


class NoLosses(SweepError):
    """Logs in which no column matches the loss pattern."""


def pattern_of(pattern: str) -> re.Pattern[str]:
    """Compile a loss pattern.

    Raises:
        SweepError: unless {target} stands in it once.

    >>> pattern_of("eval/{target}/loss").fullmatch("eval/web/loss")["target"]
    'web'
    """
    if pattern.count(MARK) != 1:
        raise SweepError(
            f"loss_pattern is {pattern!r}; expected {MARK} in it once, like 'eval/{MARK}/loss'."
        )
    before, after = map(re.escape, pattern.split(MARK))
    return re.compile(f"{before}(?P<target>.+){after}")


def loosely(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for any separators: eval.web.loss, eval/web_loss and eval_web_loss.

    >>> loosely("eval/{target}/loss").fullmatch("eval/web_loss")["target"]
    'web'
    """
    before, after = (BETWEEN.sub("[/._]", re.escape(part)) for part in pattern.split(MARK))
    return re.compile(f"{before}(?P<target>.+){after}")


def targets_in(columns: Iterable[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Map the columns that match to their targets."""
    found = ((column, pattern.fullmatch(column)) for column in columns)
    return {column: match["target"] for column, match in found if match}


def check_some_match(targets: dict[str, str], columns: Sequence[str], pattern: str) -> None:
    """Raise NoLosses with the nearest names if no column matches."""
    if targets:
        return
    near = difflib.get_close_matches(pattern, columns, n=NEAREST, cutoff=0.0)
    raise NoLosses(
        f"loss_pattern: no column matches {pattern!r}. The nearest of {len(columns)}: "
        f"{', '.join(near) or 'none, the logs are empty'}. Write {MARK} where the target's name "
        "stands (--loss-pattern)."
    )
