"""Settings of `read_logs`, and the columns that they select in the files of one form."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from bimix_jax.logs._numbers import counted_by
from bimix_jax.reading.column_names import keep_scores_named
from bimix_jax.reading.errors import SweepError
from bimix_jax.reading.metadata import Metadata
from bimix_jax.sweeps.read import Choice

Align = Literal["auto", "nearest", "interpolate", "none"]
ALIGNMENTS: tuple[Align, ...] = ("auto", "nearest", "interpolate", "none")
UNITS = ("tokens", "steps")
MARK = "{target}"
BETWEEN_PARTS = re.compile(r"/|\\\.|_")
"""Separators between the parts of a pattern's name, in escaped form."""


class LogSettings(Choice, total=False):
    """The keywords of `read_logs`."""

    form: str | None
    loss_pattern: str | None
    run_key: str | None
    step_key: str | None
    tokens_key: str | None
    tokens_per_step: float | None
    unit: str | None
    mixture_prefix: str | None
    domains: str | Sequence[str] | None
    align: Align
    budgets: Any
    tolerance: float
    drop_unmatched: bool


@dataclasses.dataclass(frozen=True)
class Asked:
    """The keywords of `read_logs`, checked once.

    Raises:
        SweepError: on a value that a setting cannot have.

    >>> Asked(unit="days")
    Traceback (most recent call last):
    bimix_jax.reading.errors.SweepError: unit is 'days'; expected 'tokens' or 'steps' (--unit).
    """

    form: str | None = None
    loss_pattern: str | None = None
    run_key: str | None = None
    step_key: str | None = None
    tokens_key: str | None = None
    tokens_per_step: float | None = None
    unit: str | None = None
    mixture_prefix: str | None = None
    domains: str | Sequence[str] | None = None
    align: Align = "auto"
    budgets: Any = None
    tolerance: float = 0.01
    drop_unmatched: bool = False
    select: Mapping[str, Any] | None = None
    model_size: str | None = None
    metadata: Metadata | Mapping[str, Any] | None = None
    endpoints_only: bool = False

    def __post_init__(self) -> None:
        if self.loss_pattern:
            _pattern_of(self.loss_pattern)
        if self.unit not in (None, *UNITS):
            raise SweepError(f"unit is {self.unit!r}; expected 'tokens' or 'steps' (--unit).")
        if self.tokens_per_step is not None and not 0 < self.tokens_per_step < np.inf:
            raise SweepError(
                f"tokens_per_step is {self.tokens_per_step}; expected a number above 0 "
                "(--tokens-per-step)."
            )
        if self.align not in ALIGNMENTS:
            raise SweepError(f"align is {self.align!r}; expected one of {', '.join(ALIGNMENTS)}.")
        if not self.tolerance > 0:
            raise SweepError(
                f"tolerance is {self.tolerance}; expected a share of the budget above 0."
            )
        if self.budgets is not None:
            values = np.asarray(self.budgets, float)
            if not values.size or not np.all((values > 0) & np.isfinite(values)):
                raise SweepError(f"budgets is {self.budgets}; expected numbers above 0.")

    @property
    def domain_columns(self) -> list[str] | None:
        """The columns that the user listed as domains."""
        if self.domains is None:
            return None
        return [self.domains] if isinstance(self.domains, str) else list(self.domains)


@dataclasses.dataclass(frozen=True)
class Reading:
    """The selection of columns in the files of one form."""

    asked: Asked
    pattern: str
    """of the losses: the user's, or the usual one of the form"""
    exact: bool = False
    """True where the pattern's separators must match exactly"""
    prefix: str | None = None
    """prefix of columns of proportions; None where they are in a table of their own"""
    labels: frozenset[str] = frozenset()
    """possible labels of the runs in the table of mixtures"""
    run_elsewhere: bool = False
    """True where the column of runs may exist in the table of mixtures only"""

    def targets(self, columns: Sequence[str]) -> dict[str, str]:
        """Map the columns of losses to their targets."""
        losses = _targets_in(columns, _pattern_of(self.pattern))
        if not losses and not self.exact:
            losses = _targets_in(columns, _loosely(self.pattern))
        kept = {column: losses[column] for column in losses if not self._beside(column)}
        return keep_scores_named(kept, self.pattern.replace(MARK, " "))

    def loose_note(self, targets: dict[str, str]) -> list[str]:
        """Return a note where columns match the pattern except for its separators."""
        first = next(iter(targets), "")
        if _pattern_of(self.pattern).fullmatch(first):
            return []
        return [f"No column matches {self.pattern!r}; those like {first} were taken for losses."]

    def keep(self, columns: Sequence[str]) -> list[str]:
        """Select the columns that are used, losses or not, so that the others need no memory."""
        losses = self.targets(columns)
        return [column for column in columns if column in losses or self._beside(column)]

    def _beside(self, column: str) -> bool:
        counts = counted_by(column) in ("steps", "tokens") or column == self.asked.tokens_key
        return counts or (self.prefix is not None and column.startswith(self.prefix))


def _pattern_of(pattern: str) -> re.Pattern[str]:
    """Compile a loss pattern.

    Raises:
        SweepError: unless {target} stands in it once.

    >>> _pattern_of("eval/{target}/loss").fullmatch("eval/web/loss")["target"]
    'web'
    """
    if pattern.count(MARK) != 1:
        raise SweepError(
            f"loss_pattern is {pattern!r}; expected {MARK} in it once, like 'eval/{MARK}/loss'."
        )
    before, after = map(re.escape, pattern.split(MARK))
    return re.compile(f"{before}(?P<target>.+){after}")


def _loosely(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for any separators: eval.web.loss, eval/web_loss and eval_web_loss.

    >>> _loosely("eval/{target}/loss").fullmatch("eval/web_loss")["target"]
    'web'
    """
    # Exports rename metrics: W&B nests at dots, the Trainer joins with underscores, TensorBoard
    # with slashes.
    before, after = (BETWEEN_PARTS.sub("[/._]", re.escape(part)) for part in pattern.split(MARK))
    return re.compile(f"{before}(?P<target>.+){after}")


def _targets_in(columns: Iterable[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Map the columns that match to their targets."""
    found = ((column, pattern.fullmatch(column)) for column in columns)
    return {column: match["target"] for column, match in found if match}
