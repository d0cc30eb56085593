from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def target_logits(
    logits: NDArray[_Real],
    hidden: NDArray[_Real],
    targets: NDArray[np.int32],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
) -> None: ...
def sampled_softmax_forward_backward(
    log_probs: NDArray[_Real],
    dlogits: NDArray[_Real],
    dtargets: NDArray[_Real],
    dhidden: NDArray[_Real],
    hidden: NDArray[_Real],
    targets: NDArray[np.int32],
    places: NDArray[np.int32],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    corrections: NDArray[_Real],
    columns: NDArray[_Real],
    rows: NDArray[_Real],
    offsets: NDArray[_Real],
    penalty: float,
    factor: float,
) -> None: ...
def nce_forward_backward(
    scores: NDArray[_Real],
    dlogits: NDArray[_Real],
    dtargets: NDArray[_Real],
    dhidden: NDArray[_Real],
    hidden: NDArray[_Real],
    targets: NDArray[np.int32],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    corrections: NDArray[_Real],
    columns: NDArray[_Real],
    rows: NDArray[_Real],
    offsets: NDArray[_Real],
    noise: NDArray[_Real],
    factor: float,
) -> None: ...
def sampled_backward_weight(
    dweight: NDArray[_Real],
    dbias: NDArray[_Real],
    dlogits: NDArray[_Real],
    dtargets: NDArray[_Real],
    hidden: NDArray[_Real],
    inputs: NDArray[_Real],
    places: NDArray[np.int32],
    start: int,
    stop: int,
) -> None: ...
