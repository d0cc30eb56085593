from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def embedding_forward(output: NDArray[_Real], ids: NDArray[np.int32], table: NDArray[_Real]) -> None: ...
def embedding_backward(
    rows: NDArray[np.int32],
    drows: NDArray[_Real],
    doutput: NDArray[_Real],
    ids: NDArray[np.int32],
    slots: NDArray[np.int32],
) -> int: ...
def add_rows(output: NDArray[_Real], ids: NDArray[np.int32], rows: NDArray[_Real]) -> None: ...
