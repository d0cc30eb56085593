from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def dropout_mask(mask: NDArray[_Real], key: int, rate: float) -> None: ...
def dropout_forward(output: NDArray[_Real], inputs: NDArray[_Real], mask: NDArray[_Real]) -> None: ...
def word_dropout(
    output: NDArray[_Real], inputs: NDArray[_Real], ids: NDArray[np.int32], key: int, rate: float
) -> None: ...
