"""Fixtures that several test files share."""

import os
import shutil
import tempfile

import jax
import numpy as np
import pytest
from hypothesis import settings

import bimix_jax as bx

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config):
    """One folder of compiled programs for all workers of a run, which start after this."""
    if not hasattr(config, "workerinput"):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="bimix_jax_tests_")
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def pytest_unconfigure(config):
    """Nothing is left behind."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop("JAX_COMPILATION_CACHE_DIR"), ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def compiled_code_is_released():
    """Every compiled program holds memory mappings, and a process may have only some 65 000."""
    yield
    jax.clear_caches()


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
