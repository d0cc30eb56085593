"""What one call or one training run needs beside the parameters: activations, scratch, random keys."""

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray

__all__ = ["Workspace"]

CACHE_LINE = 64  # bytes


class Workspace:
    """Named arrays that are reused from step to step, and the generator state of a step.

    Layers are read-only in use: what they compute in a call goes in here, so that any number of threads can use
    one model, each with a workspace of its own.

    Parameters
    ----------
    dtype : float32 or float64
    workers : Workers
        Who runs the blocks of a layer's work.
    training : bool
        Whether dropout is on.
    seed : int
        What dropout masks depend on, beside the step and the layer's name.
    keeps_weights : bool
        Whether the parameters stay what they are for as long as it is used, so that they are packed once and not in
        each step.
    splits : bool
        Whether operands of large products may be split (see `nn/products.py`). Then the last bits of a row depend on
        how many there are, which is not for states: each is the same whatever states are beside it.

    Attributes
    ----------
    step : int
        The caller counts it; it goes into the random keys.
    saved : dict
        What a layer's forward pass leaves for its backward pass, by the layer's name.
    """

    def __init__(
        self,
        dtype: DTypeLike,
        workers: Workers,
        *,
        training: bool = False,
        seed: int = 0,
        keeps_weights: bool = False,
        splits: bool = True,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.workers = workers
        self.training = training
        self.seed = seed
        self.keeps_weights = keeps_weights
        self.splits = splits
        self.step = 0
        self.saved: dict[str, Any] = {}
        self._buffers: dict[str, FloatArray] = {}

    def array(
        self, name: str, shape: tuple[int, ...], dtype: DTypeLike | None = None, fill: float | None = None
    ) -> FloatArray:
        """Return the array of this name and shape; contents are those of its last use, or anything.

        Parameters
        ----------
        name : str
        shape : tuple of int
        dtype : optional
            That of the workspace if not given.
        fill : optional
            What a newly allocated array is filled with.
        """
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = _aligned(size, np.dtype(dtype or self.dtype))
            if fill is not None:
                buffer.fill(fill)
            self._buffers[name] = buffer
        return buffer[:size].reshape(shape)

    def random_key(self, name: str) -> int:
        """Return a 64-bit key that belongs to the seed, the step and a layer's name."""
        low, high = np.random.SeedSequence([self.seed, self.step, zlib.crc32(name.encode())]).generate_state(2)
        return int(high) << 32 | int(low)


def _aligned(size: int, dtype: np.dtype[Any]) -> FloatArray:
    """Return a new array that begins with a cache line: vectors that cross lines are slower."""
    room = np.empty(size * dtype.itemsize + CACHE_LINE, np.uint8)
    first = -room.ctypes.data % CACHE_LINE
    return room[first : first + size * dtype.itemsize].view(dtype)
