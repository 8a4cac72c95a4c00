"""Work on a cluster of Ray: its actors do one item after another, and what fails is told apart."""

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

LEAST = (2, 40)
"""Oldest release of Ray whose data sets take actors as they are used here."""
EQUAL = ("bimix_jax", "jax", "numpy", "pyarrow")
"""Packages that every worker has to have in one release, because they decide the last digits."""

Work = Callable[[Any], Any]
"""Function of an item that an actor keeps; items and results are what JSON can hold."""


class Result(NamedTuple):
    """The outcome of the work on an item."""

    place: int
    """index of the item"""
    value: Any = None
    error: str | None = None
    """the message, where the item could not be done because of what it is"""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster of Ray, and the share of it that the work takes.

    Raises:
        ValueError: if a number is not positive.
    """

    address: str | None = None
    """address of a running cluster; None for `RAY_ADDRESS`, else one that `ray start` began on this
    machine, else a new one"""
    workers: int | None = None
    """number of actors; None for one per machine, whose threads use all of its cores"""
    gpus: float = 0.0
    """GPUs per actor"""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers is {self.workers}; expected 1 or more.")
        if self.gpus < 0:
            raise ValueError(f"gpus is {self.gpus}; expected 0 or more per worker.")

    @property
    def is_elsewhere(self) -> bool:
        """True where its machines may not see the temporary folders of this one."""
        return (self.address or os.environ.get("RAY_ADDRESS", "local")) != "local"

    def map(self, work: Work, items: Sequence[Any]) -> Iterator[Result]:
        """Yield the results of a function of items as they come.

        Ray restarts actors that were lost and repeats their items, so a function has to leave the
        same when it is called twice. A `ValueError` or `OSError` is the item's own failure.

        Raises:
            ValueError: if Ray is missing or too old, or a worker has other packages.
            ConnectionError: if there is no cluster at the address.
        """
        if not items:
            return
        with self.session() as ray:
            rows = [{"index": i, "item": json.dumps(item)} for i, item in enumerate(items)]
            made = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _Actor, fn_constructor_args=(work, _versions()), **self._resources(ray)
            )
            for row in made.iter_rows():
                if row["unfit"]:
                    raise ValueError(row["unfit"])
                yield Result(row["index"], json.loads(row["value"]), row["error"] or None)

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """Yield Ray, connected to the cluster; a connection that begins here ends here."""
        ray = _ray()
        if ray.is_initialized():
            yield ray
            return
        try:
            ray.init(self.address, log_to_driver=False, logging_level="ERROR")
        except ConnectionError as error:
            raise ConnectionError(
                f"no cluster of Ray answers at {self.address}: {error}. Start one with ray start "
                "--head, and give its address."
            ) from error
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        ray.data.DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
        try:
            yield ray
        finally:
            ray.shutdown()

    def _resources(self, ray: Any) -> dict[str, Any]:
        """Return the number of actors, and the part of the cluster for each."""
        there = ray.cluster_resources()
        machines = sum(node["Alive"] for node in ray.nodes())
        fit = int(there.get("GPU", 0) // self.gpus) if self.gpus else machines
        workers = self.workers or max(fit, 1)
        return {
            "compute": ray.data.ActorPoolStrategy(size=workers),
            # A little less than its share, so that rounding leaves no actor without a place.
            "num_cpus": 0.9 * there.get("CPU", 1) / workers,
            "num_gpus": self.gpus or None,
        }


class _Actor:
    """A worker, whose process keeps compiled programs and tokenizers from item to item."""

    def __init__(self, work: Work, expected: dict[str, str]) -> None:
        self.work, self.unfit = work, _unfit(expected)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        value, error = None, ""
        if not self.unfit:
            try:
                value = self.work(json.loads(row["item"]))
            except (ValueError, OSError) as failure:
                error = str(failure)
        return {
            "index": row["index"],
            "value": json.dumps(value),
            "error": error,
            "unfit": self.unfit,
        }


def _versions() -> dict[str, str]:
    """Return the releases of Python and of the packages that decide the results."""
    found = {"Python": platform.python_version()}
    for name in EQUAL:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _unfit(expected: dict[str, str]) -> str:
    """Return a sentence on releases that differ from the expected ones; empty if none does."""
    found = _versions()
    other = [name for name in expected if found.get(name) != expected[name]]
    if not other:
        return ""
    each = ", ".join(f"{name} {found.get(name, 'none')} (here {expected[name]})" for name in other)
    return f"The worker on {platform.node()} has {each}; install the same releases on all machines."


def _ray() -> Any:
    """Import Ray with its data sets.

    Raises:
        ValueError: if it is missing or too old.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(
            "engine ray needs the package ray: python -m pip install 'bimix_jax[ray]'."
        ) from error
    if tuple(map(int, ray.__version__.split(".")[:2])) < LEAST:
        raise ValueError(
            f"ray {ray.__version__} is installed; expected {'.'.join(map(str, LEAST))} or later: "
            "python -m pip install 'bimix_jax[ray]'."
        )
    return ray
