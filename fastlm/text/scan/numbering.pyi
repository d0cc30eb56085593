from typing import Any

import numpy as np
from numpy.typing import NDArray

def sort_words(
    data: NDArray[np.uint8], ends: NDArray[np.int64], counts: NDArray[np.int64], numbers: NDArray[np.int64]
) -> NDArray[np.int64]: ...
def pick_words(
    data: NDArray[np.uint8], ends: NDArray[np.int64], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]: ...
def renumber(out: NDArray[Any], numbers: NDArray[np.int32], ids: NDArray[np.int32]) -> int: ...
