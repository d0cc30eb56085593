"""Bytes: the only place that knows how files are opened, written and laid out."""

from fastlm.storage.container import TensorFile, TensorRun, TensorWriter, is_container, read_tensors, write_tensors
from fastlm.storage.files import (
    Source,
    atomic_write,
    atomic_write_named,
    check_writable,
    is_compressed,
    open_binary,
    read_blocks,
    remove_temporaries,
)
from fastlm.storage.mapping import check_unchanged

__all__ = [
    "Source",
    "TensorFile",
    "TensorRun",
    "TensorWriter",
    "atomic_write",
    "atomic_write_named",
    "check_unchanged",
    "check_writable",
    "is_compressed",
    "is_container",
    "open_binary",
    "read_blocks",
    "read_tensors",
    "remove_temporaries",
    "write_tensors",
]
