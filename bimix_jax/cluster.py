"""Work on a cluster of Ray: its actors do one item after another, and what fails is told apart."""

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import os
import platform
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

LEAST, BELOW = (2, 40), (2, 64)
"""Releases of Ray whose data sets take actors as they are used here: since the first, and before
the second, which takes no limit on what it repeats."""
EQUAL = ("bimix_jax", "jax", "numpy", "pyarrow")
"""Packages that every worker has to have in one release, because they decide the last digits."""

ATTEMPTS = 4
"""Workers that an item may lose before it is left out: one that always ends its worker, as where
memory does not suffice, would be tried for ever."""

Work = Callable[[Any], Any]
"""Function of an item that an actor keeps; items and results are what JSON can hold."""


class Result(NamedTuple):
    """The outcome of the work on an item."""

    place: int
    """index of the item"""
    value: Any = None
    error: str | None = None
    """the message, where the item could not be done because of what it is, or lost its workers"""


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

    def map(
        self, work: Work, items: Sequence[Any], name_of: Callable[[Any], str] = str
    ) -> Iterator[Result]:
        """Yield the results of a function of items as they come.

        Ray restarts actors that were lost and repeats their items, so a function has to leave the
        same when it is called twice. A `ValueError` or `OSError` is the item's own failure, and so
        is the loss of `ATTEMPTS` workers.

        Args:
            work: the function.
            items: the items.
            name_of: returns the name of an item, for messages.

        Raises:
            ValueError: if Ray is missing or too old, or a worker lacks packages or has others.
            ConnectionError: if there is no cluster at the address, or it has another Python or Ray.
            RuntimeError: if the function raised another error, with its traceback.
        """
        if not items:
            return
        left = dict(enumerate(items))
        with self.session() as ray, _surviving(ray):
            rows = [{"index": i, "item": json.dumps(item)} for i, item in left.items()]
            data = ray.data.from_items(rows, override_num_blocks=len(rows))
            with warnings.catch_warnings():
                # Releases that no longer take the limit on attempts are refused.
                warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
                made = data.map(
                    _Actor, fn_constructor_args=(work, _versions()), **self._resources(ray)
                )
            for row in made.iter_rows():
                item = left.pop(row["index"])
                if row["unfit"]:
                    raise ValueError(row["unfit"])
                if row["crash"]:
                    raise RuntimeError(f"{name_of(item)}: {row['crash']}")
                yield Result(row["index"], json.loads(row["value"]), row["error"] or None)
        for index, item in left.items():
            yield Result(
                index,
                error=f"{name_of(item)} was left out: it lost its worker {ATTEMPTS} times, perhaps "
                "for want of memory. Give workers more memory (fewer --workers), or smaller files.",
            )

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """Yield Ray, connected to the cluster; a connection that begins here ends here.

        While it lasts, this process prints to the stream of errors: Ray tells of lost workers on
        that of results.
        """
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
        except RuntimeError as error:  # Ray refuses another release, or another Python
            reason = " ".join(str(error).split()).rstrip(".")
            raise ConnectionError(f"the cluster of Ray cannot be used: {reason}.") from error
        # What it logs of lost workers and of errors is in results.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        ray.data.DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
        with contextlib.redirect_stdout(sys.stderr):
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
            # Items that wait at an actor would be lost with the one that it does.
            "compute": ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            "max_restarts": -1,
            "max_task_retries": ATTEMPTS - 1,
            # A little less than its share, so that rounding leaves no actor without a place.
            "num_cpus": 0.9 * there.get("CPU", 1) / workers,
            "num_gpus": self.gpus or None,
        }


class _Actor:
    """A worker, whose process keeps compiled programs and tokenizers from item to item."""

    def __init__(self, work: Work, expected: dict[str, str]) -> None:
        self.work, self.unfit = work, _unfit(expected)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        value, error, crash = None, "", ""
        if not self.unfit:
            try:
                value = self.work(json.loads(row["item"]))
            except (ValueError, OSError) as failure:
                error = str(failure)
            except Exception:  # Ray would leave the item out and say nothing
                crash = traceback.format_exc()
        return {
            "index": row["index"],
            "value": json.dumps(value),
            "error": error,
            "crash": crash,
            "unfit": self.unfit,
        }


@contextlib.contextmanager
def _surviving(ray: Any) -> Iterator[None]:
    """Let Ray go on without items that lost their workers; name a package that workers lack."""
    context = ray.data.DataContext.get_current()
    before, context.max_errored_blocks = context.max_errored_blocks, -1
    try:
        yield
    except ray.exceptions.RayError as error:
        missing = re.search(r"No module named '([^']+)'", str(error))
        if missing is None:
            raise
        raise ValueError(
            f"The workers of the cluster cannot import {missing[1]}; install the package and what "
            "it needs, in the releases that are here, on all machines."
        ) from error
    finally:
        context.max_errored_blocks = before


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
        ValueError: if it is missing, too old or too new.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(
            "engine ray needs the package ray: python -m pip install 'bimix_jax[ray]'."
        ) from error
    if not LEAST <= tuple(map(int, ray.__version__.split(".")[:2])) < BELOW:
        since, before = (".".join(map(str, release)) for release in (LEAST, BELOW))
        raise ValueError(
            f"ray {ray.__version__} is installed; expected {since} or later, before {before}: "
            "python -m pip install 'bimix_jax[ray]'."
        )
    return ray
