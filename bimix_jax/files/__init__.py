"""Private: files of this machine and of object stores, read and written whole.

A path is one of this machine, or has a scheme that fsspec knows (s3://, gs://, hf://, memory://).
"""

from bimix_jax.files._local import (
    FIT_KIND,
    TABLE_ENDINGS,
    atomic_path,
    check_apart,
    check_folder,
    check_readable,
    remove_unfinished,
    temporary_folder,
    write_atomically,
)
from bimix_jax.files._remote import RemotePath, absolute_path, as_path, drop_copy

__all__ = [
    "FIT_KIND",
    "TABLE_ENDINGS",
    "RemotePath",
    "absolute_path",
    "as_path",
    "atomic_path",
    "check_apart",
    "check_folder",
    "check_readable",
    "drop_copy",
    "remove_unfinished",
    "temporary_folder",
    "write_atomically",
]
