"""Progress of a sweep: a bar on a terminal, a line per checkpoint elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.proxy_sweep.model import ModelConfig, flops_per_token


class Meter:
    """Counts tokens and says how fast they go by.

    Args:
        total: tokens of the whole sweep.
        done: tokens that were trained before.
        model: shape of the models.
        matrix_rate: floating point operations a second of the machine's matrix product.
        bar: shows it.
    """

    def __init__(
        self, total: int, done: int, model: ModelConfig, matrix_rate: float, bar: Progress
    ) -> None:
        self.total, self.before, self.done = total, done, done
        self.flops, self.matrix_rate = flops_per_token(model), matrix_rate
        self.bar, self.task = bar, bar.add_task("", total=total, completed=done)
        self.what = ""
        self.seconds, self.counted = 0.0, 0
        self.began = time.perf_counter()
        self.last: float | None = None
        """when the step before ended; None if something else came since, or compiling will"""

    def begins(self, what: str) -> None:
        """Another group of runs is trained from here on."""
        self.what, self.last = what, None

    def trained(self, tokens: int) -> None:
        """A step is done, of so many tokens."""
        now = time.perf_counter()
        if self.last is not None:
            self.seconds += now - self.last
            self.counted += tokens
        self.last = now
        self.done += tokens
        self.bar.update(self.task, completed=self.done, description=f"{self.what} · {self.speed()}")

    def saved(self, done: int) -> None:
        """A checkpoint is written; all processes have trained `done` tokens together."""
        self.done = done

    def measured(self, loss: float) -> None:
        """Losses are measured, and their mean is so much."""
        self.last = None
        if not self.bar.console.is_terminal:
            line = f"{self.what} · mean loss {loss:.4f} · {self.speed()} · {self.left()} left"
            self.bar.console.print(line)

    def speed(self) -> str:
        """Tokens a second of this process, and their operations as a share of the matrix rate."""
        rate = self.counted / self.seconds if self.seconds else 0.0
        share = rate * self.flops / self.matrix_rate
        return f"{rate:,.0f} tokens/s, {share:.0%} of the matrix rate"

    def left(self) -> str:
        """Hours and minutes at the pace of all processes since this one began."""
        pace = (self.done - self.before) / (time.perf_counter() - self.began)
        minutes = int((self.total - self.done) / pace / 60) if pace > 0 else 0
        return f"{minutes // 60}:{minutes % 60:02} h"


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A bar over tokens on the error stream, shown where that is a terminal."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with Progress(
        BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn(),
        TextColumn("{task.description}"), console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        yield bar
