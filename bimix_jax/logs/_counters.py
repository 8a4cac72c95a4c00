"""Columns that count training, recognised by their names: steps, tokens, time or epochs."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd

# Trainers log in groups: train/ (Hugging Face), trainer/ (Lightning), throughput/ (OLMo-core).
WHERE = r"(?:(?:train|trainer|training|time|throughput|progress|perf|optim|data)[/.])?"
"""Prefixes of a counter's name; a prefix of evaluations marks a counter of something else."""
GLOBAL_STEP = re.compile(r"(?:.*[/._])?global_?steps?", re.I)
"""Names of columns that count steps of the optimizer, with any prefix."""
OTHER_STEP = re.compile(
    WHERE + r"(?:(?:train|training|optimizer|num|current)_)?(?:step|iteration|iter|update)s?"
    rf"|{WHERE}(?:iter_num|batch)",
    re.I,
)
LOGGER_STEP = "_step"
"""W&B's own counter: it counts calls of the logger, several or none per step."""
TOKENS = (
    "tokens",
    "num_input_tokens_seen",
    "tokens_seen",
    "num_tokens",
    "consumed_tokens",
    "total_tokens",
    "num_tokens_seen",
    "input_tokens_seen",
    "seen_tokens",
    "tokens_consumed",
    "tokens_processed",
    "tokens_trained",
    "trained_tokens",
    "train_tokens",
    "n_tokens",
    "cumulative_tokens",
    "token",
)
"""Names of token columns in usual loggers, the likeliest first."""
TOKEN = re.compile(rf"{WHERE}({'|'.join(TOKENS)})", re.I)
TIME = re.compile(r".*time.*|_?(?:timestamp|runtime|duration|date|created_?at)", re.I)
EPOCH = re.compile(r"(?:.*[/._])?epochs?", re.I)

What = Literal["steps", "tokens", "time", "epochs"]


@lru_cache(maxsize=1 << 16)
def counted_by(name: str) -> What | None:
    """Return what a column counts, by its name, or None.

    >>> counted_by("train/global_step"), counted_by("throughput/total tokens"), counted_by("loss")
    ('steps', 'tokens', None)
    >>> counted_by("Relative Time (Process)")
    'time'
    """
    plain = _plain(name)
    kinds: dict[What, bool] = {
        "steps": plain == LOGGER_STEP or _is_step(plain),
        "tokens": bool(TOKEN.fullmatch(plain)),
        "time": bool(TIME.fullmatch(plain)),
        "epochs": bool(EPOCH.fullmatch(plain)),
    }
    return next((kind for kind, there in kinds.items() if there), None)


def _plain(name: str) -> str:
    # OLMo-core writes throughput/total tokens, with a blank.
    return name.strip().replace(" ", "_")


@lru_cache(maxsize=1 << 16)
def is_global_step(name: str) -> bool:
    """True where the name is one of the optimizer's steps."""
    return bool(GLOBAL_STEP.fullmatch(_plain(name)))


@lru_cache(maxsize=1 << 16)
def _is_step(name: str) -> bool:
    return is_global_step(name) or bool(OTHER_STEP.fullmatch(_plain(name)))


def step_columns(columns: Iterable[str]) -> list[str]:
    """Return columns that count training steps, the surest first, without W&B's own counter.

    >>> step_columns(["_step", "iter", "loss", "eval/global_step", "train/global_step"])
    ['train/global_step', 'eval/global_step', 'iter']
    """
    found = [c for c in columns if c.lower() != LOGGER_STEP and _is_step(c)]
    # A counter of evaluations is written at evaluations only, and may count something else.
    return sorted(found, key=lambda c: (not is_global_step(c), "eval" in c.lower()))


def token_columns(columns: Iterable[str]) -> list[str]:
    """Return columns that count tokens, the likeliest first."""
    ranks = {c: TOKEN.fullmatch(_plain(c)) for c in columns}
    return sorted(
        (c for c, found in ranks.items() if found),
        key=lambda c: TOKENS.index(TOKEN.fullmatch(_plain(c))[1].lower()),  # type: ignore[index]
    )


def rows_of_runs(run: np.ndarray) -> dict[object, np.ndarray]:
    """Map each run to its rows, in the order of the runs."""
    codes, names = pd.factorize(run, use_na_sentinel=False)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])
    return dict(zip(names, parts, strict=True)) if len(names) else {}


def filled(counter: np.ndarray, beside: np.ndarray, groups: Iterable[np.ndarray]) -> np.ndarray:
    """Fill the gaps of a counter from the line through its known values, run by run.

    Loggers write counters with the training loss, in other rows than the evaluations.

    Args:
        counter: (rows,) nan where it was not logged.
        beside: (rows,) another counter, which is known there.
        groups: of each run its rows.

    Returns:
        (rows,) nan where a run has fewer than two known values for a line.

    >>> gaps = np.array([np.nan, 20.0, np.nan, 40.0])
    >>> filled(gaps, np.arange(4.0), [np.arange(4)])
    array([10., 20., 30., 40.])
    """
    whole = counter.copy()
    for rows in groups:
        there = np.isfinite(counter[rows]) & np.isfinite(beside[rows])
        known, gone = rows[there], rows[~np.isfinite(counter[rows]) & np.isfinite(beside[rows])]
        if len(gone) and len(np.unique(beside[known])) > 1:
            whole[gone] = _line(beside[known], counter[known], beside[gone])
    return whole


def _line(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolate linearly between the points, with their mean slope before and after them."""
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    # Batches have one size in nearly all trainings, so the mean slope continues the line best.
    rate = (y[-1] - y[0]) / (x[-1] - x[0])
    before, after = y[0] - rate * (x[0] - at), y[-1] + rate * (at - x[-1])
    return np.where(at > x[-1], after, np.where(at < x[0], before, np.interp(at, x, y)))
