"""Which of several processes this one is, wherever it was started."""

import os

from bimix_jax.batching.batch import Share

LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
"""Variables of Open MPI and Slurm. The step's number of tasks: a batch script of Slurm by itself is
no process of several, though the job may have tasks."""


def share_of_launcher() -> Share:
    """This process's share as its launcher says: Open MPI, Slurm, a TPU pod; else all of it."""
    for rank, processes in LAUNCHERS:
        if rank in os.environ and processes in os.environ:
            return Share(int(os.environ[rank]), int(os.environ[processes]))
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    if "TPU_WORKER_ID" in os.environ and len(hosts) > 1:
        return Share(int(os.environ["TPU_WORKER_ID"]), len(hosts))
    return Share()


def join_processes() -> Share:
    """Meet the other processes by `jax.distributed`, which finds them as its launcher says.

    Returns the share of this one. Not needed to share files out; needed where devices of several
    hosts must be known to one another.
    """
    import jax

    if not jax.distributed.is_initialized():
        jax.distributed.initialize()
    return Share(jax.process_index(), jax.process_count())
