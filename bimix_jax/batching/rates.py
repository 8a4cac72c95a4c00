"""Rates of fits on a device, and the device's ceilings of arithmetic and memory traffic."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimix_jax.batching._compiled import BatchMethod, compiled_chunk, end_to_end, has_large_chunks
from bimix_jax.batching._rows import SweepRows
from bimix_jax.batching._run import QUICK_STEPS, fit_rows, parts_of
from bimix_jax.fitting.arrays import fit_arrays
from bimix_jax.fitting.coefficients import Code
from bimix_jax.fitting.kernel import evaluation
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.problem import Settings
from bimix_jax.fitting.residual import Points, Residual
from bimix_jax.laws import BiMix
from bimix_jax.xla.compilation import REASSOCIATED, cpu_options

TRANSCENDENTAL = 20
"""Operations per exponential or logarithm: a polynomial of about ten terms."""


@functools.cache
def _operations(method: BatchMethod, points: int) -> float:
    """Operations of one evaluation of the sum of squares, its slopes and curvature.

    XLA counts them for `points` points in the program before it is optimised: an addition or
    multiplication is 1, an exponential `TRANSCENDENTAL`.

    >>> from bimix_jax import BiMix
    >>> 50 < _operations(BatchMethod(BiMix()), 64) / 64 < 300
    True
    """
    with jax.default_device(_counting_device()):
        return _count_operations(method, points)


def _count_operations(method: BatchMethod, points: int) -> float:
    asked, own = method.options, np.array([1.0, 0.0])
    row: Any = jax.eval_shape(method.law.features, jnp.ones(2), own, jnp.ones(()))
    features = jax.tree.map(lambda leaf: jnp.ones((points, *leaf.shape)), row)
    data = Points(features, jnp.ones(points), jnp.ones(points))
    problem = Settings(residual=asked.residual, huber=asked.huber).problem(method.law, 2, 1)
    count = len(method.law.exponent_names) + problem.needs_full * len(method.law.amplitude_names)
    run = functools.partial(evaluation, problem)
    cost = jax.jit(run).lower(data, jnp.ones(count)).cost_analysis() or {}
    return float(cost.get("flops", np.nan) + TRANSCENDENTAL * cost.get("transcendentals", 0.0))


def _counting_device() -> Any:
    """Choose a CPU, because other compilers count nothing; without one, the default device."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def _bytes_moved(points: int, dtype: str) -> float:
    """Bytes moved by one fit: two shares, a budget and a loss per point, and the results."""
    # 2 + 1 + 1 numbers per point; 16 stands for coefficients, codes and sums of one fit.
    return float((4 * points + 16) * np.dtype(dtype).itemsize)


CHAINS, LENGTH = 8, 64
"""Multiply-adds on numbers in registers; several chains hide the latency of each."""
SMALL, LARGE = 1 << 16, 1 << 24
"""Array lengths within a cache, for arithmetic, and beyond it, for traffic."""
REPEATS = 7


class Ceilings(NamedTuple):
    """Rates of one floating type on the first local device."""

    flops: float
    """multiplications and additions per second, in chains that touch no memory"""
    bytes: float
    """bytes read or written per second, by adding two arrays larger than any cache"""


def measure_ceilings(dtype: str) -> Ceilings:
    """Measure the best rates of several calls.

    >>> found = measure_ceilings("float32")
    >>> found.flops > 1e8 and found.bytes > 1e8
    True
    """
    # Caches of GPUs are larger, and they need more threads than a cache of numbers has.
    many = LARGE if jax.default_backend() == "cpu" else 4 * LARGE
    wide = SMALL if jax.default_backend() == "cpu" else LARGE
    with jax.enable_x64(dtype == "float64"):
        chained = _best(_chains, jnp.asarray(np.linspace(0, 1, wide), dtype))
        added = _best(lambda x: 0.5 * x[0] + x[1], jnp.ones((2, many), dtype))
    # A multiply-add is two operations; adding two arrays reads two numbers and writes one.
    return Ceilings(
        2 * CHAINS * LENGTH * wide / chained, 3 * many * np.dtype(dtype).itemsize / added
    )


def _chains(x: jax.Array) -> jax.Array:
    # A chain alone would wait for each result before the next step could begin.
    values = [x + k for k in range(CHAINS)]
    for i in range(LENGTH):
        values = [y * x + (i + 1) / LENGTH for y in values]
    return functools.reduce(jnp.add, values)


def _best(function: Callable[[Any], Any], argument: Any) -> float:
    """Seconds of the fastest call after the first."""
    call = jax.jit(function, compiler_options=cpu_options(REASSOCIATED))
    # The first call compiles. The fastest of the others is the least disturbed one.
    jax.block_until_ready(call(argument))
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(call(argument))
        seconds.append(time.perf_counter() - started)
    return min(seconds)


BUDGETS = 8


def synthetic_rows(fits: int, points: int, seed: int = 0, noise: float = 0.01) -> SweepRows:
    """Generate sweeps of `points` losses at eight budgets over a factor of 64, shares 0.1 to 0.4.

    Coefficients cover the range of real sweeps: α 0.02 to 0.4, β 0.2 to 1, floors 0.1 to 0.9 of the
    loss. There are two domains, and the first is the target.

    >>> synthetic_rows(3, 16).loss.shape
    (48, 1)
    """
    rng = np.random.default_rng(seed)
    alpha, beta = rng.uniform(0.02, 0.4, (fits, 1)), rng.uniform(0.2, 1.0, (fits, 1))
    scale, floor = rng.uniform(1, 5, (fits, 1)), rng.uniform(0.1, 0.9, (fits, 1))
    share = rng.uniform(0.1, 0.4, (fits, points))
    budget = np.resize(np.geomspace(1 / 64, 1, BUDGETS), points)
    loss = scale * share**-alpha * ((1 - floor) * budget**-beta + floor)
    # Noise in the logarithm keeps losses positive.
    loss *= np.exp(noise * rng.standard_normal(loss.shape))
    mixture = np.stack([share, 1 - share], axis=-1).reshape(-1, 2)
    columns = (end_to_end([x]) for x in (mixture, np.tile(budget, fits), loss.reshape(-1, 1)))
    return SweepRows(("own", "other"), ("own",), np.full(fits, points), *columns)


