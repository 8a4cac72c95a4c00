"""Index of this process among several, from the launcher that started it."""

import os

from bimix_jax.batching.batch import Share

LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
"""Variables of Open MPI and Slurm. Slurm's is the number of tasks of the step: a batch script by
itself is one process, although its job may have tasks."""


def share_of_launcher() -> Share:
    """Share of this process according to its launcher: Open MPI, Slurm, a TPU pod; else all."""
    for rank, processes in LAUNCHERS:
        if rank in os.environ and processes in os.environ:
            return Share(int(os.environ[rank]), int(os.environ[processes]))
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    if "TPU_WORKER_ID" in os.environ and len(hosts) > 1:
        return Share(int(os.environ["TPU_WORKER_ID"]), len(hosts))
    return Share()


def join_processes() -> Share:
    """Join the other processes by `jax.distributed`, which finds them through the launcher.

    Returns the share of this one. Sharing files does not need this call; devices of several hosts
    that work together do.
    """
    import jax

    if not jax.distributed.is_initialized():
        jax.distributed.initialize()
    return Share(jax.process_index(), jax.process_count())
