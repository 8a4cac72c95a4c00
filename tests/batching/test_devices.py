import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

import bimix_jax as bx
from tests.batching.tables import table_of_sweeps
from tests.conftest import PLAINLY

PROGRAM = """
import json, sys, jax, bimix_jax as bx
from tests.batching.tables import table_of_sweeps
from tests.conftest import plain_options
plain_options(kernel=False)
if len(sys.argv) > 2:
    jax.distributed.initialize(sys.argv[2], 2, int(sys.argv[3]))
table = table_of_sweeps(11)
if len(sys.argv) > 2:
    mine = [i % jax.process_count() == jax.process_index() for i in range(11)]
    names = [f"s{i}" for i in range(11) if mine[i]]
    table = table[table["sweep"].isin(names)]
fits = bx.fit_many(table)
found = {k: fits[k].coefficients.exponents.tolist() for k in fits}
json.dump([len(jax.local_devices()), found], open(sys.argv[1], "w"))
"""


def started(path, *more, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices} {PLAINLY}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), *more], env=environment)


@pytest.mark.slow
def test_eight_devices_or_two_processes_give_the_same_numbers(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    paths = [tmp_path / name for name in ("eight", "first", "second")]
    processes = [started(paths[0], devices=8)]
    processes += [started(path, address, str(i)) for i, path in enumerate(paths[1:])]
    assert [process.wait() for process in processes] == [0, 0, 0]
    (eight, shared), *parts = (json.loads(path.read_text()) for path in paths)
    assert eight == 8
    apart = parts[0][1] | parts[1][1]
    alone = bx.fit_many(table_of_sweeps(11))
    assert set(shared) == set(apart) == set(alone)
    for label, fitted in alone.items():
        for other in (shared, apart):
            np.testing.assert_allclose(other[label], fitted.coefficients.exponents, rtol=1e-10)