CALLS, SECONDS = 5, 1.0
"""Least number of calls, and least seconds, after the first call."""
COMPARED = 500
"""Fits whose sums of squares are compared with the plain loop's from all starts."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Settings of the fits that are timed, and their number."""

    loss: Residual = "relative"
    huber: float | None = None
    dtype: str = "float64"
    points: int = 64
    fits: int = 10_000

    @property
    def name(self) -> str:
        """Name of the residual: relative, log, or Huber."""
        return "Huber" if self.huber else self.loss

    @property
    def method(self) -> BatchMethod:
        """Settings of the fits of the batch."""
        return BatchMethod(BiMix(), FitOptions(self.loss, self.huber, dtype=self.dtype))


def measure(case: Case, ceilings: Ceilings) -> dict[str, Any]:
    """Measure fits per second (median of several calls), with compilation, and largest excess.

    "on device" is the rate of the compiled search alone, with its chunk already in the device's
    memory; nan on a CPU, whose memory holds the arrays anyway. `bound` names the closer ceiling,
    arithmetic or bytes, and "of it" is the share of it that the higher rate of the two reaches,
    from the evaluations that fits need, without those that a chunk repeats.
    """
    rows, devices = synthetic_rows(case.fits, case.points), tuple(jax.local_devices())
    compiled_chunk.cache_clear()
    seconds = list[float]()
    while len(seconds) <= CALLS or sum(seconds[1:]) < SECONDS:
        started = time.perf_counter()
        found, _ = fit_rows(rows, case.method, devices)
        seconds.append(time.perf_counter() - started)
    # Without the first call, which compiles.
    rate = case.fits / float(np.median(seconds[1:]))
    bucket = parts_of(rows, np.arange(case.fits), case.method, devices, kernel=True)[0].bucket
    # Where runs share budgets, sums by budget take the place of points.
    evaluated = _operations(case.method, bucket.levels or case.points)
    work = evaluated * float(found.steps.mean()) / ceilings.flops
    traffic = _bytes_moved(case.points, case.dtype) / ceilings.bytes
    on_device = _device_rate(case, rows, devices) if has_large_chunks(devices) else float("nan")
    lost = ~np.isin(found.code, [Code.CONVERGED, Code.BOUNDARY])
    return {
        "method": case.name,
        "dtype": case.dtype,
        "points": case.points,
        "fits": case.fits,
        "fits/s": rate,
        "with compile": case.fits / seconds[0],
        "on device": on_device,
        "failed": int(lost.sum()),
        "excess": _excess(case, rows, np.asarray(found.sum_of_squares)[:, 0]),
        "bound": "arithmetic" if work > traffic else "bytes",
        "of it": float(np.fmax(rate, on_device)) * max(work, traffic),
        "load": os.getloadavg()[0],
    }


def _device_rate(case: Case, rows: SweepRows, devices: tuple[jax.Device, ...]) -> float:
    """Measure fits per second that the compiled call settles, of a chunk on the device.

    The chunk has the floating type of the fit. The call takes the steps of the first call of a
    large batch; the few fits that need more are not counted.
    """
    part = parts_of(rows, np.arange(case.fits), case.method, devices, kernel=True)[0]
    method = dataclasses.replace(case.method, levels=part.bucket.levels)
    call = compiled_chunk(method, devices, True)
    with jax.enable_x64(True):
        moved = jax.device_put(part.filled(rows).chunk, devices[0])
        resident = jax.block_until_ready(method.typed(moved))
        settled = np.asarray(call(resident, QUICK_STEPS, (0, 1))[2])
        seconds = list[float]()
        while len(seconds) < CALLS or sum(seconds) < SECONDS:
            started = time.perf_counter()
            jax.block_until_ready(call(resident, QUICK_STEPS, (0, 1)))
            seconds.append(time.perf_counter() - started)
    return float(settled.sum() / np.median(seconds))


def _excess(case: Case, rows: SweepRows, sums: np.ndarray) -> float:
    """Largest relative excess of sums of squares over those of the plain loop in float64."""
    count = min(COMPARED, len(sums))
    best = plain_sums(case, rows, count)
    return float(np.max(sums[:count] / best - 1))


def plain_sums(case: Case, rows: SweepRows, count: int | None = None) -> np.ndarray:
    """Sums of squares (count,) that the plain loop finds in float64 from all starts."""
    shape = (len(rows.count), case.points)
    mixture = rows.mixture.reshape(*shape, 2)[:count]
    budget, loss = (x.reshape(shape)[:count] for x in (rows.budget, rows.loss))

    def one(part: tuple) -> Any:
        return fit_arrays(
            BiMix(), *part, own=0, budget_scale=1.0, residual=case.loss, huber=case.huber
        ).sum_of_squares

    with jax.enable_x64(True):
        run = jax.jit(lambda parts: jax.lax.map(one, parts, batch_size=100))
        return np.asarray(run((mixture, budget, loss)))
