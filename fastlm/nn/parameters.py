"""Parameters and their gradients: all that optimizers see of a model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlm.errors import ModelFileError

__all__ = ["FloatArray", "IntArray", "Parameter", "ParameterSource", "RandomParameters", "Rows", "StoredParameters"]

FloatArray = NDArray[Any]  # float32, or float64 in gradient checks
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Rows:
    """A gradient that is zero but for some rows: row `ids[k]` of the parameter has the gradient `values[k]`.

    Attributes
    ----------
    ids : (R,) int32, distinct
    values : (R, D)
    """

    ids: IntArray
    values: FloatArray


class Parameter:
    """A named array that is learned, with its gradient.

    Parameters
    ----------
    name : str
        Where it stands in the model, as in the model file: `"hidden.weight"`.
    value : (V, D) or (D,) array

    Attributes
    ----------
    gradient : array like `value`, Rows, or None
        None outside training, and where nothing has been added in this step.
    sparse : bool
        Whether the layer gives a row-sparse gradient; a vector then has a row for each element.
    gradient_squares : array or None
        Sums of the squares of all parts of the gradient, where the last layer that added to it has made them.
    rate_factor : float
        Its learning rate is this times that of all.
    """

    def __init__(self, name: str, value: FloatArray) -> None:
        self.name = name
        self.value = value
        self.gradient: FloatArray | Rows | None = None
        self.sparse = False
        self.gradient_squares: NDArray[np.float64] | None = None
        self.rate_factor = 1.0
        self._buffer: FloatArray | None = None
        self._row_ids: IntArray | None = None

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self.value.dtype}{list(self.value.shape)})"

    @property
    def matrix(self) -> FloatArray:
        """The value as rows; a vector is one row, or, if it is sparse, one column."""
        if self.value.ndim == 1:
            return self.value[:, np.newaxis] if self.sparse else self.value[np.newaxis]
        return self.value

    def make_writable(self) -> None:
        """Copy the value if it is a read-only part of a file."""
        if not self.value.flags.writeable:
            self.value = self.value.copy()

    def dense_gradient(self) -> tuple[FloatArray, bool]:
        """Return the array for a dense gradient, and whether to add to it: at its first use it holds anything."""
        self.gradient_squares = None
        if isinstance(self.gradient, Rows):
            raise TypeError(f"{self.name} has a row-sparse gradient in this step, expected a dense one or none")
        if self.gradient is not None:
            return self.gradient, True
        if self._buffer is None:
            self._buffer = np.empty_like(self.value)
        self.gradient = self._buffer
        return self.gradient, False

    def clear_gradient(self) -> None:
        """Forget the gradient, but keep its memory for the next step."""
        self.gradient = self.gradient_squares = None

    def release_gradient(self) -> None:
        """Forget the gradient and give its memory back."""
        self.gradient = self.gradient_squares = self._buffer = None

    def gradient_rows(self) -> Rows:
        """Return the gradient in the one form that the update kernels take, ids and their rows."""
        if isinstance(self.gradient, Rows):
            return self.gradient
        if self.gradient is None:
            return Rows(np.empty(0, np.int32), np.empty((0, self.matrix.shape[1]), self.value.dtype))
        rows = self.gradient.reshape(self.matrix.shape)
        if self._row_ids is None:
            self._row_ids = np.arange(len(rows), dtype=np.int32)
        return Rows(self._row_ids, rows)


class ParameterSource(ABC):
    """Where the parameters of new layers come from."""

    @abstractmethod
    def uniform(self, name: str, shape: tuple[int, ...], bound: float) -> Parameter:
        """Return a parameter that starts evenly distributed within ± `bound`."""

    @abstractmethod
    def filled(self, name: str, shape: tuple[int, ...], value: float | NDArray[np.float64] = 0.0) -> Parameter:
        """Return a parameter that starts at `value`."""


class RandomParameters(ParameterSource):
    """Fresh parameters, drawn from a seed.

    Parameters
    ----------
    seed : int
    dtype : float32 or float64
    """

    def __init__(self, seed: int, dtype: DTypeLike) -> None:
        self._rng = np.random.default_rng(seed)
        self._dtype = np.dtype(dtype)

    def uniform(self, name: str, shape: tuple[int, ...], bound: float) -> Parameter:
        """Draw from U(-bound, bound)."""
        return Parameter(name, self._rng.uniform(-bound, bound, shape).astype(self._dtype))

    def filled(self, name: str, shape: tuple[int, ...], value: float | NDArray[np.float64] = 0.0) -> Parameter:
        """Fill with `value`."""
        return Parameter(name, np.full(shape, value, self._dtype))


class StoredParameters(ParameterSource):
    """Parameters that stand in a model file; they are taken as they are, without a copy.

    Parameters
    ----------
    arrays : mapping of str to array
    dtype : float32 or float64
        What all of them must have.
    """

    def __init__(self, arrays: Mapping[str, FloatArray], dtype: DTypeLike) -> None:
        self._arrays = dict(arrays)
        self._dtype = np.dtype(dtype)

    def uniform(self, name: str, shape: tuple[int, ...], bound: float) -> Parameter:
        """Take the array `name`."""
        return self.filled(name, shape)

    def filled(self, name: str, shape: tuple[int, ...], value: float | NDArray[np.float64] = 0.0) -> Parameter:
        """Take the array `name`."""
        array = self._arrays.pop(name, None)
        if array is None:
            raise ModelFileError(f"the model file has no array {name!r}, which a model of its config needs")
        if array.shape != shape or array.dtype != self._dtype:
            raise ModelFileError(
                f"the model file's array {name!r} is {array.dtype}{list(array.shape)}, expected "
                f"{self._dtype}{list(shape)} from its config; it was not written by fastlm, or is damaged"
            )
        return Parameter(name, array)

    def check_all_taken(self) -> None:
        """Raise ModelFileError if arrays are left that no layer has asked for."""
        if self._arrays:
            raise ModelFileError(
                f"the model file holds arrays that a model of its config does not have: {', '.join(self._arrays)}"
            )
