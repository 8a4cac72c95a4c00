"""JAX's persistent compilation cache, for a process that asks for it."""

from pathlib import Path

import jax

VARIABLE = "BIMIX_COMPILATION_CACHE"


def use_compilation_cache(folder: str | Path) -> None:
    """Keep compiled programs in `folder`, and take them from there.

    Sets global configuration of JAX, so only a command line should call it. Whoever can write to
    the folder can make this process run what they like.
    """
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
