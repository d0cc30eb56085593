from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def gru_forward(
    hidden: NDArray[_Real],
    gates: NDArray[_Real],
    products: NDArray[_Real],
    previous: NDArray[_Real],
    initial: NDArray[_Real],
    resets: NDArray[np.uint8],
    w_hh: NDArray[_Real],
) -> None: ...
def gru_backward(
    dgates: NDArray[_Real],
    dproducts: NDArray[_Real],
    dinitial: NDArray[_Real],
    dhidden: NDArray[_Real],
    gates: NDArray[_Real],
    products: NDArray[_Real],
    previous: NDArray[_Real],
    resets: NDArray[np.uint8],
    w_hh: NDArray[_Real],
) -> None: ...
def gru_step(
    hidden: NDArray[_Real],
    gates: NDArray[_Real],
    products: NDArray[_Real],
    previous: NDArray[_Real],
    w_hh: NDArray[_Real],
) -> None: ...
