"""Fixtures that several test files share."""

import ctypes
import gc
import os
import platform
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import settings

import bimix_jax as bx
from bimix_jax.cluster import Cluster
from bimix_jax.fitting import program
from bimix_jax.xla import compilation

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


MOST_KEPT, MOST_GROWTH = 1000, 700
"""MB of programs in the folder, and by which a process may grow until it forgets its own."""
MEMORY_PAGES = Path("/proc/self/statm")


def pytest_configure(config):
    """One folder of compiled programs for all workers of a run, commands they start, and next runs.

    A program's name there is a hash of what is computed, so none outlives a change of the code.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(programs_folder(config.rootpath)))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    # For workers: threads that wait for each other's part of a small matrix keep the cores busy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compile_plainly(kernel=config.getoption("markexpr") == "not slow")
    program.FEW = LIKE_SIZES
    # Tracing makes many objects, most of which stay: looking for garbage took a fifth of its time.
    gc.set_threshold(100_000, 50, 100)


LIKE_SIZES = 160
"""Sweeps of up to as many points, and parts of them, share a program, where users have 32: rows
without weight take little time, and a program takes two seconds."""


PLAINLY = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
"""Flags of XLA by which the same operations compile in a third of the time, not optimised."""


def compile_plainly(kernel):
    """Compile what tests call as `PLAINLY`, and commands that they start as users have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {PLAINLY}")
        jax.devices()
    plain_options(kernel)


def plain_options(kernel):
    """The same for programs with options of their own.

    The `kernel` over batches, whose sums are reassociated, is compiled as users have it where the
    slow proofs run.
    """
    compilation.QUICKLY_COMPILED["xla_backend_optimization_level"] = 0
    compilation.REASSOCIATED["xla_backend_optimization_level"] = 0 if kernel else 3
    compilation.REASSOCIATED["xla_cpu_use_fusion_emitters"] = not kernel


def programs_folder(root):
    """For programs of this machine; emptied where it holds more than a few runs leave."""
    folder = root / ".pytest_cache" / "programs" / platform.node()
    if folder.exists() and sum(f.stat().st_size for f in folder.iterdir()) > MOST_KEPT * 1e6:
        shutil.rmtree(folder)
    return folder


@pytest.fixture(autouse=True)
def no_width(monkeypatch):
    """Nothing is wrapped unless a test asks for a width; workers of a run inherit one."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def compiled_programs_are_released():
    """Only where there are many, as the next test may need the same."""
    yield
    if memory() > MOST_GROWTH + released["memory"]:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        released["memory"] = memory()


def memory():
    """Memory of this process in MB; 0 where the system does not say."""
    if not MEMORY_PAGES.exists():
        return 0.0
    return int(MEMORY_PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


released = {"memory": memory()}
"""After the last release."""


@pytest.fixture
def float64():
    """Double precision for the length of a test, without touching the global setting."""
    with jax.enable_x64(True):
        yield


def synthetic_points(seed=0, runs=12, budgets=8, domains=3, noise=0.0):
    """Points of a world where BiMix is true: mixture, budget, losses and the coefficients."""
    rng = np.random.default_rng(seed)
    alpha, beta = rng.uniform(0.03, 0.4, domains), rng.uniform(0.2, 1.0, domains)
    loss_at_scale, floor = rng.uniform(1.0, 5.0, domains), rng.uniform(0.3, 0.9, domains)
    mixture = np.repeat(rng.dirichlet(np.full(domains, 2.0), runs) * 0.94 + 0.02, budgets, axis=0)
    mixture /= mixture.sum(axis=1, keepdims=True)
    budget = np.tile(np.geomspace(1e8, 6.4e9, budgets), runs)
    relative = budget[:, None] / budget.max()
    loss = loss_at_scale * mixture**-alpha * ((1 - floor) * relative**-beta + floor)
    loss *= np.exp(noise * rng.standard_normal(loss.shape))
    return mixture, budget, loss, {
        "exponents": np.stack([alpha, beta], axis=1),
        "amplitudes": np.stack([loss_at_scale * (1 - floor), loss_at_scale * floor], axis=1),
    }  # fmt: skip


@pytest.fixture(scope="session")
def embedded():
    """The embedded sweep past its warm-up."""
    return bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)


@pytest.fixture(scope="module")
def cluster():
    """Two workers of one Ray for all tests of a file; left out where Ray is not installed."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR")
    yield Cluster(workers=2)
    ray.shutdown()
