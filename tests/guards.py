"""Arrays that stand between guards: who writes beyond an array is found, and who reads beyond it reads NaN."""

import numpy as np

WIDTH = 1031  # elements of a guard; odd, so that what stands behind it is at no boundary


class Guards:
    """What gives out arrays and holds their guards."""

    def __init__(self) -> None:
        self._guards: list[np.ndarray] = []

    def array(self, dtype: type, *shape: int) -> np.ndarray:
        """Return an array that holds NaN."""
        size = int(np.prod(shape))
        room = np.full(size + 2 * WIDTH, np.nan, dtype)
        self._guards += [room[:WIDTH], room[WIDTH + size :]]
        return room[WIDTH : WIDTH + size].reshape(shape)

    def around(self, array: np.ndarray) -> np.ndarray:
        """Return a copy between guards."""
        copy = self.array(array.dtype.type, *array.shape)
        copy[...] = array
        return copy

    def check(self) -> None:
        assert all(np.isnan(guard).all() for guard in self._guards), "something was written beyond an array"
