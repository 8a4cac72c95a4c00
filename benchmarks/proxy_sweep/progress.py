"""What a person sees of a sweep: a bar on a terminal, a line a checkpoint elsewhere."""

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
        self.total, self.done = total, done
        self.flops, self.matrix_rate = flops_per_token(model), matrix_rate
        self.seconds, self.counted = 0.0, 0
        self.bar = bar
        self.task = bar.add_task("", total=total, completed=done)
        self.last = time.perf_counter()

    def waited(self) -> None:
        """What passed since the last call was no training (reading, compiling)."""
        self.last = time.perf_counter()

    def trained(self, what: str, tokens: int) -> None:
        """So many more tokens are done."""
        now = time.perf_counter()
        self.seconds += now - self.last
        self.last = now
        self.counted += tokens
        self.done += tokens
        text = f"{what} · {self.speed()}"
        self.bar.update(self.task, description=text, completed=self.done)

    def skipped(self, tokens: int) -> None:
        """So many more tokens are done, but tell nothing of the speed."""
        self.done += tokens
        self.waited()

    def rate(self) -> float:
        """Tokens a second of this sitting."""
        return self.counted / self.seconds if self.seconds else 0.0

    def speed(self) -> str:
        """The rate, and the operations it needs as a share of the machine's matrix rate."""
        share = self.rate() * self.flops / self.matrix_rate
        return f"{self.rate():,.0f} tokens/s, {share:.0%} of the matrix rate"

    def report(self, what: str) -> None:
        """A line, where there is no terminal for a bar."""
        if not self.bar.console.is_terminal:
            left = (self.total - self.done) / self.rate() if self.rate() else 0.0
            hours, minutes = divmod(int(left / 60), 60)
            self.bar.console.print(f"{what} · {self.speed()} · {hours}:{minutes:02} h left")


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A bar over tokens on the error stream, shown where that is a terminal."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with Progress(
        BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn(),
        TextColumn("{task.description}"), console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        yield bar
