"""Bytes: the only place that knows how files are opened, written and laid out."""

from fastlm.storage.container import TensorFile, TensorWriter, read_tensors, write_tensors
from fastlm.storage.files import Source, atomic_write, check_writable, open_binary, read_blocks, remove_temporaries

__all__ = [
    "Source",
    "TensorFile",
    "TensorWriter",
    "atomic_write",
    "check_writable",
    "open_binary",
    "read_blocks",
    "read_tensors",
    "remove_temporaries",
    "write_tensors",
]
