from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def linear_forward(
    output: NDArray[_Real], inputs: NDArray[_Real], weight: NDArray[_Real], bias: NDArray[_Real]
) -> None: ...
def linear_backward(dinputs: NDArray[_Real], doutput: NDArray[_Real], weight: NDArray[_Real]) -> None: ...
def linear_backward_weight(
    dweight: NDArray[_Real],
    dbias: NDArray[_Real],
    doutput: NDArray[_Real],
    inputs: NDArray[_Real],
    accumulate: bool,
) -> None: ...
def linear_forward_vector(
    output: NDArray[_Real], inputs: NDArray[_Real], weight: NDArray[_Real], bias: NDArray[_Real]
) -> None: ...
def tanh_forward(hidden: NDArray[_Real]) -> None: ...
def tanh_backward(dinputs: NDArray[_Real], dhidden: NDArray[_Real], hidden: NDArray[_Real]) -> None: ...
